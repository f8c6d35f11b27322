//! `/status/health`: whether all is well, in detail: configuration, storage, room on the disk, upstreams, targets and queries.

use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use relatum_transport::scrape::Health;
use serde_json::{Value, json};

use super::envelope::{ApiResult, Success};
use crate::Engine;
use crate::clock::{now_ms, rfc3339};

/// Below this share of free room the disk is worth a look.
const FREE_SHARE_LOW: f64 = 0.05;
/// A remote whose newest sample is older than this is behind.
const BEHIND_MS: i64 = 5 * 60_000;

/// The paths whose latency is told.
const QUERIES: [(&str, &str); 4] = [
    ("query", "/api/v1/query"),
    ("query_range", "/api/v1/query_range"),
    ("series", "/api/v1/series"),
    ("labels", "/api/v1/labels"),
];

/// `/api/v1/status/health`: `healthy`, or `degraded` with a reason for each thing that is not as it should be.
pub(crate) async fn health(State(engine): State<Arc<Engine>>) -> ApiResult {
    let report = tokio::task::spawn_blocking(move || report(&engine)).await;
    // It reads counters only, so it ends early only when the runtime does.
    Ok(Success::of(&report.unwrap_or(Value::Null)))
}

fn report(engine: &Engine) -> Value {
    let mut reasons: Vec<String> = Vec::new();
    let live = engine.live();
    let now_ms = now_ms();
    if live.reload_failed_at_ms.is_some() {
        reasons.push("the configuration on disk was refused; an older one runs".to_owned());
    }
    let stats = engine.store().stats();
    let disk = disk(&live.flags.data_dir, &mut reasons);
    let remotes: Vec<Value> = engine
        .remotes()
        .states()
        .into_iter()
        .map(|remote| {
            let shown = if remote.id.name.is_empty() { &remote.id.url } else { &remote.id.name };
            let newest_ms = stats.max_time_ms.unwrap_or(now_ms);
            let behind_ms = remote.newest_sent_ms.map_or(0, |sent_ms| (newest_ms - sent_ms).max(0));
            if let Some(failure) = &remote.failure {
                reasons.push(format!("remote write to {shown} fails: {failure}"));
            } else if behind_ms > BEHIND_MS {
                reasons.push(format!("remote write to {shown} is {} s behind", behind_ms / 1000));
            }
            json!({
                "name": remote.id.name,
                "url": remote.id.url,
                "pendingSamples": remote.n_pending,
                "behindSeconds": behind_ms as f64 / 1000.0,
                "lastError": remote.failure.unwrap_or_default(),
            })
        })
        .collect();
    let targets = engine.scrape().targets();
    let n_in = |health: Health| targets.iter().filter(|target| target.health == health).count();
    let queries: serde_json::Map<String, Value> = QUERIES
        .iter()
        .filter_map(|(name, path)| {
            let latency = engine.traffic().latency(&format!("{}{path}", live.flags.prefix()))?;
            let shown = json!({ "count": latency.count, "p50Seconds": latency.median, "p99Seconds": latency.p99 });
            Some(((*name).to_owned(), shown))
        })
        .collect();
    json!({
        "status": if reasons.is_empty() { "healthy" } else { "degraded" },
        "reasons": reasons,
        "startTime": rfc3339(engine.started_at_ms()),
        "uptimeSeconds": (now_ms - engine.started_at_ms()) as f64 / 1000.0,
        "configuration": {
            "lastReloadSuccessful": live.reload_failed_at_ms.is_none(),
            "loadedAt": rfc3339(live.loaded_at_ms),
        },
        "storage": {
            "series": stats.series,
            "samplesAppended": stats.samples_appended,
            "logBytes": stats.wal_bytes,
            "blocks": stats.blocks,
            "blockBytes": stats.block_bytes,
            "minTime": stats.min_time_ms,
            "maxTime": stats.max_time_ms,
        },
        "disk": disk,
        "upstreams": {
            "alertmanagers": engine.notifier().alertmanagers(),
            "remoteWrite": remotes,
        },
        "targets": { "total": targets.len(), "up": n_in(Health::Up), "down": n_in(Health::Down) },
        "queries": queries,
    })
}

/// The room on the disk that the samples are on.
fn disk(path: &Path, reasons: &mut Vec<String>) -> Value {
    match nix::sys::statvfs::statvfs(path) {
        Ok(found) => {
            let size = found.fragment_size();
            let (total, free) = (found.blocks().saturating_mul(size), found.blocks_available().saturating_mul(size));
            if (free as f64) < total as f64 * FREE_SHARE_LOW {
                reasons.push(format!("the disk of {} is nearly full: {free} bytes are free", path.display()));
            }
            json!({ "path": path, "totalBytes": total, "freeBytes": free })
        }
        Err(error) => {
            reasons.push(format!("the disk of {} cannot be looked at: {error}", path.display()));
            json!({ "path": path })
        }
    }
}
