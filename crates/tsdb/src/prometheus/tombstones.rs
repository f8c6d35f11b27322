//! What was deleted from a block.

use hashbrown::HashMap;
use relatum_model::storage::TimeRange;

use super::Damage;
use super::bytes::Reader;

const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// The spans of time that were deleted, by reference of the series.
pub(super) type Tombstones = HashMap<u64, Vec<TimeRange>, foldhash::fast::RandomState>;

/// A file without any.
pub(super) fn encode_none() -> Vec<u8> {
    let mut out = MAGIC.to_be_bytes().to_vec();
    out.push(VERSION);
    out.extend_from_slice(&crc32c::crc32c(&[]).to_be_bytes());
    out
}

/// Reads a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Tombstones, Damage> {
    let mut header = Reader::new(bytes);
    if header.u32()? != MAGIC || header.byte()? != VERSION {
        return Err(Damage("it holds no tombstones of a known version"));
    }
    let end = bytes.len().checked_sub(4).filter(|end| *end >= HEADER_BYTES).ok_or(Damage("it ends early"))?;
    let (body, sum) = (&bytes[HEADER_BYTES..end], &bytes[end..]);
    if crc32c::crc32c(body) != Reader::new(sum).u32()? {
        return Err(Damage("the tombstones are damaged"));
    }
    let mut tombstones = Tombstones::default();
    let mut reader = Reader::new(body);
    while !reader.rest.is_empty() {
        let reference = reader.uvarint()?;
        let (min_ms, max_ms) = (reader.varint()?, reader.varint()?);
        tombstones.entry(reference).or_default().push(TimeRange { min_ms, max_ms });
    }
    Ok(tombstones)
}

/// Takes what was deleted out of samples.
pub(super) fn apply(deleted: &[TimeRange], samples: &mut relatum_model::Samples) {
    if deleted.is_empty() {
        return;
    }
    let gone = |t_ms: i64| deleted.iter().any(|range| range.contains(t_ms));
    let kept: Vec<(i64, f64)> =
        samples.iter().filter(|sample| !gone(sample.t_ms)).map(|sample| (sample.t_ms, sample.value)).collect();
    (samples.timestamps, samples.values) = kept.into_iter().unzip();
    samples.starts.clear();
    samples.histograms.retain(|sample| !gone(sample.t_ms));
}
