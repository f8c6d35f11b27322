//! Recording rules: what an expression gives becomes a series of its own.

use std::collections::HashSet;
use std::sync::Arc;

use relatum_model::labels::METRIC_NAME;
use relatum_model::{Labels, NativeHistogram};
use relatum_promql::VectorSample;

/// What a rule appends to a series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Recorded {
    Float(f64),
    Histogram(Arc<NativeHistogram>),
}

/// The series to append for a rule that records into the metric `name`.
///
/// Fails when two samples give one series, or there are more than `limit` (0 means any number).
pub(crate) fn record(
    name: &str,
    labels: &[(String, String)],
    samples: &[VectorSample],
    limit: usize,
) -> Result<Vec<(Labels, Recorded)>, String> {
    if limit > 0 && samples.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", samples.len()));
    }
    let mut seen = HashSet::with_capacity(samples.len());
    samples
        .iter()
        .map(|sample| {
            let mut builder = sample.labels.to_builder();
            builder.set(METRIC_NAME, name);
            for (name, value) in labels {
                builder.set(name, value);
            }
            let labels = builder.build();
            if !seen.insert(labels.clone()) {
                return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
            }
            let value = match &sample.histogram {
                Some(histogram) => Recorded::Histogram(Arc::new(NativeHistogram::Float((**histogram).clone()))),
                None => Recorded::Float(sample.value),
            };
            Ok((labels, value))
        })
        .collect()
}
