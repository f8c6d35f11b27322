//! What is recorded and alerted on: `/rules`, `/alerts`.

use std::sync::Arc;

use axum::extract::State;
use relatum_config::rules::RuleKind;
use relatum_model::text::{format_value_exponential, quote};
use relatum_rules::{ActiveAlert, GroupView, RuleView};
use serde_json::{Map, Value, json};

use super::envelope::{ApiError, ApiResult, Success};
use super::params::{Params, not_a_number};
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
        other => return Err(ApiError::parameter("type", format!("not supported value {}", quote(other)))),
    };
    let with_alerts = match params.first("exclude_alerts").to_lowercase().as_str() {
        "" | "0" | "f" | "false" => true,
        "1" | "t" | "true" => false,
        other => {
            let cause = format!("error converting exclude_alerts: {}", not_a_number("ParseBool", other));
            return Err(ApiError::parameter("exclude_alerts", cause));
        }
    };
    let page = Page::of(&params)?;
    let (names, groups, files): (Vec<_>, Vec<_>, Vec<_>) =
        (params.all("rule_name[]").collect(), params.all("rule_group[]").collect(), params.all("file[]").collect());
    let chosen = |wanted: &[&str], name: &str| wanted.is_empty() || wanted.contains(&name);
    let matchers = params.matcher_sets().map_err(ApiError::bad_data)?;
    let mut groups_in_order = engine.rules().groups();
    groups_in_order.sort_by(|a, b| Page::key(a).cmp(&Page::key(b)));
    let from = page.begin(&groups_in_order)?;
    let mut found = groups_in_order
        .into_iter()
        .skip(from)
        .filter(|group| chosen(&groups, group.source.name()) && chosen(&files, group.source.file()))
        .filter_map(|mut group| {
            group.rules.retain(|rule| {
                let labels = relatum_model::Labels::from_pairs(rule.rule().labels.iter().cloned());
                kind.is_none_or(|alerting| alerting == rule.alerting.is_some())
                    && chosen(&names, rule.rule().name())
                    && (matchers.is_empty() || matchers.iter().any(|set| set.iter().all(|m| m.matches_labels(&labels))))
            });
            // A group of which nothing is wanted is not shown.
            (!group.rules.is_empty()).then_some(group)
        });
    let views: Vec<Value> = found.by_ref().take(page.groups_max).map(|group| group_json(&group, with_alerts)).collect();
    let mut answer = json!({ "groups": views });
    if let Some(next) = found.next() {
        answer["groupNextToken"] = Page::token(&next).into();
    }
    Ok(Success::of(&answer))
}

/// Which part of the groups is asked for.
struct Page<'a> {
    groups_max: usize,
    /// The token of the first group; empty for the very first.
    token: &'a str,
}

impl<'a> Page<'a> {
    fn of(params: &'a Params) -> Result<Self, ApiError> {
        let (limit, token) = (params.first("group_limit"), params.first("group_next_token"));
        if limit.is_empty() {
            if !token.is_empty() {
                let cause = "group_limit needs to be present in order to paginate over the groups";
                return Err(ApiError::parameter("group_next_token", cause));
            }
            return Ok(Page { groups_max: usize::MAX, token });
        }
        match limit.parse::<i32>() {
            Ok(limit) if limit > 0 => Ok(Page { groups_max: limit as usize, token }),
            Ok(_) => Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
            Err(_) => {
                let cause = format!("group_limit needs to be a valid number: {}", not_a_number("ParseInt", limit));
                Err(ApiError::parameter("group_limit", cause))
            }
        }
    }

    /// The place of the first group among `groups`.
    fn begin(&self, groups: &[GroupView]) -> Result<usize, ApiError> {
        if self.token.is_empty() {
            return Ok(0);
        }
        groups.iter().position(|group| Page::token(group) == self.token).ok_or_else(|| {
            let cause = format!("invalid group_next_token '{}'. were rule groups changed?", self.token);
            ApiError::parameter("group_next_token", cause)
        })
    }

    /// What groups are sorted by.
    fn key(group: &GroupView) -> (&str, &str) {
        (group.source.file(), group.source.name())
    }

    /// What stands for a group between two pages: opaque to clients, the same as long as the group is there.
    fn token(group: &GroupView) -> String {
        format!("{};{}", group.source.file(), group.source.name()).bytes().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `/api/v1/alerts`
pub(crate) async fn alerts(State(engine): State<Arc<Engine>>) -> ApiResult {
    let alerts: Vec<Value> = engine.rules().alerts().iter().map(alert_json).collect();
    Ok(Success::of(&json!({ "alerts": alerts })))
}

fn group_json(group: &GroupView, with_alerts: bool) -> Value {
    json!({
        "name": group.source.name(),
        "file": group.source.file(),
        "rules": group.rules.iter().map(|rule| rule_json(rule, with_alerts)).collect::<Vec<_>>(),
        "interval": group.source.interval().as_secs_f64(),
        "limit": group.source.definition().limit,
        "evaluationTime": group.took.as_secs_f64(),
        "lastEvaluation": moment(group.evaluated_at_ms),
    })
}

fn rule_json(rule: &RuleView, with_alerts: bool) -> Value {
    let mut value = Map::new();
    let definition = rule.rule();
    if let Some(alerting) = &rule.alerting {
        value.insert("state".into(), alerting.state.as_str().into());
    }
    value.insert("name".into(), definition.name().into());
    value.insert("query".into(), definition.expr.to_string().into());
    if let RuleKind::Alert { hold_for, keep_firing_for, .. } = &definition.kind {
        value.insert("duration".into(), hold_for.as_secs_f64().into());
        value.insert("keepFiringFor".into(), keep_firing_for.as_secs_f64().into());
    }
    // Of recording rules, Prometheus left them out up to 3.5 when there were none.
    value.insert("labels".into(), pairs(&definition.labels));
    if let (Some(alerting), RuleKind::Alert { annotations, .. }) = (&rule.alerting, &definition.kind) {
        value.insert("annotations".into(), pairs(annotations));
        // Left out on demand is something else than none.
        let alerts = with_alerts.then(|| alerting.alerts.iter().map(alert_json).collect::<Vec<_>>());
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
    value.insert("value".into(), format_value_exponential(alert.value).into());
    Value::Object(value)
}

fn pairs(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect::<Map<_, _>>().into()
}

fn moment(at_ms: Option<i64>) -> String {
    at_ms.map_or(NEVER.to_owned(), rfc3339)
}
