//! The `anchored` and `smoothed` ranges: changes measured from end to end of the range, without extrapolation.
//!
//! An anchored range takes the value at its start from the sample before it; a smoothed one puts both its ends on the lines
//! between the samples around them.

use relatum_model::Samples;

use super::rate::Kind;
use crate::error::QueryError;
use crate::eval::{Window, absent};
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

/// The samples of a range that is itself the result of the query.
pub(crate) fn range_samples(edges: Edges, window: &Window<'_>) -> Samples {
    if edges == Edges::Plain {
        return Samples::of_floats(window.times.to_vec(), window.values.to_vec());
    }
    let mut samples = Samples::default();
    if let Some(ends) = ends(window, edges == Edges::Smoothed, false) {
        samples.push(window.start_ms, ends.left);
        for at in ends.from..ends.to {
            samples.push(window.times[at], window.values[at]);
        }
        samples.push(window.end_ms, ends.right);
    }
    samples
}
