//! Writing an image of the head.

use std::io;
use std::path::Path;
use std::sync::Arc;

use relatum_model::Labels;
use relatum_model::exemplar::Exemplar;

use crate::block::bytes::put_varint;
use crate::chunk::image::TimesWritten;
use crate::chunk::zigzag;
use crate::fs::{AppendFile, Fs};
use crate::index::Index;
use crate::series::MemSeries;
use crate::wal::FileKind;
use crate::wal::frame::{FILE_HEADER_BYTES, FileHeader, PAYLOAD_BYTES_MAX, close_frame, open_frame};

/// A longer frame is followed by the next one: that of a target's series shares most of its columns of times.
const FRAME_BYTES: usize = 256 << 10;
/// Few series take more behind that.
const FRAME_BYTES_SPARE: usize = 16 << 10;

/// The kinds of frames, in the order in which they stand.
pub(super) const SUMMARY: u8 = 1;
pub(super) const PAIRS: u8 = 2;
pub(super) const SERIES: u8 = 3;
pub(super) const IDS: u8 = 4;
pub(super) const EXEMPLARS: u8 = 5;

/// The series of one moment, and their labels as numbers into one list of pairs.
pub(super) struct Contents {
    series: Vec<Arc<MemSeries>>,
    /// Each label of any series once, sorted by name and value, as a set of its own.
    pairs: Vec<Labels>,
    /// The pairs of all series, one series behind the other.
    numbers: Vec<u32>,
    /// Where those of each series end.
    ends: Vec<u32>,
    aliases: Vec<(u64, Labels)>,
}

impl Contents {
    /// What `index` lists. Postings turned around: nothing is looked up and no label is compared.
    pub(super) fn of(index: &Index) -> Contents {
        let series: Vec<Arc<MemSeries>> = index.all().cloned().collect();
        let slots = series.last().map_or(0, |series| series.slot as usize + 1);
        let mut places = vec![0u32; slots];
        for (place, series) in series.iter().enumerate() {
            places[series.slot as usize] = place as u32;
        }
        let mut next = vec![0u32; series.len()];
        for (_, _, list) in index.pairs() {
            list.iter().for_each(|slot| next[places[*slot as usize] as usize] += 1);
        }
        let mut sum = 0;
        for n in &mut next {
            sum += std::mem::replace(n, sum);
        }
        let (mut pairs, mut numbers) = (Vec::new(), vec![0u32; sum as usize]);
        for (name, value, list) in index.pairs() {
            let number = pairs.len() as u32;
            pairs.push(Labels::from_pairs([(name, value)]));
            for slot in list {
                let at = &mut next[places[*slot as usize] as usize];
                numbers[*at as usize] = number;
                *at += 1;
            }
        }
        let aliases = index.aliases().map(|(id, series)| (id, series.labels.clone())).collect();
        Contents { series, pairs, numbers, ends: next, aliases }
    }

    /// Further numbers under which the log knows series.
    pub(super) fn aliases(&self) -> impl Iterator<Item = (u64, Labels)> + '_ {
        self.aliases.iter().cloned()
    }

    /// The series, each with the numbers of its labels.
    fn iter(&self) -> impl Iterator<Item = (&Arc<MemSeries>, &[u32])> {
        let begins = std::iter::once(&0).chain(&self.ends);
        let spans = begins.zip(&self.ends).map(|(from, to)| &self.numbers[*from as usize..*to as usize]);
        self.series.iter().zip(spans)
    }
}

/// The frames of an image, one after the other.
pub(super) struct ImageWriter {
    file: Box<dyn AppendFile>,
    salt: u32,
    commit: u64,
    part: u32,
    // The frame that is being filled.
    buffer: Vec<u8>,
    written: u64,
}

impl ImageWriter {
    /// Begins the image of what was committed up to `commit`, before segment `number`.
    pub(super) fn create(fs: &dyn Fs, path: &Path, number: u64, commit: u64) -> io::Result<Self> {
        let header = FileHeader::new(FileKind::Head, number);
        let file = fs.create(path)?;
        let mut buffer = header.encode().to_vec();
        buffer.reserve(FRAME_BYTES + FRAME_BYTES_SPARE);
        file.append(&buffer)?;
        buffer.clear();
        Ok(ImageWriter { file, salt: header.salt, commit, part: 0, buffer, written: FILE_HEADER_BYTES as u64 })
    }

    /// What holds for the image as a whole. `segment_salt` is that of the segment it belongs to.
    pub(super) fn summary(
        &mut self,
        contents: &Contents,
        segment_salt: u32,
        rows: u64,
        next_id: u64,
        has_starts: bool,
    ) -> io::Result<()> {
        self.begin(SUMMARY);
        self.buffer.extend_from_slice(&segment_salt.to_le_bytes());
        for number in [rows, next_id, u64::from(has_starts), contents.pairs.len() as u64, contents.series.len() as u64]
        {
            put_varint(&mut self.buffer, number);
        }
        self.end(false)
    }

    /// The labels.
    pub(super) fn pairs(&mut self, contents: &Contents) -> io::Result<()> {
        self.begin(PAIRS);
        for pair in &contents.pairs {
            self.split(PAIRS)?;
            put_varint(&mut self.buffer, pair.encoded().len() as u64);
            self.buffer.extend_from_slice(pair.encoded().as_bytes());
        }
        self.end(false)
    }

    /// The series with what a reader of the image's commit sees of them.
    pub(super) fn series(&mut self, contents: &Contents, in_blocks: bool) -> io::Result<()> {
        self.begin(SERIES);
        put_varint(&mut self.buffer, 0);
        let mut times = TimesWritten::default();
        for (place, (series, numbers)) in contents.iter().enumerate() {
            if self.split(SERIES)? {
                put_varint(&mut self.buffer, place as u64);
                times = TimesWritten::default();
            }
            put_varint(&mut self.buffer, series.id);
            put_varint(&mut self.buffer, numbers.len() as u64);
            let mut before = 0;
            for number in numbers {
                put_varint(&mut self.buffer, u64::from(number - before));
                before = *number;
            }
            series.state().encode(&mut self.buffer, &mut times, self.commit, in_blocks);
            if self.buffer.len() > PAYLOAD_BYTES_MAX {
                return Err(io::Error::other("a series is too large for an image"));
            }
        }
        self.end(false)
    }

    /// Numbers by which the log knows series that are gone, or listed under another number.
    pub(super) fn further_ids(&mut self, ids: impl Iterator<Item = (u64, Labels)>) -> io::Result<()> {
        self.begin(IDS);
        for (id, labels) in ids {
            self.split(IDS)?;
            put_varint(&mut self.buffer, id);
            put_varint(&mut self.buffer, labels.encoded().len() as u64);
            self.buffer.extend_from_slice(labels.encoded().as_bytes());
        }
        self.end(false)
    }

    /// The exemplars in the order in which they came, each with its series.
    pub(super) fn exemplars<'e>(&mut self, all: impl Iterator<Item = &'e (Labels, Exemplar)>) -> io::Result<()> {
        self.begin(EXEMPLARS);
        for (series, exemplar) in all {
            self.split(EXEMPLARS)?;
            for labels in [series, &exemplar.labels] {
                put_varint(&mut self.buffer, labels.encoded().len() as u64);
                self.buffer.extend_from_slice(labels.encoded().as_bytes());
            }
            put_varint(&mut self.buffer, zigzag(exemplar.t_ms));
            self.buffer.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        }
        self.end(true)
    }

    /// Makes the image durable; returns how long it is.
    pub(super) fn finish(self) -> io::Result<u64> {
        self.file.sync()?;
        Ok(self.written)
    }

    fn begin(&mut self, kind: u8) {
        self.buffer.clear();
        open_frame(&mut self.buffer);
        self.buffer.push(kind);
    }

    /// Begins a new frame of the same kind if this one is long enough.
    fn split(&mut self, kind: u8) -> io::Result<bool> {
        let is_long = self.buffer.len() > FRAME_BYTES;
        if is_long {
            self.end(false)?;
            self.begin(kind);
        }
        Ok(is_long)
    }

    fn end(&mut self, last: bool) -> io::Result<()> {
        close_frame(&mut self.buffer, 0, self.salt, self.commit, self.part, last);
        self.part += 1;
        self.written += self.buffer.len() as u64;
        self.file.append(&self.buffer)
    }
}
