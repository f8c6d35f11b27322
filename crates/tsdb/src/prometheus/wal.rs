//! The log of Prometheus, read: series, samples and deletions of its head.

use std::io;
use std::path::{Path, PathBuf};

use relatum_model::Labels;
use relatum_model::histogram::{Buckets, CUSTOM_SCHEMA, CounterReset, Histogram, NativeHistogram, Span};
use relatum_model::storage::TimeRange;

use super::Damage;
use super::bytes::Reader;
use crate::fs::Fs;

const PAGE_BYTES: usize = 32 << 10;
/// The largest record that is read.
const RECORD_BYTES_MAX: usize = 256 << 20;
const SNAPPY: u8 = 1 << 3;
const ZSTD: u8 = 1 << 4;

/// Something a record says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    /// From here on the reference stands for the labels.
    Series(u64, Labels),
    /// A sample.
    Float(u64, i64, f64),
    /// A native histogram, and when it began to count.
    Histogram(u64, i64, i64, Box<NativeHistogram>),
    /// What was deleted.
    Deleted(u64, TimeRange),
}

/// The files of a log in the order in which they were written: those of the newest checkpoint first.
pub(super) fn files(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let names = match fs.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse::<u64>().ok())?;
    let checkpoints = names.iter().filter_map(|name| Some((number(name.strip_prefix("checkpoint.")?)?, name)));
    let checkpoint = checkpoints.max();
    let mut files = Vec::new();
    if let Some((_, name)) = checkpoint {
        let dir = dir.join(name);
        let mut inner = fs.list(&dir)?;
        inner.retain(|name| number(name).is_some());
        inner.sort_unstable();
        files.extend(inner.iter().map(|name| dir.join(name)));
    }
    let first = checkpoint.map_or(0, |(number, _)| number + 1);
    let mut segments: Vec<(u64, &String)> = names.iter().filter_map(|name| Some((number(name)?, name))).collect();
    segments.retain(|(number, _)| *number >= first);
    segments.sort_unstable();
    files.extend(segments.iter().map(|(_, name)| dir.join(name)));
    Ok(files)
}

/// Reads the records of one file; `each` gets their entries in order. Returns what is wrong where the file ends early.
pub(super) fn read(bytes: &[u8], mut each: impl FnMut(Entry)) -> Result<(), Damage> {
    let (mut record, mut compression): (Vec<u8>, u8) = (Vec::new(), 0);
    for page in bytes.chunks(PAGE_BYTES) {
        let mut reader = Reader::new(page);
        while let Ok(header) = reader.byte() {
            let kind = header & 7;
            if kind == 0 {
                break;
            }
            let (length, sum) = (reader.u16()?, reader.u32()?);
            let fragment = reader.bytes(usize::from(length))?;
            if crc32c::crc32c(fragment) != sum {
                return Err(Damage("a record is damaged"));
            }
            match kind {
                // Whole, or its beginning.
                1 | 2 => {
                    record.clear();
                    compression = header & (SNAPPY | ZSTD);
                }
                3 | 4 if !record.is_empty() => {}
                _ => return Err(Damage("a record lacks its beginning")),
            }
            if record.len() + fragment.len() > RECORD_BYTES_MAX {
                return Err(Damage("a record is too long"));
            }
            record.extend_from_slice(fragment);
            if kind == 1 || kind == 4 {
                match compression {
                    0 => entries(&record, &mut each)?,
                    SNAPPY => entries(&unsnap(&record)?, &mut each)?,
                    _ => return Err(Damage("a record is compressed with zstd, which is not read")),
                }
                record.clear();
            }
        }
    }
    if record.is_empty() { Ok(()) } else { Err(Damage("a record lacks its end")) }
}

fn unsnap(record: &[u8]) -> Result<Vec<u8>, Damage> {
    let damage = Damage("a compressed record is damaged");
    match snap::raw::decompress_len(record) {
        Ok(length) if length <= RECORD_BYTES_MAX => {
            snap::raw::Decoder::new().decompress_vec(record).map_err(|_| damage)
        }
        _ => Err(damage),
    }
}

fn entries(record: &[u8], each: &mut impl FnMut(Entry)) -> Result<(), Damage> {
    let mut reader = Reader::new(record);
    let kind = reader.byte()?;
    match kind {
        1 => {
            while !reader.rest.is_empty() {
                let reference = reader.u64()?;
                let mut pairs = Vec::new();
                for _ in 0..reader.count()? {
                    pairs.push((reader.text()?, reader.text()?));
                }
                let labels = Labels::from_sorted(pairs.iter().copied()).unwrap_or_else(|| Labels::from_pairs(pairs));
                each(Entry::Series(reference, labels));
            }
        }
        2 => each_sample(reader, |reader, reference, t_ms| {
            each(Entry::Float(reference, t_ms, reader.float()?));
            Ok(())
        })?,
        3 => {
            while !reader.rest.is_empty() {
                let (reference, min_ms, max_ms) = (reader.u64()?, reader.varint()?, reader.varint()?);
                each(Entry::Deleted(reference, TimeRange { min_ms, max_ms }));
            }
        }
        7..=10 => each_sample(reader, |reader, reference, t_ms| {
            let histogram = Box::new(histogram(reader, matches!(kind, 8 | 10))?);
            each(Entry::Histogram(reference, t_ms, 0, histogram));
            Ok(())
        })?,
        11 => each_started(reader, |reader, reference, t_ms, _| {
            each(Entry::Float(reference, t_ms, reader.float()?));
            Ok(())
        })?,
        12 | 13 => each_started(reader, |reader, reference, t_ms, start_ms| {
            let histogram = Box::new(histogram(reader, kind == 13)?);
            each(Entry::Histogram(reference, t_ms, start_ms, histogram));
            Ok(())
        })?,
        // Exemplars, places of chunks, metadata, and what later versions write.
        _ => {}
    }
    Ok(())
}

/// Samples whose references and times are told by their distance from those of the first one.
fn each_sample<'a>(
    mut reader: Reader<'a>,
    mut each: impl FnMut(&mut Reader<'a>, u64, i64) -> Result<(), Damage>,
) -> Result<(), Damage> {
    if reader.rest.is_empty() {
        return Ok(());
    }
    let (base, base_ms) = (reader.u64()?, reader.u64()? as i64);
    while !reader.rest.is_empty() {
        let reference = base.wrapping_add(reader.varint()? as u64);
        let t_ms = base_ms.wrapping_add(reader.varint()?);
        each(&mut reader, reference, t_ms)?;
    }
    Ok(())
}

/// The same with start times, and with references told by their distance from the one before.
fn each_started<'a>(
    mut reader: Reader<'a>,
    mut each: impl FnMut(&mut Reader<'a>, u64, i64, i64) -> Result<(), Damage>,
) -> Result<(), Damage> {
    if reader.rest.is_empty() {
        return Ok(());
    }
    let (mut reference, first_ms, first_start_ms) = (reader.varint()?, reader.varint()?, reader.varint()?);
    let (mut t_ms, mut start_ms) = (first_ms, first_start_ms);
    loop {
        each(&mut reader, reference as u64, t_ms, start_ms)?;
        if reader.rest.is_empty() {
            return Ok(());
        }
        reference = reference.wrapping_add(reader.varint()?);
        t_ms = first_ms.wrapping_add(reader.varint()?);
        start_ms = match reader.byte()? {
            0 => 0,
            1 => start_ms,
            _ => first_start_ms.wrapping_add(reader.varint()?),
        };
    }
}

fn histogram(reader: &mut Reader<'_>, is_float: bool) -> Result<NativeHistogram, Damage> {
    let counter_reset = match reader.byte()? {
        1 => CounterReset::Reset,
        2 => CounterReset::NotReset,
        3 => CounterReset::Gauge,
        _ => CounterReset::Unknown,
    };
    let schema = i32::try_from(reader.varint()?).map_err(|_| Damage("unknown schema of a histogram"))?;
    let zero_threshold = reader.float()?;
    let [zero_count, count] =
        if is_float { [reader.u64()?, reader.u64()?] } else { [reader.uvarint()?, reader.uvarint()?] };
    let sum = reader.float()?;
    let mut spans = [Vec::new(), Vec::new()];
    for spans in &mut spans {
        for _ in 0..reader.count()? {
            match (i32::try_from(reader.varint()?), u32::try_from(reader.uvarint()?)) {
                (Ok(offset), Ok(length)) => spans.push(Span { offset, length }),
                _ => return Err(Damage("a span of a histogram is out of range")),
            }
        }
    }
    // Floats by their bits.
    let mut counts = [Vec::new(), Vec::new()];
    for counts in &mut counts {
        let mut sum = 0i64;
        for _ in 0..reader.count()? {
            counts.push(if is_float {
                reader.u64()?
            } else {
                sum = sum.wrapping_add(reader.varint()?);
                sum as u64
            });
        }
    }
    let mut bounds = Vec::new();
    if schema == CUSTOM_SCHEMA {
        for _ in 0..reader.count()? {
            bounds.push(reader.float()?);
        }
    }
    let ([positive_spans, negative_spans], [positive, negative]) = (spans, counts);
    let whole = Histogram {
        schema,
        counter_reset,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive: Buckets { spans: positive_spans, counts: positive },
        negative: Buckets { spans: negative_spans, counts: negative },
        custom_bounds: bounds.into(),
    };
    Ok(if is_float { NativeHistogram::Float(of_bits(whole)) } else { NativeHistogram::Integer(whole) })
}

fn of_bits(bits: Histogram<u64>) -> Histogram<f64> {
    let buckets = |buckets: Buckets<u64>| Buckets {
        spans: buckets.spans,
        counts: buckets.counts.into_iter().map(f64::from_bits).collect(),
    };
    Histogram {
        schema: bits.schema,
        counter_reset: bits.counter_reset,
        zero_threshold: bits.zero_threshold,
        zero_count: f64::from_bits(bits.zero_count),
        count: f64::from_bits(bits.count),
        sum: bits.sum,
        positive: buckets(bits.positive),
        negative: buckets(bits.negative),
        custom_bounds: bits.custom_bounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, bytes) in records {
            out.push(*kind);
            out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
            out.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
            out.extend_from_slice(bytes);
        }
        out
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &[Entry], whole: bool) {
        let mut found = Vec::new();
        assert_eq!(read(bytes, |entry| found.push(entry)).is_ok(), whole);
        assert_eq!(found, expected);
    }

    #[test]
    fn records_in_one_piece_in_several_and_compressed() {
        let series = [&[1u8][..], &7u64.to_be_bytes(), &[1, 1, b'a', 1, b'b']].concat();
        let sample = [&[2u8][..], &7u64.to_be_bytes(), &1000u64.to_be_bytes(), &[0, 2], &2.5f64.to_be_bytes()].concat();
        let entries = [Entry::Series(7, Labels::from_pairs([("a", "b")])), Entry::Float(7, 1001, 2.5)];
        check(&page(&[(1, &series), (1, &sample)]), &entries, true);
        check(&page(&[(2, &series[..3]), (3, &series[3..9]), (4, &series[9..]), (1, &sample)]), &entries, true);
        let snapped = snap::raw::Encoder::new().compress_vec(&sample).unwrap();
        let mut padded = page(&[(1, &series)]);
        padded.resize(PAGE_BYTES, 0);
        padded.extend(page(&[(1 | SNAPPY, &snapped)]));
        check(&padded, &entries, true);
        // Torn, and damaged.
        let whole = page(&[(1, &series), (1, &sample)]);
        check(&whole[..whole.len() - 3], &entries[..1], false);
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        check(&damaged, &entries[..1], false);
        check(&page(&[(4, &series)]), &[], false);
    }

    proptest! {
        #[test]
        fn any_record(kind in 1u8..14, rest in proptest::collection::vec(any::<u8>(), 0..150)) {
            let record = [&[kind], &rest[..]].concat();
            let _ = read(&page(&[(1, &record)]), |_| ());
        }
    }
}
