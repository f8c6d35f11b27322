//! Reading the log back into memory when a store is opened.
//!
//! Everything whole is kept, in the order in which it was committed; a commit of which a part is missing is left out as a
//! whole. What was lost is reported with its place, never repaired in silence.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use relatum_model::Labels;

use crate::blocks::catalog::CutMark;
use crate::error::OpenError;
use crate::exemplars::Exemplars;
use crate::fs::{Fs, ReadFile};
use crate::head::Head;
use crate::histogram::Encoded;
use crate::image::{self, Image};
use crate::log_files::{Checkpoint, LogFiles, Segment};
use crate::options::Options;
use crate::series::Phase;
use crate::system::give_memory_back;
use crate::waiting::Waiting;
use crate::wal::FileKind;
use crate::wal::frame::{BadHeader, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FrameHeader, VERSION};
use crate::wal::reader::{Found, FrameReader};
use crate::wal::record::{Section, sections};
use crate::wal::salvage::read_header;

/// How many losses and foreign files are named one by one.
const NAMED_MAX: usize = 100;

/// What opening a store found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recovery {
    /// Samples that were read back.
    pub samples: u64,
    /// Series that were read back.
    pub series: u64,
    /// Files of the log that were read.
    pub files: u64,
    /// Blocks that were opened.
    pub blocks: u64,
    /// What was damaged and left out: the first hundred places.
    pub dropped: Vec<Dropped>,
    /// How many such places there are in all.
    pub damages: u64,
    /// Bytes that were left out in all.
    pub dropped_bytes: u64,
    /// Samples that were whole but belong to a series whose definition was lost.
    pub dropped_samples: u64,
    /// Files in the log's directory that are none of ours: the first hundred names. They are not touched.
    pub foreign: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// A part of the log that could not be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The file's name.
    pub file: String,
    /// Where in the file it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Samples known to be lost with it, where that can be told.
    pub samples: u64,
    /// What is wrong.
    pub reason: String,
}

impl Recovery {
    /// Mentions a file that is none of ours.
    pub(crate) fn foreign(&mut self, name: String) {
        if self.foreign.len() < NAMED_MAX {
            self.foreign.push(name);
        }
    }

    pub(crate) fn dropped(&mut self, file: &str, offset: u64, bytes: u64, samples: u64, reason: impl Into<String>) {
        self.damages += 1;
        self.dropped_bytes += bytes;
        self.dropped_samples += samples;
        if self.dropped.len() < NAMED_MAX {
            self.dropped.push(Dropped { file: file.to_owned(), offset, bytes, samples, reason: reason.into() });
        }
    }
}

/// The state of a store after replay.
pub(crate) struct Replayed {
    pub(crate) head: Head,
    pub(crate) last_commit: u64,
    pub(crate) newest_ms: Option<i64>,
    pub(crate) next_segment: u64,
    pub(crate) files: LogFiles,
    pub(crate) recovery: Recovery,
    /// Whether any float said when it began to count.
    pub(crate) has_starts: bool,
    pub(crate) exemplars: Exemplars,
    /// Samples that were read from the log behind an image, or all.
    pub(crate) rows_behind_image: u64,
}

/// Reads the log in `dir`. Cuts a torn end off and removes what a crash left over, so that the log can be continued.
///
/// What `cut` says is in blocks already is not read into memory again. An image of the head, if they are used, saves
/// reading what it holds.
pub(crate) fn replay(
    fs: &dyn Fs,
    dir: &Path,
    cut: Option<CutMark>,
    options: &Options,
    mut recovery: Recovery,
) -> Result<Replayed, OpenError> {
    let started = Instant::now();
    let (mut segments, mut checkpoints, mut images) = (Vec::new(), Vec::new(), Vec::new());
    let names = fs.list(dir).map_err(|source| OpenError::Read { path: dir.to_owned(), source })?;
    for name in names {
        match FileKind::of_name(&name) {
            Some((FileKind::Segment, number)) => segments.push(number),
            Some((FileKind::Checkpoint, number)) => checkpoints.push(number),
            Some((FileKind::Head, number)) => images.push(number),
            // A checkpoint or an image that was not finished.
            None if name.ends_with(".checkpoint.tmp") || name.ends_with(".head.tmp") => remove(fs, &dir.join(name))?,
            None => recovery.foreign(name),
        }
    }
    segments.sort_unstable();
    checkpoints.sort_unstable();
    recovery.foreign.sort_unstable();

    let checkpoint = checkpoints.pop();
    // What a checkpoint replaces may still be there if the process died before it was removed.
    for number in checkpoints {
        remove(fs, &dir.join(FileKind::Checkpoint.file_name(number)))?;
    }
    let first_segment = checkpoint.unwrap_or(0);
    let mut files = LogFiles::default();
    // Kept for followers: nothing in them is news for the head.
    for number in segments.extract_if(.., |number| *number < first_segment) {
        files
            .segments
            .push_back(Segment { number, bytes: length_of(fs, dir.join(FileKind::Segment.file_name(number)))? });
    }

    let mut replay = Replay {
        head: Head::new(),
        rows_waiting: Waiting::default(),
        last_commit: 0,
        newest_ms: None,
        rows: 0,
        cut,
        in_blocks_before_ms: i64::MIN,
        recovery,
        has_starts: false,
        exemplars: Exemplars::default(),
    };
    replay.exemplars.set_max(options.exemplars_max);
    let oldest_useful = first_segment.max(cut.map_or(0, |cut| cut.segment));
    let image = if options.images { image::newest(fs, dir, images, oldest_useful, &mut replay.recovery) } else { None };
    let image = image.map(|(file, image)| {
        replay.adopt(image);
        file
    });
    files.image = image;
    if let Some(number) = checkpoint {
        let path = dir.join(FileKind::Checkpoint.file_name(number));
        files.checkpoint = Some(match image {
            None => {
                let bytes = replay.file(fs, dir, FileKind::Checkpoint, number, false)?;
                Checkpoint { number, bytes, commit: replay.last_commit }
            }
            Some(_) => Checkpoint {
                number,
                bytes: length_of(fs, path.clone())?,
                commit: commit_of(fs, &path, replay.last_commit),
            },
        });
    }
    let rows_before = replay.rows;
    // What an image holds is there for followers, and for the next checkpoint to replace.
    let first_unread = image.map_or(first_segment, |image| image.number);
    for number in segments.extract_if(.., |number| *number < first_unread) {
        files
            .segments
            .push_back(Segment { number, bytes: length_of(fs, dir.join(FileKind::Segment.file_name(number)))? });
    }
    let mut next_segment = first_unread.max(1);
    let mut expected = image.map(|image| image.number).or(checkpoint).or(segments.first().copied());
    if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
        options.replaying.begin(*first, *last);
    }
    for (i, &number) in segments.iter().enumerate() {
        options.replaying.reach(number);
        let missing = expected.map_or(0, |expected| number - expected);
        if missing > 0 {
            let name = FileKind::Segment.file_name(number);
            replay.recovery.dropped(&name, 0, 0, 0, format!("{missing} segments before it are missing"));
        }
        expected = Some(number + 1);
        let bytes = replay.file(fs, dir, FileKind::Segment, number, i + 1 == segments.len())?;
        // One that is gone again never held a commit, so nobody has a position in it.
        if bytes == 0 {
            next_segment = number;
        } else {
            next_segment = number + 1;
            files.segments.push_back(Segment { number, bytes });
        }
    }
    files.rows = replay.rows;
    let rows_behind_image = if image.is_some() { replay.rows - rows_before } else { replay.rows };
    replay.recovery.series = replay.head.index().len() as u64;
    drop(replay.rows_waiting);
    give_memory_back();
    replay.recovery.took = started.elapsed();
    Ok(Replayed {
        head: replay.head,
        last_commit: replay.last_commit,
        newest_ms: replay.newest_ms,
        next_segment,
        files,
        recovery: replay.recovery,
        has_starts: replay.has_starts,
        exemplars: replay.exemplars,
        rows_behind_image,
    })
}

/// Of which commit a checkpoint holds what lives; `at_most` if that cannot be told.
fn commit_of(fs: &dyn Fs, path: &Path, at_most: u64) -> u64 {
    let mut header = [0; FRAME_HEADER_BYTES];
    let read = fs.open(path).and_then(|file| file.read_at(FILE_HEADER_BYTES as u64, &mut header));
    match read {
        Ok(FRAME_HEADER_BYTES) => FrameHeader::decode(&header).map_or(at_most, |header| header.commit.min(at_most)),
        _ => at_most,
    }
}

fn length_of(fs: &dyn Fs, path: PathBuf) -> Result<u64, OpenError> {
    fs.open(&path).and_then(|file| file.length()).map_err(|source| OpenError::Read { path, source })
}

/// Whether there is nothing but zeros in a file.
fn is_blank(file: &dyn ReadFile) -> io::Result<bool> {
    let (mut at, mut bytes) = (0, vec![0; 1 << 16]);
    loop {
        match file.read_at(at, &mut bytes)? {
            0 => return Ok(true),
            n if bytes[..n].iter().any(|byte| *byte != 0) => return Ok(false),
            n => at += n as u64,
        }
    }
}

fn remove(fs: &dyn Fs, path: &Path) -> Result<(), OpenError> {
    fs.remove(path).map_err(|source| OpenError::Write { path: path.to_owned(), source })
}

struct Replay {
    head: Head,
    // Rows that were read and are not in the head yet.
    rows_waiting: Waiting,
    last_commit: u64,
    newest_ms: Option<i64>,
    rows: u64,
    cut: Option<CutMark>,
    // Samples of the current file that are older are in blocks.
    in_blocks_before_ms: i64,
    recovery: Recovery,
    has_starts: bool,
    exemplars: Exemplars,
}

/// The parts of a commit that is not complete yet.
struct Parts {
    offset: u64,
    commit: u64,
    next: u32,
    payloads: Vec<Vec<u8>>,
}

impl Replay {
    /// Reads one file; returns how long it is afterwards, 0 if it was removed.
    fn file(&mut self, fs: &dyn Fs, dir: &Path, kind: FileKind, number: u64, is_last: bool) -> Result<u64, OpenError> {
        let name = kind.file_name(number);
        let path = dir.join(&name);
        let read = |source| OpenError::Read { path: path.clone(), source };
        let file = fs.open(&path).map_err(read)?;
        let length = file.length().map_err(read)?;
        self.recovery.files += 1;
        let header = match read_header(&*file, kind, number).map_err(read)? {
            Ok((header, None)) => header,
            Ok((header, Some(_))) => {
                let bytes = FILE_HEADER_BYTES as u64;
                self.recovery.dropped(&name, 0, bytes, 0, "damaged header, worked out from what follows");
                header
            }
            // Whoever renamed it will want to know.
            Err(BadHeader::Foreign) => return Err(OpenError::Foreign { path }),
            Err(BadHeader::Version(version)) => return Err(OpenError::Version { path, version, known: VERSION }),
            Err(BadHeader::Short | BadHeader::Damaged) => {
                let reason = if length == 0 { "empty file" } else { "damaged header" };
                self.recovery.dropped(&name, 0, length, 0, reason);
                if is_last && (length <= FILE_HEADER_BYTES as u64 || is_blank(&*file).map_err(read)?) {
                    // The process died while it began the segment, so nothing is in it.
                    remove(fs, &path)?;
                    return Ok(0);
                }
                return Ok(length);
            }
        };
        self.in_blocks_before_ms = match self.cut {
            Some(cut) if number < cut.segment => cut.end_ms,
            _ => i64::MIN,
        };
        let header = header.with_room_in_the_last(is_last);
        let mut reader = FrameReader::new(&*file, &header, 0, length);
        let torn_at = match kind {
            FileKind::Segment => self.segment(&name, &mut reader),
            // An image is never read frame by frame.
            FileKind::Checkpoint | FileKind::Head => self.checkpoint(&name, &mut reader).map(|()| None),
        };
        self.apply_waiting();
        match torn_at.map_err(read)? {
            Some(offset) if is_last => {
                fs.truncate(&path, offset).map_err(|source| OpenError::Write { path: path.clone(), source })?;
                Ok(offset)
            }
            None if is_last => {
                // The process that wrote it may have died before it made this durable, and who repeats it is told that it is there.
                fs.truncate(&path, length).map_err(|source| OpenError::Write { path: path.clone(), source })?;
                Ok(length)
            }
            _ => Ok(length),
        }
    }

    /// Applies the commits of a segment; returns where the whole part ends if the file does not end there.
    fn segment(&mut self, name: &str, reader: &mut FrameReader<'_>) -> io::Result<Option<u64>> {
        let mut parts: Option<Parts> = None;
        let mut torn_at = None;
        while let Some(found) = reader.next()? {
            match found {
                Found::Damage { offset, bytes } => {
                    torn_at = Some(parts.as_ref().map_or(offset, |parts| parts.offset));
                    self.incomplete(name, parts.take(), offset);
                    self.recovery.dropped(name, offset, bytes, 0, "damaged or torn");
                }
                Found::Room { offset } => {
                    let of_parts = parts.as_ref().map(|parts| parts.offset);
                    torn_at = torn_at.or(of_parts).or(Some(offset));
                    self.incomplete(name, parts.take(), offset);
                }
                Found::Frame { offset, header, payload } => {
                    torn_at = None;
                    let continues =
                        parts.as_ref().is_some_and(|parts| parts.commit == header.commit && parts.next == header.part);
                    if !continues {
                        self.incomplete(name, parts.take(), offset);
                        if header.part > 0 {
                            let bytes = payload.len() as u64;
                            let reason = format!("commit {} lacks its beginning", header.commit);
                            self.recovery.dropped(name, offset, bytes, 0, reason);
                            continue;
                        }
                        if header.commit <= self.last_commit {
                            let reason = format!("commit {} was read before", header.commit);
                            self.recovery.dropped(name, offset, payload.len() as u64, 0, reason);
                            continue;
                        }
                    }
                    if header.last {
                        let earlier = parts.take().map_or(Vec::new(), |parts| parts.payloads);
                        for payload in earlier.iter().map(Vec::as_slice).chain([payload]) {
                            self.apply(name, offset, header.commit, payload);
                        }
                        self.last_commit = header.commit;
                    } else {
                        let new = || Parts { offset, commit: header.commit, next: 0, payloads: Vec::new() };
                        let parts = parts.get_or_insert_with(new);
                        parts.next += 1;
                        parts.payloads.push(payload.to_vec());
                    }
                }
            }
        }
        if let Some(offset) = parts.as_ref().map(|parts| parts.offset) {
            torn_at = Some(offset);
        }
        self.incomplete(name, parts, reader.offset());
        Ok(torn_at)
    }

    fn incomplete(&mut self, name: &str, parts: Option<Parts>, end: u64) {
        if let Some(parts) = parts {
            let reason = format!("commit {} lacks its end", parts.commit);
            self.recovery.dropped(name, parts.offset, end - parts.offset, 0, reason);
        }
    }

    /// Applies a checkpoint: one commit, whose parts stand for themselves because the file was complete before it got its name.
    fn checkpoint(&mut self, name: &str, reader: &mut FrameReader<'_>) -> io::Result<()> {
        let mut complete = false;
        while let Some(found) = reader.next()? {
            match found {
                Found::Damage { offset, bytes } => self.recovery.dropped(name, offset, bytes, 0, "damaged"),
                // There is none: a checkpoint was complete before it got its name.
                Found::Room { .. } => {}
                Found::Frame { offset, header, payload } => {
                    self.apply(name, offset, header.commit, payload);
                    self.last_commit = self.last_commit.max(header.commit);
                    complete = header.last;
                }
            }
        }
        if !complete {
            self.recovery.dropped(name, reader.offset(), 0, 0, "the checkpoint lacks its end");
        }
        Ok(())
    }

    /// Puts the rows that wait into the head.
    fn apply_waiting(&mut self) {
        let cut_end_ms = self.cut.map_or(i64::MIN, |cut| cut.end_ms);
        let applied = self.rows_waiting.apply(self.in_blocks_before_ms, cut_end_ms);
        self.recovery.samples += applied.samples;
        self.newest_ms = self.newest_ms.max(applied.newest_ms);
    }

    /// Lists the series that the log knows as `id` from `commit` on.
    fn define(&mut self, id: u64, labels: Labels, commit: u64) {
        let (series, made) = self.head.restore(id, labels);
        series.state().phase = Phase::Listed;
        self.head.index_mut(|index| {
            if made {
                index.insert(&series, commit);
            } else {
                index.alias(id, &series);
            }
        });
        self.rows_waiting.define(id, series);
    }

    /// Begins with what `image` holds.
    fn adopt(&mut self, image: Image) {
        self.head = image.head;
        self.recovery.files += 1;
        self.recovery.samples += image.samples;
        self.last_commit = image.commit;
        self.newest_ms = image.newest_ms;
        self.rows = image.rows;
        self.has_starts = image.has_starts;
        self.rows_waiting = Waiting::of(image.ids, image.series);
        image.exemplars.into_iter().for_each(|(series, exemplar)| self.exemplars.push(&series, exemplar));
        for (id, labels) in image.further_ids {
            self.define(id, labels, image.commit);
        }
    }

    fn apply(&mut self, name: &str, offset: u64, commit: u64, payload: &[u8]) {
        let mut unknown = 0;
        for section in sections(payload) {
            match section {
                Ok(Section::Series { id, labels }) => self.define(id, labels, commit),
                Ok(Section::BadSeries { id }) => {
                    self.recovery.dropped(name, offset, 0, 0, format!("series {id} has a damaged label set"));
                }
                Ok(Section::Rows(rows)) => {
                    self.rows += rows.len() as u64;
                    for row in rows {
                        if !self.rows_waiting.push(commit, row) {
                            unknown += 1;
                        }
                    }
                    if self.rows_waiting.are_many() {
                        self.apply_waiting();
                    }
                }
                Ok(Section::Exemplar { id, exemplar }) => {
                    if let Some(series) = self.rows_waiting.series(id) {
                        self.exemplars.push(&series.labels, exemplar);
                    }
                }
                Ok(Section::Starts(rows)) => {
                    for row in rows {
                        self.has_starts |= row.start_ms != 0;
                        // A series that is unknown is told of with its samples; and what is in a block is all there.
                        let Some(series) = self.rows_waiting.series(row.id).cloned() else { continue };
                        if row.t_ms < self.in_blocks_before_ms {
                            continue;
                        }
                        // Whether the first one is late is told by the samples before it.
                        if row.start_ms != 0 && !series.state().has_starts() && !self.rows_waiting.is_empty() {
                            self.apply_waiting();
                        }
                        series.state().set_start(row.t_ms, row.start_ms);
                    }
                }
                Ok(Section::Histograms(rows)) => {
                    self.rows += rows.len() as u64;
                    for (id, t_ms, bytes) in rows {
                        let histogram = Encoded::from_bytes(bytes);
                        if let Err(damage) = histogram.decode(t_ms) {
                            self.recovery.dropped(name, offset, 0, 1, damage.to_string());
                            continue;
                        }
                        // Beside the rows that wait: a series has a float and a histogram for one moment never, and which of
                        // them is there first changes nothing else.
                        let Some(series) = self.rows_waiting.series(id) else {
                            unknown += 1;
                            continue;
                        };
                        let mut state = series.state();
                        if t_ms < self.in_blocks_before_ms {
                            state.seed(t_ms, histogram.fingerprint());
                            continue;
                        }
                        if self.cut.is_some_and(|cut| t_ms < cut.end_ms) {
                            state.read_back_late();
                        }
                        if state.push_histogram(commit, t_ms, histogram) {
                            self.recovery.samples += 1;
                            self.newest_ms = self.newest_ms.max(Some(t_ms));
                        }
                    }
                }
                Err(reason) => self.recovery.dropped(name, offset, payload.len() as u64, 0, reason.to_string()),
            }
        }
        if unknown > 0 {
            self.recovery.dropped(name, offset, 0, unknown, "the definitions of their series were lost");
        }
    }
}
