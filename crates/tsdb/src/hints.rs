//! What a sender left open of a native histogram, whether counting began anew, is told by the sample before it.
//!
//! Prometheus compares the two when it takes a sample and keeps what it found. Here a sample stays as it was sent, and is compared when
//! it is read: so one that came late counts as well, for itself and for the one behind it.

use std::sync::Arc;

use relatum_model::histogram::{CounterReset, NativeHistogram};
use relatum_model::{HistogramSample, Samples};

/// The histogram before those that are read, if it was found on the way.
#[derive(Debug, Default)]
pub(crate) struct Before(Option<HistogramSample>);

impl Before {
    /// Takes one from one of the places that hold the series: the last one of all counts.
    pub(crate) fn found(&mut self, sample: Option<HistogramSample>) {
        if let Some(sample) = sample
            && self.0.as_ref().is_none_or(|known| known.t_ms < sample.t_ms)
        {
            self.0 = Some(sample);
        }
    }

    /// Says of the histograms in `samples` that counting went on, where it did.
    pub(crate) fn tell(self, samples: &mut Samples) {
        let mut before = self.0.map(|sample| sample.histogram);
        let mut floats = samples.timestamps.iter().peekable();
        for sample in &mut samples.histograms {
            while floats.next_if(|t_ms| **t_ms < sample.t_ms).is_some() {
                before = None;
            }
            if hint_of(&sample.histogram) == CounterReset::Unknown
                && before.as_ref().is_some_and(|before| sample.histogram.goes_on_from(before))
            {
                set_hint(Arc::make_mut(&mut sample.histogram), CounterReset::NotReset);
            }
            before = Some(Arc::clone(&sample.histogram));
        }
    }
}

fn hint_of(histogram: &NativeHistogram) -> CounterReset {
    match histogram {
        NativeHistogram::Integer(histogram) => histogram.counter_reset,
        NativeHistogram::Float(histogram) => histogram.counter_reset,
    }
}

fn set_hint(histogram: &mut NativeHistogram, hint: CounterReset) {
    match histogram {
        NativeHistogram::Integer(histogram) => histogram.counter_reset = hint,
        NativeHistogram::Float(histogram) => histogram.counter_reset = hint,
    }
}

#[cfg(test)]
mod tests {
    use relatum_model::histogram::{Buckets, Histogram, Span};

    use super::*;

    fn sample(t_ms: i64, counts: &[u64], counter_reset: CounterReset) -> HistogramSample {
        let spans = vec![Span { offset: 0, length: counts.len() as u32 }];
        let positive = Buckets { spans, counts: counts.to_vec() };
        let histogram = Histogram { counter_reset, count: counts.iter().sum(), positive, ..Histogram::default() };
        HistogramSample { t_ms, start_ms: 0, histogram: Arc::new(NativeHistogram::Integer(histogram)) }
    }

    #[test]
    fn what_is_known_is_told() {
        use CounterReset::{Gauge, NotReset, Reset, Unknown};
        let rows = [
            (10, &[2, 2][..], Unknown, NotReset, "it went on from what came before"),
            (20, &[2, 3], Unknown, NotReset, "it went on"),
            (30, &[1, 9], Unknown, Unknown, "a bucket fell"),
            (40, &[1, 9, 1], Unknown, NotReset, "a bucket more"),
            (50, &[2, 9, 1], Reset, Reset, "its sender knows"),
            (60, &[9, 9, 9], Gauge, Gauge, "what rises and falls is never reset"),
            (70, &[10, 10, 10], Unknown, Unknown, "behind a gauge"),
            (80, &[10, 10, 11], Unknown, Unknown, "behind a float"),
            (90, &[10, 10, 11], NotReset, NotReset, "its sender knows"),
        ];
        let mut samples = Samples::of_floats(vec![75, 95], vec![1.0, 1.0]);
        samples.histograms = rows.iter().map(|(t_ms, counts, hint, ..)| sample(*t_ms, counts, *hint)).collect();
        let mut before = Before::default();
        before.found(Some(sample(3, &[1, 2], Unknown)));
        before.found(None);
        before.found(Some(sample(1, &[9, 9], Unknown)));
        before.tell(&mut samples);
        for ((_, _, _, expected, why), sample) in rows.iter().zip(&samples.histograms) {
            assert_eq!(hint_of(&sample.histogram), *expected, "{why}");
        }
        samples.histograms.truncate(1);
        set_hint(Arc::make_mut(&mut samples.histograms[0].histogram), Unknown);
        Before::default().tell(&mut samples);
        assert_eq!(hint_of(&samples.histograms[0].histogram), Unknown, "nothing is known of what came before");
    }
}
