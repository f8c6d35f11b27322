//! What one histogram says about the next of its series: whether counting began anew in between.

use super::{CounterReset, Histogram, upper_bound};
use crate::sample::is_stale;

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
