//! What a sender left open of a native histogram, whether counting began anew, is told by the sample before it.
//!
//! Prometheus compares the two when it takes a sample and keeps what it found. Here a sample stays as it was sent, and is compared when
//! it is read: so one that came late counts as well, for itself and for the one behind it.

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
        if !samples.histograms.is_empty() {
            samples.tell_resets(self.0.map(|sample| sample.histogram));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use relatum_model::NativeHistogram;
    use relatum_model::histogram::{Buckets, CounterReset, Histogram, Span};

    use super::*;

    fn sample(t_ms: i64, counts: &[u64]) -> HistogramSample {
        let spans = vec![Span { offset: 0, length: counts.len() as u32 }];
        let positive = Buckets { spans, counts: counts.to_vec() };
        let histogram = Histogram { count: counts.iter().sum(), positive, ..Histogram::default() };
        HistogramSample { t_ms, start_ms: 0, histogram: Arc::new(NativeHistogram::Integer(histogram)) }
    }

    #[test]
    fn the_last_one_before_counts() {
        for (found, expected) in [
            (vec![Some(sample(3, &[1, 2])), None, Some(sample(1, &[9, 9]))], CounterReset::NotReset),
            (vec![Some(sample(1, &[1, 2])), Some(sample(3, &[9, 9]))], CounterReset::Unknown),
            (vec![None], CounterReset::Unknown),
        ] {
            let mut before = Before::default();
            found.into_iter().for_each(|sample| before.found(sample));
            let mut samples = Samples { histograms: vec![sample(10, &[2, 2])], ..Samples::default() };
            before.tell(&mut samples);
            assert_eq!(samples.histograms[0].histogram.counter_reset(), expected);
        }
    }
}
