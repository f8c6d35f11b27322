//! A selection in parts, for several threads at once.
//!
//! The place that has most of the selected series, the head or one of the blocks, is divided by number; the others are searched
//! for the labels at which its parts begin.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use relatum_model::storage::{Cancel, Parts, SelectError, TimeRange};
use relatum_model::windows::{Glimpse, Shown};
use relatum_model::{Labels, Samples};

use crate::block::glimpse::{SPARE_MIN, Seen};
use crate::block::reader::ChunkPlace;
use crate::chunk::decoder::ChunkDecoder;
use crate::hints::Before;
use crate::ranks::Ranks;
use crate::series::MemSeries;
use crate::snapshot::merge;
use crate::view::{BlockWalk, Selected, first_labels};

/// How many series a part has: few enough that threads end at the same time, many enough that handing out parts costs nothing.
const PART_SERIES: usize = 128;
/// Where series are long, a part has fewer of them, of about so many samples.
const PART_SAMPLES: f64 = 131_072.0;
const LONG_PART_SERIES: usize = 4;
/// So many samples are passed over as fast as one is read.
const GLIMPSE_SHARE: f64 = 4.0;

/// The series that were found, and what of them a reader sees.
pub(crate) struct ViewParts<'v> {
    pub(crate) ranks: Arc<Ranks>,
    // The ranks of those in the head.
    pub(crate) found: Vec<u32>,
    pub(crate) blocks: Vec<Selected<'v>>,
    pub(crate) range: TimeRange,
    pub(crate) commit: u64,
    pub(crate) newest_in: Option<TimeRange>,
    pub(crate) glimpse: Option<Glimpse>,
    pub(crate) cancel: Cancel,
    pub(crate) part_series: usize,
}

/// How many samples the series that are read have in `blocks`, about.
fn samples_each(blocks: &[Selected<'_>], range: TimeRange) -> f64 {
    blocks.iter().map(|block| block.samples_each(range)).sum()
}

/// How many series each part has if those that are read have samples in `blocks`.
pub(crate) fn part_series(blocks: &[Selected<'_>], range: TimeRange, glimpse: Option<&Glimpse>) -> usize {
    let samples = samples_each(blocks, range);
    series_of(if glimpse.is_some() { samples / GLIMPSE_SHARE } else { samples })
}

/// What of `glimpse` is worth while: nothing where the windows are so narrow that most samples are looked at.
pub(crate) fn worth_while(glimpse: Option<Glimpse>, blocks: &[Selected<'_>], range: TimeRange) -> Option<Glimpse> {
    glimpse.filter(|glimpse| {
        let edges = glimpse.windows.count as f64 * if glimpse.first { 2.0 } else { 1.0 };
        !blocks.is_empty() && samples_each(blocks, range) >= edges * SPARE_MIN as f64
    })
}

/// How many series a part has when each has so many samples in blocks; the sum of none is -0.
fn series_of(samples: f64) -> usize {
    ((PART_SAMPLES / samples.max(1.0)) as usize).clamp(LONG_PART_SERIES, PART_SERIES)
}

/// What lies between two parts.
enum Edge {
    Start,
    // The labels of the first series behind.
    At(Labels),
    End,
}

/// Where a part lies in the head and in each block.
struct Places {
    head: Range<usize>,
    blocks: Vec<Range<usize>>,
}

impl ViewParts<'_> {
    /// The block that is divided by number; `None` if that is the head.
    fn divided(&self) -> Option<&Selected<'_>> {
        self.blocks
            .iter()
            .max_by_key(|block| block.numbers.len())
            .filter(|block| block.numbers.len() > self.found.len())
    }

    /// Where a part begins, which is where the one before ends.
    fn edge(&self, part: usize) -> Edge {
        let place = part.saturating_mul(self.part_series);
        if place == 0 {
            return Edge::Start;
        }
        let labels = match self.divided() {
            None => self.found.get(place).map(|rank| self.ranks.series(*rank).labels.clone()),
            // What cannot be read begins nothing.
            Some(block) => (place..block.numbers.len()).find_map(|place| block.labels(place)),
        };
        labels.map_or(Edge::End, Edge::At)
    }

    fn places(&self, part: usize) -> Places {
        if self.blocks.is_empty() {
            let from = part.saturating_mul(self.part_series).min(self.found.len());
            return Places { head: from..(from + self.part_series).min(self.found.len()), blocks: Vec::new() };
        }
        let (from, to) = (self.edge(part), if part + 1 < self.count() { self.edge(part + 1) } else { Edge::End });
        let within = |n: usize, before: &dyn Fn(&Labels, usize) -> usize| {
            // Most often all have the same series, so that a part has the same place everywhere.
            let place = |edge: &Edge, part: usize| match edge {
                Edge::Start => 0,
                Edge::At(labels) => before(labels, part.saturating_mul(self.part_series)),
                Edge::End => n,
            };
            let from = place(&from, part);
            from..place(&to, part + 1).max(from)
        };
        let in_head = |labels: &Labels, guess: usize| {
            let series = |rank: &u32| &self.ranks.series(*rank).labels;
            match self.found.get(guess) {
                Some(rank) if series(rank) == labels => guess,
                _ => self.found.partition_point(|rank| series(rank) < labels),
            }
        };
        let in_block = |block: &Selected<'_>| {
            within(block.numbers.len(), &|labels: &Labels, guess: usize| block.before(labels, guess))
        };
        Places { head: within(self.found.len(), &in_head), blocks: self.blocks.iter().map(in_block).collect() }
    }

    /// Puts what the reader sees of a series of the head in the place of what is in `samples`, and what comes before it into `before`.
    /// Returns whether nobody needs anything else of the series.
    fn read(&self, series: &MemSeries, decoder: &mut ChunkDecoder, samples: &mut Samples, before: &mut Before) -> bool {
        samples.clear();
        let state = series.state();
        if self.newest_in.is_some_and(|range| state.push_newest_float(range, self.commit, samples)) {
            return true;
        }
        if !state.push_floats(self.range, self.commit, decoder, samples) {
            let snapshot = state.snapshot(self.range, self.commit);
            drop(state);
            *samples = snapshot.decode();
            before.found(snapshot.before());
        }
        false
    }

    /// Adds the newest sample of the series that `walks` stand at to `samples`, which has none, if that is all that is asked for. Otherwise,
    /// also if it is no plain float or if chunks have to be compared for it, returns `false` and adds nothing.
    fn read_newest(&self, walks: &mut [BlockWalk<'_>], samples: &mut Samples) -> bool {
        let Some(range) = self.newest_in else { return false };
        let mut newest: Option<(usize, ChunkPlace)> = None;
        for (at, walk) in walks.iter().enumerate().filter(|(_, walk)| walk.is_first) {
            for chunk in walk.reaching(range) {
                match newest {
                    Some((_, before)) if chunk.max_ms < before.min_ms => {}
                    Some((_, before)) if chunk.min_ms <= before.max_ms => return false,
                    _ => newest = Some((at, *chunk)),
                }
            }
        }
        newest.is_none_or(|(at, chunk)| walks[at].push_newest(&chunk, range, samples))
    }

    /// Shows what `glimpse` asks for of the series that `walks` stand at, behind which are the `newest` samples. Otherwise returns `false`
    /// and shows nothing.
    fn see(&self, glimpse: &Glimpse, walks: &mut [BlockWalk<'_>], newest: &Samples, shown: &mut Shown) -> bool {
        let mut seen = Seen::new(shown);
        let mut of_blocks = walks.iter_mut().filter(|walk| walk.is_first);
        let is_plain = newest.starts.is_empty() && newest.histograms.is_empty();
        let is_seen = is_plain
            && of_blocks.all(|walk| walk.push_seen(self.range, glimpse, &mut seen))
            && newest.timestamps.first().is_none_or(|first_ms| seen.last_ms() < Some(*first_ms));
        if is_seen {
            seen.push(&newest.timestamps, &newest.values);
            seen.end();
        } else {
            shown.clear();
        }
        is_seen
    }

    /// As [`Parts::visit`], of a selection that is in the head only.
    fn visit_head(
        &self,
        ranks: &[u32],
        each: &mut dyn FnMut(&Labels, &mut Shown) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        let (mut shown, mut decoder) = (Shown::default(), ChunkDecoder::default());
        for rank in ranks {
            if self.cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            let series = self.ranks.series(*rank);
            shown.numbers.clear();
            let mut before = Before::default();
            self.read(series, &mut decoder, &mut shown.samples, &mut before);
            before.tell(&mut shown.samples);
            if !shown.samples.is_empty() && each(&series.labels, &mut shown).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Parts for ViewParts<'_> {
    fn count(&self) -> usize {
        self.divided().map_or(self.found.len(), |block| block.numbers.len()).div_ceil(self.part_series)
    }

    fn visit(
        &self,
        part: usize,
        each: &mut dyn FnMut(&Labels, &mut Shown) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        let places = self.places(part);
        if places.blocks.iter().all(Range::is_empty) {
            return self.visit_head(&self.found[places.head], each);
        }
        let mut in_head = self.found[places.head].iter().map(|rank| self.ranks.series(*rank)).peekable();
        let blocks = self.blocks.iter().zip(places.blocks);
        let mut walks: Vec<BlockWalk<'_>> = blocks.map(|(block, places)| block.walk(places)).collect();
        let (mut shown, mut newest) = (Shown::default(), Samples::default());
        let mut decoder = ChunkDecoder::default();
        loop {
            if self.cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            let of_head = in_head.peek().map(|series| &series.labels);
            let Some(labels) = first_labels(of_head, &mut walks) else { return Ok(()) };
            let series = in_head.next_if(|series| series.labels == labels);
            shown.clear();
            newest.clear();
            let mut before = Before::default();
            let is_all = series.is_some_and(|series| self.read(series, &mut decoder, &mut newest, &mut before));
            let is_newest = !is_all && newest.is_empty() && self.read_newest(&mut walks, &mut shown.samples);
            let is_seen = !(is_all || is_newest)
                && self.glimpse.is_some_and(|glimpse| self.see(&glimpse, &mut walks, &newest, &mut shown));
            for walk in walks.iter_mut().filter(|walk| walk.is_first) {
                if is_all || is_newest || is_seen {
                    walk.advance();
                } else {
                    walk.push_samples(self.range, &mut shown.samples);
                    before.found(walk.take_before());
                }
            }
            if !(is_newest || is_seen) {
                add(&mut shown.samples, &mut newest);
                before.tell(&mut shown.samples);
            }
            if !shown.samples.is_empty() && each(&labels, &mut shown).is_break() {
                return Ok(());
            }
        }
    }
}

/// Adds `later` samples of the same series; of two for one moment the one that is there counts.
fn add(samples: &mut Samples, later: &mut Samples) {
    if samples.is_empty() {
        std::mem::swap(samples, later);
        return;
    }
    let is_plain = |samples: &Samples| samples.starts.is_empty() && samples.histograms.is_empty();
    let is_behind = later.timestamps.first().is_none_or(|first_ms| samples.timestamps.last() < Some(first_ms));
    if is_plain(samples) && is_plain(later) && is_behind {
        samples.timestamps.extend_from_slice(&later.timestamps);
        samples.values.extend_from_slice(&later.values);
    } else {
        *samples = merge(std::mem::take(samples), std::mem::take(later));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_series_are_long_a_part_has_few() {
        for (samples, expected) in [(-0.0, 128), (0.0, 128), (0.5, 128), (1024.0, 128), (4096.0, 32), (1e9, 4)] {
            assert_eq!(series_of(samples), expected, "{samples}");
        }
        assert_eq!(part_series(&[], TimeRange { min_ms: 0, max_ms: 1 }, None), PART_SERIES);
    }
}
