//! What is scraped: `/targets`, `/metadata`, `/alertmanagers`, `/scrape_pools`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use relatum_model::time::format_duration;
use serde_json::{Value, json};

use super::envelope::{ApiError, ApiResult, ErrorKind, Success};
use super::params::Params;
use super::series::object;
use crate::Engine;
use crate::clock::rfc3339;

// Go's zero time: how the API shows that a target was never scraped.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `/api/v1/targets`
pub(crate) async fn targets(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    let (state, pool) = (params.first("state").to_lowercase(), params.first("scrapePool"));
    let wanted = |name: &str| state.is_empty() || state == "any" || state == name;
    let in_pool = |name: &str| pool.is_empty() || pool == name;
    let mut active = Vec::new();
    if wanted("active") {
        let mut targets = engine.scrape().targets();
        targets.retain(|target| in_pool(&target.pool));
        targets.sort_by(|a, b| (&a.pool, &a.labels).cmp(&(&b.pool, &b.labels)));
        active.extend(targets.iter().map(|target| {
            json!({
                "discoveredLabels": object(&target.discovered_labels),
                "labels": object(&target.labels),
                "scrapePool": target.pool,
                "scrapeUrl": target.url,
                "globalUrl": target.url,
                "lastError": target.last_error.as_deref().unwrap_or_default(),
                "lastScrape": target.last_scrape_ms.map_or(NEVER.to_owned(), rfc3339),
                "lastScrapeDuration": target.last_duration.as_secs_f64(),
                "health": target.health.as_str(),
                "scrapeInterval": format_duration(target.interval),
                "scrapeTimeout": format_duration(target.timeout),
            })
        }));
    }
    let mut dropped = Vec::new();
    if wanted("dropped") {
        for target in engine.scrape().dropped_targets() {
            if in_pool(&target.pool) {
                let labels = object(&target.discovered_labels);
                dropped.push(json!({ "discoveredLabels": labels, "scrapePool": target.pool }));
            }
        }
    }
    Ok(Success::of(&json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": engine.scrape().dropped_target_counts(),
    })))
}

/// `/api/v1/scrape_pools`
pub(crate) async fn pools(State(engine): State<Arc<Engine>>) -> ApiResult {
    let pools: BTreeSet<String> = engine.scrape().pools().into_iter().collect();
    Ok(Success::of(&json!({ "scrapePools": pools })))
}

/// `/api/v1/metadata`
pub(crate) async fn metadata(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    let number = |name: &str| match params.first(name) {
        "" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| ApiError::new(ErrorKind::BadData, format!("{name} must be a number"))),
    };
    let (limit, per_metric) = (number("limit")?, number("limit_per_metric")?);
    let metric = params.first("metric");
    let mut families: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in engine.scrape().metadata().into_iter().flat_map(|target| target.families) {
        if !metric.is_empty() && entry.family != metric {
            continue;
        }
        if limit >= 0 && families.len() as i64 >= limit && !families.contains_key(&entry.family) {
            continue;
        }
        let known = families.entry(entry.family).or_default();
        let value = json!({ "type": entry.kind.as_str(), "help": entry.help, "unit": entry.unit });
        if !known.contains(&value) && (per_metric <= 0 || (known.len() as i64) < per_metric) {
            known.push(value);
        }
    }
    Ok(Success::of(&families))
}

/// `/api/v1/alertmanagers`
pub(crate) async fn alertmanagers(State(engine): State<Arc<Engine>>) -> ApiResult {
    let shown = |urls: Vec<String>| urls.into_iter().map(|url| json!({ "url": url })).collect::<Vec<Value>>();
    let active = shown(engine.notifier().alertmanagers());
    let dropped = shown(engine.notifier().dropped_alertmanagers());
    Ok(Success::of(&json!({ "activeAlertmanagers": active, "droppedAlertmanagers": dropped })))
}
