//! Series on all cores: the parts of a selection are worked on by several threads, and what comes of them is taken in their order.
//!
//! So a result does not depend on how many threads there are, or on which is faster. A series whose samples are floats becomes a
//! column where it is read; one with histograms is handed on as it is, to be treated in its turn.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, OnceLock};

use relatum_model::storage::{Hints, Parts, TimeRange};
use relatum_model::windows::Shown;
use relatum_model::{Labels, Matcher, Series};

use super::budget::Pace;
use super::fold_streaming::{Batch, Sink};
use super::frames::Frames;
use super::groups::Groups;
use super::names::{has_type, without_metadata};
use super::{Column, Evaluator, Limits, Row};
use crate::error::QueryError;
use crate::probe::LookedAt;

/// Fewer parts than this are worked on at once by nobody: a thread costs as much to start.
const PARTS_MIN: usize = 4;
/// How many finished parts may wait for each thread.
const PARTS_AHEAD: usize = 8;
/// About how many rows come of a part.
const PART_ROWS: usize = 100;
/// No more parts than this are for one thread alone: where many rows are wanted, reading a few in vain matters little.
const PARTS_ALONE_MAX: usize = 8;
/// What it takes to read a series, however few samples it has, counted as work on samples: a few microseconds, and more from disk.
const SERIES_WORK: usize = 1 << 16;

/// How the samples of one series become its values at the steps; they may be changed on the way. Counts the samples that the steps
/// looked at. What is found of the times of a series is kept for the next one.
pub(super) type MakeColumn<'m> =
    dyn Fn(&mut Frames, &mut Shown, &mut Column, &mut LookedAt) -> Result<(), QueryError> + Sync + 'm;

/// What becomes of the series of a selection.
pub(super) struct Plan<'p> {
    pub(super) make: &'p MakeColumn<'p>,
    /// Whether a series loses what says which metric it is: at once, or at the end.
    pub(super) loses_name: bool,
    pub(super) drops_name_later: bool,
    /// Whether the names of the metrics are of interest.
    pub(super) wants_metrics: bool,
    pub(super) n_steps: usize,
}

/// A series on its way into a block.
pub(super) enum Made {
    Row { row: Row, metric: Option<Box<str>> },
    Whole(Series),
}

impl Evaluator<'_> {
    /// Calls `visit` with the parts of a selection; `None` if the store has none.
    pub(super) fn with_parts<T>(
        &mut self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        visit: impl FnOnce(&mut Self, &dyn Parts) -> Result<T, QueryError>,
    ) -> Result<Option<T>, QueryError> {
        if range.is_empty() {
            return Ok(None);
        }
        let reader = self.views.covering(range)?;
        let cancel = self.budget.cancel().clone();
        match reader.parts(matchers, hints, &cancel)? {
            Some(parts) => visit(self, &*parts).map(Some),
            None => Ok(None),
        }
    }

    /// Makes a row of every series, in the order of labels; `take` gets them until it returns `false`. That it wants no more than
    /// `at_least` is likely, unless that is zero.
    pub(super) fn rows_of_parts(
        &mut self,
        parts: &dyn Parts,
        plan: &Plan<'_>,
        at_least: usize,
        mut take: impl FnMut(&mut Self, Made) -> Result<bool, QueryError>,
    ) -> Result<(), QueryError> {
        let bound = self.bound(plan);
        let (meter, nothing) = (Arc::clone(&self.measuring.meter), self.measuring.looked_at(plan.n_steps));
        let work = |frames: &mut Frames, part: usize| {
            let mut made = Vec::new();
            let mut metrics = Metrics::default();
            let (mut read, mut looked_at) = (0, nothing.clone());
            bound.visit(parts, part, |labels, shown| {
                if !shown.samples.histograms.is_empty() {
                    made.push(Made::Whole(Series {
                        labels: labels.clone(),
                        samples: std::mem::take(&mut shown.samples),
                    }));
                    return Ok(true);
                }
                let mut floats = Column::default();
                read += shown.samples.len();
                (plan.make)(frames, shown, &mut floats, &mut looked_at)?;
                if floats.slots() > 0 {
                    let metric = if plan.wants_metrics { metrics.new_one(labels) } else { None };
                    let labels = if plan.loses_name { without_metadata(labels) } else { labels.clone() };
                    let row = Row { drop_name: plan.drops_name_later, ..Row::of_floats(labels, floats) };
                    made.push(Made::Row { row, metric });
                }
                Ok(true)
            })?;
            meter.count_read(read);
            meter.count(&looked_at);
            Ok(made)
        };
        self.in_order(
            parts.count(),
            parts_alone(at_least),
            || Frames::new(bound.pace.clone()),
            work,
            |evaluator, made| {
                for made in made {
                    if !take(evaluator, made)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            },
        )
    }

    /// Folds every series into its group. `false` if there is one that only an aggregation of all rows can treat.
    pub(super) fn fold_parts(
        &mut self,
        parts: &dyn Parts,
        plan: &Plan<'_>,
        sink: &mut Sink,
        mut take_metric: impl FnMut(&mut Self, &str),
    ) -> Result<bool, QueryError> {
        let bound = self.bound(plan);
        let (meter, nothing) = (Arc::clone(&self.measuring.meter), self.measuring.looked_at(plan.n_steps));
        let numbers = AtomicUsize::new(0);
        // Each thread has groups of its own, whose labels are made once for each thread.
        let groups = sink.new_groups();
        let worker = || Worker {
            number: numbers.fetch_add(1, Ordering::Relaxed),
            groups: groups.clone(),
            frames: Frames::new(bound.pace.clone()),
            column: Column::default(),
        };
        let work = |worker: &mut Worker, part: usize| {
            let Worker { number, groups, frames, column } = worker;
            let mut batch = Batch::of(*number);
            let known = groups.len();
            let mut metrics = Metrics::default();
            let (mut read, mut looked_at) = (0, nothing.clone());
            bound.visit(parts, part, |labels, shown| {
                // Without its type a series may be the same as another one; and histograms are not floats.
                let is_typed = || has_type(labels);
                if !shown.samples.histograms.is_empty() || (plan.loses_name && is_typed()) {
                    batch.is_beyond = true;
                    return Ok(false);
                }
                column.clear();
                read += shown.samples.len();
                (plan.make)(frames, shown, column, &mut looked_at)?;
                if column.slots() > 0 {
                    batch.metrics.extend(if plan.wants_metrics { metrics.new_one(labels) } else { None });
                    batch.push(groups.of(labels, plan.loses_name), column);
                }
                Ok(true)
            })?;
            meter.count_read(read);
            meter.count(&looked_at);
            batch.new_groups.extend((known..groups.len()).map(|group| groups.labels(group)));
            Ok(batch)
        };
        let mut is_beyond = false;
        self.in_order(parts.count(), 0, worker, work, |evaluator, batch| {
            is_beyond |= batch.is_beyond;
            if !is_beyond {
                batch.metrics.iter().for_each(|metric| take_metric(evaluator, metric));
                evaluator.budget.charge(sink.take_batch(batch, plan.drops_name_later))?;
            }
            Ok(!is_beyond)
        })?;
        Ok(!is_beyond)
    }

    fn bound(&self, plan: &Plan<'_>) -> Bound {
        Bound { pace: self.budget.pace(), room: self.budget.room(), n_steps: plan.n_steps }
    }

    /// Does `work` for every part, on all cores, and gives the results to `take` in the order of the parts until it returns
    /// `false`. Each thread has a state of its own. The first parts, so many, are for this thread alone.
    fn in_order<S, R: Send>(
        &mut self,
        n_parts: usize,
        alone: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) -> Result<R, QueryError> + Sync,
        mut take: impl FnMut(&mut Self, R) -> Result<bool, QueryError>,
    ) -> Result<(), QueryError> {
        let n_shared = n_parts.saturating_sub(alone);
        let threads = if n_shared < PARTS_MIN { 1 } else { cores().min(n_shared) };
        let alone = if threads == 1 { n_parts } else { alone };
        let mut own = state();
        for part in 0..alone {
            if !take(self, work(&mut own, part)?)? {
                return Ok(());
            }
        }
        if alone == n_parts {
            return Ok(());
        }
        let next_part = AtomicUsize::new(alone);
        let claim = || Some(next_part.fetch_add(1, Ordering::Relaxed)).filter(|part| *part < n_parts);
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(threads * PARTS_AHEAD);
            for _ in 1..threads {
                let sender: SyncSender<(usize, Result<R, QueryError>)> = sender.clone();
                scope.spawn(|| {
                    let sender = sender;
                    let mut state = state();
                    while let Some(part) = claim() {
                        // Whoever needs the results is gone after an error, and so are we.
                        if sender.send((part, work(&mut state, part))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut waiting = BTreeMap::new();
            let mut turn = alone;
            while turn < n_parts {
                while let Some(result) = waiting.remove(&turn) {
                    if !take(self, result?)? {
                        return Ok(());
                    }
                    turn += 1;
                }
                if turn == n_parts {
                    break;
                }
                let received = match receiver.try_recv() {
                    Err(TryRecvError::Empty) if waiting.len() < threads * PARTS_AHEAD => match claim() {
                        Some(part) => Some((part, work(&mut own, part))),
                        None => receiver.recv().ok(),
                    },
                    Err(TryRecvError::Empty) => receiver.recv().ok(),
                    Err(TryRecvError::Disconnected) => claim().map(|part| (part, work(&mut own, part))),
                    Ok(received) => Some(received),
                };
                // Only a thread that panicked leaves a part out, and its panic goes on when the scope ends.
                let Some((part, result)) = received else { break };
                waiting.insert(part, result);
            }
            Ok(())
        })
    }
}

/// What a thread that folds keeps from part to part.
struct Worker {
    number: usize,
    groups: Groups,
    frames: Frames,
    column: Column,
}

/// What bounds a thread.
struct Bound {
    pace: Pace,
    // What may be held.
    room: Limits,
    n_steps: usize,
}

impl Bound {
    fn visit(
        &self,
        parts: &dyn Parts,
        part: usize,
        mut each: impl FnMut(&Labels, &mut Shown) -> Result<bool, QueryError>,
    ) -> Result<(), QueryError> {
        self.pace.check()?;
        let (mut pace, mut n_series) = (self.pace.clone(), 0);
        let mut admitted_each = |labels: &Labels, shown: &mut Shown| {
            let held = shown.samples.len().saturating_add(self.n_steps);
            n_series += 1;
            pace.step(SERIES_WORK.saturating_add(held))?;
            self.room.admit(held.into())?;
            each(labels, shown)
        };
        let mut done = Ok(true);
        parts.visit(part, &mut |labels, shown| {
            done = admitted_each(labels, shown);
            if matches!(done, Ok(true)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        done?;
        self.pace.read_series(n_series)
    }
}

/// The names of the metrics that were met.
#[derive(Default)]
struct Metrics {
    last: Box<str>,
}

impl Metrics {
    /// The name if it is another one than the last.
    fn new_one(&mut self, labels: &Labels) -> Option<Box<str>> {
        let name = labels.metric_name().filter(|name| **name != *self.last)?;
        self.last = name.into();
        Some(self.last.clone())
    }
}

/// How many parts one thread reads before others join in: where few rows are wanted, nobody reads ahead of the parts that most
/// likely have them.
fn parts_alone(rows_wanted: usize) -> usize {
    if rows_wanted == 0 { 0 } else { (1 + rows_wanted / PART_ROWS).min(PARTS_ALONE_MAX) }
}

/// How many threads work on one query.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_read_by_all() {
        for (rows_wanted, expected) in [(0, 0), (1, 1), (99, 1), (200, 3), (1000, 8), (1_000_000, 8), (usize::MAX, 8)] {
            assert_eq!(parts_alone(rows_wanted), expected, "{rows_wanted}");
        }
    }
}
