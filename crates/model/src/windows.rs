//! Windows in time, and what is seen of the samples inside: functions over long windows need a few of thousands.
//!
//! Whoever evaluates such a function says where the windows lie and what it looks at ([`Glimpse`]); a store may leave out the other
//! samples, and then tells of those it shows which they are among all ([`Shown`]).

use crate::sample::Samples;

/// The windows over which a function is evaluated: `count` of them, of which the first ends at `first_end_ms` and each other one
/// `step_ms` behind the one before. A window reaches back `range_ms` from its end; the end belongs to it, the beginning does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// When the first one ends, in milliseconds since 1970.
    pub first_end_ms: i64,
    /// From one end to the next; at least 1.
    pub step_ms: i64,
    /// How many there are.
    pub count: usize,
    /// How long each one is.
    pub range_ms: i64,
}

impl Windows {
    /// When windows begin, as far as that is not before `from_ms` and before `to_ms`, in order.
    pub fn beginnings(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = i64> + use<> {
        self.moments(i128::from(self.first_end_ms) - i128::from(self.range_ms), from_ms, to_ms)
    }

    /// When they end, in the same way.
    pub fn ends(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = i64> + use<> {
        self.moments(self.first_end_ms.into(), from_ms, to_ms)
    }

    /// Those of `count` moments, of which the first is `first_ms`, that lie between.
    fn moments(&self, first_ms: i128, from_ms: i64, to_ms: i64) -> impl Iterator<Item = i64> + use<> {
        let (step_ms, count) = (i128::from(self.step_ms).max(1), self.count as i128);
        let before = (i128::from(from_ms) - first_ms + step_ms - 1).max(0) / step_ms;
        let inside = (before..count).map(move |n| first_ms + n * step_ms).take_while(move |at| *at < to_ms.into());
        inside.filter_map(|at| i64::try_from(at).ok())
    }
}

/// What is looked at of the samples in windows: the last one of each, and what else is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glimpse {
    /// Where the windows are.
    pub windows: Windows,
    /// The first one of each, too; so from their numbers it is known how many samples a window has.
    pub first: bool,
    /// And where values fall: each that is smaller than the one before it, and that one; so what is left out between two others lies
    /// between them in value, too.
    pub falls: bool,
}

/// The samples of a series, of which those may be left out that nobody looks at.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Those that are there. No staleness marker is left out, and nothing of a series with histograms.
    pub samples: Samples,
    /// Of each of the floats how many come before it, shown or not; empty if none is left out.
    pub numbers: Vec<u32>,
}

impl Shown {
    /// All of the samples.
    pub fn all(samples: Samples) -> Self {
        Shown { samples, numbers: Vec::new() }
    }

    /// Takes all away and keeps the memory.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.numbers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        let of = |first_end_ms, step_ms, count, range_ms| Windows { first_end_ms, step_ms, count, range_ms };
        for (windows, (from_ms, to_ms), beginnings, ends) in [
            (of(100, 10, 3, 20), (0, 1000), vec![80, 90, 100], vec![100, 110, 120]),
            (of(100, 10, 3, 20), (90, 110), vec![90, 100], vec![100]),
            (of(100, 10, 3, 20), (91, 111), vec![100], vec![100, 110]),
            (of(100, 10, 3, 20), (121, 1000), vec![], vec![]),
            (of(100, 10, 0, 20), (0, 1000), vec![], vec![]),
            (of(100, 10, 1, 5), (-1000, 100), vec![95], vec![]),
            // Behind the end of time there is nothing.
            (of(i64::MAX, 1, 9, 1), (0, i64::MAX), vec![i64::MAX - 1], vec![]),
        ] {
            assert_eq!(windows.beginnings(from_ms, to_ms).collect::<Vec<_>>(), beginnings, "{windows:?}");
            assert_eq!(windows.ends(from_ms, to_ms).collect::<Vec<_>>(), ends, "{windows:?}");
        }
    }
}
