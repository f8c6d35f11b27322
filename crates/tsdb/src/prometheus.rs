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
mod xor;

use crate::block::layout::Damage;

pub use export::{ExportError, ExportOptions, ExportedBlock, export};
pub use import::{ImportError, ImportProgress, Imported, import};
