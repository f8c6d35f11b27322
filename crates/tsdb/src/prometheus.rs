//! Prometheus' own files, both ways: its blocks, its log and the chunks of its head are read, and blocks are written.
//!
//! The formats are described in `tsdb/docs/format` of Prometheus. Numbers are big-endian, checksums are CRC-32C. What is read
//! may be anything: it ends in samples or in [`Damage`].

mod bits;
mod bytes;
mod chunks;
mod export;
mod head_chunks;
mod histograms;
mod import;
mod index;
mod index_writer;
mod meta;
mod tombstones;
mod wal;
mod wire;
mod xor;

use crate::block::layout::Damage;

pub use export::{ExportError, ExportOptions, ExportedBlock, export};
pub use import::{ImportError, ImportProgress, Imported, import, import_with};
pub use wire::{ChunkError, EncodedChunk, decode_chunk, encode_chunks};

/// Takes `bytes` from what samples may still take in memory.
fn take_memory(bytes_left: &mut usize, bytes: usize) -> Result<(), Damage> {
    *bytes_left = bytes_left.checked_sub(bytes).ok_or(Damage("its samples take more memory than may be used"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// An index whose checksums fit, so that what is inside them is looked at.
        #[test]
        fn any_index(version in 1u8..4, symbols in proptest::collection::vec(any::<u8>(), 0..60), series in proptest::collection::vec(any::<u8>(), 1..60)) {
            let mut bytes = index::MAGIC.to_be_bytes().to_vec();
            bytes.push(version);
            bytes.extend_from_slice(&(symbols.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&symbols);
            bytes.extend_from_slice(&crc32c::crc32c(&symbols).to_be_bytes());
            bytes.resize(bytes.len().next_multiple_of(index::SERIES_ALIGN), 0);
            let series_at = bytes.len() as u64;
            bytes::put_uvarint(&mut bytes, series.len() as u64);
            bytes.extend_from_slice(&series);
            bytes.extend_from_slice(&crc32c::crc32c(&series).to_be_bytes());
            let end = bytes.len() as u64;
            let toc: Vec<u8> = [5, series_at, 0, 0, end, 0].iter().flat_map(|place: &u64| place.to_be_bytes()).collect();
            bytes.extend_from_slice(&toc);
            bytes.extend_from_slice(&crc32c::crc32c(&toc).to_be_bytes());
            if let Ok(index) = index::Index::open(&bytes) {
                prop_assert!(index.count() <= 2);
            }
        }

        #[test]
        fn any_files(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = index::Index::open(&bytes);
            let _ = tombstones::decode(&bytes);
            let _ = meta::decode_samples(&bytes);
            let _ = wal::read(&bytes, |_| ());
            let chunks = [&[0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0], &bytes[..]].concat();
            let _ = head_chunks::read(&chunks, |_, _| ());
            for encoding in 0..8 {
                let _ = chunks::decode(encoding, &bytes, &mut { 1 << 20 }, &mut relatum_model::Samples::default());
            }
        }
    }
}
