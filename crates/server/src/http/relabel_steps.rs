//! `/targets/relabel_steps`: what each relabelling rule of a job does to a set of labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use relatum_model::LabelsBuilder;
use relatum_model::relabel::{self, RelabelConfig};
use serde_json::{Map, Value, json};

use super::envelope::{ApiError, ApiResult, Success};
use super::params::Params;
use super::series::object;
use crate::Engine;

/// `/api/v1/targets/relabel_steps`
pub(crate) async fn relabel_steps(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    let pool = match params.first("scrapePool") {
        "" => return Err(ApiError::bad_data("no scrapePool parameter provided")),
        pool => pool,
    };
    let labels = match params.first("labels") {
        "" => return Err(ApiError::bad_data("no labels parameter provided")),
        text => serde_json::from_str::<BTreeMap<String, String>>(text)
            .map_err(|error| ApiError::bad_data(format!("error parsing labels: {error}")))?,
    };
    let live = engine.live();
    let job = live
        .scrape_job(pool)
        .ok_or_else(|| ApiError::bad_data(format!("error retrieving scrape config: scrape pool {pool:?} not found")))?;
    let mut builder = LabelsBuilder::new();
    for (name, value) in labels {
        builder.set(name, value);
    }
    let steps: Vec<Value> = relabel::trace(&job.relabel_configs, &mut builder)
        .into_iter()
        .map(|traced| json!({ "rule": rule(traced.step), "output": object(&traced.labels), "keep": traced.kept }))
        .collect();
    Ok(Success::of(&json!({ "steps": steps })))
}

/// A rule with the keys of a configuration file; what is empty is left out where Prometheus leaves it out.
fn rule(step: &RelabelConfig) -> Map<String, Value> {
    let mut rule = Map::new();
    if !step.source_labels.is_empty() {
        rule.insert("source_labels".into(), step.source_labels.clone().into());
    }
    rule.insert("separator".into(), step.separator.clone().into());
    rule.insert("regex".into(), step.regex.pattern().into());
    if step.modulus != 0 {
        rule.insert("modulus".into(), step.modulus.into());
    }
    if !step.target_label.is_empty() {
        rule.insert("target_label".into(), step.target_label.clone().into());
    }
    rule.insert("replacement".into(), step.replacement.clone().into());
    rule.insert("action".into(), step.action.as_str().into());
    rule
}
