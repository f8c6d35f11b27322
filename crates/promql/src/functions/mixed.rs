//! Functions of a range in which there may be histograms: counts, sums, means, resets and changes.

use std::sync::Arc;

use super::counter::is_started_anew;
use super::sum::Sum;
use super::{over_time, rate};
use crate::annotation::texts;
use crate::eval::{HistogramPoint, Notes, Outcome, Window};
use crate::histogram::{Accumulator, FloatHistogram, HistogramMean, is_equal};
use crate::syntax::Edges;
use relatum_model::histogram::CounterReset;

/// How many samples there are.
pub(crate) fn count(window: &Window<'_>) -> f64 {
    (window.times.len() + window.histograms.len()) as f64
}

/// The first sample.
pub(crate) fn first(window: &Window<'_>) -> Outcome {
    match window.histograms.first() {
        Some(histogram) if window.times.first().is_none_or(|t| histogram.t_ms <= *t) => {
            Outcome::Histogram(Arc::clone(&histogram.histogram))
        }
        _ => Outcome::Float(window.values[0]),
    }
}

/// The last sample.
pub(crate) fn last(window: &Window<'_>) -> Outcome {
    match window.histograms.last() {
        Some(histogram) if window.times.last().is_none_or(|t| histogram.t_ms >= *t) => {
            Outcome::Histogram(Arc::clone(&histogram.histogram))
        }
        _ => Outcome::Float(window.values[window.values.len() - 1]),
    }
}

/// The time of the first sample.
pub(crate) fn first_ms(window: &Window<'_>) -> i64 {
    let histogram = window.histograms.first().map_or(i64::MAX, |histogram| histogram.t_ms);
    window.times.first().copied().unwrap_or(i64::MAX).min(histogram)
}

/// The time of the last sample; of one before 1970 that of the beginning of 1970, as in Prometheus.
pub(crate) fn last_ms(window: &Window<'_>) -> i64 {
    let histogram = window.histograms.last().map_or(0, |histogram| histogram.t_ms);
    window.times.last().copied().unwrap_or(0).max(histogram).max(0)
}

/// The sum of floats, or of histograms.
pub(crate) fn sum(window: &Window<'_>, notes: &mut Notes<'_>) -> Outcome {
    combine(window, notes, over_time::sum, |histograms, notes| {
        let mut sum: Accumulator<Sum> = Accumulator::of(&histograms[0].histogram);
        let mut is_reconciled = false;
        for point in &histograms[1..] {
            is_reconciled |= sum.add(&point.histogram, 1.0).ok()?.is_reconciled;
        }
        note_hints(histograms, is_reconciled, notes);
        Some(sum.finish())
    })
}

/// The mean of floats, or of histograms.
pub(crate) fn avg(window: &Window<'_>, notes: &mut Notes<'_>) -> Outcome {
    combine(window, notes, over_time::avg, |histograms, notes| {
        let mut mean = HistogramMean::of(&histograms[0].histogram);
        let mut is_reconciled = false;
        for point in &histograms[1..] {
            is_reconciled |= mean.add(&point.histogram).ok()?.is_reconciled;
        }
        note_hints(histograms, is_reconciled, notes);
        Some(mean.finish())
    })
}

fn combine(
    window: &Window<'_>,
    notes: &mut Notes<'_>,
    of_floats: fn(&[f64]) -> f64,
    of_histograms: impl FnOnce(&[HistogramPoint], &mut Notes<'_>) -> Option<FloatHistogram>,
) -> Outcome {
    if window.histograms.is_empty() {
        return Outcome::Float(of_floats(window.values));
    }
    if !window.values.is_empty() {
        notes.warn(texts::mixed_types(notes.metric));
        return Outcome::Nothing;
    }
    match of_histograms(window.histograms, notes) {
        Some(histogram) => Outcome::Histogram(Arc::new(histogram)),
        None => {
            notes.warn(texts::mixed_schemas(notes.metric));
            Outcome::Nothing
        }
    }
}

fn note_hints(histograms: &[HistogramPoint], is_reconciled: bool, notes: &mut Notes<'_>) {
    let has = |hint| histograms.iter().any(|point| point.histogram.counter_reset == hint);
    if has(CounterReset::Reset) && has(CounterReset::NotReset) {
        notes.warn(texts::collision("aggregation"));
    }
    if is_reconciled {
        notes.inform(texts::reconciled("aggregation"));
    }
}

/// A sample of either kind.
#[derive(Clone, Copy)]
struct Point<'a> {
    t_ms: i64,
    start_ms: i64,
    float: f64,
    histogram: Option<&'a FloatHistogram>,
}

/// The samples of a window in the order of their times, as far as the range takes them in.
fn points<'a>(window: &Window<'a>, edges: Edges) -> Option<Vec<Point<'a>>> {
    let floats = window.times.iter().zip(window.values).enumerate().map(|(at, (t_ms, value))| Point {
        t_ms: *t_ms,
        start_ms: window.starts.get(at).copied().unwrap_or(0),
        float: *value,
        histogram: None,
    });
    let histograms = window.histograms.iter().map(|point| Point {
        t_ms: point.t_ms,
        start_ms: point.start_ms,
        float: 0.0,
        histogram: Some(&point.histogram),
    });
    let mut points: Vec<Point<'a>> = floats.chain(histograms).collect();
    points.sort_by_key(|point| point.t_ms);
    if edges != Edges::Plain {
        let inside = points.partition_point(|point| point.t_ms <= window.start_ms);
        if inside == points.len() {
            return None;
        }
        points.drain(..inside.saturating_sub(1));
    }
    Some(points)
}

fn count_pairs(window: &Window<'_>, edges: Edges, counts: impl Fn(Point<'_>, Point<'_>) -> bool) -> Outcome {
    match points(window, edges) {
        Some(points) => Outcome::Float(points.windows(2).filter(|pair| counts(pair[0], pair[1])).count() as f64),
        None => Outcome::Nothing,
    }
}

/// How often counting began anew.
pub(crate) fn resets(window: &Window<'_>, edges: Edges) -> Outcome {
    count_pairs(window, edges, |before, now| {
        let is_started_anew = is_started_anew((before.start_ms, before.t_ms), (now.start_ms, now.t_ms));
        match (before.histogram, now.histogram) {
            (None, None) => is_started_anew || rate::resets(&[before.float, now.float]) > 0.0,
            (Some(before), Some(now)) => is_started_anew || now.is_reset_since(before),
            _ => true,
        }
    })
}

/// How often the value changed.
pub(crate) fn changes(window: &Window<'_>, edges: Edges) -> Outcome {
    count_pairs(window, edges, |before, now| match (before.histogram, now.histogram) {
        (None, None) => rate::changes(&[before.float, now.float]) > 0.0,
        (Some(before), Some(now)) => !is_equal(now, before),
        _ => true,
    })
}
