//! How fast counters grow that are histograms, or that say when they began to count.

use std::sync::Arc;

use relatum_model::histogram::CounterReset;

use super::rate::Kind;
use super::{extended, rate};
use crate::annotation::texts;
use crate::eval::{HistogramPoint, Notes, Outcome, Window};
use crate::histogram::{FloatHistogram, Incompatible, add, divide, scale, subtract};
use crate::syntax::Edges;

/// Whether a counter began anew between two samples, each given by its start and its time, as far as the starts tell.
///
/// A start at the time of the sample before is one for a counter that is sent as differences, and none for a counter that does
/// not know when it began; the start of the sample before tells which it is.
pub(crate) fn is_started_anew(before: (i64, i64), now: (i64, i64)) -> bool {
    let ((start_before, before), (start, now)) = (before, now);
    if start == 0 || start >= now || start < before {
        return false;
    }
    start > before || (start_before <= before && start_before != 0 && start_before != before)
}

/// Whether a sample says it began before the last sample of something that began at another time.
fn overlaps((start_before, before): (i64, i64), start: i64) -> bool {
    start != 0 && start < before && start != start_before
}

/// `rate`, `increase` and `delta` of any window.
pub(crate) fn change(window: &Window<'_>, edges: Edges, kind: Kind, notes: &mut Notes<'_>) -> Outcome {
    match (window.times.is_empty(), window.histograms.is_empty()) {
        (false, false) => {
            notes.warn(texts::mixed_types(notes.metric));
            Outcome::Nothing
        }
        (false, true) if edges != Edges::Plain => Outcome::Float(extended::change(window, edges, kind)),
        (false, true) => of_floats(window, kind, notes),
        (true, false) => {
            let change = if edges == Edges::Plain {
                of_histograms(window, kind, notes)
            } else {
                extended::change_of_histograms(window, edges, kind, notes)
            };
            change.map_or(Outcome::Nothing, |histogram| Outcome::Histogram(Arc::new(histogram)))
        }
        (true, true) => Outcome::Nothing,
    }
}

/// Floats that may know when they began to count.
fn of_floats(window: &Window<'_>, kind: Kind, notes: &mut Notes<'_>) -> Outcome {
    if window.starts.is_empty() || !kind.is_counter {
        return Outcome::Float(rate::extrapolated(window, kind));
    }
    let (times, values, starts) = (window.times, window.values, window.starts);
    let last = times.len() - 1;
    let mut change = values[last] - values[0];
    let mut has_overlap = false;
    for at in 1..times.len() {
        let before = (starts[at - 1], times[at - 1]);
        has_overlap |= overlaps(before, starts[at]);
        if values[at] < values[at - 1] || is_started_anew(before, (starts[at], times[at])) {
            change += values[at - 1];
        }
    }
    if has_overlap {
        notes.warn_of_overlap();
    }
    let range = Extent { window, first_ms: times[0], last_ms: times[last], gaps: last };
    let Some(factor) = range.factor(starts[0], kind, || (change > 0.0 && values[0] >= 0.0).then(|| values[0] / change))
    else {
        return Outcome::Nothing;
    };
    if factor.is_from_start {
        change += values[0];
    }
    Outcome::Float(change * factor.value)
}

fn of_histograms(window: &Window<'_>, kind: Kind, notes: &mut Notes<'_>) -> Option<FloatHistogram> {
    let points = window.histograms;
    let (first, last) = (&points[0], &points[points.len() - 1]);
    let mut change = if points.len() > 1 { Some(sampled_change(points, kind, notes)?) } else { None };
    let range = Extent { window, first_ms: first.t_ms, last_ms: last.t_ms, gaps: points.len() - 1 };
    let factor = range.factor(first.start_ms, kind, || {
        let change = change.as_ref()?;
        (change.count > 0.0 && first.histogram.count >= 0.0).then(|| first.histogram.count / change.count)
    })?;
    if factor.is_from_start {
        change = Some(match change {
            None => FloatHistogram::clone(&first.histogram),
            Some(change) => add_noting(&change, &first.histogram, notes)?,
        });
    }
    let mut change = change?;
    scale(&mut change, factor.value);
    Some(change)
}

/// Where the samples of a window lie.
struct Extent<'w> {
    window: &'w Window<'w>,
    first_ms: i64,
    last_ms: i64,
    // How many steps there are from sample to sample.
    gaps: usize,
}

struct Factor {
    value: f64,
    // Whether the counter began at zero inside the range, so that the first sample counts as a whole.
    is_from_start: bool,
}

impl Extent<'_> {
    /// By what the change between the samples is multiplied to be that over the range; see [`rate::extrapolated`]. `to_zero` is
    /// how far, in lengths of the sampled part, the counter was from zero.
    fn factor(&self, start_ms: i64, kind: Kind, to_zero: impl FnOnce() -> Option<f64>) -> Option<Factor> {
        let seconds = |from: i64, to: i64| to.wrapping_sub(from) as f64 / 1000.0;
        let mut sampled = seconds(self.first_ms, self.last_ms);
        let average_gap = if self.gaps > 0 { sampled / self.gaps as f64 } else { 0.0 };
        let threshold = average_gap * 1.1;
        let mut before = seconds(self.window.start_ms, self.first_ms);
        let mut behind = seconds(self.last_ms, self.window.end_ms);
        let is_from_start =
            kind.is_counter && start_ms != 0 && start_ms > self.window.start_ms && start_ms < self.first_ms;
        if is_from_start {
            before = 0.0;
            sampled = seconds(start_ms, self.last_ms);
        } else if self.gaps == 0 {
            return None;
        } else {
            if before >= threshold {
                before = average_gap / 2.0;
            }
            if kind.is_counter
                && let Some(part) = to_zero()
            {
                let to_zero = sampled * part;
                if to_zero < before {
                    before = to_zero;
                }
            }
        }
        if behind >= threshold {
            behind = average_gap / 2.0;
        }
        let mut value = if sampled == 0.0 { 1.0 } else { (sampled + before + behind) / sampled };
        if kind.is_rate {
            value /= self.window.range_seconds();
        }
        Some(Factor { value, is_from_start })
    }
}

/// The change from the first of at least two histograms to the last, resets made good.
fn sampled_change(points: &[HistogramPoint], kind: Kind, notes: &mut Notes<'_>) -> Option<FloatHistogram> {
    let is_gauge = |point: &HistogramPoint| point.histogram.counter_reset == CounterReset::Gauge;
    let (first, second, last) = (&points[0], &points[1], &points[points.len() - 1]);
    if kind.is_counter && (is_gauge(first) || is_gauge(last)) {
        notes.warn(texts::not_counter(notes.metric));
    }
    let began_anew = |before: &HistogramPoint, now: &HistogramPoint| {
        is_started_anew((before.start_ms, before.t_ms), (now.start_ms, now.t_ms))
    };
    // A first sample that is before a reset does not matter, nor does what its buckets are.
    let mut base = Arc::clone(&first.histogram);
    if kind.is_counter && (began_anew(first, second) || second.histogram.is_reset_since(&first.histogram)) {
        base = Arc::new(FloatHistogram {
            schema: second.histogram.schema,
            custom_bounds: Arc::clone(&second.histogram.custom_bounds),
            ..FloatHistogram::default()
        });
    }
    let is_custom = base.has_custom_bounds();
    if last.histogram.has_custom_bounds() != is_custom {
        notes.warn(texts::mixed_schemas(notes.metric));
        return None;
    }
    let mut schema = last.histogram.schema.min(base.schema);
    if kind.is_counter {
        for point in &points[1..points.len() - 1] {
            if is_gauge(point) {
                notes.warn(texts::not_counter(notes.metric));
            }
            if point.histogram.has_custom_bounds() != is_custom {
                notes.warn(texts::mixed_schemas(notes.metric));
                return None;
            }
            schema = schema.min(point.histogram.schema);
        }
    }
    let mut end = FloatHistogram::clone(&last.histogram);
    if end.schema != schema {
        end.reduce_resolution(schema).ok()?;
    }
    let mut change = subtract_noting(&end, &base, notes)?;
    if kind.is_counter {
        let mut has_overlap = false;
        let mut before = &base;
        for (previous, point) in points.iter().zip(&points[1..]) {
            has_overlap |= overlaps((previous.start_ms, previous.t_ms), point.start_ms);
            if began_anew(previous, point) || point.histogram.is_reset_since(before) {
                change = add_noting(&change, before, notes)?;
            }
            before = &point.histogram;
        }
        if has_overlap {
            notes.warn_of_overlap();
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        notes.warn(texts::not_gauge(notes.metric));
    }
    change.counter_reset = CounterReset::Gauge;
    Some(change)
}

/// The sum; nothing, with a warning, if the two do not go together.
pub(crate) fn add_noting(
    left: &FloatHistogram,
    right: &FloatHistogram,
    notes: &mut Notes<'_>,
) -> Option<FloatHistogram> {
    combine_noting(add(left, right), "addition", notes)
}

/// The difference; nothing, with a warning, if the two do not go together.
pub(crate) fn subtract_noting(
    left: &FloatHistogram,
    right: &FloatHistogram,
    notes: &mut Notes<'_>,
) -> Option<FloatHistogram> {
    combine_noting(subtract(left, right), "subtraction", notes)
}

fn combine_noting(
    combined: Result<(FloatHistogram, crate::histogram::Combined), Incompatible>,
    operation: &str,
    notes: &mut Notes<'_>,
) -> Option<FloatHistogram> {
    match combined {
        Ok((histogram, combined)) => {
            if combined.is_reconciled {
                notes.inform(texts::reconciled(operation));
            }
            Some(histogram)
        }
        Err(Incompatible) => {
            notes.warn(texts::mixed_schemas(notes.metric));
            None
        }
    }
}

/// A sample of either kind, with its start.
#[derive(Clone, Copy)]
struct Latest<'a> {
    t_ms: i64,
    start_ms: i64,
    value: Result<f64, &'a FloatHistogram>,
}

/// `irate` and `idelta`: the change between the last two samples.
pub(crate) fn instant(window: &Window<'_>, is_counter: bool, notes: &mut Notes<'_>) -> Outcome {
    let floats = window.times.iter().zip(window.values).enumerate().rev().take(2).map(|(at, (t_ms, value))| Latest {
        t_ms: *t_ms,
        start_ms: window.starts.get(at).copied().unwrap_or(0),
        value: Ok(*value),
    });
    let histograms = window.histograms.iter().rev().take(2).map(|point| Latest {
        t_ms: point.t_ms,
        start_ms: point.start_ms,
        value: Err(&point.histogram),
    });
    let mut latest: Vec<Latest<'_>> = floats.chain(histograms).collect();
    latest.sort_by_key(|sample| sample.t_ms);
    let [.., before, now] = latest.as_slice() else { return Outcome::Nothing };
    let seconds = (now.t_ms - before.t_ms) as f64 / 1000.0;
    if seconds == 0.0 {
        return Outcome::Nothing;
    }
    let began_anew = is_counter && is_started_anew((before.start_ms, before.t_ms), (now.start_ms, now.t_ms));
    match (before.value, now.value) {
        (Ok(before), Ok(now)) => {
            let change = if is_counter && (now < before || began_anew) { now } else { now - before };
            Outcome::Float(if is_counter { change / seconds } else { change })
        }
        (Err(before), Err(now)) => {
            let is_gauge = |histogram: &FloatHistogram| histogram.counter_reset == CounterReset::Gauge;
            if is_counter && (is_gauge(before) || is_gauge(now)) {
                notes.warn(texts::not_counter(notes.metric));
            }
            if !is_counter && (!is_gauge(before) || !is_gauge(now)) {
                notes.warn(texts::not_gauge(notes.metric));
            }
            let mut change = now.clone();
            if !is_counter || (!began_anew && !now.is_reset_since(before)) {
                match subtract_noting(now, before, notes) {
                    Some(difference) => change = difference,
                    None => return Outcome::Nothing,
                }
            }
            change.counter_reset = CounterReset::Gauge;
            change.compact();
            if is_counter {
                divide(&mut change, seconds);
            }
            Outcome::Histogram(Arc::new(change))
        }
        _ => {
            notes.warn(texts::mixed_types(notes.metric));
            Outcome::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_tell_of_resets() {
        for (before, now, expected, why) in [
            ((0, 60), (0, 120), false, "not known"),
            ((-30, 60), (-30, 120), false, "the same as before"),
            ((-30, 60), (90, 120), true, "behind the sample before"),
            ((-30, 60), (60, 120), true, "differences, one after the other"),
            ((60, 60), (60, 120), false, "unknown, written as the time of the first sample"),
            ((0, 60), (60, 120), false, "nothing is known of the sample before"),
            ((70, 60), (60, 120), false, "the start before makes no sense"),
            ((-30, 60), (120, 120), false, "a start at the sample itself"),
            ((-30, 60), (130, 120), false, "a start behind the sample"),
        ] {
            assert_eq!(is_started_anew(before, now), expected, "{why}");
        }
    }
}
