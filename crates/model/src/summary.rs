//! Runs of samples that are told by a summary: what a function over a long window needs of hours of samples, in a few numbers.
//!
//! Whoever evaluates windows says where they lie ([`Windows`]) and gets each series as [`Run`]s, which follow one another in time. A
//! run is a summary only where no window begins or ends inside it, so that each window is made of whole runs and single samples.

use crate::labels::Labels;
use crate::sample::Samples;

/// The windows over which a function is evaluated: `count` of them, of which the first ends at `first_end_ms` and each other one
/// `step_ms` behind the one before. A window reaches back `range_ms` from its end; the end belongs to it, the beginning does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// When the first one ends, in milliseconds since 1970.
    pub first_end_ms: i64,
    /// From one end to the next; not looked at with a single window.
    pub step_ms: i64,
    /// How many there are.
    pub count: usize,
    /// How long each one is.
    pub range_ms: i64,
}

impl Windows {
    /// Whether some window holds a sample of `first_ms` and not one of `last_ms`, which is not earlier, or the other way round.
    pub fn part(&self, first_ms: i64, last_ms: i64) -> bool {
        let beginning_ms = self.first_end_ms.saturating_sub(self.range_ms);
        self.edge_in(self.first_end_ms, first_ms, last_ms) || self.edge_in(beginning_ms, first_ms, last_ms)
    }

    /// Whether a sample of `t_ms` belongs to any of them.
    pub fn hold(&self, t_ms: i64) -> bool {
        let (t_ms, end_ms, step_ms) =
            (i128::from(t_ms), i128::from(self.first_end_ms), i128::from(self.step_ms).max(1));
        // The first one that does not end before.
        let n = if t_ms <= end_ms { 0 } else { (t_ms - end_ms + step_ms - 1) / step_ms };
        n < self.count as i128 && t_ms > end_ms + n * step_ms - i128::from(self.range_ms)
    }

    /// Whether one of the edges, of which the first is at `edge_ms`, lies from `first_ms` on and before `last_ms`.
    fn edge_in(&self, edge_ms: i64, first_ms: i64, last_ms: i64) -> bool {
        let (edge_ms, first_ms, last_ms) = (i128::from(edge_ms), i128::from(first_ms), i128::from(last_ms));
        let step_ms = i128::from(self.step_ms).max(1);
        // The first edge that is not before the first sample.
        let n = if first_ms <= edge_ms { 0 } else { (first_ms - edge_ms + step_ms - 1) / step_ms };
        n < self.count as i128 && edge_ms + n * step_ms < last_ms
    }
}

/// What is known of a run of floats. None of them is a NaN or infinite, so none is a staleness marker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The time of the first one, in milliseconds since 1970.
    pub first_ms: i64,
    /// The time of the last one.
    pub last_ms: i64,
    /// How many there are; one at least.
    pub count: u32,
    /// The first value.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The sum of all, added with compensation.
    pub sum: f64,
    /// The sum of those values that stand before a smaller one: what a counter had reached whenever it began anew. The growth of
    /// a counter over the run is `last - first + resets`.
    pub resets: f64,
    /// How often a value is not the one before it.
    pub changes: u32,
    /// How often a value is smaller than the one before it.
    pub drops: u32,
}

impl Summary {
    /// Of `values`, the first of which has the time `first_ms` and the last one `last_ms`; `None` if there are none, or if
    /// any of them or their sum is no finite number.
    pub fn of(first_ms: i64, last_ms: i64, values: &[f64]) -> Option<Summary> {
        let (&first, &last) = (values.first()?, values.last()?);
        let mut summary = Summary {
            first_ms,
            last_ms,
            count: u32::try_from(values.len()).ok()?,
            first,
            last,
            min: first,
            max: first,
            sum: 0.0,
            resets: 0.0,
            changes: 0,
            drops: 0,
        };
        let (mut compensation, mut before) = (0.0, first);
        for &value in values {
            let sum = summary.sum + value;
            // Neumaier's: what the larger of the two lost of the smaller one.
            compensation += if f64::abs(summary.sum) >= f64::abs(value) {
                (summary.sum - sum) + value
            } else {
                (value - sum) + summary.sum
            };
            summary.sum = sum;
            summary.min = summary.min.min(value);
            summary.max = summary.max.max(value);
            summary.changes += u32::from(value != before);
            if value < before {
                summary.resets += before;
                summary.drops += 1;
            }
            before = value;
        }
        // A NaN or an infinity anywhere leaves none of these finite.
        summary.sum += compensation;
        (summary.sum.is_finite() && summary.resets.is_finite()).then_some(summary)
    }
}

/// A part of a series: its samples, or what is known of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// Samples of any kind; at least one.
    Samples(Samples),
    /// Floats between whose times no window begins or ends.
    Summary(Summary),
}

/// A series as runs, each of which lies behind the one before in time.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSeries {
    /// What identifies the series.
    pub labels: Labels,
    /// Its parts, oldest first.
    pub runs: Vec<Run>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(windows: (i64, i64, usize, i64), first_ms: i64, last_ms: i64, expected: bool) {
        let (first_end_ms, step_ms, count, range_ms) = windows;
        let windows = Windows { first_end_ms, step_ms, count, range_ms };
        assert_eq!(windows.part(first_ms, last_ms), expected, "{windows:?} {first_ms}..={last_ms}");
        // As defined, sample by sample.
        let holds = |window: usize, t_ms: i64| {
            let end_ms = first_end_ms + step_ms * window as i64;
            t_ms <= end_ms && t_ms > end_ms - range_ms
        };
        let parts = (0..count).any(|window| {
            let all = (first_ms..=last_ms).all(|t_ms| holds(window, t_ms));
            let any = (first_ms..=last_ms).any(|t_ms| holds(window, t_ms));
            any && !all
        });
        let held =
            (first_ms..=last_ms).find(|t_ms| windows.hold(*t_ms) != (0..count).any(|window| holds(window, *t_ms)));
        assert_eq!(held, None, "{windows:?}");
        assert!(expected || !parts, "a window holds a part: {windows:?} {first_ms}..={last_ms}");
    }

    #[test]
    fn edges() {
        for (first_ms, last_ms, expected) in [
            (1, 100, false),
            (0, 5, true),
            (50, 101, true),
            (100, 101, true),
            (101, 150, false),
            (-20, 0, false),
            (-20, 1, true),
        ] {
            check((100, 0, 1, 100), first_ms, last_ms, expected);
        }
        for (first_ms, last_ms, expected) in [
            (1, 10, false),
            (11, 20, false),
            (5, 11, true),
            (20, 21, true),
            (30, 99, true),
            (31, 99, false),
            (31, 40, false),
            (-99, -10, false),
        ] {
            check((10, 10, 3, 20), first_ms, last_ms, expected);
        }
        check((10, 10, 3, 4), 1, 30, true);
        check((i64::MAX, 1, 1, 10), i64::MAX - 1, i64::MAX, false);
        check((5, 0, 0, 5), 0, 10, false);
    }

    #[test]
    fn summaries() {
        let summary = Summary::of(1, 9, &[3.0, 5.0, 5.0, 1.0, 2.0, 0.5]).expect("all are finite");
        let Summary { first, last, min, max, sum, resets, changes, drops, count, .. } = summary;
        assert_eq!((first, last, min, max, sum, resets), (3.0, 0.5, 0.5, 5.0, 16.5, 7.0));
        assert_eq!((changes, drops, count), (4, 2, 6));
        assert_eq!(Summary::of(0, 0, &[]), None);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, crate::stale_nan()] {
            assert_eq!(Summary::of(0, 2, &[1.0, bad, 2.0]), None, "{bad}");
        }
        assert_eq!(Summary::of(0, 1, &[f64::MAX, f64::MAX]), None);
        let exact = Summary::of(0, 2, &[1e16, 1.0, -1e16]).expect("all are finite");
        assert_eq!(exact.sum, 1.0, "nothing is lost on the way");
    }
}
