//! Writing a block: series by series, in the order of their labels.
//!
//! Columns go to the file as they come; what finds them is kept until the end: some tens of bytes a series.

use std::hash::BuildHasher;
use std::io;
use std::path::Path;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use relatum_model::{HistogramSample, Labels};

use crate::fs::{AppendFile, Fs};

use super::bytes::put_varint;
use super::column::{encode_integers, encode_started};
use super::histograms::{self, encode_histograms};
use super::layout::{self, Footer, Section, Summary, checksum, encode_header};
use super::summary::encode_summarized;
use super::{postings, symbols};

/// How many samples a chunk of a block holds at most: two hours at a sample every ten seconds in one piece, six hours at one
/// every 15 seconds in two, with room for those that are a little early or late.
pub(crate) const CHUNK_SAMPLES_MAX: usize = 960;
/// One in so many series stands with all its labels; the others only say what differs from the one before.
pub(crate) const GROUP_SERIES: usize = 16;

const BUFFER_BYTES: usize = 256 << 10;

/// The name of the file of block `number`.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:010}.block")
}

/// The number of the block whose file has this name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".block")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// A block that is being written.
pub(crate) struct BlockWriter<'s> {
    file: Box<dyn AppendFile>,
    buffer: Vec<u8>,
    // Where in the file the next byte of a section goes.
    at: u64,
    salt: u32,
    sections: Vec<Section>,
    summary: Summary,

    symbols: Vec<&'s str>,
    symbol_numbers: HashMap<&'s str, u32, foldhash::fast::RandomState>,
    times: TimesTable,
    series: Vec<u8>,
    series_table: Vec<u8>,
    postings: postings::Collector,
    // The labels of the series before as symbols.
    previous: Vec<(u32, u32)>,
    // Where the last column of values ended, and where the last one of the series before did.
    columns_end: u64,
    series_base: u64,
    // The chunks of the current series.
    chunks: Vec<u8>,
    n_chunks: u64,
}

/// The columns of times that were written: series that share their times share the column.
#[derive(Default)]
struct TimesTable {
    hashers: [RandomState; 2],
    // By two independent hashes of the times: 128 bits that nobody can foresee.
    known: HashMap<(u64, u64), u32, foldhash::fast::RandomState>,
    entries: Vec<u8>,
}

impl<'s> BlockWriter<'s> {
    /// Begins block `number` in `dir`, of the given level and last commit. `symbols` are all names and values of the labels to come, in
    /// any order.
    pub(crate) fn create(
        fs: &dyn Fs,
        dir: &Path,
        number: u64,
        (level, commit): (u32, u64),
        symbols: impl IntoIterator<Item = &'s str>,
    ) -> io::Result<Self> {
        let mut symbols: Vec<&str> = symbols.into_iter().collect();
        symbols.sort_unstable();
        symbols.dedup();
        let symbol_numbers = symbols.iter().zip(0..).map(|(symbol, number)| (*symbol, number)).collect();
        let file = fs.create(&dir.join(file_name(number)))?;
        let (header, salt) = encode_header(number);
        Ok(BlockWriter {
            file,
            at: header.len() as u64,
            buffer: header.to_vec(),
            salt,
            sections: Vec::new(),
            summary: Summary { level, commit, min_ms: i64::MAX, max_ms: i64::MIN, ..Summary::default() },
            symbols,
            symbol_numbers,
            times: TimesTable::default(),
            series: Vec::new(),
            series_table: Vec::new(),
            postings: postings::Collector::default(),
            previous: Vec::new(),
            columns_end: header.len() as u64,
            series_base: header.len() as u64,
            chunks: Vec::new(),
            n_chunks: 0,
        })
    }

    /// Adds samples, which ascend in time, as chunks of about equal size.
    pub(crate) fn samples(&mut self, times: &[i64], bits: &[u64]) -> io::Result<()> {
        let n_chunks = times.len().div_ceil(CHUNK_SAMPLES_MAX).max(1);
        let length = times.len().div_ceil(n_chunks).max(1);
        times.chunks(length).zip(bits.chunks(length)).try_for_each(|(times, bits)| self.chunk(times, bits))
    }

    /// The same with when each sample began to count, which is empty if that is known of none.
    pub(crate) fn started_samples(&mut self, times: &[i64], bits: &[u64], starts: &[i64]) -> io::Result<()> {
        if starts.is_empty() {
            return self.samples(times, bits);
        }
        let n_chunks = times.len().div_ceil(CHUNK_SAMPLES_MAX).max(1);
        let length = times.len().div_ceil(n_chunks).max(1);
        let chunks = times.chunks(length).zip(bits.chunks(length)).zip(starts.chunks(length));
        for ((times, bits), starts) in chunks {
            let mut column = Vec::new();
            encode_started(&mut column, bits, starts);
            self.encoded_chunk(times, &column)?;
        }
        Ok(())
    }

    /// Adds a chunk to the series that [`BlockWriter::end_series`] names next. Times ascend, from chunk to chunk as well.
    pub(crate) fn chunk(&mut self, times: &[i64], bits: &[u64]) -> io::Result<()> {
        debug_assert_eq!(times.len(), bits.len(), "each sample has a time and a value");
        let mut column = Vec::new();
        encode_summarized(&mut column, bits);
        self.encoded_chunk(times, &column)
    }

    /// Adds native histograms, which ascend in time, as chunks of one shape each.
    pub(crate) fn histograms(&mut self, histograms: &[HistogramSample]) -> io::Result<()> {
        for run in histograms::runs(histograms) {
            let times: Vec<i64> = run.iter().map(|sample| sample.t_ms).collect();
            let mut column = Vec::new();
            encode_histograms(&mut column, run);
            self.encoded_chunk(&times, &column)?;
        }
        Ok(())
    }

    /// The same with a column of values as another block has it.
    pub(crate) fn encoded_chunk(&mut self, times: &[i64], values: &[u8]) -> io::Result<()> {
        let (Some(&min_ms), Some(&max_ms)) = (times.first(), times.last()) else { return Ok(()) };
        let times_number = self.times_column(times, min_ms, max_ms)?;
        let gap = self.at - self.columns_end;
        let length = self.column(values)?;
        self.columns_end = self.at;
        for number in [u64::from(times_number), gap, length] {
            put_varint(&mut self.chunks, number);
        }
        self.n_chunks += 1;
        self.summary.chunks += 1;
        self.summary.samples += times.len() as u64;
        self.summary.min_ms = self.summary.min_ms.min(min_ms);
        self.summary.max_ms = self.summary.max_ms.max(max_ms);
        Ok(())
    }

    /// Ends a series whose chunks were added. Nothing happens if there were none. Series come in the order of their labels.
    pub(crate) fn end_series(&mut self, labels: &Labels) {
        if self.n_chunks == 0 {
            return;
        }
        let number = self.summary.series as u32;
        let symbol = |text: &str| *self.symbol_numbers.get(text).expect("the symbols of all series were given");
        let own: Vec<(u32, u32)> = labels.iter().map(|(name, value)| (symbol(name), symbol(value))).collect();
        if (number as usize).is_multiple_of(GROUP_SERIES) {
            self.series_table.extend_from_slice(&(self.series.len() as u32).to_le_bytes());
            self.previous.clear();
            // Chunks tell their distance from the one before; here the walk begins.
            put_varint(&mut self.series, self.series_base);
        }
        let shared = own.iter().zip(&self.previous).take_while(|(a, b)| a == b).count();
        put_varint(&mut self.series, shared as u64);
        let same_names = own.iter().map(|(name, _)| name).eq(self.previous.iter().map(|(name, _)| name));
        if same_names {
            put_varint(&mut self.series, 0);
        } else {
            put_varint(&mut self.series, 1 + (own.len() - shared) as u64);
        }
        for (name, value) in &own[shared..] {
            if !same_names {
                put_varint(&mut self.series, u64::from(*name));
            }
            put_varint(&mut self.series, u64::from(*value));
        }
        put_varint(&mut self.series, self.n_chunks);
        self.series.append(&mut self.chunks);
        self.n_chunks = 0;
        for (name, value) in &own {
            self.postings.add(*name, *value, number);
        }
        self.previous = own;
        self.summary.series += 1;
        self.series_base = self.columns_end;
    }

    /// Writes what finds the columns, makes the file durable and returns what it says about itself.
    pub(crate) fn finish(mut self) -> io::Result<Summary> {
        self.section(layout::HEADER_BYTES as u64, 0);
        let times = std::mem::take(&mut self.times.entries);
        let symbols = symbols::encode(self.symbols.iter().copied());
        let series = std::mem::take(&mut self.series);
        let table = std::mem::take(&mut self.series_table);
        let postings = std::mem::take(&mut self.postings).encode();
        for bytes in [times, symbols, series, table, postings] {
            let (from, sum) = (self.at, checksum(self.salt, &bytes));
            self.write(&bytes)?;
            self.section(from, sum);
        }
        let sections = self.sections.as_slice().try_into().expect("one for each kind");
        let footer = Footer { summary: self.summary, sections };
        self.write(&footer.encode(self.salt))?;
        self.flush()?;
        self.file.sync()?;
        Ok(self.summary)
    }

    fn section(&mut self, offset: u64, checksum: u32) {
        self.sections.push(Section { offset, length: self.at - offset, checksum });
    }

    /// The number of the column that holds `times`, written if there is none yet.
    fn times_column(&mut self, times: &[i64], min_ms: i64, max_ms: i64) -> io::Result<u32> {
        let key = (self.times.hashers[0].hash_one(times), self.times.hashers[1].hash_one(times));
        if let Some(number) = self.times.known.get(&key) {
            return Ok(*number);
        }
        let mut column = Vec::new();
        encode_integers(&mut column, times);
        let offset = self.at;
        let length = self.column(&column)?;
        let number = self.times.known.len() as u32;
        self.times.known.insert(key, number);
        let entries = &mut self.times.entries;
        entries.extend_from_slice(&offset.to_le_bytes());
        entries.extend_from_slice(&(length as u32).to_le_bytes());
        entries.extend_from_slice(&(times.len() as u32).to_le_bytes());
        entries.extend_from_slice(&min_ms.to_le_bytes());
        entries.extend_from_slice(&max_ms.to_le_bytes());
        Ok(number)
    }

    /// Writes a column behind its checksum; returns how long both are.
    fn column(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let sum = checksum(self.salt, bytes).to_le_bytes();
        self.write(&sum)?;
        self.write(bytes)?;
        Ok((sum.len() + bytes.len()) as u64)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.at += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
