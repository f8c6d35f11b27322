//! Several blocks become one: series by series, without what was deleted and with each moment once.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use relatum_model::storage::TimeRange;
use relatum_model::{Labels, Samples};

use crate::fs::Fs;
use crate::snapshot::merge as merge_samples;

use super::chunks::ChunkReader;
use super::deleted::Deleted;
use super::layout::Damage;
use super::reader::{Block, BlockSeries};
use super::walk::SeriesWalk;
use super::writer::{BlockWriter, CHUNK_SAMPLES_MAX};

/// Chunks that hold at least so many samples are taken as they are. Shorter ones, such as two hours at a sample every 15 seconds,
/// are packed anew with those that follow: longer ones take less room.
const CHUNK_SAMPLES_MIN: usize = CHUNK_SAMPLES_MAX * 9 / 16;

/// Why blocks were not merged.
#[derive(Debug)]
pub(crate) enum MergeError {
    /// The new block cannot be written.
    Write(io::Error),
    /// One of the blocks, which is named by its place, cannot be read.
    Damaged(usize, Damage),
    /// The store is closing.
    Stopped,
}

impl From<io::Error> for MergeError {
    fn from(source: io::Error) -> Self {
        MergeError::Write(source)
    }
}

/// Writes what `blocks`, in the order of their times, hold into block `number`; whether there was anything to write.
pub(crate) fn merge(
    fs: &dyn Fs,
    dir: &Path,
    number: u64,
    blocks: &[Arc<Block>],
    stop: impl Fn() -> bool,
) -> Result<bool, MergeError> {
    let level = blocks.iter().map(|block| block.summary.level).max().unwrap_or(0).saturating_add(1);
    let commit = blocks.iter().map(|block| block.summary.commit).max().unwrap_or(0);
    let mut symbols = BTreeSet::new();
    let mut inputs = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let open = || {
            let index = block.index()?;
            let symbols = index.symbols().collect::<Result<Vec<&str>, Damage>>()?;
            Ok((Input::begin(block, index.walk(), ChunkReader::new(index), index.n_series())?, symbols))
        };
        let (input, of_block) = open().map_err(|damage| MergeError::Damaged(at, damage))?;
        symbols.extend(of_block);
        inputs.push(input);
    }
    let mut writer = BlockWriter::create(fs, dir, number, (level, commit), symbols)?;
    while let Some(labels) = inputs.iter().filter_map(Input::labels).min().cloned() {
        if stop() {
            return Err(MergeError::Stopped);
        }
        add_series(&mut writer, &mut inputs, &labels)?;
        for (at, input) in inputs.iter_mut().enumerate().filter(|(_, input)| input.labels() == Some(&labels)) {
            input.advance().map_err(|damage| MergeError::Damaged(at, damage))?;
        }
    }
    let summary = writer.finish()?;
    Ok(summary.series > 0)
}

/// Adds the series `labels`, which is the current one of some of `inputs`.
fn add_series(writer: &mut BlockWriter<'_>, inputs: &mut [Input<'_>], labels: &Labels) -> Result<(), MergeError> {
    let is_current = |input: &Input<'_>| input.labels() == Some(labels);
    let mut spans: Vec<_> = inputs
        .iter()
        .filter(|input| is_current(input))
        .flat_map(|input| input.current.iter().flat_map(|series| &series.chunks))
        .map(|chunk| (chunk.min_ms, chunk.max_ms, chunk.count))
        .collect();
    let ordered = spans.is_sorted_by(|before, next| before.1 < next.0);
    // The last one of a series is often a short one, and will be merged with what follows some day.
    spans.pop();
    let long = spans.iter().all(|(_, _, count)| *count >= CHUNK_SAMPLES_MIN);
    let nothing_deleted = inputs.iter().filter(|input| is_current(input)).all(|input| input.deleted_spans().is_empty());
    if ordered && long && nothing_deleted {
        for (at, input) in inputs.iter_mut().enumerate() {
            if input.labels() == Some(labels) {
                input.copy(writer).map_err(|error| error.in_block(at))?;
            }
        }
    } else {
        let mut samples = Samples::default();
        for (at, input) in inputs.iter_mut().enumerate() {
            if input.labels() == Some(labels) {
                let more = input.samples().map_err(|damage| MergeError::Damaged(at, damage))?;
                samples = merge_samples(samples, more);
            }
        }
        let bits: Vec<u64> = samples.values.iter().map(|value| value.to_bits()).collect();
        writer.started_samples(&samples.timestamps, &bits, &samples.starts)?;
        writer.histograms(&samples.histograms)?;
    }
    writer.end_series(labels);
    Ok(())
}

/// One of the blocks that are merged.
struct Input<'b> {
    walk: SeriesWalk<'b>,
    reader: ChunkReader<'b>,
    deleted: Arc<Deleted>,
    next: u32,
    n_series: u32,
    current: Option<BlockSeries>,
}

enum CopyError {
    Write(io::Error),
    Damaged(Damage),
}

impl CopyError {
    fn in_block(self, at: usize) -> MergeError {
        match self {
            CopyError::Write(source) => MergeError::Write(source),
            CopyError::Damaged(damage) => MergeError::Damaged(at, damage),
        }
    }
}

impl<'b> Input<'b> {
    fn begin(block: &'b Block, walk: SeriesWalk<'b>, reader: ChunkReader<'b>, n_series: u32) -> Result<Self, Damage> {
        let mut input = Input { walk, reader, deleted: block.deleted(), next: 0, n_series, current: None };
        input.advance()?;
        Ok(input)
    }

    fn advance(&mut self) -> Result<(), Damage> {
        self.current = if self.next < self.n_series { Some(self.walk.series(self.next)?) } else { None };
        self.next += 1;
        Ok(())
    }

    fn labels(&self) -> Option<&Labels> {
        self.current.as_ref().map(|series| &series.labels)
    }

    fn deleted_spans(&self) -> &[TimeRange] {
        self.current.as_ref().map_or(&[], |series| self.deleted.of(series.number))
    }

    /// Writes the chunks of the current series as they are.
    fn copy(&mut self, writer: &mut BlockWriter<'_>) -> Result<(), CopyError> {
        for chunk in self.current.iter().flat_map(|series| &series.chunks) {
            let times = self.reader.times(chunk).map_err(CopyError::Damaged)?;
            let values = self.reader.encoded_values(chunk).map_err(CopyError::Damaged)?;
            writer.encoded_chunk(&times, values).map_err(CopyError::Write)?;
        }
        Ok(())
    }

    /// The samples of the current series, without what was deleted.
    fn samples(&mut self) -> Result<Samples, Damage> {
        let mut samples = Samples::default();
        if let Some(series) = &self.current {
            for chunk in &series.chunks {
                self.reader.push(chunk, TimeRange::ALL, self.deleted.of(series.number), &mut samples)?;
            }
        }
        Ok(samples)
    }
}
