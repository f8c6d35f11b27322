//! Where the windows of all steps lie among the times of a series.
//!
//! The series of a scrape target share their times, so most often what was found for one series holds for the next one, and
//! with it all that `rate` calculates of times alone.

use relatum_model::Samples;

use super::budget::Pace;
use super::window::Reach;
use super::{Column, Steps, Window, is_absent};
use crate::error::QueryError;
use crate::functions::rate::{self, Coverage, Kind};
use crate::probe::LookedAt;

/// The windows among the times of the last series, and the room to find those of the next one.
pub(super) struct Frames {
    pace: Pace,
    times: Vec<i64>,
    numbers: Vec<u32>,
    // Those that have samples.
    places: Vec<Place>,
    // Those that have two at least; only as far as somebody asked.
    covered: Vec<Covered>,
    // How many samples all windows have together.
    looked_at: usize,
    // Where the values of the series fall.
    drops: Vec<usize>,
}

/// A window: the samples from `from` on and before `to`.
#[derive(Clone, Copy)]
struct Place {
    step: usize,
    at_ms: i64,
    start_ms: i64,
    end_ms: i64,
    from: usize,
    to: usize,
}

/// A window between whose samples something may change.
#[derive(Clone, Copy)]
struct Covered {
    step: usize,
    first: usize,
    last: usize,
    coverage: Coverage,
}

impl Frames {
    /// Nothing found yet; the work is done at this pace.
    pub(super) fn new(pace: Pace) -> Self {
        let (times, numbers, places, covered, looked_at, drops) = Default::default();
        Frames { pace, times, numbers, places, covered, looked_at, drops }
    }

    /// Finds the windows in which there are samples of `times`, of which `numbers` say which among all they are, as in [`Shown`].
    fn find(&mut self, times: &[i64], numbers: &[u32], steps: Steps, reach: Reach) {
        if self.times == times && self.numbers == numbers {
            return;
        }
        self.times.clear();
        self.times.extend_from_slice(times);
        self.numbers.clear();
        self.numbers.extend_from_slice(numbers);
        self.places.clear();
        self.covered.clear();
        self.looked_at = 0;
        let (mut from, mut to) = (0, 0);
        for step in 0..steps.count {
            let frame = reach.frame(steps.at(step));
            if step == 0 {
                // The first window may be far behind the first sample, the others are near.
                to = times.partition_point(|t_ms| *t_ms <= frame.shown_to_ms);
                from = times[..to].partition_point(|t_ms| *t_ms <= frame.shown_from_ms);
            }
            while to < times.len() && times[to] <= frame.shown_to_ms {
                to += 1;
            }
            while from < to && times[from] <= frame.shown_from_ms {
                from += 1;
            }
            if from < to {
                self.looked_at += count(numbers, from, to);
                let (at_ms, start_ms, end_ms) = (frame.at_ms, frame.start_ms, frame.end_ms);
                self.places.push(Place { step, at_ms, start_ms, end_ms, from, to });
            }
        }
    }

    /// Counts the samples in the windows that were slid over last.
    pub(super) fn tell(&self, looked_at: &mut LookedAt) {
        looked_at.add(self.looked_at);
        if !looked_at.steps().is_empty() {
            for Place { step, from, to, .. } in &self.places {
                looked_at.steps()[*step] += count(&self.numbers, *from, *to) as u64;
            }
        }
    }

    /// Calls `kernel` for the window at each of `steps` that has samples, which are all floats; the results take the place of
    /// what is in `column`. Where not all samples are shown, their `numbers` say which are.
    pub(super) fn slide(
        &mut self,
        samples: &Samples,
        numbers: &[u32],
        steps: Steps,
        reach: Reach,
        mut kernel: impl FnMut(&Window<'_>) -> f64,
        column: &mut Column,
    ) -> Result<(), QueryError> {
        self.find(&samples.timestamps, numbers, steps, reach);
        column.clear();
        for &Place { step, at_ms, start_ms, end_ms, from, to } in &self.places {
            self.pace.step(to - from)?;
            let (times, values) = (&samples.timestamps[from..to], &samples.values[from..to]);
            let value = kernel(&Window { step, at_ms, start_ms, end_ms, times, values, starts: &[], histograms: &[] });
            if !is_absent(value) {
                column.push(step, value);
            }
        }
        Ok(())
    }

    /// As [`Frames::slide`] with [`rate::extrapolated`], to the bit.
    pub(super) fn slide_change(
        &mut self,
        samples: &Samples,
        numbers: &[u32],
        steps: Steps,
        reach: Reach,
        kind: Kind,
        column: &mut Column,
    ) -> Result<(), QueryError> {
        self.find(&samples.timestamps, numbers, steps, reach);
        column.clear();
        if self.covered.is_empty() {
            let times = &samples.timestamps;
            self.covered.extend(self.places.iter().filter_map(|place| {
                let (first, last) = (place.from, place.to - 1);
                let count = count(numbers, place.from, place.to);
                let coverage = Coverage::of((times[first], times[last]), count, place.start_ms, place.end_ms, kind)?;
                Some(Covered { step: place.step, first, last, coverage })
            }));
        }
        let (Some(first), Some(last)) = (self.covered.first(), self.covered.last()) else { return Ok(()) };
        let values = samples.values.as_slice();
        // Looked at once, not in each of windows that overlap.
        let (before, behind) = (first.first, last.last + 1);
        self.drops.clear();
        if kind.is_counter && rate::falls(&values[before..behind]) {
            self.drops.extend((before + 1..behind).filter(|at| values[*at] < values[*at - 1]));
        }
        if self.drops.is_empty() && last.step - first.step + 1 == self.covered.len() {
            column.set(
                first.step,
                self.covered.iter().map(|window| {
                    let first = values[window.first];
                    window.coverage.extrapolate(first, values[window.last] - first, kind)
                }),
            );
            return Ok(());
        }
        let mut passed = 0;
        for &Covered { step, first, last, coverage } in &self.covered {
            passed += self.drops[passed..].iter().take_while(|drop| **drop <= first).count();
            let mut change = values[last] - values[first];
            let n_drops = self.drops[passed..].partition_point(|drop| *drop <= last);
            self.pace.step(n_drops)?;
            for drop in &self.drops[passed..passed + n_drops] {
                change += values[*drop - 1];
            }
            column.push(step, coverage.extrapolate(values[first], change, kind));
        }
        Ok(())
    }
}

/// How many samples there are from the one shown at `from` to the one before `to`.
fn count(numbers: &[u32], from: usize, to: usize) -> usize {
    if numbers.is_empty() { to - from } else { (numbers[to - 1] - numbers[from]) as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All at once is to the bit what one window after the other gives.
    #[track_caller]
    fn check(frames: &mut Frames, samples: &Samples, steps: Steps, range_ms: i64) {
        let reach = Reach::plain(range_ms);
        for (is_counter, is_rate) in [(true, true), (true, false), (false, false), (false, true)] {
            let kind = Kind { is_counter, is_rate };
            let (mut changes, mut expected) = (Column::default(), Column::default());
            // What is calculated of times is kept for one kind only.
            let mut frames_of_kind = Frames::new(Pace::endless());
            frames_of_kind.slide_change(samples, &[], steps, reach, kind, &mut changes).unwrap();
            frames_of_kind.slide_change(samples, &[], steps, reach, kind, &mut changes).unwrap();
            let each =
                frames.slide(samples, &[], steps, reach, |window| rate::extrapolated(window, kind), &mut expected);
            let bits = |column: &Column| column.iter().map(|(step, value)| (step, value.to_bits())).collect::<Vec<_>>();
            assert_eq!(bits(&changes), bits(&expected), "{samples:?} {steps:?} {range_ms} {kind:?}");
            each.unwrap();
            assert_eq!(frames_of_kind.looked_at, frames.looked_at);
        }
    }

    proptest::proptest! {
        #[test]
        fn all_windows_at_once(
            gaps in proptest::collection::vec(proptest::sample::select(vec![15_000i64, 15_000, 15_000, 15_001, 70_000]), 0..60),
            values in proptest::collection::vec(proptest::sample::select(
                vec![0.0, 1.0, 1.0, 2.5, 3.0, 100.0, 1e300, f64::INFINITY, f64::NAN, -1.0, 5e-324, 1e-323]), 60),
            rising: bool,
            (start_ms, step_ms, count, range_ms) in (0i64..400_000, 1i64..90_000, 0usize..40, 1i64..300_000),
        ) {
            let mut samples = Samples::default();
            let (mut t_ms, mut total) = (0, 0.0);
            for (gap, value) in gaps.iter().zip(&values) {
                t_ms += gap;
                total += value;
                samples.push(t_ms, if rising { total } else { *value });
            }
            let steps = Steps { start_ms, step_ms, count, is_instant: false };
            let mut frames = Frames::new(Pace::endless());
            check(&mut frames, &samples, steps, range_ms);
            // Other values at the same times, and other times.
            samples.values.iter_mut().for_each(|value| *value += 7.0);
            check(&mut frames, &samples, steps, range_ms);
            samples.timestamps.iter_mut().for_each(|t_ms| *t_ms += 1_000);
            check(&mut frames, &samples, steps, range_ms);
        }
    }
}
