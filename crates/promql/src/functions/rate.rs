//! How fast a series changes: `rate`, `increase`, `delta`, `irate`, `idelta`.

use crate::eval::{Window, absent};

/// Which function of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Whether a drop means a restart from zero.
    pub(crate) is_counter: bool,
    /// Whether the result is per second.
    pub(crate) is_rate: bool,
}

/// The change over the range, extrapolated from the samples to its ends.
///
/// A gap at an end up to 1.1 times the average distance of samples is filled whole: the series probably covers the range. With a
/// larger gap the series probably starts or ends inside, and is extended by half that distance; a counter never beyond the point
/// where it was zero.
pub(crate) fn extrapolated(window: &Window<'_>, kind: Kind) -> f64 {
    let values = window.values;
    let mut change = values[values.len() - 1] - values[0];
    if kind.is_counter && falls(values) {
        for pair in values.windows(2).filter(|pair| pair[1] < pair[0]) {
            change += pair[0];
        }
    }
    extrapolate(window, kind, change)
}

/// As [`extrapolated`], where it is known that the value never falls.
#[inline]
pub(crate) fn extrapolated_rising(window: &Window<'_>, kind: Kind) -> f64 {
    extrapolate(window, kind, window.values[window.values.len() - 1] - window.values[0])
}

#[inline]
fn extrapolate(window: &Window<'_>, kind: Kind, change: f64) -> f64 {
    let (times, values) = (window.times, window.values);
    let last = times.len() - 1;
    if last == 0 {
        return absent();
    }
    let sampled = (times[last] - times[0]) as f64 / 1000.0;
    let average_gap = sampled / last as f64;
    let threshold = average_gap * 1.1;
    let mut to_start = (times[0] - window.start_ms) as f64 / 1000.0;
    let mut to_end = (window.end_ms - times[last]) as f64 / 1000.0;
    if to_start >= threshold {
        to_start = average_gap / 2.0;
    }
    if kind.is_counter && change > 0.0 && values[0] >= 0.0 {
        let to_zero = sampled * (values[0] / change);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = average_gap / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if kind.is_rate {
        factor /= window.range_seconds();
    }
    change * factor
}

/// Whether any value is less than the one before. Most counters never fall, so this looks at all without stopping, several at once.
pub(crate) fn falls(values: &[f64]) -> bool {
    let later = values.get(1..).unwrap_or(&[]);
    later.iter().zip(values).fold(false, |falls, (value, previous)| falls | (value < previous))
}

/// The change between the last two samples; of a counter per second.
pub(crate) fn instant(window: &Window<'_>, is_counter: bool) -> f64 {
    let [.., t0, t1] = window.times else { return absent() };
    let [.., v0, v1] = window.values else { return absent() };
    if t0 == t1 {
        return absent();
    }
    if !is_counter {
        return v1 - v0;
    }
    let change = if v1 < v0 { *v1 } else { v1 - v0 };
    change / ((t1 - t0) as f64 / 1000.0)
}

/// How often the value fell.
pub(crate) fn resets(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64
}

/// How often the value changed. NaN after NaN is no change.
pub(crate) fn changes(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan())).count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(samples: &[(i64, f64)], kind: Kind, expected: f64) {
        let times: Vec<i64> = samples.iter().map(|(t, _)| *t).collect();
        let values: Vec<f64> = samples.iter().map(|(_, v)| *v).collect();
        let window = Window {
            step: 0,
            at_ms: 60_000,
            start_ms: 0,
            end_ms: 60_000,
            times: &times,
            values: &values,
            starts: &[],
            histograms: &[],
        };
        let value = extrapolated(&window, kind);
        assert!((value / expected - 1.0).abs() < 1e-12, "{value} is not {expected}");
    }

    #[test]
    fn increases() {
        let increase = Kind { is_counter: true, is_rate: false };
        check(&[(15_000, 100.0), (30_000, 110.0), (45_000, 120.0), (60_000, 130.0)], increase, 40.0);
        // The drop is a restart.
        check(&[(15_000, 100.0), (30_000, 110.0), (45_000, 5.0), (60_000, 15.0)], increase, 25.0 / 45.0 * 60.0);
        // The counter was zero ten seconds before its first sample, so it is not extended further.
        check(&[(30_000, 10.0), (45_000, 25.0), (60_000, 40.0)], increase, 37.5);
        check(&[(15_000, 130.0), (60_000, 100.0)], Kind { is_counter: false, is_rate: true }, -40.0 / 60.0);
    }
}
