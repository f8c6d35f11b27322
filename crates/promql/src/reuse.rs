//! Results of range queries that are used again: who asks for the last hour every half a minute gets most of it from here.
//!
//! What was computed is kept as extents, runs of steps without a gap, by query, step and view. An extent knows the moment of the
//! store that it shows; steps at or behind the oldest time that changed since are computed anew, so late samples, backfill and
//! deletions are seen at once. Only queries whose value at a step depends on nothing but samples up to that step are kept
//! ([`steps`]), and of those only results without annotations, which belong to a range and not to a step.

mod kept;
mod steps;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use relatum_model::storage::{Moment, Scope, Select, TimeRange};
use relatum_model::{Labels, Samples, Series};

use crate::engine::{Answer, Engine, QueryOptions};
use crate::error::QueryError;
use crate::eval::may_stop_early;
use crate::syntax::Expr;
use crate::value::Value;
use kept::{Extent, Kept, Key};

/// One query may take up this part of all there is.
const SHARE_OF_QUERY: usize = 8;
/// An extent that would get longer starts again with what was asked last.
const STEPS_MAX: i64 = 22_000;
/// With more holes than this everything is computed at once.
const GAPS_MAX: usize = 4;

/// A range query.
#[derive(Debug, Clone, Copy)]
pub struct RangeQuery<'a> {
    /// The text.
    pub query: &'a str,
    /// The first step.
    pub start_ms: i64,
    /// No step is behind it.
    pub end_ms: i64,
    /// From step to step.
    pub step_ms: i64,
}

/// Keeps results of range queries, up to a number of bytes.
#[derive(Debug)]
pub struct Results {
    bytes_max: usize,
    kept: Mutex<Kept>,
    reused: AtomicU64,
    computed: AtomicU64,
}

/// How much is kept, and how much that helped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResultsStats {
    /// What the results that are kept take up, about.
    pub bytes: usize,
    /// How many they may.
    pub bytes_max: usize,
    /// How many steps of queries were answered with what was kept.
    pub steps_reused: u64,
    /// How many had to be computed, of queries that can be kept.
    pub steps_computed: u64,
}

/// A part of an answer: the steps from `first_ms` to `last_ms` of an extent.
struct Piece {
    first_ms: i64,
    last_ms: i64,
    extent: Arc<Extent>,
}

impl Results {
    /// Keeps up to `bytes_max` bytes; with 0 nothing.
    pub fn new(bytes_max: usize) -> Self {
        Results { bytes_max, kept: Mutex::default(), reused: AtomicU64::new(0), computed: AtomicU64::new(0) }
    }

    /// How much is kept.
    pub fn stats(&self) -> ResultsStats {
        ResultsStats {
            bytes: self.kept().bytes(),
            bytes_max: self.bytes_max,
            steps_reused: self.reused.load(Ordering::Relaxed),
            steps_computed: self.computed.load(Ordering::Relaxed),
        }
    }

    /// As [`Engine::range`], which is asked only for what is not known.
    pub fn range(
        &self,
        engine: &Engine,
        source: &dyn Select,
        scope: &Scope,
        asked: RangeQuery<'_>,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let RangeQuery { query, start_ms, end_ms, step_ms } = asked;
        let read = engine.read(query, options)?;
        let compute = |first_ms, last_ms| engine.range_of(source, scope, &read, (first_ms, last_ms, step_ms), options);
        let Some(last_ms) = self.last_step(engine, &read.expr, asked, options.limit) else {
            return compute(start_ms, end_ms);
        };
        let view = source.open(scope, TimeRange { min_ms: start_ms, max_ms: last_ms })?;
        let moment = view.moment();
        if view.changed_since(moment) != i64::MAX {
            // This store cannot tell what changed.
            return compute(start_ms, end_ms);
        }
        let settings = engine.options();
        let key = Key {
            scope: scope.cache_key().into(),
            query: query.into(),
            step_ms,
            phase_ms: start_ms.rem_euclid(step_ms),
            lookback_ms: options.lookback.unwrap_or(settings.lookback).as_millis(),
            subquery_step_ms: settings.subquery_step.as_millis(),
            start_timestamps: settings.start_timestamps,
        };
        // A step that is itself the oldest time of a change is one of those that changed.
        let last_valid_ms = |extent: &Extent| match view.changed_since(extent.moment) {
            changed_ms if changed_ms > extent.last_ms => extent.last_ms,
            changed_ms if changed_ms <= extent.first_ms => i64::MIN,
            changed_ms => extent.first_ms + (changed_ms - 1 - extent.first_ms) / step_ms * step_ms,
        };
        let mut pieces: Vec<Piece> = self
            .kept()
            .extents(&key)
            .into_iter()
            .map(|extent| Piece { first_ms: extent.first_ms, last_ms: last_valid_ms(&extent), extent })
            .filter(|piece| piece.last_ms >= piece.first_ms)
            .collect();
        drop(view);
        pieces.sort_by_key(|piece| piece.first_ms);
        let mut gaps = gaps(&pieces, start_ms, last_ms, step_ms);
        if gaps.len() > GAPS_MAX {
            pieces.clear();
            gaps = vec![(start_ms, last_ms)];
        }
        let n_steps = |first_ms: i64, last_ms: i64| ((last_ms - first_ms) / step_ms + 1) as u64;
        let computed = gaps.iter().map(|(first_ms, last_ms)| n_steps(*first_ms, *last_ms)).sum();
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        // Without a gap there is nothing new.
        let mut is_kept = !gaps.is_empty();
        for (first_ms, last_ms) in gaps {
            // A range of a single step is an instant to some functions, so it takes a neighbour along.
            let answer = if first_ms < last_ms {
                compute(first_ms, last_ms)
            } else if first_ms > start_ms {
                compute(first_ms - step_ms, last_ms)
            } else {
                compute(first_ms, last_ms + step_ms)
            }?;
            let Value::Matrix(series) = answer.value else { unreachable!("the value of a range is a matrix") };
            is_kept &= answer.warnings.is_empty() && answer.infos.is_empty();
            is_kept &= series.iter().all(|series| series.samples.histograms.is_empty());
            add_new(&mut warnings, answer.warnings);
            add_new(&mut infos, answer.infos);
            let series = Arc::from(series);
            pieces.push(Piece { first_ms, last_ms, extent: Arc::new(Extent { first_ms, last_ms, moment, series }) });
        }
        self.computed.fetch_add(computed, Ordering::Relaxed);
        self.reused.fetch_add(n_steps(start_ms, last_ms) - computed, Ordering::Relaxed);
        pieces.sort_by_key(|piece| piece.first_ms);
        let value = Value::Matrix(put_together(&pieces, start_ms, last_ms));
        if is_kept {
            self.keep(key, pieces, (start_ms, last_ms, step_ms), moment);
        }
        Ok(Answer { value, warnings, infos })
    }

    /// The last step of a query whose results can be used again, which has several steps; otherwise `None`.
    fn last_step(&self, engine: &Engine, expr: &Expr, asked: RangeQuery<'_>, limit: usize) -> Option<i64> {
        let settings = engine.options();
        let RangeQuery { start_ms, end_ms, step_ms, .. } = asked;
        // With either, labels change at the end of an evaluation, where all of its steps have a say.
        let is_off = self.bytes_max == 0 || settings.delayed_name_removal || settings.type_and_unit_labels;
        let length_ms = end_ms.checked_sub(start_ms).filter(|length_ms| step_ms > 0 && *length_ms >= step_ms);
        let length_ms = length_ms.filter(|_| !is_off)?;
        // What is kept is whole, and to read some of the series is less than to read all for later.
        let is_partial = limit > 0 && may_stop_early(expr);
        (!is_partial && steps::stand_alone(expr)).then(|| start_ms + length_ms / step_ms * step_ms)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what there is now: the steps that were asked for, with what lies right beside them in one extent, and the others.
    fn keep(&self, key: Key, pieces: Vec<Piece>, (start_ms, last_ms, step_ms): (i64, i64, i64), moment: Moment) {
        let touches = |piece: &Piece| piece.first_ms - step_ms <= last_ms && piece.last_ms + step_ms >= start_ms;
        let (near, far): (Vec<Piece>, Vec<Piece>) = pieces.into_iter().partition(touches);
        let (mut first_ms, mut to_ms) = near.iter().fold((start_ms, last_ms), |(first_ms, last_ms), piece| {
            (first_ms.min(piece.first_ms), last_ms.max(piece.last_ms))
        });
        if (to_ms - first_ms) / step_ms > STEPS_MAX {
            (first_ms, to_ms) = (start_ms, last_ms);
        }
        let bytes: usize = near.iter().map(|piece| piece.extent.bytes()).sum();
        let mut extents = Vec::new();
        if bytes <= self.bytes_max / SHARE_OF_QUERY {
            let series = Arc::from(put_together(&near, first_ms, to_ms));
            extents.push(Arc::new(Extent { first_ms, last_ms: to_ms, moment, series }));
        }
        // Those were looked at against the same view, so what still holds of them is as new.
        extents.extend(far.into_iter().map(|Piece { first_ms, last_ms, extent }| {
            let is_whole = last_ms == extent.last_ms;
            let series = if is_whole {
                Arc::clone(&extent.series)
            } else {
                Arc::from(put_together(&[Piece { first_ms, last_ms, extent }], first_ms, last_ms))
            };
            Arc::new(Extent { first_ms, last_ms, moment, series })
        }));
        let (mut bytes, share) = (key.bytes(), self.bytes_max / SHARE_OF_QUERY);
        extents.retain(|extent| {
            let fits = bytes + extent.bytes() <= share;
            bytes += if fits { extent.bytes() } else { 0 };
            fits
        });
        self.kept().put(key, extents, self.bytes_max);
    }
}

/// The steps from `start_ms` to `last_ms` that no piece has; the pieces ascend.
fn gaps(pieces: &[Piece], start_ms: i64, last_ms: i64, step_ms: i64) -> Vec<(i64, i64)> {
    let mut gaps = Vec::new();
    let mut next_ms = start_ms;
    for piece in pieces.iter().filter(|piece| piece.last_ms >= start_ms && piece.first_ms <= last_ms) {
        if piece.first_ms > next_ms {
            gaps.push((next_ms, piece.first_ms - step_ms));
        }
        next_ms = next_ms.max(piece.last_ms + step_ms);
    }
    if next_ms <= last_ms {
        gaps.push((next_ms, last_ms));
    }
    gaps
}

/// The series of ascending pieces from `first_ms` to `last_ms`, sorted by labels.
fn put_together(pieces: &[Piece], first_ms: i64, last_ms: i64) -> Vec<Series> {
    let mut places: HashMap<Labels, usize, RandomState> = HashMap::default();
    let mut all: Vec<Series> = Vec::new();
    for piece in pieces {
        let (from_ms, to_ms) = (piece.first_ms.max(first_ms), piece.last_ms.min(last_ms));
        if from_ms > to_ms {
            continue;
        }
        for series in piece.extent.series.iter() {
            let samples = series.samples.within(from_ms, to_ms);
            if samples.is_empty() {
                continue;
            }
            match places.get(&series.labels) {
                Some(place) => append(&mut all[*place].samples, samples),
                None => {
                    places.insert(series.labels.clone(), all.len());
                    all.push(Series { labels: series.labels.clone(), samples });
                }
            }
        }
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

/// Adds samples behind others; a step has a float or a histogram.
fn append(samples: &mut Samples, mut later: Samples) {
    samples.timestamps.append(&mut later.timestamps);
    samples.values.append(&mut later.values);
    samples.histograms.append(&mut later.histograms);
}

fn add_new(texts: &mut Vec<String>, more: Vec<String>) {
    for text in more {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
}
