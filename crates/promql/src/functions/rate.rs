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

/// The change over the range, extrapolated from the samples to its ends; [`absent`] with a single sample.
pub(crate) fn extrapolated(window: &Window<'_>, kind: Kind) -> f64 {
    let (Some(first_ms), Some(last_ms)) = (window.times.first(), window.times.last()) else { return absent() };
    let (ends, count) = ((*first_ms, *last_ms), window.times.len());
    let Some(coverage) = Coverage::of(ends, count, window.start_ms, window.end_ms, kind) else { return absent() };
    let values = window.values;
    let mut change = values[values.len() - 1] - values[0];
    if kind.is_counter && falls(values) {
        for pair in values.windows(2).filter(|pair| pair[1] < pair[0]) {
            change += pair[0];
        }
    }
    coverage.extrapolate(values[0], change, kind)
}

/// How much of a range its samples cover: all of extrapolation that depends on times alone.
///
/// A gap at an end up to 1.1 times the average distance of samples is filled whole: the series probably covers the range. With a
/// larger gap the series probably starts or ends inside, and is extended by half that distance; a counter never beyond the point
/// where it was zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coverage {
    // In seconds: between the samples, before the first and behind the last of them.
    sampled: f64,
    to_start: f64,
    to_end: f64,
    range: f64,
    factor: f64,
    // A counter whose first value is more than so many times its change was not zero in the range, however one rounds.
    surely_older: f64,
}

impl Coverage {
    /// Of the `count` samples of a range from `first_ms` to `last_ms`; `None` if there are not two.
    pub(crate) fn of(
        (first_ms, last_ms): (i64, i64),
        count: usize,
        start_ms: i64,
        end_ms: i64,
        kind: Kind,
    ) -> Option<Coverage> {
        if count < 2 {
            return None;
        }
        let sampled = (last_ms - first_ms) as f64 / 1000.0;
        let average_gap = sampled / (count - 1) as f64;
        let threshold = average_gap * 1.1;
        let mut to_start = (first_ms - start_ms) as f64 / 1000.0;
        let mut to_end = (end_ms - last_ms) as f64 / 1000.0;
        if to_start >= threshold {
            to_start = average_gap / 2.0;
        }
        if to_end >= threshold {
            to_end = average_gap / 2.0;
        }
        let range = (end_ms - start_ms) as f64 / 1000.0;
        let surely_older = to_start / sampled * (1.0 + 1e-9);
        let coverage = Coverage { sampled, to_start, to_end, range, factor: 0.0, surely_older };
        Some(Coverage { factor: coverage.factor(to_start, kind), ..coverage })
    }

    fn factor(&self, to_start: f64, kind: Kind) -> f64 {
        let factor = (self.sampled + to_start + self.to_end) / self.sampled;
        if kind.is_rate { factor / self.range } else { factor }
    }

    /// The change over the range of a series with this first value and this change between its samples.
    #[inline]
    pub(crate) fn extrapolate(&self, first: f64, change: f64, kind: Kind) -> f64 {
        if kind.is_counter && change > 0.0 && first >= 0.0 && first <= change * self.surely_older {
            let to_zero = self.sampled * (first / change);
            if to_zero < self.to_start {
                return change * self.factor(to_zero, kind);
            }
        }
        change * self.factor
    }
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

    /// Extrapolation as it is defined, with nothing calculated ahead.
    fn as_defined(gaps: f64, (mut to_start, mut to_end): (f64, f64), sampled: f64, first: f64, change: f64) -> f64 {
        let average_gap = sampled / gaps;
        if to_start >= average_gap * 1.1 {
            to_start = average_gap / 2.0;
        }
        if to_end >= average_gap * 1.1 {
            to_end = average_gap / 2.0;
        }
        if change > 0.0 && first >= 0.0 {
            to_start = f64::min(to_start, sampled * (first / change));
        }
        change * ((sampled + to_start + to_end) / sampled)
    }

    proptest::proptest! {
        #[test]
        fn a_counter_is_never_extended_beyond_zero(
            (start_ms, first_ms, last_ms, end_ms) in (0i64..50, 50i64..30_000, 30_000i64..90_000, 90_000i64..120_000),
            first in proptest::prop_oneof![0.0..100.0, proptest::sample::select(vec![0.0, 1e300, 5e-324, 1e-323, f64::INFINITY])],
            change in proptest::prop_oneof![0.0..100.0, proptest::sample::select(vec![0.0, 1e300, 5e-324, 1e-323, -1.0, f64::INFINITY])],
        ) {
            let kind = Kind { is_counter: true, is_rate: false };
            let coverage = Coverage::of((first_ms, last_ms), 2, start_ms, end_ms, kind).expect("there are two samples");
            let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
            let ends = (seconds(start_ms, first_ms), seconds(last_ms, end_ms));
            let expected = as_defined(1.0, ends, seconds(first_ms, last_ms), first, change);
            assert_eq!(coverage.extrapolate(first, change, kind).to_bits(), expected.to_bits());
        }
    }
}
