//! Following the log: committed samples from a position on.
//!
//! A position is a file and an offset in it, `7:1234` for segment 7 and `c7:1234` for checkpoint 7. When the segment of a
//! position was replaced by a checkpoint, reading goes on at the checkpoint's beginning: samples may come twice, none is
//! left out that retention still keeps.

use std::io;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use relatum_model::storage::{Position, SelectError, TailBatch};
use relatum_model::{Labels, Sample};

use crate::core::Core;
use crate::readers::LogEnd;
use crate::wal::FileKind;
use crate::wal::reader::{Found, FrameReader};
use crate::wal::record::{Section, sections};
use crate::wal::salvage::read_header;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    kind: FileKind,
    number: u64,
    offset: u64,
}

impl Place {
    fn position(self) -> Position {
        let prefix = match self.kind {
            FileKind::Segment => "",
            FileKind::Checkpoint => "c",
        };
        Position(format!("{prefix}{}:{}", self.number, self.offset))
    }

    fn parse(text: &str) -> Option<Place> {
        let (kind, numbers) = match text.strip_prefix('c') {
            Some(numbers) => (FileKind::Checkpoint, numbers),
            None => (FileKind::Segment, text),
        };
        let (number, offset) = numbers.split_once(':')?;
        Some(Place { kind, number: number.parse().ok()?, offset: offset.parse().ok()? })
    }
}

/// What reading one file brought.
enum Step {
    /// Enough samples; go on here.
    Full(u64),
    /// The file has no more.
    Ended,
    /// The file is gone.
    Gone,
}

impl Core {
    pub(crate) fn tail_end(&self) -> Position {
        let LogEnd { segment, offset } = self.readers.end();
        Place { kind: FileKind::Segment, number: segment, offset }.position()
    }

    pub(crate) fn tail_read(&self, from: &Position, samples_max: usize) -> Result<TailBatch, SelectError> {
        let end = self.readers.end();
        let mut place = match from.0.as_str() {
            "" => self.tail_start(),
            text => {
                let place = Place::parse(text).filter(|place| place.number <= end.segment);
                place.ok_or_else(|| SelectError::Damaged {
                    what: format!("position {}", relatum_model::text::quote(text)),
                    reason: "it is not one of this store".to_owned(),
                })?
            }
        };
        let mut batch = TailBatch::default();
        let mut defined = HashMap::default();
        loop {
            let name = place.kind.file_name(place.number);
            let stop = (place.kind == FileKind::Segment && place.number == end.segment).then_some(end.offset);
            match self.tail_file(place, &name, stop, samples_max, &mut defined, &mut batch) {
                Err(source) => return Err(SelectError::Read { what: name, source }),
                Ok(Step::Full(offset)) => {
                    batch.next = Place { offset, ..place }.position();
                    return Ok(batch);
                }
                Ok(Step::Gone) => {
                    let start = self.tail_start();
                    place = match place.kind {
                        // Replaced; what it held is in the newer checkpoint, as far as it still lives.
                        FileKind::Checkpoint if start.number > place.number => start,
                        FileKind::Segment if place.number < self.files().first_segment => start,
                        FileKind::Checkpoint => Place { kind: FileKind::Segment, number: place.number, offset: 0 },
                        // A gap, which was reported when the store was opened.
                        FileKind::Segment if place.number < end.segment => {
                            Place { number: place.number + 1, offset: 0, ..place }
                        }
                        FileKind::Segment => {
                            return Err(SelectError::Read { what: name, source: io::ErrorKind::NotFound.into() });
                        }
                    };
                }
                Ok(Step::Ended) if stop.is_some() => {
                    batch.next = Place { offset: end.offset, ..place }.position();
                    return Ok(batch);
                }
                Ok(Step::Ended) => {
                    // A checkpoint is followed by the segment of its own number.
                    let number = place.number + u64::from(place.kind == FileKind::Segment);
                    place = Place { kind: FileKind::Segment, number, offset: 0 };
                }
            }
        }
    }

    fn tail_start(&self) -> Place {
        let files = *self.files();
        match files.checkpoint {
            Some((number, _)) => Place { kind: FileKind::Checkpoint, number, offset: 0 },
            None => Place { kind: FileKind::Segment, number: files.first_segment, offset: 0 },
        }
    }

    /// Reads whole commits from `place` on until the file or `stop` ends or there are enough samples.
    fn tail_file(
        &self,
        place: Place,
        name: &str,
        stop: Option<u64>,
        samples_max: usize,
        defined: &mut HashMap<u64, Labels, FixedState>,
        batch: &mut TailBatch,
    ) -> io::Result<Step> {
        let file = match self.options().fs.open(&self.wal_dir().join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Step::Gone),
            Err(error) => return Err(error),
        };
        // What is wrong with a header was reported when the store was opened.
        let Ok((header, _)) = read_header(&*file, place.kind, place.number)? else { return Ok(Step::Ended) };
        let end = match stop {
            Some(stop) => stop,
            None => file.length()?,
        };
        let mut reader = FrameReader::new(&*file, header.salt, place.offset, end);
        // The commit that is being read: its number, the part that must come next, and where its samples begin in the batch.
        let mut open: Option<(u64, u32, usize)> = None;
        loop {
            let (found_commit, part, last) = match reader.next()? {
                None => break,
                Some(Found::Damage { .. }) => {
                    if let Some((_, _, at)) = open.take() {
                        batch.samples.truncate(at);
                    }
                    continue;
                }
                Some(Found::Frame { header, payload, .. }) => {
                    let at = batch.samples.len();
                    self.tail_payload(payload, defined, batch);
                    let whole = place.kind == FileKind::Checkpoint;
                    let continues =
                        open.is_some_and(|(commit, part, _)| (commit, part) == (header.commit, header.part));
                    if !whole && !continues {
                        // Parts of a commit without its end, or this one without its beginning.
                        let from = open.take().map_or(at, |(_, _, from)| from);
                        let to = if header.part == 0 { at } else { batch.samples.len() };
                        batch.samples.drain(from..to);
                        if header.part > 0 {
                            continue;
                        }
                        open = Some((header.commit, 0, from));
                    }
                    (header.commit, header.part, header.last || whole)
                }
            };
            if !last {
                open = open.map(|(_, _, at)| (found_commit, part + 1, at));
                continue;
            }
            open = None;
            if batch.samples.len() >= samples_max && !batch.samples.is_empty() {
                return Ok(Step::Full(reader.offset()));
            }
        }
        if let Some((_, _, at)) = open {
            batch.samples.truncate(at);
        }
        Ok(Step::Ended)
    }

    fn tail_payload(&self, payload: &[u8], defined: &mut HashMap<u64, Labels, FixedState>, batch: &mut TailBatch) {
        for section in sections(payload) {
            match section {
                Ok(Section::Series { id, labels }) => {
                    // The store's own copy is shared, this one would be one more.
                    if self.head().index().by_id(id).is_none() {
                        defined.insert(id, labels);
                    }
                }
                Ok(Section::Rows(rows)) => {
                    let index = self.head().index();
                    for row in rows {
                        let labels = index.by_id(row.id).map(|series| &series.labels).or_else(|| defined.get(&row.id));
                        // A series without labels is gone by retention, and so are its samples.
                        if let Some(labels) = labels {
                            let sample = Sample { t_ms: row.t_ms, value: f64::from_bits(row.bits) };
                            batch.samples.push((labels.clone(), sample));
                        }
                    }
                }
                Ok(Section::BadSeries { .. }) | Err(_) => {}
            }
        }
    }
}
