//! The index of a block, read: the series in the order of their labels, each with the places of its chunks.

use relatum_model::Labels;

use super::Damage;
use super::bytes::Reader;

pub(super) const MAGIC: u32 = 0xBAAA_D700;
const TOC_BYTES: usize = 6 * 8 + 4;
/// Series begin at multiples of this.
pub(super) const SERIES_ALIGN: usize = 16;

/// A series of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexedSeries {
    /// By which tombstones name it.
    pub(super) reference: u64,
    pub(super) labels: Labels,
    pub(super) chunks: Vec<ChunkPlace>,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkPlace {
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    /// The number of the file, from 0, and where in it the chunk begins.
    pub(super) file: u32,
    pub(super) offset: u32,
}

/// The series of an index, one after the other.
#[derive(Debug)]
pub(super) struct Index<'a> {
    bytes: &'a [u8],
    version: u8,
    symbols: Vec<&'a str>,
    // In version 1, where each symbol begins: series name them by that.
    offsets: Vec<usize>,
    at: usize,
    end: usize,
}

impl<'a> Index<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut header = Reader::new(bytes);
        if header.u32()? != MAGIC {
            return Err(Damage("it is no index of Prometheus"));
        }
        let version = header.byte()?;
        if version != 1 && version != 2 {
            return Err(Damage("unknown version of the index"));
        }
        let toc = bytes.len().checked_sub(TOC_BYTES).and_then(|at| bytes.get(at..));
        let toc = toc.ok_or(Damage("the index ends early"))?;
        let (numbers, sum) = toc.split_at(TOC_BYTES - 4);
        if crc32c::crc32c(numbers) != Reader::new(sum).u32()? {
            return Err(Damage("the end of the index is damaged"));
        }
        let mut toc = Reader::new(numbers);
        let mut places = [0; 6];
        for place in &mut places {
            *place = usize::try_from(toc.u64()?).map_err(|_| Damage("a place lies behind the end"))?;
        }
        let [symbols_at, series_at, label_indices_at, label_table_at, postings_at, postings_table_at] = places;
        // What follows the series; sections that are not there have the place 0.
        let behind = [label_indices_at, label_table_at, postings_at, postings_table_at, bytes.len() - TOC_BYTES];
        let end = behind.into_iter().filter(|at| *at >= series_at && *at > 0).min();
        let end = end.filter(|end| *end <= bytes.len()).ok_or(Damage("a place lies behind the end"))?;
        let (symbols, offsets) = symbols(bytes, symbols_at)?;
        Ok(Index { bytes, version, symbols, offsets, at: series_at.max(5), end })
    }

    /// All names and values of labels.
    pub(super) fn symbols(&self) -> &[&'a str] {
        &self.symbols
    }

    fn symbol(&self, reference: u64) -> Result<&'a str, Damage> {
        let reference = usize::try_from(reference).map_err(|_| Damage("unknown symbol"))?;
        let number = if self.version == 1 {
            self.offsets.binary_search(&reference).map_err(|_| Damage("unknown symbol"))?
        } else {
            reference
        };
        self.symbols.get(number).copied().ok_or(Damage("unknown symbol"))
    }

    fn series(&mut self) -> Result<Option<IndexedSeries>, Damage> {
        // Between series there are zeros only; none is shorter than two bytes.
        let align = if self.version == 1 { 1 } else { SERIES_ALIGN };
        self.at = self.at.next_multiple_of(align);
        while self.at < self.end && self.bytes[self.at] == 0 {
            self.at += align;
        }
        if self.at >= self.end {
            return Ok(None);
        }
        let reference = if self.version == 1 { self.at } else { self.at / SERIES_ALIGN };
        let mut reader = Reader::new(&self.bytes[self.at..self.end]);
        let length = reader.count()?;
        let body = reader.bytes(length)?;
        if crc32c::crc32c(body) != reader.u32()? {
            return Err(Damage("a series is damaged"));
        }
        self.at = self.end - reader.rest.len();
        let mut body = Reader::new(body);
        let mut pairs = Vec::new();
        for _ in 0..body.uvarint()? {
            pairs.push((self.symbol(body.uvarint()?)?, self.symbol(body.uvarint()?)?));
        }
        // Sorted where Prometheus wrote it; what others wrote is sorted here.
        let labels = Labels::from_sorted(pairs.iter().copied()).unwrap_or_else(|| Labels::from_pairs(pairs));
        let n_chunks = body.count()?;
        let mut chunks = Vec::with_capacity(n_chunks.min(body.rest.len()));
        let (mut end_ms, mut place) = (0i64, 0u64);
        for at in 0..n_chunks {
            let step = if at == 0 { body.varint()? } else { body.uvarint()? as i64 };
            let min_ms = end_ms.wrapping_add(step);
            end_ms = min_ms.wrapping_add(body.uvarint()? as i64);
            place = if at == 0 { body.uvarint()? } else { place.wrapping_add(body.varint()? as u64) };
            chunks.push(ChunkPlace { min_ms, max_ms: end_ms, file: (place >> 32) as u32, offset: place as u32 });
        }
        Ok(Some(IndexedSeries { reference: reference as u64, labels, chunks }))
    }
}

impl Iterator for Index<'_> {
    type Item = Result<IndexedSeries, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let series = self.series().transpose();
        if matches!(series, Some(Err(_))) {
            // Where the next one would begin is not known.
            self.at = self.end;
        }
        series
    }
}

fn symbols(bytes: &[u8], at: usize) -> Result<(Vec<&str>, Vec<usize>), Damage> {
    let mut reader = Reader::new(bytes.get(at..).ok_or(Damage("a place lies behind the end"))?);
    let length = reader.u32()? as usize;
    let body = reader.bytes(length)?;
    if crc32c::crc32c(body) != reader.u32()? {
        return Err(Damage("the symbols of the index are damaged"));
    }
    let body_at = at + 4;
    let mut reader = Reader::new(body);
    let n = reader.u32()? as usize;
    let (mut symbols, mut offsets) = (Vec::with_capacity(n.min(length)), Vec::new());
    for _ in 0..n {
        offsets.push(body_at + body.len() - reader.rest.len());
        symbols.push(reader.text()?);
    }
    Ok((symbols, offsets))
}
