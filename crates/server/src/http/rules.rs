//! What is recorded and alerted on: `/rules`, `/alerts`.

use std::sync::Arc;

use axum::extract::State;
use relatum_rules::{ActiveAlert, GroupView, RuleView};
use serde_json::{Map, Value, json};

use super::envelope::{ApiError, ApiResult, Success};
use super::params::Params;
use super::series::object;
use crate::Engine;
use crate::clock::rfc3339;

const NEVER: &str = "0001-01-01T00:00:00Z";

/// `/api/v1/rules`
pub(crate) async fn rules(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    let kind = match params.first("type").to_lowercase().as_str() {
        "" => None,
        "alert" => Some(true),
        "record" => Some(false),
        other => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
    };
    let with_alerts = match params.first("exclude_alerts").to_lowercase().as_str() {
        "" | "false" => true,
        "true" => false,
        other => return Err(ApiError::parameter("exclude_alerts", format!("not supported value {other:?}"))),
    };
    let (names, groups, files): (Vec<_>, Vec<_>, Vec<_>) =
        (params.all("rule_name[]").collect(), params.all("rule_group[]").collect(), params.all("file[]").collect());
    let chosen = |wanted: &[&str], name: &str| wanted.is_empty() || wanted.contains(&name);
    let matchers = params.matcher_sets()?;
    let views: Vec<Value> = engine
        .rules()
        .groups()
        .into_iter()
        .filter(|group| chosen(&groups, &group.name) && chosen(&files, &group.file))
        .filter_map(|mut group| {
            group.rules.retain(|rule| {
                let labels = relatum_model::Labels::from_pairs(rule.labels.iter().cloned());
                kind.is_none_or(|alerting| alerting == rule.alerting.is_some())
                    && chosen(&names, &rule.name)
                    && (matchers.is_empty() || matchers.iter().any(|set| set.iter().all(|m| m.matches_labels(&labels))))
            });
            // A group of which nothing is wanted is not shown.
            (!group.rules.is_empty()).then(|| group_json(&group, with_alerts))
        })
        .collect();
    Ok(Success::of(&json!({ "groups": views })))
}

/// `/api/v1/alerts`
pub(crate) async fn alerts(State(engine): State<Arc<Engine>>) -> ApiResult {
    let alerts: Vec<Value> = engine.rules().alerts().iter().map(alert_json).collect();
    Ok(Success::of(&json!({ "alerts": alerts })))
}

fn group_json(group: &GroupView, with_alerts: bool) -> Value {
    json!({
        "name": group.name,
        "file": group.file,
        "rules": group.rules.iter().map(|rule| rule_json(rule, with_alerts)).collect::<Vec<_>>(),
        "interval": group.interval.as_secs_f64(),
        "limit": group.limit,
        "evaluationTime": group.took.as_secs_f64(),
        "lastEvaluation": moment(group.evaluated_at_ms),
    })
}

fn rule_json(rule: &RuleView, with_alerts: bool) -> Value {
    let mut value = Map::new();
    if let Some(alerting) = &rule.alerting {
        value.insert("state".into(), alerting.state.as_str().into());
    }
    value.insert("name".into(), rule.name.clone().into());
    value.insert("query".into(), rule.query.clone().into());
    if let Some(alerting) = &rule.alerting {
        value.insert("duration".into(), alerting.hold_for.as_secs_f64().into());
        value.insert("keepFiringFor".into(), alerting.keep_firing_for.as_secs_f64().into());
    }
    value.insert("labels".into(), pairs(&rule.labels));
    if let Some(alerting) = &rule.alerting {
        value.insert("annotations".into(), pairs(&alerting.annotations));
        let alerts = if with_alerts { alerting.alerts.iter().map(alert_json).collect() } else { Vec::new() };
        value.insert("alerts".into(), alerts.into());
    }
    value.insert("health".into(), rule.health.as_str().into());
    if let Some(error) = &rule.last_error {
        value.insert("lastError".into(), error.clone().into());
    }
    value.insert("evaluationTime".into(), rule.took.as_secs_f64().into());
    value.insert("lastEvaluation".into(), moment(rule.evaluated_at_ms).into());
    value.insert("type".into(), if rule.alerting.is_some() { "alerting" } else { "recording" }.into());
    Value::Object(value)
}

fn alert_json(alert: &ActiveAlert) -> Value {
    let mut value = Map::new();
    value.insert("labels".into(), object(&alert.labels).into());
    value.insert("annotations".into(), object(&alert.annotations).into());
    value.insert("state".into(), alert.state.as_str().into());
    value.insert("activeAt".into(), rfc3339(alert.active_at_ms).into());
    if let Some(since_ms) = alert.kept_since_ms {
        value.insert("keepFiringSince".into(), rfc3339(since_ms).into());
    }
    value.insert("value".into(), exponential(alert.value).into());
    Value::Object(value)
}

fn pairs(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect::<Map<_, _>>().into()
}

fn moment(at_ms: Option<i64>) -> String {
    at_ms.map_or(NEVER.to_owned(), rfc3339)
}

/// Go's `'e'` format, which this one place of the API uses: `1e+00`.
fn exponential(value: f64) -> String {
    if !value.is_finite() {
        return relatum_model::text::format_value(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("{:e} always has an exponent");
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn alert_values() {
        for (value, text) in [(1.0, "1e+00"), (0.25, "2.5e-01"), (1e120, "1e+120"), (f64::NAN, "NaN")] {
            assert_eq!(super::exponential(value), text);
        }
    }
}
