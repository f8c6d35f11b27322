//! The `anchored` and `smoothed` ranges: changes measured from end to end of the range, without extrapolation.
//!
//! An anchored range takes the value at its start from the sample before it; a smoothed one puts both its ends on the lines
//! between the samples around them.

use relatum_model::Samples;
use relatum_model::histogram::CounterReset;

use super::counter::{add_noting, subtract_noting};
use super::rate::Kind;
use crate::annotation::texts;
use crate::error::QueryError;
use crate::eval::{HistogramPoint, Notes, Window, absent, histogram_sample};
use crate::histogram::{FloatHistogram, divide, scale};
use crate::syntax::Edges;

const ANCHORED_FUNCTIONS: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
const SMOOTHED_FUNCTIONS: [&str; 3] = ["delta", "increase", "rate"];

/// Refuses functions that would take the samples around the range for those inside.
pub(crate) fn check_edges(edges: Edges, function: &str) -> Result<(), QueryError> {
    let (word, allowed): (_, &[&str]) = match edges {
        Edges::Plain => return Ok(()),
        Edges::Anchored => ("anchored", &ANCHORED_FUNCTIONS),
        Edges::Smoothed => ("smoothed", &SMOOTHED_FUNCTIONS),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let list = allowed.join(", ");
    Err(QueryError::Execution(format!("{word} modifier can only be used with: {list} - not with {function}")))
}

/// The value at `t_ms` on the line through two samples.
pub(crate) fn on_line(a: (i64, f64), b: (i64, f64), t_ms: i64) -> f64 {
    a.1 + (b.1 - a.1) * (t_ms - a.0) as f64 / (b.0 - a.0) as f64
}

/// What a range consists of.
struct Ends {
    // The values at the ends of the range.
    left: f64,
    right: f64,
    // The samples strictly inside, as `from..to`.
    from: usize,
    to: usize,
}

fn ends(window: &Window<'_>, is_smoothed: bool, is_counter: bool) -> Option<Ends> {
    let (times, values) = (window.times, window.values);
    let mut last = times.len() - 1;
    let first = times[..last].partition_point(|t| *t <= window.start_ms).saturating_sub(1);
    if is_smoothed {
        last = times[..last].partition_point(|t| *t < window.end_ms);
    }
    if times[last] <= window.start_ms || (is_smoothed && times[first] > window.end_ms) {
        return None;
    }
    let line = |a: usize, t_ms| {
        let b = a + 1;
        // A counter that fell in between started again from zero.
        let start = if is_counter && values[b] < values[a] { 0.0 } else { values[a] };
        on_line((times[a], start), (times[b], values[b]), t_ms)
    };
    let left = if is_smoothed && times[first] < window.start_ms { line(first, window.start_ms) } else { values[first] };
    let right = if is_smoothed && last > 0 && times[last] > window.end_ms {
        line(last - 1, window.end_ms)
    } else {
        values[last]
    };
    let from = if times[first] <= window.start_ms { first + 1 } else { first };
    let to = if times[last] >= window.end_ms { last } else { last + 1 };
    Some(Ends { left, right, from, to: to.max(from) })
}

/// The change from the start of the range to its end.
pub(crate) fn change(window: &Window<'_>, edges: Edges, kind: Kind) -> f64 {
    let Some(ends) = ends(window, edges == Edges::Smoothed, kind.is_counter) else { return absent() };
    let mut change = ends.right - ends.left;
    if kind.is_counter {
        let mut correction = 0.0;
        let mut previous = ends.left;
        for &value in window.values[ends.from..ends.to].iter().chain([&ends.right]) {
            if value < previous {
                correction += previous;
            }
            previous = value;
        }
        change += correction;
    }
    if kind.is_rate { change / window.range_seconds() } else { change }
}

/// The values of an anchored range: the last one before it and those inside. `None` if there are none inside.
pub(crate) fn anchored_values<'a>(window: &Window<'a>) -> Option<&'a [f64]> {
    let inside = window.times.partition_point(|t| *t <= window.start_ms);
    (inside < window.times.len()).then(|| &window.values[inside.saturating_sub(1)..])
}

/// The samples of a range that is itself the result of the query. Those of an extended range are floats.
pub(crate) fn range_samples(edges: Edges, window: &Window<'_>) -> Samples {
    if edges == Edges::Plain {
        let mut samples = Samples::of_floats(window.times.to_vec(), window.values.to_vec());
        samples.histograms =
            window.histograms.iter().map(|point| histogram_sample(point.t_ms, &point.histogram)).collect();
        return samples;
    }
    let mut samples = Samples::default();
    if window.times.is_empty() {
        return samples;
    }
    if let Some(ends) = ends(window, edges == Edges::Smoothed, false) {
        samples.push(window.start_ms, ends.left);
        for at in ends.from..ends.to {
            samples.push(window.times[at], window.values[at]);
        }
        samples.push(window.end_ms, ends.right);
    }
    samples
}

/// The histogram at `t_ms` on the line between two; nothing, with a warning, if they do not go together.
pub(crate) fn between(
    a: &HistogramPoint,
    b: &HistogramPoint,
    t_ms: i64,
    is_counter: bool,
    notes: &mut Notes<'_>,
) -> Option<FloatHistogram> {
    if t_ms == a.t_ms {
        return Some(FloatHistogram::clone(&a.histogram));
    }
    if t_ms == b.t_ms {
        return Some(FloatHistogram::clone(&b.histogram));
    }
    let part = (t_ms - a.t_ms) as f64 / (b.t_ms - a.t_ms) as f64;
    if is_counter && b.histogram.is_reset_since(&a.histogram) {
        // The counter started again from zero.
        let mut started = FloatHistogram::clone(&b.histogram);
        scale(&mut started, part);
        return Some(started);
    }
    let mut growth = subtract_noting(&b.histogram, &a.histogram, notes)?;
    scale(&mut growth, part);
    add_noting(&growth, &a.histogram, notes)
}

/// As [`change`], of histograms.
pub(crate) fn change_of_histograms(
    window: &Window<'_>,
    edges: Edges,
    kind: Kind,
    notes: &mut Notes<'_>,
) -> Option<FloatHistogram> {
    let points = window.histograms;
    let is_smoothed = edges == Edges::Smoothed;
    let mut last = points.len() - 1;
    let first = points[..last].partition_point(|point| point.t_ms <= window.start_ms).saturating_sub(1);
    if is_smoothed {
        last = points[..last].partition_point(|point| point.t_ms < window.end_ms);
    }
    if points[last].t_ms <= window.start_ms || (is_smoothed && points[first].t_ms > window.end_ms) {
        return None;
    }
    let is_gauge = |histogram: &FloatHistogram| histogram.counter_reset == CounterReset::Gauge;
    // Smoothing may put the last sample that counts before the first.
    for point in points.get(first..=last).unwrap_or_default() {
        if point.histogram.has_custom_bounds() != points[first].histogram.has_custom_bounds() {
            notes.warn(texts::mixed_schemas(notes.metric));
            return None;
        }
        if kind.is_counter && is_gauge(&point.histogram) {
            notes.warn(texts::not_counter(notes.metric));
        }
    }
    let spans_start = is_smoothed && points[first].t_ms < window.start_ms;
    let left = if spans_start {
        between(&points[first], &points[first + 1], window.start_ms, kind.is_counter, notes)?
    } else {
        FloatHistogram::clone(&points[first].histogram)
    };
    let right = if is_smoothed && last > 0 && points[last].t_ms > window.end_ms {
        between(&points[last - 1], &points[last], window.end_ms, kind.is_counter, notes)?
    } else {
        FloatHistogram::clone(&points[last].histogram)
    };
    if !kind.is_counter && (!is_gauge(&left) || !is_gauge(&right)) {
        notes.warn(texts::not_gauge(notes.metric));
    }
    let mut change = subtract_noting(&right, &left, notes)?;
    if kind.is_counter
        && let Some(lost) = lost_in_resets(&points[first..], last - first, spans_start, (&left, &right), notes)?
    {
        change = add_noting(&change, &lost, notes)?;
    }
    if kind.is_rate {
        divide(&mut change, window.range_seconds());
    }
    change.counter_reset = CounterReset::Gauge;
    change.compact();
    Some(change)
}

/// What a counter had reached before each reset between the ends of the range; the outer `None` for what does not go together.
#[expect(clippy::option_option, reason = "nothing lost is not the same as a sum that cannot be made")]
fn lost_in_resets(
    points: &[HistogramPoint],
    last: usize,
    spans_start: bool,
    (left, right): (&FloatHistogram, &FloatHistogram),
    notes: &mut Notes<'_>,
) -> Option<Option<FloatHistogram>> {
    let mut from = 1;
    let mut previous = left;
    if spans_start && points[1].histogram.is_reset_since(&points[0].histogram) {
        // The line to the start of the range took this reset into account.
        previous = &points[1].histogram;
        from = 2;
    }
    if from > last {
        return Some(None);
    }
    let mut lost: Option<FloatHistogram> = None;
    // The last sample is what `right` was made of, with its hint.
    let inside = points[from..last].iter().map(|point| &*point.histogram);
    for histogram in inside.chain([right]) {
        if histogram.is_reset_since(previous) {
            lost = Some(match lost {
                None => previous.clone(),
                Some(lost) => add_noting(&lost, previous, notes)?,
            });
        }
        previous = histogram;
    }
    Some(lost)
}
