//! `/status/self_metrics`: what `/metrics` shows, as JSON in the form of Prometheus' protobuf messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use relatum_model::Labels;
use relatum_model::exposition::{FamilySample, MetricFamily, MetricKind};
use relatum_model::regex::AnchoredRegex;
use serde_json::{Value, json};

use super::envelope::{ApiError, ApiResult, Success};
use super::metrics::families;
use super::params::Params;
use crate::Engine;

/// `/api/v1/status/self_metrics`
pub(crate) async fn self_metrics(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    let pattern = match params.first("metric_name_pattern") {
        "" => None,
        text => Some(
            AnchoredRegex::new(text)
                .map_err(|error| ApiError::bad_data(format!("invalid metric_name_pattern: {error}")))?,
        ),
    };
    let wanted = |family: &MetricFamily| pattern.as_ref().is_none_or(|pattern| pattern.is_match(&family.name));
    let mut families: Vec<MetricFamily> =
        families(&engine).into_iter().filter(|family| !family.samples.is_empty() && wanted(family)).collect();
    families.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Success::of(&families.iter().map(message).collect::<Vec<_>>()))
}

/// `io.prometheus.client.MetricFamily` in protobuf's JSON form.
fn message(family: &MetricFamily) -> Value {
    let kind = match family.kind {
        MetricKind::Counter => "COUNTER",
        MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet => "GAUGE",
        MetricKind::Histogram => "HISTOGRAM",
        MetricKind::GaugeHistogram => "GAUGE_HISTOGRAM",
        MetricKind::Summary => "SUMMARY",
        MetricKind::Unknown => "UNTYPED",
    };
    let metrics: Vec<Value> = match family.kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => composed(&family.samples, &HISTOGRAM),
        MetricKind::Summary => composed(&family.samples, &SUMMARY),
        kind => {
            let field = match kind {
                MetricKind::Counter => "counter",
                MetricKind::Unknown => "untyped",
                _ => "gauge",
            };
            family
                .samples
                .iter()
                .map(|sample| with_labels(&sample.labels, field, json!({ "value": number(sample.value) })))
                .collect()
        }
    };
    json!({ "name": family.name, "help": family.help, "type": kind, "metric": metrics })
}

fn with_labels(labels: &Labels, field: &str, value: Value) -> Value {
    let mut metric = serde_json::Map::new();
    if !labels.is_empty() {
        let pairs: Vec<Value> = labels.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        metric.insert("label".to_owned(), pairs.into());
    }
    metric.insert(field.to_owned(), value);
    metric.into()
}

/// How a metric of many samples is written.
struct Composed {
    field: &'static str,
    /// The label that tells its parts apart.
    part: &'static str,
    parts: &'static str,
    part_key: &'static str,
    part_value: &'static str,
    /// 64-bit numbers are texts in protobuf's JSON.
    counts: bool,
}

const HISTOGRAM: Composed = Composed {
    field: "histogram",
    part: "le",
    parts: "bucket",
    part_key: "upperBound",
    part_value: "cumulativeCount",
    counts: true,
};

const SUMMARY: Composed = Composed {
    field: "summary",
    part: "quantile",
    parts: "quantile",
    part_key: "quantile",
    part_value: "value",
    counts: false,
};

/// Samples of histograms or summaries, put together again by what is left of their labels.
fn composed(samples: &[FamilySample], form: &Composed) -> Vec<Value> {
    let mut found: BTreeMap<Labels, serde_json::Map<String, Value>> = BTreeMap::new();
    for sample in samples {
        let mut labels = sample.labels.to_builder();
        labels.set(form.part, "");
        let one = found.entry(labels.build()).or_default();
        match sample.suffix {
            "_sum" => drop(one.insert("sampleSum".to_owned(), number(sample.value))),
            "_count" => drop(one.insert("sampleCount".to_owned(), format!("{}", sample.value).into())),
            _ => {
                let key = sample.labels.get(form.part).and_then(|key| key.parse().ok()).unwrap_or(f64::INFINITY);
                // The infinite bucket is the count.
                if key.is_infinite() {
                    continue;
                }
                let value = if form.counts { format!("{}", sample.value).into() } else { number(sample.value) };
                let part = json!({ form.part_value: value, form.part_key: number(key) });
                let parts = one.entry(form.parts).or_insert_with(|| Value::Array(Vec::new()));
                parts.as_array_mut().expect("parts are a list").push(part);
            }
        }
    }
    found.into_iter().map(|(labels, one)| with_labels(&labels, form.field, one.into())).collect()
}

/// A float as protobuf's JSON has it: what JSON has no number for is a text.
fn number(value: f64) -> Value {
    match value {
        _ if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value if value.fract() == 0.0 && value.abs() < 1e15 => Value::from(value as i64),
        value => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_as_messages() {
        let counter = MetricFamily::new(MetricKind::Counter, "c_total", "h").with(&[("a", "b")], 2.0);
        assert_eq!(
            message(&counter),
            json!({"name": "c_total", "help": "h", "type": "COUNTER",
                "metric": [{"label": [{"name": "a", "value": "b"}], "counter": {"value": 2}}]})
        );
        let mut histogram = MetricFamily::new(MetricKind::Histogram, "d", "");
        histogram.push_histogram(&Labels::empty(), &[(0.5, 1)], f64::NAN, 3);
        let bucket = json!({"cumulativeCount": "1", "upperBound": 0.5});
        assert_eq!(
            message(&histogram)["metric"],
            json!([{"histogram": {"bucket": [bucket], "sampleSum": "NaN", "sampleCount": "3"}}])
        );
    }
}
