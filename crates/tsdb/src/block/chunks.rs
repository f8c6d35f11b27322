//! Decoding the chunks of a block: all of their samples, or those that somebody looks at.

use std::sync::Arc;

use relatum_model::storage::TimeRange;
use relatum_model::windows::Glimpse;
use relatum_model::{HistogramSample, Samples};

use super::decoder::{ValueDecoder, decode_integers, decode_started, has_starts, is_surely_finite, surely_rise};
use super::glimpse::{Marks, Seen};
use super::histograms::{HISTOGRAMS, decode_histograms};
use super::layout::Damage;
use super::reader::{ChunkPlace, Index};
use crate::histogram::Encoded;
use crate::starts;

/// Decodes chunks of one block. Series of a target share their times, so the last times are kept.
pub(crate) struct ChunkReader<'b> {
    index: Index<'b>,
    // By their numbers, the last ones last.
    times: Vec<(u32, Arc<[i64]>)>,
    marks: KeptMarks,
    values: Vec<f64>,
    decoder: ValueDecoder,
    // The last histogram that was passed over on the way to those that were wanted.
    before: Option<HistogramSample>,
}

/// The marks of columns of times, by the numbers of these. Series of a target ask for the same ones in the same order.
#[derive(Default)]
struct KeptMarks {
    all: Vec<(u32, Arc<Marks>)>,
    // Behind the last one that was found.
    next: usize,
}

/// How many of them are kept: those of a year of long blocks.
const MARKS_KEPT: usize = 1024;

impl KeptMarks {
    fn find(&mut self, times: u32) -> Option<Arc<Marks>> {
        let is_it = |(number, _): &(u32, Arc<Marks>)| *number == times;
        let at =
            if self.all.get(self.next).is_some_and(is_it) { self.next } else { self.all.iter().position(is_it)? };
        self.next = at + 1;
        Some(Arc::clone(&self.all[at].1))
    }

    fn keep(&mut self, times: u32, marks: &Arc<Marks>) {
        if self.all.len() >= MARKS_KEPT {
            self.all.clear();
        }
        self.all.push((times, Arc::clone(marks)));
        self.next = self.all.len();
    }
}

/// How many columns of times are kept: a day's worth of long chunks.
const TIMES_KEPT: usize = 16;

impl<'b> ChunkReader<'b> {
    pub(crate) fn new(index: Index<'b>) -> Self {
        ChunkReader {
            index,
            times: Vec::new(),
            marks: KeptMarks::default(),
            values: Vec::new(),
            decoder: ValueDecoder::default(),
            before: None,
        }
    }

    /// The times of a chunk.
    pub(crate) fn times(&mut self, chunk: &ChunkPlace) -> Result<Arc<[i64]>, Damage> {
        if let Some((_, times)) = self.times.iter().rev().find(|(number, _)| *number == chunk.times) {
            return Ok(Arc::clone(times));
        }
        let (offset, length, count, _, _) = self.index.times_entry(chunk.times)?;
        let times: Arc<[i64]> = decode_integers(self.index.block.column(offset, length)?, count)?.into();
        if self.times.len() >= TIMES_KEPT {
            self.times.remove(0);
        }
        self.times.push((chunk.times, Arc::clone(&times)));
        Ok(times)
    }

    /// The last histogram that [`ChunkReader::push`] passed over since this was asked.
    pub(crate) fn take_before(&mut self) -> Option<HistogramSample> {
        self.before.take()
    }

    /// Adds the samples of a chunk that lie inside `range` and outside of the spans in `deleted`.
    pub(crate) fn push(
        &mut self,
        chunk: &ChunkPlace,
        range: TimeRange,
        deleted: &[TimeRange],
        samples: &mut Samples,
    ) -> Result<(), Damage> {
        let times = self.times(chunk)?;
        let column = self.encoded_values(chunk)?;
        if column.first() == Some(&HISTOGRAMS) {
            let histograms = decode_histograms(column, &times)?;
            let is_there = |t_ms: i64| !deleted.iter().any(|span| span.contains(t_ms));
            let passed = histograms.iter().take_while(|sample| sample.t_ms < range.min_ms);
            if let Some(last) = passed.filter(|sample| is_there(sample.t_ms)).last() {
                self.before = Some(last.clone());
            }
            let wanted = histograms.into_iter().filter(|sample| range.contains(sample.t_ms) && is_there(sample.t_ms));
            samples.histograms.extend(wanted);
            return Ok(());
        }
        if times.len() != chunk.count {
            return Err(Damage("a chunk has more times than values"));
        }
        let from = times.partition_point(|t_ms| *t_ms < range.min_ms);
        let to = times.partition_point(|t_ms| *t_ms <= range.max_ms).max(from);
        if deleted.is_empty() && samples.starts.is_empty() && !has_starts(column) {
            // Nearly always: what is wanted of the column goes where it is wanted.
            self.decoder.push(column, chunk.count, from..to, &mut samples.values)?;
            samples.timestamps.extend_from_slice(&times[from..to]);
            return Ok(());
        }
        let (values, chunk_starts) = decode_started(column, chunk.count)?;
        if !deleted.is_empty() {
            for at in (from..to).filter(|at| !deleted.iter().any(|span| span.contains(times[*at]))) {
                let start_ms = chunk_starts.get(at).copied().unwrap_or(0);
                samples.push_started(times[at], start_ms, values[at]);
            }
            return Ok(());
        }
        let chunk_starts = chunk_starts.get(from..to).unwrap_or(&[]);
        starts::extend(samples, &times[from..to], &values[from..to], chunk_starts);
        Ok(())
    }

    /// Adds the newest sample of a chunk that lies inside `range` to `samples`, which has none. `false` if there is none there, or if it is
    /// more than a float; then nothing is added.
    pub(crate) fn push_newest(
        &mut self,
        chunk: &ChunkPlace,
        range: TimeRange,
        samples: &mut Samples,
    ) -> Result<bool, Damage> {
        let column = self.encoded_values(chunk)?;
        if column.first() == Some(&HISTOGRAMS) || has_starts(column) {
            return Ok(false);
        }
        if chunk.max_ms <= range.max_ms && self.decoder.push_last(column, &mut samples.values)? {
            samples.timestamps.push(chunk.max_ms);
            return Ok(true);
        }
        let times = self.times(chunk)?;
        let behind = times.partition_point(|t_ms| *t_ms <= range.max_ms);
        let Some(at) = behind.checked_sub(1).filter(|at| times[*at] >= range.min_ms) else { return Ok(false) };
        self.decoder.pick(column, chunk.count, &[at as u32], &mut samples.values)?;
        samples.timestamps.push(times[at]);
        Ok(true)
    }

    /// Adds the samples of a chunk that lie inside `range` to `seen`, but for some that `glimpse` does not ask for. `false` if it has more
    /// to tell than floats; then nothing is added.
    pub(crate) fn push_seen(
        &mut self,
        chunk: &ChunkPlace,
        range: TimeRange,
        glimpse: &Glimpse,
        seen: &mut Seen<'_>,
    ) -> Result<bool, Damage> {
        let column = self.encoded_values(chunk)?;
        if column.first() == Some(&HISTOGRAMS) || has_starts(column) {
            return Ok(false);
        }
        let marks = self.marks(chunk, range, glimpse)?;
        let may_skip = if glimpse.falls { surely_rise(column)? } else { is_surely_finite(column)? };
        if marks.is_sparse() && may_skip {
            self.values.clear();
            self.decoder.pick(column, chunk.count, marks.places(), &mut self.values)?;
            seen.push_marked(&marks, &self.values);
            return Ok(true);
        }
        let times = self.times(chunk)?;
        if times.len() != chunk.count {
            return Err(Damage("a chunk has more times than values"));
        }
        self.values.clear();
        self.decoder.push(column, chunk.count, marks.inside(), &mut self.values)?;
        seen.push_rising(&marks, &times[marks.inside()], &self.values);
        Ok(true)
    }

    /// What is looked at of a chunk; the same in all series with these times, of which a reader sees one range.
    fn marks(&mut self, chunk: &ChunkPlace, range: TimeRange, glimpse: &Glimpse) -> Result<Arc<Marks>, Damage> {
        if let Some(marks) = self.marks.find(chunk.times) {
            return Ok(marks);
        }
        let marks = Arc::new(Marks::of(&self.times(chunk)?, range, glimpse));
        self.marks.keep(chunk.times, &marks);
        Ok(marks)
    }

    /// The bits of the value in place `at` of a chunk; of a native histogram, its fingerprint.
    pub(crate) fn bits_at(&mut self, chunk: &ChunkPlace, at: usize) -> Result<Option<u64>, Damage> {
        Ok(self.bits(chunk)?.get(at).copied())
    }

    /// The same of all values of a chunk.
    pub(crate) fn bits(&mut self, chunk: &ChunkPlace) -> Result<Vec<u64>, Damage> {
        let column = self.encoded_values(chunk)?;
        if column.first() == Some(&HISTOGRAMS) {
            let histograms = decode_histograms(column, &self.times(chunk)?)?;
            let encoded = histograms.iter().map(|sample| Encoded::new(sample.start_ms, &sample.histogram));
            return Ok(encoded.map(|encoded| encoded.fingerprint()).collect());
        }
        Ok(decode_started(column, chunk.count)?.0.iter().map(|value| value.to_bits()).collect())
    }

    /// The values of a chunk as they are on disk.
    pub(crate) fn encoded_values(&self, chunk: &ChunkPlace) -> Result<&'b [u8], Damage> {
        self.index.block.column(chunk.offset, chunk.length)
    }
}
