//! The index of a block, written: version 2.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use hashbrown::HashMap;
use relatum_model::Labels;

use super::bytes::{put_text, put_uvarint, put_varint};
use super::index::{ChunkPlace, MAGIC, SERIES_ALIGN};
use crate::fs::{AppendFile, Fs};

const BUFFER_BYTES: usize = 1 << 20;

/// An index that is written: series come in the order of their labels.
pub(super) struct IndexWriter<'s> {
    file: Box<dyn AppendFile>,
    buffer: Vec<u8>,
    // With what is not written yet.
    at: u64,
    symbols_at: u64,
    series_at: u64,
    numbers: HashMap<&'s str, u32, foldhash::fast::RandomState>,
    symbols: Vec<&'s str>,
    // By symbols of name and value: the series that have the label.
    postings: BTreeMap<(u32, u32), Vec<u32>>,
    all: Vec<u32>,
}

impl<'s> IndexWriter<'s> {
    /// Begins the index at `path`. `symbols` are all names and values to come, sorted and each once.
    pub(super) fn create(fs: &dyn Fs, path: &Path, symbols: Vec<&'s str>) -> io::Result<Self> {
        let mut buffer = MAGIC.to_be_bytes().to_vec();
        buffer.push(2);
        let symbols_at = buffer.len() as u64;
        let mut body = (symbols.len() as u32).to_be_bytes().to_vec();
        symbols.iter().for_each(|symbol| put_text(&mut body, symbol));
        put_section(&mut buffer, &body)?;
        let at = buffer.len() as u64;
        Ok(IndexWriter {
            file: fs.create(path)?,
            buffer,
            at,
            symbols_at,
            series_at: at,
            numbers: symbols.iter().zip(0..).map(|(symbol, number)| (*symbol, number)).collect(),
            symbols,
            postings: BTreeMap::new(),
            all: Vec::new(),
        })
    }

    /// Adds a series.
    pub(super) fn series(&mut self, labels: &Labels, chunks: &[ChunkPlace]) -> io::Result<()> {
        self.pad(SERIES_ALIGN as u64);
        let reference = u32::try_from(self.at / SERIES_ALIGN as u64)
            .map_err(|_| io::Error::other("the index would be longer than 64 GiB"))?;
        let mut body = Vec::new();
        put_uvarint(&mut body, labels.len() as u64);
        for (name, value) in labels {
            let number = |text: &str| *self.numbers.get(text).expect("the symbols of all series were given");
            let pair = (number(name), number(value));
            put_uvarint(&mut body, u64::from(pair.0));
            put_uvarint(&mut body, u64::from(pair.1));
            self.postings.entry(pair).or_default().push(reference);
        }
        self.all.push(reference);
        put_uvarint(&mut body, chunks.len() as u64);
        let mut before: Option<(i64, u64)> = None;
        for chunk in chunks {
            let place = u64::from(chunk.file) << 32 | u64::from(chunk.offset);
            match before {
                None => put_varint(&mut body, chunk.min_ms),
                Some((max_ms, _)) => put_uvarint(&mut body, chunk.min_ms.wrapping_sub(max_ms) as u64),
            }
            put_uvarint(&mut body, chunk.max_ms.wrapping_sub(chunk.min_ms) as u64);
            match before {
                None => put_uvarint(&mut body, place),
                Some((_, before)) => put_varint(&mut body, place.wrapping_sub(before) as i64),
            }
            before = Some((chunk.max_ms, place));
        }
        let mut entry = Vec::with_capacity(body.len() + 8);
        put_uvarint(&mut entry, body.len() as u64);
        entry.extend_from_slice(&body);
        entry.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        self.write(&entry)
    }

    /// Writes what finds the series, and makes the file durable.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.pad(4);
        let postings_at = self.at;
        let all = std::mem::take(&mut self.all);
        let lists = std::mem::take(&mut self.postings);
        let symbols = std::mem::take(&mut self.symbols);
        let text = |number: u32| symbols.get(number as usize).copied().unwrap_or("");
        // The list of all series stands under the empty name.
        let mut entries = vec![("", "", self.at)];
        self.postings_list(&all)?;
        for ((name, value), list) in &lists {
            entries.push((text(*name), text(*value), self.at));
            self.postings_list(list)?;
        }
        let table_at = self.at;
        let mut body = (entries.len() as u32).to_be_bytes().to_vec();
        for (name, value, at) in entries {
            body.push(2);
            put_text(&mut body, name);
            put_text(&mut body, value);
            put_uvarint(&mut body, at);
        }
        let mut section = Vec::with_capacity(body.len() + 8);
        put_section(&mut section, &body)?;
        self.write(&section)?;
        // Label indices are not read by any version that reads version 2.
        let places = [self.symbols_at, self.series_at, postings_at, 0, postings_at, table_at];
        let mut toc: Vec<u8> = places.iter().flat_map(|place| place.to_be_bytes()).collect();
        toc.extend_from_slice(&crc32c::crc32c(&toc).to_be_bytes());
        self.write(&toc)?;
        self.file.append(&self.buffer)?;
        self.file.sync()
    }

    fn postings_list(&mut self, list: &[u32]) -> io::Result<()> {
        let body: Vec<u8> =
            std::iter::once(list.len() as u32).chain(list.iter().copied()).flat_map(u32::to_be_bytes).collect();
        let mut section = Vec::with_capacity(body.len() + 8);
        put_section(&mut section, &body)?;
        self.write(&section)
    }

    fn pad(&mut self, to: u64) {
        let n = self.at.next_multiple_of(to) - self.at;
        self.buffer.extend(std::iter::repeat_n(0, n as usize));
        self.at += n;
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        if self.buffer.len() > BUFFER_BYTES {
            self.file.append(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Writes a section between its length and its checksum.
fn put_section(out: &mut Vec<u8>, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(|_| io::Error::other("a section of the index would be too long"))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&crc32c::crc32c(body).to_be_bytes());
    Ok(())
}
