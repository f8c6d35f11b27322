//! What is scraped: `/targets`, `/metadata`, `/alertmanagers`, `/scrape_pools`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use relatum_config::prometheus::job_text;
use relatum_model::exposition::MetricDescription;
use relatum_model::time::format_duration;
use serde_json::{Value, json};

use super::envelope::{ApiError, ApiResult, ErrorKind, Success};
use super::params::Params;
use super::series::object;
use crate::Engine;
use crate::clock::rfc3339;
use crate::files::{DiskFiles, Files};

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
        let outside = Outside::of(&engine);
        active.extend(targets.iter().map(|target| {
            json!({
                "discoveredLabels": object(&target.discovered_labels),
                "labels": object(&target.labels),
                "scrapePool": target.pool,
                "scrapeUrl": target.url,
                "globalUrl": outside_url(&target.url, &outside),
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
    // Counted only where dropped targets are asked for.
    let counts = wanted("dropped").then(|| engine.scrape().dropped_target_counts());
    Ok(Success::of(&json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": counts,
    })))
}

/// How others reach this host and this server.
struct Outside {
    /// `host` or `host:port` of the external URL; empty if there is none.
    authority: String,
    scheme: String,
    /// The port we listen on.
    port: String,
}

impl Outside {
    fn of(engine: &Engine) -> Self {
        let live = engine.live();
        let url = &live.flags.external_url;
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let authority = rest.split('/').next().unwrap_or_default().to_owned();
        let listen = live.flags.listen.first().map_or("", String::as_str);
        let port = listen.rsplit_once(':').map_or("", |(_, port)| port).to_owned();
        Outside { authority, scheme: scheme.to_owned(), port }
    }
}

/// A target's URL as others reach it: what is this very host for us is our host's outside name for them, and our own port is the
/// whole external URL.
fn outside_url(url: &str, outside: &Outside) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (authority, ""),
    };
    if outside.authority.is_empty() || !["127.0.0.1", "localhost", "[::1]"].contains(&host) {
        return url.to_owned();
    }
    if port == outside.port {
        return format!("{}://{}{path}", outside.scheme, outside.authority);
    }
    let name = outside.authority.rsplit_once(':').map_or(outside.authority.as_str(), |(name, _)| name);
    let port = if port.is_empty() { String::new() } else { format!(":{port}") };
    format!("{scheme}://{name}{port}{path}")
}

/// `/api/v1/scrape_pools`
pub(crate) async fn pools(State(engine): State<Arc<Engine>>) -> ApiResult {
    let pools: BTreeSet<String> = engine.scrape().pools().into_iter().collect();
    Ok(Success::of(&json!({ "scrapePools": pools })))
}

/// `/api/v1/scrape_pools/config`: one job as it was written, secrets hidden.
pub(crate) async fn pool_config(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    let pool = match params.first("scrapePool") {
        "" => return Err(ApiError::bad_data("no scrapePool parameter provided")),
        pool => pool.to_owned(),
    };
    let found = tokio::task::spawn_blocking(move || {
        let live = engine.live();
        let in_main = || job_text(&live.yaml, &pool);
        // The texts of the other files are not kept, as there may be thousands.
        let in_others = || {
            let patterns = live.config.scrape_config_files.iter();
            let paths = patterns.flat_map(|pattern| DiskFiles.matching(Path::new(pattern)).unwrap_or_default());
            let mut texts = paths.filter_map(|path| DiskFiles.read(&path).ok());
            texts.find_map(|text| job_text(&text, &pool))
        };
        in_main().or_else(in_others).ok_or(pool)
    });
    match found.await {
        Ok(Ok(yaml)) => Ok(Success::of(&json!({ "yaml": yaml }))),
        Ok(Err(pool)) => {
            let name = relatum_model::text::quote(&pool);
            Err(ApiError::bad_data(format!("error retrieving scrape config: scrape pool {name} not found")))
        }
        Err(_) => Err(ApiError::new(ErrorKind::Internal, "the files could not be read")),
    }
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
    // What no target says now, but one said once.
    engine.store().described(|name, MetricDescription { kind, help, unit }| {
        let is_wanted = (metric.is_empty() || name == metric) && (limit < 0 || (families.len() as i64) < limit);
        if is_wanted && !families.contains_key(name) {
            families.insert(name.to_owned(), vec![json!({ "type": kind.as_str(), "help": help, "unit": unit })]);
        }
    });
    Ok(Success::of(&families))
}

/// `/api/v1/targets/metadata`: what each target says of its metrics.
pub(crate) async fn targets_metadata(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    let limit = match params.first("limit") {
        "" => usize::MAX,
        // As in Prometheus, where a limit below zero is none.
        text => match text.parse::<i64>() {
            Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
            Err(_) => return Err(ApiError::bad_data("limit must be a number")),
        },
    };
    let matchers = match params.first("match_target") {
        "" => Vec::new(),
        text => relatum_promql::syntax::parse_selector(text)
            .map_err(|error| ApiError::parameter("match_target", error))?
            .all_matchers(),
    };
    let metric = params.first("metric");
    let targets = engine.scrape().metadata().into_iter();
    let chosen = targets.filter(|target| matchers.iter().all(|matcher| matcher.matches_labels(&target.labels)));
    let entries = chosen.flat_map(|target| {
        let labels = object(&target.labels);
        let wanted = move |family: &str| metric.is_empty() || family == metric;
        target.families.into_iter().filter(move |entry| wanted(&entry.family)).map(move |entry| {
            let mut value = json!({ "target": labels });
            if metric.is_empty() {
                value["metric"] = entry.family.into();
            }
            value["type"] = entry.kind.as_str().into();
            value["help"] = entry.help.into();
            value["unit"] = entry.unit.into();
            value
        })
    });
    Ok(Success::of(&entries.take(limit).collect::<Vec<Value>>()))
}

/// `/api/v1/alertmanagers`
pub(crate) async fn alertmanagers(State(engine): State<Arc<Engine>>) -> ApiResult {
    let shown = |urls: Vec<String>| urls.into_iter().map(|url| json!({ "url": url })).collect::<Vec<Value>>();
    let active = shown(engine.notifier().alertmanagers());
    let dropped = shown(engine.notifier().dropped_alertmanagers());
    Ok(Success::of(&json!({ "activeAlertmanagers": active, "droppedAlertmanagers": dropped })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_from_outside() {
        let outside = Outside { authority: "mon.example:443".into(), scheme: "https".into(), port: "9090".into() };
        for (url, expected) in [
            ("http://127.0.0.1:9100/metrics", "http://mon.example:9100/metrics"),
            ("http://localhost:9090/metrics?x=1", "https://mon.example:443/metrics?x=1"),
            ("http://[::1]:1/", "http://mon.example:1/"),
            ("http://localhost/metrics", "http://mon.example/metrics"),
            ("http://10.0.0.1:9090/metrics", "http://10.0.0.1:9090/metrics"),
        ] {
            assert_eq!(outside_url(url, &outside), expected);
        }
        let unknown = Outside { authority: String::new(), ..outside };
        assert_eq!(outside_url("http://localhost:1/", &unknown), "http://localhost:1/");
    }
}
