//! Images of the head: what memory holds, written as it is, so that a restart does not make it anew from the log.
//!
//! An image takes nothing from the log, which stays as long as without it: one that is missing, torn, damaged, of another
//! store or of an unknown version costs time and nothing else. It belongs to the segment of its number, before which it was
//! taken; a restart reads the newest one and the segments from there on.

mod reader;
mod writer;

use std::io;
use std::path::Path;
use std::time::Instant;

use relatum_model::storage::AppendError;
use tracing::{debug, info, warn};

pub(crate) use self::reader::Image;
use self::writer::{Contents, ImageWriter};
use crate::core::{Core, Split};
use crate::fs::Fs;
use crate::replay::Recovery;
use crate::wal::FileKind;

/// So many samples are read back from the log in a moment, so no image saves anything worth writing it.
const SAMPLES_MIN: u64 = 20_000;
/// An image is written when so many samples came since the last one: a second reads some ten million of them.
const SAMPLES_MAX: u64 = 1_000_000;
/// The same for each series: an image costs by the series, which many samples share.
const SAMPLES_PER_SERIES: u64 = 24;

/// An image on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageFile {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

impl Core {
    /// Writes an image if a restart would have to read much of the log without it; returns whether it tried.
    pub(crate) fn maintain_image(&self) -> bool {
        let samples_max = SAMPLES_MAX.max(SAMPLES_PER_SERIES * self.head().index().len() as u64);
        let is_due = self.samples_without_image() >= samples_max;
        if is_due {
            self.try_image();
        }
        is_due
    }

    /// Writes an image behind a cut, which made the last one useless, or before the end.
    pub(crate) fn renew_image(&self) {
        let has_image = self.files().image.is_some();
        let samples = if has_image { self.samples_without_image() } else { self.files().rows };
        if samples >= SAMPLES_MIN {
            self.try_image();
        }
    }

    /// Nothing but time is lost without an image, so what goes wrong is said here.
    fn try_image(&self) {
        if !self.options().images || self.check_poison().is_err() {
            return;
        }
        if let Err(reason) = self.write_image() {
            warn!(
                reason = &reason as &dyn std::error::Error,
                "cannot write an image of the head; a restart will take longer"
            );
        }
    }

    /// Writes what a restart would make of the log so far.
    pub(crate) fn write_image(&self) -> Result<(), AppendError> {
        let _alone = self.checkpointing();
        let started = Instant::now();
        let split = self.split_log()?;
        let (number, samples) = (split.number, split.samples_without_image);
        let path = self.wal_dir().join(FileKind::Head.file_name(number));
        let unfinished = path.with_extension("head.tmp");
        let fs = &self.options().fs;
        let written = self.write_image_file(&unfinished, &split).and_then(|bytes| {
            fs.rename(&unfinished, &path)?;
            fs.sync_dir(self.wal_dir())?;
            Ok(bytes)
        });
        self.readers.close(split.ticket);
        let bytes = written.map_err(|source| {
            // The leftover goes now or when the store is opened next.
            let _ = fs.remove(&unfinished);
            AppendError::Write { what: path.display().to_string(), source }
        })?;
        let replaced = self.files().image.replace(ImageFile { number, bytes });
        self.forget_samples_without_image(samples);
        self.counters().images.add(1);
        info!(number, bytes, took = ?started.elapsed(), "wrote an image of the head");
        match replaced {
            Some(ImageFile { number, .. }) => self.remove_log_file(&FileKind::Head.file_name(number)),
            None => Ok(()),
        }
    }

    fn write_image_file(&self, path: &Path, split: &Split) -> io::Result<u64> {
        let Split { number, salt, ref ticket, rows_before, .. } = *split;
        let contents = Contents::of(&self.head().index());
        let mut writer = ImageWriter::create(&*self.options().fs, path, number, ticket.commit)?;
        writer.summary(&contents, salt, rows_before, self.head().next_id(), self.has_starts())?;
        writer.pairs(&contents)?;
        // What a cut set aside is either in blocks already, or the cut failed and a restart still has to find it.
        let in_blocks = self.aside().is_some();
        writer.series(&contents, in_blocks)?;
        let first = self.readers.end().0.segment.min(self.files().segments.front().map_or(number, |s| s.number));
        writer.further_ids(contents.aliases().chain(self.departed().since(first)))?;
        writer.exemplars(self.exemplars.all().iter())?;
        writer.finish()
    }

    /// Removes an image that belongs before segment `number`: what it holds is in blocks or a checkpoint.
    pub(crate) fn drop_image_before(&self, number: u64) {
        let old = self.files().image.take_if(|image| image.number < number);
        if let Some(ImageFile { number, .. }) = old
            && let Err(reason) = self.remove_log_file(&FileKind::Head.file_name(number))
        {
            // It is told by its number that it is old.
            debug!(reason = &reason as &dyn std::error::Error, "cannot remove an old image of the head");
        }
    }
}

/// Why an image is not used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is of no use any more, or never was of this store.
    Old(&'static str),
    /// Something happened to it.
    Damaged(&'static str),
    /// It was written by another version of the program.
    Version(u32),
}

impl From<crate::block::layout::Damage> for Unusable {
    fn from(damage: crate::block::layout::Damage) -> Self {
        Unusable::Damaged(damage.0)
    }
}

/// The newest image among `numbers` that can be used, and is of use: it belongs to no segment before `oldest_useful`. What is of
/// no use goes; what is damaged is told and goes.
pub(crate) fn newest(
    fs: &dyn Fs,
    dir: &Path,
    mut numbers: Vec<u64>,
    oldest_useful: u64,
    recovery: &mut Recovery,
) -> Option<(ImageFile, Image)> {
    numbers.sort_unstable();
    let mut found = None;
    for number in numbers.into_iter().rev() {
        let name = FileKind::Head.file_name(number);
        if number >= oldest_useful && found.is_none() {
            match reader::read(fs, dir, number) {
                Ok(Ok(image)) => {
                    found = Some((ImageFile { number, bytes: image.bytes }, image));
                    continue;
                }
                Ok(Err(Unusable::Old(reason))) => info!(file = %name, reason, "an image of the head is of no use"),
                Ok(Err(Unusable::Damaged(reason))) => {
                    recovery.dropped(&name, 0, 0, 0, format!("{reason}; the log was read instead"));
                }
                Ok(Err(Unusable::Version(version))) => {
                    info!(file = %name, version, "an image of the head was written by another version: the log is read instead");
                    continue;
                }
                Err(error) => {
                    recovery.dropped(&name, 0, 0, 0, format!("{error}; the log was read instead"));
                    continue;
                }
            }
        }
        // It is passed over the next time as well.
        if let Err(error) = fs.remove(&dir.join(&name)) {
            debug!(file = %name, reason = &error as &dyn std::error::Error, "cannot remove an old image of the head");
        }
    }
    found
}

/// The salt of segment `number`, by which an image knows its log.
fn salt_of(fs: &dyn Fs, dir: &Path, number: u64) -> io::Result<Option<u32>> {
    let file = match fs.open(&dir.join(FileKind::Segment.file_name(number))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let header = crate::wal::salvage::read_header(&*file, FileKind::Segment, number)?;
    Ok(header.ok().map(|(header, _)| header.salt))
}
