//! Writing what a store holds as blocks of Prometheus.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relatum_model::storage::{Cancel, Hints, Reader, Scope, Select, SelectError, TimeRange};
use relatum_model::{Matcher, Series};
use thiserror::Error;

use super::chunks::ChunkWriter;
use super::index_writer::IndexWriter;
use super::meta::{Meta, Ulid};
use super::tombstones;
use crate::fs::{Disk, Fs};
use crate::options::millis;
use crate::store::Store;

/// What is written, and how.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The time of the first and the last sample that is written.
    pub range: TimeRange,
    /// Which series are written.
    pub matchers: Vec<Matcher>,
    /// How long a block is at most. Blocks begin at multiples of it.
    pub block_range: Duration,
}

/// A block that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedBlock {
    /// The name of its folder.
    pub name: String,
    /// The time of its first and its last sample.
    pub range: TimeRange,
    /// How many series it has.
    pub series: u64,
    /// How many samples it has.
    pub samples: u64,
}

/// Why blocks cannot be written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error("cannot read the store")]
    Read {
        /// The cause.
        #[from]
        source: SelectError,
    },
    /// The blocks cannot be written.
    #[error("cannot write a block below {}", dir.display())]
    Write {
        /// Where the blocks go.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Writes what `store` holds into `dir`, a block for each span of time; `each` hears of every one that is complete.
///
/// A block gets its name when it is complete on disk, so what is in `dir` can be opened whenever this ends.
pub fn export(
    store: &Store,
    dir: &Path,
    options: &ExportOptions,
    mut each: impl FnMut(&ExportedBlock),
) -> Result<(), ExportError> {
    let width_ms = millis(options.block_range).max(1);
    let stats = store.stats();
    let (Some(oldest_ms), Some(newest_ms)) = (stats.min_time_ms, stats.max_time_ms) else { return Ok(()) };
    let (min_ms, max_ms) = (oldest_ms.max(options.range.min_ms), newest_ms.min(options.range.max_ms));
    // Without the folder of a log, promtool does not take the directory for one of Prometheus.
    Disk.create_dir(&dir.join("wal")).map_err(|source| ExportError::Write { dir: dir.to_owned(), source })?;
    let mut from_ms = min_ms;
    while from_ms <= max_ms {
        let end_ms = from_ms.div_euclid(width_ms).saturating_add(1).saturating_mul(width_ms).saturating_sub(1);
        let range = TimeRange { min_ms: from_ms, max_ms: end_ms.min(max_ms) };
        if let Some(block) = export_block(store, dir, range, &options.matchers)? {
            each(&block);
        }
        if range.max_ms == max_ms {
            break;
        }
        from_ms = range.max_ms + 1;
    }
    Ok(())
}

/// Writes one block; `None` if there is nothing in it.
fn export_block(
    store: &Store,
    dir: &Path,
    range: TimeRange,
    matchers: &[Matcher],
) -> Result<Option<ExportedBlock>, ExportError> {
    let reader = store.open(&Scope::all(), range)?;
    let cancel = Cancel::new();
    let sets = reader.label_sets(matchers, 0, &cancel)?;
    if sets.is_empty() {
        return Ok(None);
    }
    let symbols: BTreeSet<&str> = sets.iter().flatten().flat_map(|(name, value)| [name, value]).collect();
    let name = Ulid::new(range.max_ms);
    let unfinished = dir.join(format!("{name}.tmp-for-creation"));
    let write = |source| ExportError::Write { dir: dir.to_owned(), source };
    let written = write_block(&*reader, &unfinished, name, symbols, matchers, &cancel).and_then(|meta| {
        Disk.rename(&unfinished, &dir.join(name.to_string())).map_err(write)?;
        Disk.sync_dir(dir).map_err(write)?;
        Ok(meta)
    });
    let meta = written.inspect_err(|_| {
        // It has no name that anyone would open.
        let _ = std::fs::remove_dir_all(&unfinished);
    })?;
    let range = TimeRange { min_ms: meta.min_ms, max_ms: meta.max_ms };
    Ok(Some(ExportedBlock { name: name.to_string(), range, series: meta.series, samples: meta.samples() }))
}

fn write_block(
    reader: &dyn Reader,
    dir: &Path,
    name: Ulid,
    symbols: BTreeSet<&str>,
    matchers: &[Matcher],
    cancel: &Cancel,
) -> Result<Meta, ExportError> {
    let write = |source| ExportError::Write { dir: dir.to_owned(), source };
    let mut chunks = ChunkWriter::new(&Disk, dir.join("chunks")).map_err(write)?;
    let mut index = IndexWriter::create(&Disk, &dir.join("index"), symbols.into_iter().collect()).map_err(write)?;
    let mut meta = Meta { min_ms: i64::MAX, max_ms: i64::MIN, ..Meta::default() };
    for series in reader.series(matchers, &Hints::default(), cancel)? {
        let Series { labels, samples } = series?;
        let places = chunks.series(&samples).map_err(write)?;
        let (Some(first), Some(last)) = (places.first(), places.last()) else { continue };
        index.series(&labels, &places).map_err(write)?;
        meta.min_ms = meta.min_ms.min(first.min_ms);
        meta.max_ms = meta.max_ms.max(last.max_ms);
        meta.floats += samples.timestamps.len() as u64;
        meta.histograms += samples.histograms.len() as u64;
        meta.series += 1;
        meta.chunks += places.len() as u64;
    }
    chunks.finish().map_err(write)?;
    index.finish().map_err(write)?;
    for (file, bytes) in [("tombstones", tombstones::encode_none()), ("meta.json", meta.encode(name).into_bytes())] {
        let file = Disk.create(&dir.join(file)).map_err(write)?;
        file.append(&bytes).and_then(|()| file.sync()).map_err(write)?;
    }
    Disk.sync_dir(dir).map_err(write)?;
    Ok(meta)
}
