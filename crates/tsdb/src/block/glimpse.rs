//! Samples of chunks for functions over long windows, which look at few of them.
//!
//! Which ones depends on times alone where values rise, as those of counters nearly always do; the summary in front of a chunk says so.
//! Otherwise the chunk is read, and what falls is shown, too.

use std::ops::Range;

use relatum_model::storage::TimeRange;
use relatum_model::windows::{Glimpse, Shown};

/// Leaving samples out pays if no more than one in so many is shown.
pub(crate) const SPARE_MIN: usize = 4;

/// Which samples of chunks with the same times are looked at.
pub(crate) struct Marks {
    // Those in the range of the reader.
    inside: Range<usize>,
    // The places of those that are shown, ascending, and their times: at least the first and the last inside. None if all are shown.
    places: Vec<u32>,
    times: Vec<i64>,
}

impl Marks {
    pub(crate) fn of(times: &[i64], range: TimeRange, glimpse: &Glimpse) -> Self {
        let from = times.partition_point(|t_ms| *t_ms < range.min_ms);
        let to = times.partition_point(|t_ms| *t_ms <= range.max_ms).max(from);
        let all = Marks { inside: from..to, places: Vec::new(), times: Vec::new() };
        let (Some(first_ms), Some(last_ms)) = (times[from..to].first(), times[from..to].last()) else { return all };
        let places_max = (to - from) / SPARE_MIN;
        let place = |at_ms: i64| from + times[from..to].partition_point(|t_ms| *t_ms <= at_ms);
        // The first and the last are shown anyway, so ends and beginnings outside change nothing.
        let ends = glimpse.windows.ends(*first_ms, *last_ms).map(|at_ms| place(at_ms) - 1);
        let beginnings = glimpse.windows.beginnings(*first_ms, *last_ms).filter(|_| glimpse.first).map(place);
        let mut places: Vec<usize> = ends.chain(beginnings).take(places_max + 1).collect();
        if places.len() > places_max {
            return all;
        }
        places.extend([from, to - 1]);
        places.sort_unstable();
        places.dedup();
        let shown_times = places.iter().map(|place| times[*place]).collect();
        Marks { places: places.into_iter().map(|place| place as u32).collect(), times: shown_times, ..all }
    }

    /// Whether many are left out.
    pub(crate) fn is_sparse(&self) -> bool {
        !self.places.is_empty()
    }

    pub(crate) fn places(&self) -> &[u32] {
        &self.places
    }

    /// The places of all that are in the range.
    pub(crate) fn inside(&self) -> Range<usize> {
        self.inside.clone()
    }
}

/// What is shown of a series, while it is put together.
pub(crate) struct Seen<'s> {
    shown: &'s mut Shown,
    // How many samples there are so far, shown or not.
    n: u32,
}

impl<'s> Seen<'s> {
    /// Nothing yet; what is in `shown` goes.
    pub(crate) fn new(shown: &'s mut Shown) -> Self {
        shown.clear();
        Seen { shown, n: 0 }
    }

    /// The time of the last one so far.
    pub(crate) fn last_ms(&self) -> Option<i64> {
        self.shown.samples.timestamps.last().copied()
    }

    /// Adds those of a chunk that are marked, which are `values`.
    pub(crate) fn push_marked(&mut self, marks: &Marks, values: &[f64]) {
        let before = self.n.wrapping_sub(marks.inside.start as u32);
        self.shown.numbers.extend(marks.places.iter().map(|place| before.wrapping_add(*place)));
        self.shown.samples.timestamps.extend_from_slice(&marks.times);
        self.shown.samples.values.extend_from_slice(values);
        self.n += marks.inside.len() as u32;
    }

    /// Adds all of a chunk that are inside the range, but for those that are not marked where values rise.
    pub(crate) fn push_rising(&mut self, marks: &Marks, times: &[i64], values: &[f64]) {
        let is_odd = |value: &f64| value.is_nan() || value.to_bits() == (-0.0f64).to_bits();
        // What is no number cannot be compared, and of the two zeros neither is the smaller one.
        if !marks.is_sparse() || values.iter().any(is_odd) {
            return self.push(times, values);
        }
        let mut marked = marks.places.iter().map(|place| *place as usize - marks.inside.start).peekable();
        for (at, value) in values.iter().enumerate() {
            let is_marked = marked.next_if_eq(&at).is_some();
            let falls = at > 0 && *value < values[at - 1] || values.get(at + 1).is_some_and(|next| next < value);
            if is_marked || falls {
                self.shown.numbers.push(self.n + at as u32);
                self.shown.samples.timestamps.push(times[at]);
                self.shown.samples.values.push(*value);
            }
        }
        self.n += values.len() as u32;
    }

    /// Adds all of these.
    pub(crate) fn push(&mut self, times: &[i64], values: &[f64]) {
        let end = self.n + values.len() as u32;
        self.shown.numbers.extend(self.n..end);
        self.shown.samples.timestamps.extend_from_slice(times);
        self.shown.samples.values.extend_from_slice(values);
        self.n = end;
    }

    /// There is no more.
    pub(crate) fn end(self) {
        // With all of them shown there is nothing to tell.
        if self.shown.numbers.len() == self.n as usize {
            self.shown.numbers.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use relatum_model::windows::Windows;

    use super::*;

    #[track_caller]
    fn check(glimpse: (i64, i64, usize, i64), first: bool, range: (i64, i64), expected: &[u32]) {
        let (first_end_ms, step_ms, count, range_ms) = glimpse;
        let windows = Windows { first_end_ms, step_ms, count, range_ms };
        let times: Vec<i64> = (0..100).map(|n| n * 10).collect();
        let range = TimeRange { min_ms: range.0, max_ms: range.1 };
        let marks = Marks::of(&times, range, &Glimpse { windows, first, falls: false });
        assert_eq!(marks.places(), expected);
        assert!(marks.places.iter().map(|place| times[*place as usize]).eq(marks.times.iter().copied()));
    }

    #[test]
    fn marks() {
        let all = (i64::MIN, i64::MAX);
        // A sample at the end of a window is inside, one at its beginning is not.
        check((300, 300, 2, 300), true, all, &[0, 1, 30, 31, 60, 99]);
        check((300, 300, 2, 300), false, all, &[0, 30, 60, 99]);
        check((305, 300, 1, 200), true, all, &[0, 11, 30, 99]);
        check((300, 300, 2, 300), true, (15, 614), &[2, 30, 31, 60, 61]);
        // None are left out where windows are narrow, or there are none.
        check((0, 20, 100, 20), true, all, &[]);
        check((0, 20, usize::MAX, 20), true, all, &[]);
        check((300, 300, 2, 300), true, (301, 309), &[]);
        check((300, 300, 2, 300), true, (1000, 2000), &[]);
        check((5000, 300, 2, 300), true, all, &[0, 99]);
    }

    #[test]
    fn what_falls_is_shown() {
        let times: Vec<i64> = (0..100).map(|n| n * 10).collect();
        let windows = Windows { first_end_ms: 505, step_ms: 1, count: 1, range_ms: 400 };
        let marks =
            Marks::of(&times, TimeRange { min_ms: 20, max_ms: 2000 }, &Glimpse { windows, first: true, falls: true });
        let mut values: Vec<f64> = (2..100).map(f64::from).collect();
        let check = |values: &[f64], expected: &[u32]| {
            let mut shown = Shown::default();
            let mut seen = Seen::new(&mut shown);
            seen.push(&[1, 2], &[0.0, 0.0]);
            seen.push_rising(&marks, &times[2..], values);
            seen.end();
            assert_eq!(shown.numbers, expected);
            let count = if expected.is_empty() { 100 } else { expected.len() };
            assert_eq!((shown.samples.timestamps.len(), shown.samples.values.len()), (count, count));
        };
        check(&values, &[0, 1, 2, 11, 50, 99]);
        values[70..].iter_mut().for_each(|value| *value -= 60.0);
        check(&values, &[0, 1, 2, 11, 50, 71, 72, 99]);
        for odd in [f64::NAN, relatum_model::stale_nan(), -0.0] {
            let mut values = values.clone();
            values[20] = odd;
            check(&values, &[]);
        }
    }
}
