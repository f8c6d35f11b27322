//! Following the store: committed samples from a position on.
//!
//! A position is a file, an offset in it and the last commit that was read: `7:1234:99` for segment 7, `c7:1234:99` for
//! checkpoint 7, `b7:12:99` for series 12 of block 7. Segments stay while a follower needs them, up to a budget (`followers`,
//! `log_files`). When the segment of a position is gone, reading goes on behind the checkpoint if that holds no later commit;
//! otherwise with the blocks that do, then the checkpoint: samples may come twice, none is left out that retention keeps.

mod gathered;
mod lag;

use std::io;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use relatum_model::storage::{Position, SelectError, TailBatch, TimeRange};
use relatum_model::{Labels, Sample, Samples};

use gathered::{Gathered, Mark};

use crate::block::Block;
use crate::block::chunks::ChunkReader;
use crate::block::writer::file_name as block_name;
use crate::core::Core;
use crate::histogram::Encoded;
use crate::log_files::Checkpoint;
use crate::readers::LogEnd;
use crate::wal::FileKind;
use crate::wal::frame::FILE_HEADER_BYTES;
use crate::wal::reader::{Found, FrameReader};
use crate::wal::record::{Section, sections};
use crate::wal::salvage::read_header;

/// Where samples are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceKind {
    Block,
    Checkpoint,
    Segment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    kind: PlaceKind,
    number: u64,
    // In bytes; in a block, series.
    offset: u64,
    // Everything up to this commit was read, or does not lie in blocks.
    commit: u64,
}

impl Place {
    fn position(self) -> Position {
        let prefix = match self.kind {
            PlaceKind::Block => "b",
            PlaceKind::Checkpoint => "c",
            PlaceKind::Segment => "",
        };
        Position(format!("{prefix}{}:{}:{}", self.number, self.offset, self.commit))
    }

    fn parse(text: &str) -> Option<Place> {
        let (kind, numbers) = match (text.strip_prefix('b'), text.strip_prefix('c')) {
            (Some(numbers), _) => (PlaceKind::Block, numbers),
            (_, Some(numbers)) => (PlaceKind::Checkpoint, numbers),
            _ => (PlaceKind::Segment, text),
        };
        let mut numbers = numbers.split(':').map(str::parse);
        let (number, offset) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        // Older positions do not tell the commit.
        let commit = numbers.next().unwrap_or(Ok(0)).ok()?;
        numbers.next().is_none().then_some(Place { kind, number, offset, commit })
    }

    fn file_name(self) -> String {
        match self.kind {
            PlaceKind::Block => block_name(self.number),
            PlaceKind::Checkpoint => FileKind::Checkpoint.file_name(self.number),
            PlaceKind::Segment => FileKind::Segment.file_name(self.number),
        }
    }

    /// The blocks that hold a later commit than `commit`.
    fn blocks_since(commit: u64) -> Place {
        Place { kind: PlaceKind::Block, number: 0, offset: 0, commit }
    }
}

/// What reading one file brought.
enum Step {
    /// Enough samples.
    Full,
    /// The file has no more.
    Ended,
    /// The file is gone.
    Gone,
}

impl Core {
    pub(crate) fn tail_end(&self) -> Position {
        let end = self.tail_end_place();
        let position = end.position();
        self.followers.moved(&position, &position, end.number, self.options().clock.now_ms());
        position
    }

    fn tail_end_place(&self) -> Place {
        let (LogEnd { segment, offset }, commit) = self.readers.end();
        Place { kind: PlaceKind::Segment, number: segment, offset, commit }
    }

    pub(crate) fn tail_read(&self, from: &Position, samples_max: usize) -> Result<TailBatch, SelectError> {
        let end = self.tail_end_place();
        let place = match from.0.as_str() {
            "" => Place::blocks_since(0),
            text => {
                let known = |place: &Place| place.kind == PlaceKind::Block || place.number <= end.number;
                let place = Place::parse(text).filter(known);
                place.ok_or_else(|| SelectError::Damaged {
                    what: format!("position {}", relatum_model::text::quote(text)),
                    reason: "it is not one of this store".to_owned(),
                })?
            }
        };
        let (gathered, place) = self.tail_files(place, end, samples_max)?;
        let next = place.position();
        let segment = if place.kind == PlaceKind::Block { self.log_start(place.commit).number } else { place.number };
        self.followers.moved(from, &next, segment, self.options().clock.now_ms());
        Ok(gathered.batch(next))
    }

    /// Reads from file to file, up to `end` or until there are enough samples; returns where it stopped.
    fn tail_files(&self, mut place: Place, end: Place, samples_max: usize) -> Result<(Gathered, Place), SelectError> {
        let mut samples = Gathered::default();
        let mut defined = HashMap::default();
        loop {
            if place.kind == PlaceKind::Block {
                if self.tail_blocks(&mut place, samples_max, &mut samples) {
                    return Ok((samples, place));
                }
                continue;
            }
            let name = place.file_name();
            let stop = (place.kind == PlaceKind::Segment && place.number == end.number).then_some(end.offset);
            match self.tail_file(&mut place, &name, stop, samples_max, &mut defined, &mut samples) {
                Err(source) => return Err(SelectError::Read { what: name, source }),
                Ok(Step::Full) => return Ok((samples, place)),
                Ok(Step::Gone) => {
                    if stop.is_some_and(|stop| stop <= FILE_HEADER_BYTES as u64) {
                        // The disk was full when it was to be begun.
                        return Ok((samples, end));
                    }
                    let checkpoint = self.files().checkpoint;
                    place = match (place.kind, checkpoint) {
                        (PlaceKind::Segment, Some(newer))
                            if newer.number > place.number && newer.commit <= place.commit =>
                        {
                            Place { number: newer.number, offset: 0, ..place }
                        }
                        // Replaced; what it held is in newer blocks and the newer checkpoint, as far as it still lives.
                        (_, Some(newer)) if newer.number > place.number => Place::blocks_since(place.commit),
                        (PlaceKind::Segment, _) if place.number >= end.number => {
                            return Err(SelectError::Read { what: name, source: io::ErrorKind::NotFound.into() });
                        }
                        // A gap, which was reported when the store was opened.
                        (PlaceKind::Segment, _) => Place { number: place.number + 1, offset: 0, ..place },
                        (PlaceKind::Checkpoint | PlaceKind::Block, _) => {
                            Place { kind: PlaceKind::Segment, offset: 0, ..place }
                        }
                    };
                }
                Ok(Step::Ended) if stop.is_some() => return Ok((samples, end)),
                Ok(Step::Ended) => {
                    // A checkpoint is followed by the segment of its own number.
                    let number = place.number + u64::from(place.kind == PlaceKind::Segment);
                    place = Place { kind: PlaceKind::Segment, number, offset: 0, ..place };
                }
            }
        }
    }

    /// Where the log begins for one who has read the blocks up to `commit`.
    fn log_start(&self, commit: u64) -> Place {
        let files = self.files();
        let first = files.segments.front().map(|segment| segment.number);
        match files.checkpoint {
            Some(Checkpoint { number, .. }) => Place { kind: PlaceKind::Checkpoint, number, offset: 0, commit },
            None => {
                let number = first.unwrap_or_else(|| self.readers.end().0.segment);
                Place { kind: PlaceKind::Segment, number, offset: 0, commit: 0 }
            }
        }
    }

    /// Reads series of blocks that hold later commits than that of `place`; whether there are enough samples. Behind the last
    /// block, `place` is where the log begins.
    fn tail_blocks(&self, place: &mut Place, samples_max: usize, samples: &mut Gathered) -> bool {
        let list = self.blocks.list();
        let newer: Vec<&Arc<Block>> = list.iter().filter(|block| block.summary.commit > place.commit).collect();
        // One that is gone was merged with others; they are read from the first.
        let at = newer.iter().position(|block| block.number == place.number);
        if at.is_none() {
            place.offset = 0;
        }
        for block in &newer[at.unwrap_or(0)..] {
            place.number = block.number;
            let read = block.index().and_then(|index| {
                let (mut walk, mut reader, deleted) = (index.walk(), ChunkReader::new(index), block.deleted());
                while place.offset < u64::from(index.n_series()) {
                    let series = walk.series(place.offset as u32)?;
                    place.offset += 1;
                    let mut of_series = Samples::default();
                    for chunk in &series.chunks {
                        reader.push(chunk, TimeRange::ALL, deleted.of(series.number), &mut of_series)?;
                    }
                    samples.extend(&series.labels, of_series);
                    if samples.are(samples_max) {
                        return Ok(true);
                    }
                }
                Ok(false)
            });
            match read {
                Ok(true) => return true,
                Ok(false) => {}
                Err(damage) => block.report(damage),
            }
            place.offset = 0;
        }
        let commit = newer.iter().map(|block| block.summary.commit).max();
        *place = self.log_start(commit.unwrap_or(place.commit));
        false
    }

    /// Reads whole commits from `place` on until the file or `stop` ends or there are enough samples.
    fn tail_file(
        &self,
        place: &mut Place,
        name: &str,
        stop: Option<u64>,
        samples_max: usize,
        defined: &mut HashMap<u64, Labels, FixedState>,
        samples: &mut Gathered,
    ) -> io::Result<Step> {
        let file = match self.options().fs.open(&self.wal_dir().join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Step::Gone),
            Err(error) => return Err(error),
        };
        // What is wrong with a header was reported when the store was opened.
        let kind = if place.kind == PlaceKind::Checkpoint { FileKind::Checkpoint } else { FileKind::Segment };
        let Ok((header, _)) = read_header(&*file, kind, place.number)? else { return Ok(Step::Ended) };
        let end = match stop {
            Some(stop) => stop,
            None => file.length()?,
        };
        let mut reader = FrameReader::new(&*file, &header, place.offset, end);
        // The commit that is being read: its number, the part that must come next, and where its samples begin in the batch.
        let mut open: Option<(u64, u32, Mark)> = None;
        loop {
            let (found_commit, part, last, is_end) = match reader.next()? {
                None => break,
                Some(Found::Damage { .. } | Found::Room { .. }) => {
                    if let Some((_, _, at)) = open.take() {
                        samples.truncate(at);
                    }
                    continue;
                }
                Some(Found::Frame { header, payload, .. }) => {
                    let at = samples.mark();
                    if header.part == 0 {
                        samples.begin_commit();
                    }
                    self.tail_payload(payload, defined, samples);
                    let whole = place.kind == PlaceKind::Checkpoint;
                    let continues =
                        open.is_some_and(|(commit, part, _)| (commit, part) == (header.commit, header.part));
                    if !whole && !continues {
                        // Parts of a commit without its end, or this one without its beginning.
                        let from = open.take().map_or(at, |(_, _, from)| from);
                        let to = if header.part == 0 { at } else { samples.mark() };
                        samples.forget(from, to);
                        if header.part > 0 {
                            continue;
                        }
                        open = Some((header.commit, 0, from));
                    }
                    (header.commit, header.part, header.last || whole, header.last)
                }
            };
            if !last {
                open = open.map(|(_, _, at)| (found_commit, part + 1, at));
                continue;
            }
            open = None;
            // A checkpoint is of one commit, and counts when all of it was read.
            let whole_file = place.kind == PlaceKind::Segment || is_end;
            if whole_file {
                place.commit = place.commit.max(found_commit);
            }
            if samples.are(samples_max) {
                place.offset = reader.offset();
                return Ok(Step::Full);
            }
        }
        if let Some((_, _, at)) = open {
            samples.truncate(at);
        }
        Ok(Step::Ended)
    }

    fn tail_payload(&self, payload: &[u8], defined: &mut HashMap<u64, Labels, FixedState>, samples: &mut Gathered) {
        for section in sections(payload) {
            if let Ok(Section::Series { id, labels }) = section {
                // The store's own copy is shared, this one would be one more.
                if self.head().index().by_id(id).is_none() && self.departed().get(id).is_none() {
                    defined.insert(id, labels);
                }
                continue;
            }
            let (index, departed) = (self.head().index(), self.departed());
            // Without labels it was lost with a damaged part of the log, or is long gone by retention.
            let labels_of = |id: u64| {
                let labels = index.by_id(id).map(|series| &series.labels);
                labels.or_else(|| departed.get(id)).or_else(|| defined.get(&id)).cloned()
            };
            match section {
                Ok(Section::Rows(rows)) => {
                    for row in rows {
                        if let Some(labels) = labels_of(row.id) {
                            let sample = Sample { t_ms: row.t_ms, value: f64::from_bits(row.bits) };
                            samples.push(row.id, labels, sample);
                        }
                    }
                }
                Ok(Section::Starts(rows)) => samples.start(&rows),
                Ok(Section::Histograms(rows)) => {
                    for (id, t_ms, bytes) in rows {
                        // What cannot be decoded was reported when the store was opened.
                        if let (Some(labels), Ok(sample)) = (labels_of(id), Encoded::from_bytes(bytes).decode(t_ms)) {
                            samples.histograms.push((labels, sample));
                        }
                    }
                }
                Ok(Section::Exemplar { id, exemplar }) => {
                    samples.exemplars.extend(labels_of(id).map(|labels| (labels, exemplar)));
                }
                Ok(Section::Series { .. } | Section::BadSeries { .. }) | Err(_) => {}
            }
        }
    }
}
