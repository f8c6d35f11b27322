//! Native histograms with custom buckets, made of the classic histograms that a script loads.

use std::collections::BTreeMap;
use std::sync::Arc;

use relatum_model::histogram::{Buckets, CUSTOM_SCHEMA};
use relatum_model::{Histogram, Labels};
use relatum_promql::notation::{Described, Point};

/// What is known of one histogram at one moment.
#[derive(Default)]
struct Classic {
    // Cumulative, by bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The histograms that `series` describe, with their times.
pub(crate) fn custom_bucket_histograms(step_ms: i64, series: &[Described]) -> Vec<(Labels, i64, Histogram<f64>)> {
    let mut found: BTreeMap<(Labels, i64), Classic> = BTreeMap::new();
    for described in series {
        let name = described.labels.metric_name().unwrap_or_default();
        let Some((base, kind)) =
            ["_bucket", "_count", "_sum"].iter().find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix)))
        else {
            continue;
        };
        let bound: Option<f64> = described.labels.value("le").parse().ok();
        if kind == "_bucket" && bound.is_none() {
            continue;
        }
        let mut builder = described.labels.to_builder();
        builder.set("__name__", base).remove("le");
        let labels = builder.build();
        for (at, point) in described.points.iter().enumerate() {
            let Point::Float(value) = point else { continue };
            let classic = found.entry((labels.clone(), at as i64 * step_ms)).or_default();
            match (kind, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, *value)),
                ("_count", _) => classic.count = Some(*value),
                _ => classic.sum = *value,
            }
        }
    }
    found.into_iter().filter_map(|((labels, t_ms), classic)| Some((labels, t_ms, classic.into_native()?))).collect()
}

impl Classic {
    /// The native histogram; nothing if the counts contradict each other.
    fn into_native(mut self) -> Option<Histogram<f64>> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by_key(|(bound, _)| *bound);
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let is_cumulative = self.buckets.is_sorted_by_key(|(_, count)| *count);
        let last = self.buckets.last().expect("a last bucket was just added").1;
        if !is_cumulative || last != count || self.buckets[0].1 < 0.0 {
            return None;
        }
        let mut positive = Buckets::default();
        let (mut before, mut last_index) = (0.0, None);
        for (index, (_, cumulative)) in (0..).zip(&self.buckets) {
            let in_bucket = cumulative - before;
            before = *cumulative;
            if in_bucket != 0.0 {
                positive.push(last_index, index, in_bucket);
                last_index = Some(index);
            }
        }
        self.buckets.pop();
        let custom_bounds: Arc<[f64]> = self.buckets.iter().map(|(bound, _)| *bound).collect();
        Some(Histogram { schema: CUSTOM_SCHEMA, count, sum: self.sum, positive, custom_bounds, ..Histogram::default() })
    }
}
