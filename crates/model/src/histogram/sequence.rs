//! What one histogram says about the next of its series: whether counting began anew in between.

use std::sync::Arc;

use super::{CounterReset, Histogram, NativeHistogram, upper_bound};
use crate::sample::{Samples, is_stale};

impl Histogram<f64> {
    /// Whether counting began anew between `previous` and this one, by the hint or else by a count that fell.
    ///
    /// A finer schema, a smaller zero bucket, or a bucket that is gone tell of a new beginning as well. Gauges are looked at as
    /// if they were counters, for those who ask of them what only counters can tell.
    pub fn is_reset_since(&self, previous: &Histogram<f64>) -> bool {
        match self.counter_reset {
            CounterReset::Reset => return true,
            CounterReset::NotReset => return false,
            CounterReset::Unknown | CounterReset::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_bounds() {
            if !previous.has_custom_bounds() {
                return true;
            }
            if self.custom_bounds != previous.custom_bounds {
                return falls_at_shared_bounds(self, previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        if previous.has_custom_bounds() && !self.has_custom_bounds() {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let mut coarse = previous.clone();
        if coarse.schema != self.schema && coarse.reduce_resolution(self.schema).is_err() {
            return true;
        }
        let is_inside = |index: i32| {
            !self.has_custom_bounds()
                && self.zero_threshold > 0.0
                && upper_bound(self.schema, index, &[]) <= self.zero_threshold
        };
        [(&self.positive, &coarse.positive), (&self.negative, &coarse.negative)].into_iter().any(|(now, before)| {
            let mut now = now.iter().peekable();
            before.iter().any(|(index, count)| {
                if is_inside(index) {
                    return false;
                }
                while now.next_if(|(other, _)| *other < index).is_some() {}
                match now.peek() {
                    Some((other, current)) if *other == index => *current < count,
                    _ => count != 0.0,
                }
            })
        })
    }

    /// How many observations the zero bucket would have if it reached at least to `threshold`, and how far it would then reach:
    /// a bucket that is not empty goes into it as a whole.
    pub fn zero_count_within(&self, mut threshold: f64) -> (f64, f64) {
        if threshold <= self.zero_threshold {
            return (self.zero_count, self.zero_threshold);
        }
        'widened: loop {
            let mut zero_count = self.zero_count;
            for (side, buckets) in [&self.positive, &self.negative].into_iter().enumerate() {
                for (index, count) in buckets.iter() {
                    let lower = upper_bound(self.schema, index.saturating_sub(1), &[]);
                    let upper = upper_bound(self.schema, index, &[]);
                    if lower >= threshold {
                        break;
                    }
                    zero_count += count;
                    if upper > threshold {
                        if count != 0.0 {
                            threshold = upper;
                            if side == 1 {
                                // There may be more on the other side now.
                                continue 'widened;
                            }
                        }
                        break;
                    }
                }
            }
            return (zero_count, threshold);
        }
    }
}

/// Whether the number of observations up to any bound that both have fell.
fn falls_at_shared_bounds(now: &Histogram<f64>, before: &Histogram<f64>) -> bool {
    let shared: Vec<f64> =
        now.custom_bounds.iter().filter(|bound| before.custom_bounds.contains(bound)).copied().collect();
    let counts = |histogram: &Histogram<f64>| {
        let mut counts = vec![0.0; shared.len() + 1];
        for (index, count) in histogram.positive.iter() {
            let bound = upper_bound(histogram.schema, index, &histogram.custom_bounds);
            counts[shared.partition_point(|shared| *shared < bound)] += count;
        }
        counts
    };
    counts(now).iter().zip(counts(before)).any(|(now, before)| *now < before)
}

impl NativeHistogram {
    /// Whether it is certain that counting did not begin anew between `previous` and this one, whatever the hints say of it, so that
    /// both may stand in one chunk. Never of gauges, of one whose sender says that it began anew, and where the form changes.
    pub fn goes_on_from(&self, previous: &NativeHistogram) -> bool {
        use NativeHistogram::{Float, Integer};
        let grew = match (previous, self) {
            (Integer(before), Integer(now)) => grew(before, now),
            (Float(before), Float(now)) => grew(before, now),
            _ => return false,
        };
        // Nearly all only grow, which is seen without making anything of them.
        grew || (self.counter_reset() != CounterReset::Gauge && goes_on(&previous.to_float(), &self.to_float()))
    }

    /// What is known about the histogram before this one.
    pub fn counter_reset(&self) -> CounterReset {
        match self {
            NativeHistogram::Integer(histogram) => histogram.counter_reset,
            NativeHistogram::Float(histogram) => histogram.counter_reset,
        }
    }

    fn set_counter_reset(&mut self, hint: CounterReset) {
        match self {
            NativeHistogram::Integer(histogram) => histogram.counter_reset = hint,
            NativeHistogram::Float(histogram) => histogram.counter_reset = hint,
        }
    }
}

impl Samples {
    /// Says of the native histograms that are no gauges where counting went on from the one before, and of all others that nothing is
    /// known. `before` is the sample before the first one, if it is a histogram.
    ///
    /// What a sender said counted for the sample that was before it there, which may be another one here: samples came late, were
    /// left out, or came from somewhere else.
    pub fn tell_resets(&mut self, mut before: Option<Arc<NativeHistogram>>) {
        let mut floats = self.timestamps.iter().peekable();
        for sample in &mut self.histograms {
            while floats.next_if(|t_ms| **t_ms < sample.t_ms).is_some() {
                before = None;
            }
            let said = sample.histogram.counter_reset();
            let found = match &before {
                _ if said == CounterReset::Gauge => CounterReset::Gauge,
                Some(before) if sample.histogram.goes_on_from(before) => CounterReset::NotReset,
                _ => CounterReset::Unknown,
            };
            if found != said {
                Arc::make_mut(&mut sample.histogram).set_counter_reset(found);
            }
            before = Some(Arc::clone(&sample.histogram));
        }
    }
}

/// Whether two counters have the same buckets, none of which fell.
fn grew<C: PartialOrd>(before: &Histogram<C>, now: &Histogram<C>) -> bool {
    let may_go_on = before.counter_reset != CounterReset::Gauge
        && !matches!(now.counter_reset, CounterReset::Gauge | CounterReset::Reset)
        && !is_stale(before.sum)
        && !is_stale(now.sum);
    let is_alike = now.schema == before.schema
        && now.zero_threshold == before.zero_threshold
        && now.custom_bounds == before.custom_bounds
        && now.positive.spans == before.positive.spans
        && now.negative.spans == before.negative.spans;
    let none_fell = |now: &[C], before: &[C]| {
        now.len() == before.len() && now.iter().zip(before).all(|(now, before)| now >= before)
    };
    may_go_on
        && is_alike
        && now.count >= before.count
        && now.zero_count >= before.zero_count
        && none_fell(&now.positive.counts, &before.positive.counts)
        && none_fell(&now.negative.counts, &before.negative.counts)
}

/// Gives the histograms of one series, oldest first, the hints with which Prometheus' store would give them back.
///
/// The store looks for resets once, when it takes a sample, and keeps what it found by beginning a new chunk; a sample inside a
/// chunk is certainly no reset. About the first of a chunk it says nothing, because the one before it may be gone by then.
#[derive(Debug, Clone, Default)]
pub struct Hinting {
    // The newest sample, unless what comes next begins a new chunk in any case.
    previous: Option<Histogram<f64>>,
}

impl Hinting {
    /// A float came in between.
    pub fn interrupt(&mut self) {
        self.previous = None;
    }

    /// The hint for the next histogram.
    pub fn next(&mut self, histogram: &Histogram<f64>) -> CounterReset {
        let hint = match &self.previous {
            _ if histogram.counter_reset == CounterReset::Gauge => CounterReset::Gauge,
            Some(previous) if goes_on(previous, histogram) => CounterReset::NotReset,
            _ => CounterReset::Unknown,
        };
        self.previous = Some(histogram.clone());
        hint
    }
}

/// Whether a chunk that ends with the counter `before` can take `now`.
fn goes_on(before: &Histogram<f64>, now: &Histogram<f64>) -> bool {
    if before.counter_reset == CounterReset::Gauge || now.counter_reset == CounterReset::Reset {
        return false;
    }
    if is_stale(now.sum) || is_stale(before.sum) {
        return is_stale(now.sum);
    }
    let mut now = now.clone();
    now.counter_reset = CounterReset::Unknown;
    now.schema == before.schema
        && now.zero_threshold == before.zero_threshold
        && now.custom_bounds == before.custom_bounds
        && !now.is_reset_since(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Buckets, CUSTOM_SCHEMA, Span};
    use crate::sample::HistogramSample;

    fn histogram(counts: &[f64]) -> Histogram<f64> {
        Histogram {
            count: counts.iter().sum(),
            zero_threshold: 0.001,
            positive: Buckets { spans: vec![Span { offset: 1, length: counts.len() as u32 }], counts: counts.to_vec() },
            ..Histogram::default()
        }
    }

    #[test]
    fn resets() {
        type Change = fn(&mut Histogram<f64>);
        let rows: &[(Change, bool, &str)] = &[
            (|_| {}, false, "nothing changed"),
            (|h| h.count -= 1.0, true, "the count fell"),
            (|h| h.positive.counts[1] -= 1.0, true, "a bucket fell"),
            (|h| (h.positive.spans[0].length, h.positive.counts) = (2, vec![1.0, 9.0]), true, "a bucket is gone"),
            (|h| h.schema = 1, true, "the buckets are finer"),
            (|h| (h.schema, h.positive.counts) = (-1, vec![3.0, 3.0, 0.0]), false, "the buckets are coarser"),
            (|h| h.zero_threshold = 0.0001, true, "the zero bucket is smaller"),
            (|h| (h.zero_threshold, h.zero_count) = (2.0, 1.0), false, "the zero bucket took in the first one"),
            (|h| h.zero_threshold = 1.5, true, "the zero bucket ends inside one that has observations"),
            (|h| (h.counter_reset, h.count) = (CounterReset::NotReset, 0.0), false, "the hint knows better"),
            (|h| h.counter_reset = CounterReset::Reset, true, "the hint says so"),
        ];
        for (change, expected, why) in rows {
            let before = histogram(&[1.0, 2.0, 3.0]);
            let mut now = before.clone();
            change(&mut now);
            assert_eq!(now.is_reset_since(&before), *expected, "{why}");
        }
        let custom = |bounds: &[f64], counts: &[f64]| Histogram {
            schema: CUSTOM_SCHEMA,
            zero_threshold: 0.0,
            custom_bounds: bounds.into(),
            positive: Buckets { spans: vec![Span { offset: 0, length: counts.len() as u32 }], counts: counts.to_vec() },
            ..histogram(counts)
        };
        let before = custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
        assert!(!custom(&[2.0, 5.0], &[2.0, 1.0, 1.0]).is_reset_since(&before));
        assert!(custom(&[2.0, 5.0], &[1.0, 2.0, 1.0]).is_reset_since(&before));
    }

    #[test]
    fn hints_as_a_store_gives_them() {
        use CounterReset::{Gauge, NotReset, Reset, Unknown};
        let with = |hint, histogram: Histogram<f64>| Histogram { counter_reset: hint, ..histogram };
        let mut hinting = Hinting::default();
        let sequence = [
            (with(Unknown, histogram(&[1.0])), Unknown, "the first"),
            (with(Unknown, histogram(&[2.0])), NotReset, "went on"),
            (with(Unknown, histogram(&[1.0])), Unknown, "a reset begins a chunk"),
            (with(NotReset, histogram(&[2.0])), NotReset, "went on"),
            (with(Reset, histogram(&[3.0])), Unknown, "a reset that is said to be one"),
            (with(Gauge, histogram(&[3.0])), Gauge, "a gauge"),
            (with(Unknown, histogram(&[3.0])), Unknown, "a counter again"),
        ];
        for (histogram, expected, why) in sequence {
            assert_eq!(hinting.next(&histogram), expected, "{why}");
        }
        hinting.interrupt();
        assert_eq!(hinting.next(&histogram(&[9.0])), Unknown, "a float came in between");
    }

    #[test]
    fn what_is_known_is_told_of_samples() {
        use CounterReset::{Gauge, NotReset, Reset, Unknown};
        let whole = |counts: &[u64], hint| {
            let spans = vec![Span { offset: 0, length: counts.len() as u32 }];
            let positive = Buckets { spans, counts: counts.to_vec() };
            let count = counts.iter().sum();
            NativeHistogram::Integer(Histogram { counter_reset: hint, count, positive, ..Histogram::default() })
        };
        let rows = [
            (10, whole(&[2, 2], Unknown), NotReset, "it went on from what came before"),
            (20, whole(&[2, 3], Unknown), NotReset, "it went on"),
            (30, whole(&[1, 9], Unknown), Unknown, "a bucket fell"),
            (40, whole(&[1, 9, 1], NotReset), NotReset, "a bucket more"),
            (45, whole(&[0, 9, 1], NotReset), Unknown, "its sender had another one before it"),
            (50, whole(&[2, 9, 1], Reset), Unknown, "where its sender had a reset, there may be one"),
            (60, whole(&[9, 9, 9], Gauge), Gauge, "what rises and falls is never reset"),
            (70, whole(&[10, 10, 10], Unknown), Unknown, "behind a gauge"),
            (80, whole(&[10, 10, 11], NotReset), Unknown, "behind a float"),
            (85, NativeHistogram::Float(whole(&[10, 10, 11], Unknown).to_float()), Unknown, "in another form"),
            (87, NativeHistogram::Float(whole(&[10, 10, 12], Unknown).to_float()), NotReset, "in the same form"),
        ];
        let mut samples = Samples::of_floats(vec![75, 95], vec![1.0, 1.0]);
        let sample = |t_ms, histogram| HistogramSample { t_ms, start_ms: 0, histogram: Arc::new(histogram) };
        samples.histograms = rows.iter().map(|(t_ms, histogram, ..)| sample(*t_ms, histogram.clone())).collect();
        samples.tell_resets(Some(Arc::new(whole(&[1, 2], Unknown))));
        for ((_, _, expected, why), sample) in rows.iter().zip(&samples.histograms) {
            assert_eq!(sample.histogram.counter_reset(), *expected, "{why}");
        }
        samples.tell_resets(None);
        assert_eq!(samples.histograms[0].histogram.counter_reset(), Unknown, "nothing is known of what came before");
    }
}
