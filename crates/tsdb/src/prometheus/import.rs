//! Reading a data directory of Prometheus into a store.
//!
//! A block becomes a block of ours as it is: its series come in our order already. What is in the head goes through the log, in
//! batches, as if it were appended now. Either can be done again: a block that was taken over is remembered by its name, and
//! samples that are there already change nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use relatum_model::storage::{AppendError, Refused, SeriesRef, TimeRange};
use relatum_model::{HistogramSample, Labels, NativeHistogram, Samples};
use thiserror::Error;

use super::chunks::ChunkFiles;
use super::index::Index;
use super::meta::{Ulid, decode_samples};
use super::tombstones::{self, Tombstones};
use super::wal::{self, Entry};
use super::{Damage, head_chunks};
use crate::OpenError;
use crate::block::chunks::ChunkReader;
use crate::block::writer::BlockWriter;
use crate::fs::{Disk, Fs};
use crate::history::History;
use crate::options::Options;
use crate::store::Store;

/// The names of blocks that were taken over, a line each, in the store's directory.
const IMPORTED: &str = "imported";

/// So much of a log is put into the order of its series at once: a million floats, or as many histograms as take their memory. What
/// an earlier attempt took is found much faster then, since all samples of a series stand in the same chunks.
const SORTED_BYTES: usize = 1_000_000 * size_of::<LogSample>();

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportProgress {
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes that there are to read.
    pub bytes_all: u64,
    /// Samples that were read.
    pub samples: u64,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Blocks that were taken over.
    pub blocks: u64,
    /// Blocks that an earlier import had taken over.
    pub blocks_before: u64,
    /// Samples in them that were not deleted; as many were read back from what was written.
    pub block_samples: u64,
    /// Samples in the head: its log, late samples included, and the chunks beside it; those that stand in two of them count twice.
    pub head_samples: u64,
    /// Of those, samples that the store had already, or that another sample contradicts.
    pub head_repeated: u64,
    /// What could not be read, by file and reason. All else was taken.
    pub problems: Vec<String>,
}

/// Why an import ended early. What was taken over until then stays, and the next attempt goes on from there.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The directory holds nothing of Prometheus.
    #[error("cannot import {}: it holds neither blocks nor a log of Prometheus", dir.display())]
    Nothing {
        /// The directory.
        dir: PathBuf,
    },
    /// Prometheus has the directory open.
    #[error("cannot import {}: a process has it open; stop it, or import a snapshot", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The store does not open; which it is, the cause says.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The store cannot be written.
    #[error("cannot write the store")]
    Write {
        /// The cause.
        #[from]
        source: AppendError,
    },
    /// A file of the store cannot be written.
    #[error("cannot write {}", path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What was written is not what was read.
    #[error("cannot import block {block}: {read} samples were read and {written} written")]
    Count {
        /// The block's name.
        block: String,
        /// Samples that were read.
        read: u64,
        /// Samples that were read back.
        written: u64,
    },
}

/// Reads the data directory `from` of a Prometheus that is not running into the store in `to`, which is made if it is not there.
///
/// `progress` hears after each part how far it is.
pub fn import(from: &Path, to: &Path, progress: impl FnMut(ImportProgress)) -> Result<Imported, ImportError> {
    import_with(from, to, Options::for_history(), progress)
}

/// The same with a store of these options, which should be those of [`Options::for_history`] but for where its files are.
pub fn import_with(
    from: &Path,
    to: &Path,
    options: Options,
    progress: impl FnMut(ImportProgress),
) -> Result<Imported, ImportError> {
    let _lock = lock(from)?;
    let blocks = blocks(from)?;
    let wal = wal::files(&Disk, &from.join("wal")).map_err(|source| read_error(&from.join("wal"), source))?;
    let late = wal::files(&Disk, &from.join("wbl")).map_err(|source| read_error(&from.join("wbl"), source))?;
    let head_chunks = numbered(&from.join("chunks_head"))?;
    if blocks.is_empty() && wal.is_empty() {
        return Err(ImportError::Nothing { dir: from.to_owned() });
    }
    let bytes = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let of_block = |dir: &PathBuf| {
        bytes(&dir.join("index")) + numbered(&dir.join("chunks")).iter().flatten().map(bytes).sum::<u64>()
    };
    let bytes_all =
        blocks.iter().map(of_block).sum::<u64>() + wal.iter().chain(&late).chain(&head_chunks).map(bytes).sum::<u64>();
    let target = Arc::clone(&options.fs);
    let store = Store::open(to, options)?;
    let mut import = Import {
        store: &store,
        fs: &*target,
        imported: to.join(IMPORTED),
        done: Imported::default(),
        at: ImportProgress { bytes_all, ..ImportProgress::default() },
        progress,
    };
    import.blocks(&blocks, of_block)?;
    import.head(&wal, &late, &head_chunks)?;
    let done = import.done;
    store.close()?;
    Ok(done)
}

fn read_error(path: &Path, source: io::Error) -> ImportError {
    ImportError::Read { path: path.to_owned(), source }
}

/// Takes the lock of Prometheus, if the directory has one.
fn lock(dir: &Path) -> Result<Option<fs::File>, ImportError> {
    match fs::File::open(dir.join("lock")) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Err(ImportError::InUse { dir: dir.to_owned() }),
            Err(fs::TryLockError::Error(source)) => Err(read_error(&dir.join("lock"), source)),
        },
        Err(_) => Ok(None),
    }
}

/// The folders of blocks, oldest first.
fn blocks(dir: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut names = Disk.list(dir).map_err(|source| read_error(dir, source))?;
    names.retain(|name| Ulid::is_one(name) && dir.join(name).join("meta.json").is_file());
    names.sort_unstable();
    Ok(names.iter().map(|name| dir.join(name)).collect())
}

/// The files in `dir` whose names are numbers, in order.
fn numbered(dir: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut names = match Disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(read_error(dir, source)),
    };
    names.retain(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()));
    names.sort_unstable();
    Ok(names.iter().map(|name| dir.join(name)).collect())
}

struct Import<'s, P> {
    store: &'s Store,
    // Where the store's files are; those of Prometheus are on disk.
    fs: &'s dyn Fs,
    // The file of names.
    imported: PathBuf,
    done: Imported,
    at: ImportProgress,
    progress: P,
}

/// Why a block is left out, or why the import ends.
enum BlockFailure {
    Damaged(&'static str, Damage),
    Fatal(ImportError),
}

impl<P: FnMut(ImportProgress)> Import<'_, P> {
    fn blocks(&mut self, blocks: &[PathBuf], bytes: impl Fn(&PathBuf) -> u64) -> Result<(), ImportError> {
        let known = self.known()?;
        for dir in blocks {
            let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if known.contains(&name) {
                self.done.blocks_before += 1;
            } else {
                match self.block(dir, &name) {
                    Ok(samples) => {
                        self.remember(&name)?;
                        self.done.blocks += 1;
                        self.done.block_samples += samples;
                        self.at.samples += samples;
                    }
                    Err(BlockFailure::Damaged(file, damage)) => {
                        self.done.problems.push(format!("{}: {damage}", dir.join(file).display()));
                    }
                    Err(BlockFailure::Fatal(error)) => return Err(error),
                }
            }
            self.read(bytes(dir));
        }
        Ok(())
    }

    fn read(&mut self, bytes: u64) {
        self.at.bytes += bytes;
        (self.progress)(self.at);
    }

    /// The names of the blocks that were taken over.
    fn known(&self) -> Result<HashSet<String, FixedState>, ImportError> {
        match self.fs.map(&self.imported) {
            Ok(names) => Ok(String::from_utf8_lossy((*names).as_ref()).lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::default()),
            Err(source) => Err(read_error(&self.imported, source)),
        }
    }

    /// Adds a name: the list is replaced as a whole, so that no half of a name is ever in it.
    fn remember(&self, name: &str) -> Result<(), ImportError> {
        let mut known: Vec<String> = self.known()?.into_iter().chain([name.to_owned()]).collect();
        known.sort_unstable();
        let unfinished = self.imported.with_extension("tmp");
        let write = || {
            match self.fs.remove(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = self.fs.create(&unfinished)?;
            file.append((known.join("\n") + "\n").as_bytes())?;
            file.sync()?;
            self.fs.rename(&unfinished, &self.imported)?;
            self.imported.parent().map_or(Ok(()), |dir| self.fs.sync_dir(dir))
        };
        write().map_err(|source| ImportError::WriteFile { path: self.imported.clone(), source })
    }

    /// Takes a block over; returns how many samples it has.
    fn block(&self, dir: &Path, name: &str) -> Result<u64, BlockFailure> {
        let read = |file: &str| {
            let path = dir.join(file);
            fs::read(&path).map_err(|source| BlockFailure::Fatal(read_error(&path, source)))
        };
        let promised =
            decode_samples(&read("meta.json")?).map_err(|damage| BlockFailure::Damaged("meta.json", damage))?;
        let deleted = match read("tombstones") {
            Ok(bytes) => tombstones::decode(&bytes).map_err(|damage| BlockFailure::Damaged("tombstones", damage))?,
            Err(BlockFailure::Fatal(ImportError::Read { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                Tombstones::default()
            }
            Err(failure) => return Err(failure),
        };
        let map = |path: PathBuf| Disk.map(&path).map_err(|source| BlockFailure::Fatal(read_error(&path, source)));
        let index_file = map(dir.join("index"))?;
        let of_index = |damage| BlockFailure::Damaged("index", damage);
        let index = Index::open((*index_file).as_ref()).map_err(of_index)?;
        let chunks_dir = dir.join("chunks");
        let chunks = ChunkFiles::open(&Disk, &chunks_dir)
            .map_err(|source| BlockFailure::Fatal(read_error(&chunks_dir, source)))?;

        let core = self.store.core();
        let blocks_dir = core.blocks.dir();
        let write = |source| BlockFailure::Fatal(ImportError::WriteFile { path: blocks_dir.to_owned(), source });
        let number = core.blocks.take_number();
        let written = (|| {
            let symbols: Vec<&str> = index.symbols().to_vec();
            let mut writer = BlockWriter::create(self.fs, blocks_dir, number, (1, 0), symbols).map_err(write)?;
            let (mut found, mut kept, mut previous) = (0, 0, Labels::empty());
            for series in index {
                let series = series.map_err(of_index)?;
                if series.labels <= previous {
                    return Err(of_index(Damage("the series are not in order")));
                }
                let mut samples = Samples::default();
                for chunk in &series.chunks {
                    chunks.read(*chunk, &mut samples).map_err(|damage| BlockFailure::Damaged("chunks", damage))?;
                }
                found += samples.len() as u64;
                if let Some(deleted) = deleted.get(&series.reference) {
                    tombstones::apply(deleted, &mut samples);
                }
                in_order(&mut samples);
                kept += samples.len() as u64;
                let bits: Vec<u64> = samples.values.iter().map(|value| value.to_bits()).collect();
                writer.samples(&samples.timestamps, &bits).map_err(write)?;
                writer.histograms(&samples.histograms).map_err(write)?;
                writer.end_series(&series.labels);
                previous = series.labels;
            }
            if promised.is_some_and(|promised| promised != found) {
                return Err(BlockFailure::Damaged("meta.json", Damage("it promises another number of samples")));
            }
            writer.finish().map_err(write)?;
            let block = core.blocks.open_written(number).map_err(write)?;
            let back =
                count(&block).map_err(|_| io::Error::other("what was written cannot be read back")).map_err(write)?;
            if back != kept {
                let counts = ImportError::Count { block: name.to_owned(), read: kept, written: back };
                return Err(BlockFailure::Fatal(counts));
            }
            if kept > 0 {
                core.adopt(block).map_err(write)?;
            } else {
                core.blocks.discard(number);
            }
            Ok(kept)
        })();
        written.inspect_err(|_| core.blocks.discard(number))
    }

    /// Appends what the head holds: its log, its late samples and the chunks that left its memory.
    fn head(&mut self, wal: &[PathBuf], late: &[PathBuf], head_chunks: &[PathBuf]) -> Result<(), ImportError> {
        let mut series: HashMap<u64, (Labels, SeriesRef), FixedState> = HashMap::default();
        let mut deleted = Tombstones::default();
        // Definitions and deletions first: samples of a later file may be deleted, and chunks name series of the log.
        for path in wal {
            self.log_file(path, |entry| match entry {
                Entry::Series(reference, labels) => {
                    series.insert(reference, (labels, SeriesRef::NONE));
                }
                Entry::Deleted(reference, range) => deleted.entry(reference).or_default().push(range),
                Entry::Float(..) | Entry::Histogram(..) => {}
            })?;
        }
        self.done.problems.retain({
            // What is damaged is met again, and told then.
            let files: Vec<String> = wal.iter().map(|path| path.display().to_string()).collect();
            move |problem| !files.iter().any(|file| problem.starts_with(file.as_str()))
        });
        let mut batch = HeadBatch {
            history: History::new(self.store),
            series,
            deleted,
            unsorted: Vec::new(),
            unsorted_bytes: 0,
            samples: 0,
            repeated: 0,
            unknown: 0,
            refused: None,
        };
        for path in head_chunks {
            let mut failed = None;
            let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
            let outcome = head_chunks::read(&bytes, |reference, samples| {
                if failed.is_none() {
                    failed = batch.samples(reference, &samples).err();
                }
            });
            self.note(path, outcome);
            failed.map_or(Ok(()), Err)?;
            self.at.samples = self.done.block_samples + batch.samples;
            self.read(bytes.len() as u64);
        }
        for path in wal.iter().chain(late) {
            let mut failed = None;
            self.log_file(path, |entry| {
                if failed.is_none() {
                    failed = batch.entry(entry).err();
                }
            })?;
            failed.map_or(Ok(()), Err)?;
            batch.take_sorted()?;
            self.at.samples = self.done.block_samples + batch.samples;
            self.read(fs::metadata(path).map_or(0, |metadata| metadata.len()));
        }
        let HeadBatch { history, samples, repeated, unknown, refused, .. } = batch;
        history.finish()?;
        (self.done.head_samples, self.done.head_repeated) = (samples, repeated);
        if unknown > 0 {
            self.done.problems.push(format!("the log: {unknown} samples belong to series that it does not define"));
        }
        if let Some((n, reason)) = refused {
            self.done.problems.push(format!("the log: {n} samples cannot be taken, the first because of: {reason}"));
        }
        Ok(())
    }

    fn log_file(&mut self, path: &Path, each: impl FnMut(Entry)) -> Result<(), ImportError> {
        let bytes = fs::read(path).map_err(|source| read_error(path, source))?;
        let outcome = wal::read(&bytes, each);
        self.note(path, outcome);
        Ok(())
    }

    fn note(&mut self, path: &Path, outcome: Result<(), Damage>) {
        if let Err(damage) = outcome {
            self.done.problems.push(format!("{}: {damage}", path.display()));
        }
    }
}

/// Samples of a head on their way into the store.
struct HeadBatch<'s> {
    history: History<'s>,
    series: HashMap<u64, (Labels, SeriesRef), FixedState>,
    deleted: Tombstones,
    // Samples of a log, as they stand there.
    unsorted: Vec<LogSample>,
    // What they take, histograms and all.
    unsorted_bytes: usize,
    samples: u64,
    repeated: u64,
    unknown: u64,
    refused: Option<(u64, Refused)>,
}

/// A sample of a log: its series, its time, when it began to count, and its value.
type LogSample = (u64, i64, i64, Result<f64, Arc<NativeHistogram>>);

/// How much memory a sample of a log takes.
fn memory_bytes((_, t_ms, start_ms, value): &LogSample) -> usize {
    let of_histogram = value.as_ref().err().map_or(0, |histogram| {
        HistogramSample { t_ms: *t_ms, start_ms: *start_ms, histogram: Arc::clone(histogram) }.memory_bytes()
    });
    size_of::<LogSample>() + of_histogram
}

impl HeadBatch<'_> {
    fn entry(&mut self, entry: Entry) -> Result<(), ImportError> {
        let sample = match entry {
            Entry::Float(reference, t_ms, value) => (reference, t_ms, 0, Ok(value)),
            Entry::Histogram(reference, t_ms, start_ms, histogram) => {
                (reference, t_ms, start_ms, Err(Arc::from(histogram)))
            }
            Entry::Series(..) | Entry::Deleted(..) => return Ok(()),
        };
        self.unsorted_bytes += memory_bytes(&sample);
        self.unsorted.push(sample);
        if self.unsorted_bytes < SORTED_BYTES { Ok(()) } else { self.take_sorted() }
    }

    /// Appends what was read of a log, series by series.
    fn take_sorted(&mut self) -> Result<(), ImportError> {
        let mut samples = std::mem::take(&mut self.unsorted);
        // Those of one series stay as they stand: of two for one moment the first counts.
        samples.sort_by_key(|(reference, ..)| *reference);
        for (reference, t_ms, start_ms, value) in &samples {
            self.append(*reference, *t_ms, *start_ms, value.as_ref().map(|value| *value))?;
        }
        samples.clear();
        (self.unsorted, self.unsorted_bytes) = (samples, 0);
        Ok(())
    }

    fn samples(&mut self, reference: u64, samples: &Samples) -> Result<(), ImportError> {
        for sample in samples.iter() {
            self.append(reference, sample.t_ms, 0, Ok(sample.value))?;
        }
        for sample in &samples.histograms {
            self.append(reference, sample.t_ms, sample.start_ms, Err(&sample.histogram))?;
        }
        Ok(())
    }

    fn append(
        &mut self,
        reference: u64,
        t_ms: i64,
        start_ms: i64,
        value: Result<f64, &Arc<NativeHistogram>>,
    ) -> Result<(), ImportError> {
        let gone = |range: &TimeRange| range.contains(t_ms);
        if self.deleted.get(&reference).is_some_and(|ranges| ranges.iter().any(gone)) {
            return Ok(());
        }
        let Some((labels, cached)) = self.series.get_mut(&reference) else {
            self.unknown += 1;
            return Ok(());
        };
        let taken = match value {
            Ok(value) => self.history.append(*cached, labels, t_ms, value)?,
            Err(histogram) => self.history.append_histogram(*cached, labels, t_ms, start_ms, histogram)?,
        };
        self.samples += 1;
        match taken {
            Ok(reference) => *cached = reference,
            Err(Refused::DuplicateTimestamp) => self.repeated += 1,
            Err(reason) => {
                self.refused = Some(self.refused.take().map_or((1, reason), |(n, first)| (n + 1, first)));
            }
        }
        Ok(())
    }
}

/// How many samples a block of ours gives back.
fn count(block: &crate::block::Block) -> Result<u64, Damage> {
    let index = block.index()?;
    let (mut walk, mut reader) = (index.walk(), ChunkReader::new(index));
    let mut n = 0;
    for number in 0..index.n_series() {
        for chunk in &walk.series(number)?.chunks {
            let mut samples = Samples::default();
            reader.push(chunk, TimeRange::ALL, &[], &mut samples)?;
            n += samples.len() as u64;
        }
    }
    Ok(n)
}

/// Sorts samples by time and keeps the first of each moment. Chunks of one series follow each other, so mostly they are sorted.
fn in_order(samples: &mut Samples) {
    if !samples.timestamps.is_sorted_by(|a, b| a < b) {
        let mut sorted: Vec<(i64, f64)> = samples.iter().map(|sample| (sample.t_ms, sample.value)).collect();
        sorted.sort_by_key(|(t_ms, _)| *t_ms);
        sorted.dedup_by_key(|(t_ms, _)| *t_ms);
        (samples.timestamps, samples.values) = sorted.into_iter().unzip();
    }
    if !samples.histograms.is_sorted_by(|a, b| a.t_ms < b.t_ms) {
        samples.histograms.sort_by_key(|sample| sample.t_ms);
        samples.histograms.dedup_by_key(|sample| sample.t_ms);
    }
}

#[cfg(test)]
mod tests {
    use relatum_model::histogram::{Buckets, Histogram, Span};

    use super::*;

    #[test]
    fn what_waits_to_be_sorted_is_bounded_by_its_memory() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::for_history()).unwrap();
        let labels = Labels::from_pairs([("__name__", "m")]);
        let mut batch = HeadBatch {
            history: History::new(&store),
            series: HashMap::from_iter([(1, (labels, SeriesRef::NONE))]),
            deleted: Tombstones::default(),
            unsorted: Vec::new(),
            unsorted_bytes: 0,
            samples: 0,
            repeated: 0,
            unknown: 0,
            refused: None,
        };
        let n_buckets: u32 = 100_000;
        let wide = NativeHistogram::Integer(Histogram {
            count: n_buckets.into(),
            positive: Buckets {
                spans: vec![Span { offset: 0, length: n_buckets }],
                counts: vec![1; n_buckets as usize],
            },
            ..Histogram::default()
        });
        for n in 0..60 {
            batch.entry(Entry::Histogram(1, n, 0, Box::new(wide.clone()))).unwrap();
            assert!(batch.unsorted.len() * n_buckets as usize * size_of::<u64>() < SORTED_BYTES, "after {n}");
        }
        batch.take_sorted().unwrap();
        assert!(batch.unsorted.is_empty() && batch.unsorted_bytes == 0);
        assert_eq!((batch.samples, batch.repeated, batch.unknown, batch.refused), (60, 0, 0, None));
        // A float takes its place in the list and no more.
        assert_eq!(memory_bytes(&(1, 0, 0, Ok(1.0))), size_of::<LogSample>());
    }
}
