//! How full the store is, and with what: `/status/tsdb`, `/status/walreplay`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::State;
use relatum_model::Labels;
use relatum_model::storage::{Scope, Select, SelectError, TimeRange};
use serde_json::{Value, json};

use super::envelope::{ApiError, ApiResult, ErrorKind, Success};
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params};
use super::reading::reading;
use crate::Engine;

const ENTRIES_DEFAULT: usize = 10;
const ENTRIES_MAX: usize = 10_000;

/// `/api/v1/status/tsdb`
pub(crate) async fn head(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    let limit = match params.first("limit") {
        "" => ENTRIES_DEFAULT,
        text => match text.parse::<i64>() {
            Ok(limit) if limit >= 1 => limit as usize,
            _ => return Err(ApiError::bad_data("limit must be a positive number")),
        },
    };
    if limit > ENTRIES_MAX {
        return Err(ApiError::bad_data(format!("limit must not exceed {ENTRIES_MAX}")));
    }
    let asked = Arc::clone(&engine);
    let counted = reading(&asked, move |cancel| {
        let stats = engine.store().stats();
        let reader = engine.store().open(&Scope::all(), TimeRange { min_ms: MIN_TIME_MS, max_ms: MAX_TIME_MS })?;
        let series = reader.label_sets(&[], 0, cancel)?;
        let mut value = Cardinality::of(&series).to_json(limit);
        value["headStats"] = json!({
            "numSeries": series.len(),
            "numLabelPairs": value["headStats"]["numLabelPairs"],
            "chunkCount": engine.store().head_chunks(),
            // What Prometheus says of an empty head.
            "minTime": stats.min_time_ms.unwrap_or(i64::MAX),
            "maxTime": stats.max_time_ms.unwrap_or(i64::MIN),
        });
        Ok::<_, SelectError>(Success::of(&value))
    });
    Ok(counted.await??)
}

/// `/api/v1/status/tsdb/blocks`: what is on disk, oldest first.
pub(crate) async fn blocks(State(engine): State<Arc<Engine>>) -> ApiResult {
    let dir = engine.live().flags.data_dir.clone();
    let read = tokio::task::spawn_blocking(move || relatum_tsdb::inspect::blocks(&dir)).await;
    match read {
        Ok(Ok(blocks)) => {
            let shown = blocks.into_iter().filter(|block| block.damage.is_none()).map(|block| {
                json!({
                    "ulid": block.file,
                    "minTime": block.min_ms,
                    // As in Prometheus' blocks, whose newest sample is one millisecond before this.
                    "maxTime": block.max_ms.saturating_add(1),
                    "stats": { "numSamples": block.samples, "numSeries": block.series, "numChunks": block.chunks },
                    "compaction": { "level": block.level, "sources": [block.file] },
                    "version": 1,
                })
            });
            Ok(Success::of(&json!({ "blocks": shown.collect::<Vec<Value>>() })))
        }
        // Before the first cut there is no directory.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(Success::of(&json!({ "blocks": [] }))),
        Ok(Err(error)) => {
            tracing::error!(%error, "the blocks could not be listed");
            Err(ApiError::new(ErrorKind::Internal, "error getting block metadata"))
        }
        Err(_) => Err(ApiError::new(ErrorKind::Internal, "error getting block metadata")),
    }
}

/// `/api/v1/status/walreplay`: which segments were read. While they are, [`crate::Start`] answers.
pub(crate) async fn wal_replay(State(engine): State<Arc<Engine>>) -> ApiResult {
    Ok(Success::of(&crate::start::progress(engine.replayed())))
}

/// How many series have which labels.
#[derive(Default)]
struct Cardinality<'a> {
    /// By label name: what its values are, and how many series have each.
    labels: HashMap<&'a str, HashMap<&'a str, u64>>,
}

impl<'a> Cardinality<'a> {
    fn of(series: &'a [Labels]) -> Self {
        let mut counted = Cardinality::default();
        for (name, value) in series.iter().flat_map(|labels| labels.iter()) {
            *counted.labels.entry(name).or_default().entry(value).or_default() += 1;
        }
        counted
    }

    fn to_json(&self, limit: usize) -> Value {
        let named = |name: &str, value: u64| (name.to_owned(), value);
        let by_name = self.labels.get("__name__").into_iter().flatten();
        let values = self.labels.iter().map(|(name, values)| named(name, values.len() as u64));
        // What the pairs take if every series holds its own copy with two bytes for lengths, as Prometheus counts it.
        let bytes = self.labels.iter().map(|(name, values)| {
            let bytes = values.iter().map(|(value, count)| (name.len() + value.len() + 2) as u64 * count).sum();
            named(name, bytes)
        });
        let pairs = self
            .labels
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |(value, count)| (format!("{name}={value}"), *count)));
        json!({
            "headStats": { "numLabelPairs": self.labels.values().map(|values| values.len() as u64).sum::<u64>() },
            "seriesCountByMetricName": largest(by_name.map(|(value, count)| named(value, *count)), limit),
            "labelValueCountByLabelName": largest(values, limit),
            "memoryInBytesByLabelName": largest(bytes, limit),
            "seriesCountByLabelValuePair": largest(pairs, limit),
        })
    }
}

/// The `limit` largest entries, largest first; equal ones by name, so that asking twice gives the same answer.
fn largest(entries: impl Iterator<Item = (String, u64)>, limit: usize) -> Vec<Value> {
    let mut kept: BTreeSet<(Reverse<u64>, String)> = BTreeSet::new();
    for (name, value) in entries {
        kept.insert((Reverse(value), name));
        if kept.len() > limit {
            kept.pop_last();
        }
    }
    kept.into_iter().map(|(Reverse(value), name)| json!({ "name": name, "value": value })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let series = [
            Labels::from_pairs([("__name__", "m"), ("job", "abc")]),
            Labels::from_pairs([("__name__", "m"), ("job", "d")]),
            Labels::from_pairs([("__name__", "n"), ("job", "d")]),
        ];
        let value = Cardinality::of(&series).to_json(2);
        assert_eq!(value["headStats"]["numLabelPairs"], 4);
        assert_eq!(value["seriesCountByMetricName"], json!([{"name": "m", "value": 2}, {"name": "n", "value": 1}]));
        assert_eq!(
            value["labelValueCountByLabelName"],
            json!([{"name": "__name__", "value": 2}, {"name": "job", "value": 2}])
        );
        assert_eq!(value["memoryInBytesByLabelName"][0], json!({"name": "__name__", "value": 33}));
        assert_eq!(
            value["seriesCountByLabelValuePair"],
            json!([{"name": "__name__=m", "value": 2}, {"name": "job=d", "value": 2}])
        );
    }
}
