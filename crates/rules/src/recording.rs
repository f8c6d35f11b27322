//! Recording rules: what an expression gives becomes a series of its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
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
    let mut own = BTreeMap::from([(METRIC_NAME, name)]);
    own.extend(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let own: Vec<(&str, &str)> = own.into_iter().collect();
    let mut text = String::new();
    let mut seen = HashSet::with_capacity_and_hasher(samples.len(), RandomState::default());
    samples
        .iter()
        .map(|sample| {
            let labels = sample.labels.overlaid(|_| true, &own, &mut text);
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
