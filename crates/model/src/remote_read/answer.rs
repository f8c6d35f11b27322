//! Reading `prometheus.ReadResponse`: what another store answered.

use thiserror::Error;

use super::{DecodeError, Room};
use crate::protobuf::{Fault, Fields};
use crate::remote_write::{Decoder, HistogramFault, InvalidLabels};
use crate::sample::{Sample, Samples, Series};

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
    /// It is larger than what there is room for.
    #[error("the answer takes more than {0} bytes of memory")]
    TooLarge(usize),
}

impl From<Fault> for AnswerError {
    fn from(fault: Fault) -> Self {
        AnswerError::Decode(fault.into())
    }
}

/// The series of each result, as they came but for samples out of order, which are put in order. Fails when they take more than `room`.
pub fn decode_answer(body: &[u8], mut room: Room) -> Result<Vec<Vec<Series>>, AnswerError> {
    let mut results = Vec::new();
    let mut fields = Fields::new(body, 0);
    while let Some((number, field)) = fields.next()? {
        if number != 1 {
            continue;
        }
        // A result is a list of the same messages, under the same number, as a write request.
        let mut decoder = Decoder::new(field.message()?.rest());
        room.take(size_of::<Vec<Series>>())?;
        let mut result = Vec::new();
        while let Some(series) = decoder.next_series()? {
            let labels = series.label_set()?;
            room.take_series(&labels)?;
            room.take(series.n_samples * size_of::<Sample>())?;
            let mut samples = Samples::default();
            let mut floats: Vec<_> = series.samples().collect();
            floats.sort_by_key(|sample| sample.t_ms);
            floats.dedup_by_key(|sample| sample.t_ms);
            for sample in floats {
                samples.push(sample.t_ms, sample.value);
            }
            for histogram in series.histograms() {
                let histogram = histogram.map_err(AnswerError::Histogram)?;
                room.take(histogram.memory_bytes())?;
                samples.histograms.push(histogram);
            }
            if !samples.histograms.is_sorted_by(|a, b| a.t_ms < b.t_ms) {
                samples.histograms.sort_by_key(|sample| sample.t_ms);
                samples.histograms.dedup_by_key(|sample| sample.t_ms);
                samples.tell_resets(None);
            }
            result.push(Series { labels, samples });
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
        assert_eq!(decode_answer(&body, Room::new(1000)), Ok(vec![series, vec![]]));
        for bytes_max in [0, 100, 300] {
            assert_eq!(decode_answer(&body, Room::new(bytes_max)), Err(AnswerError::TooLarge(bytes_max)));
        }
        for cut in 1..body.len() {
            // Never a panic; some prefixes are whole messages.
            let _ = decode_answer(&body[..cut], Room::new(1000));
        }
    }
}
