//! Reading `prometheus.ReadResponse`: what another store answered.

use thiserror::Error;

use super::DecodeError;
use crate::protobuf::{Fault, Fields};
use crate::remote_write::{Decoder, HistogramFault, InvalidLabels};
use crate::sample::{Samples, Series};

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum AnswerError {
    /// The bytes are none.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// A series has labels that are none.
    #[error(transparent)]
    Labels(#[from] InvalidLabels),
    /// A histogram makes no sense.
    #[error("{0}")]
    Histogram(HistogramFault),
    /// There are more samples than were wanted at most.
    #[error("the answer has more than {0} samples")]
    TooManySamples(usize),
}

impl From<Fault> for AnswerError {
    fn from(fault: Fault) -> Self {
        AnswerError::Decode(fault.into())
    }
}

/// The series of each result, as they came but for samples out of order, which are put in order.
pub fn decode_answer(body: &[u8], samples_max: usize) -> Result<Vec<Vec<Series>>, AnswerError> {
    let mut results = Vec::new();
    let mut left = samples_max;
    let mut fields = Fields::new(body, 0);
    while let Some((number, field)) = fields.next()? {
        if number != 1 {
            continue;
        }
        // A result is a list of the same messages, under the same number, as a write request.
        let mut decoder = Decoder::new(field.message()?.rest());
        let mut result = Vec::new();
        while let Some(series) = decoder.next_series()? {
            left = left
                .checked_sub(series.n_samples + series.n_histograms)
                .ok_or(AnswerError::TooManySamples(samples_max))?;
            let mut samples = Samples::default();
            let mut floats: Vec<_> = series.samples().collect();
            floats.sort_by_key(|sample| sample.t_ms);
            floats.dedup_by_key(|sample| sample.t_ms);
            for sample in floats {
                samples.push(sample.t_ms, sample.value);
            }
            for histogram in series.histograms() {
                samples.histograms.push(histogram.map_err(AnswerError::Histogram)?);
            }
            samples.histograms.sort_by_key(|sample| sample.t_ms);
            samples.histograms.dedup_by_key(|sample| sample.t_ms);
            result.push(Series { labels: series.label_set()?, samples });
        }
        results.push(result);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::ResponseEncoder;
    use super::*;
    use crate::histogram::{Histogram, NativeHistogram};
    use crate::labels::Labels;
    use crate::sample::HistogramSample;

    #[test]
    fn there_and_back() {
        let histogram = Histogram { count: 1, sum: 2.0, zero_count: 1, zero_threshold: 0.5, ..Histogram::default() };
        let histogram = Arc::new(NativeHistogram::Integer(histogram));
        let mut samples = Samples::of_floats(vec![5, 6], vec![1.0, 2.0]);
        samples.histograms = vec![HistogramSample { t_ms: 7, start_ms: 0, histogram }];
        let series = vec![Series { labels: Labels::from_pairs([("__name__", "m"), ("a", "b")]), samples }];
        let mut encoder = ResponseEncoder::new();
        encoder.push(&series);
        encoder.push(&[]);
        let body = encoder.finish();
        assert_eq!(decode_answer(&body, 3), Ok(vec![series, vec![]]));
        assert_eq!(decode_answer(&body, 2), Err(AnswerError::TooManySamples(2)));
        for cut in 1..body.len() {
            // Never a panic; some prefixes are whole messages.
            let _ = decode_answer(&body[..cut], 100);
        }
    }
}
