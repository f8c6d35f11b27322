//! What a query took, as JSON: Prometheus' `stats`, and our own `plan`.

use std::time::Duration;

use relatum_promql::QueryStats;
use serde_json::{Value, json};

/// How long a query waited for its turn, and how long it took from then on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn {
    pub(crate) waited: Duration,
    pub(crate) took: Duration,
}

/// `stats` as Prometheus has them; times are in seconds.
pub(crate) fn stats(stats: &QueryStats, turn: Turn) -> Value {
    json!({
        "timings": {
            "evalTotalTime": (stats.preparation + stats.evaluation + stats.sorting).as_secs_f64(),
            "resultSortTime": stats.sorting.as_secs_f64(),
            "queryPreparationTime": stats.preparation.as_secs_f64(),
            "innerEvalTime": stats.evaluation.as_secs_f64(),
            "execQueueTime": turn.waited.as_secs_f64(),
            "execTotalTime": (turn.waited + turn.took).as_secs_f64(),
        },
        "samples": {
            "totalQueryableSamples": stats.samples_looked_at,
            "samplesRead": stats.samples_read,
            "peakSamples": stats.samples_peak,
        },
        "memory": { "peakBytes": stats.bytes_peak },
    })
}

/// The nodes of the query in the order in which their evaluation began.
pub(crate) fn plan(stats: &QueryStats) -> Value {
    let nodes = stats.nodes.iter().map(|node| {
        json!({
            "depth": node.depth,
            "expr": node.expr,
            "seconds": node.took.as_secs_f64(),
            "series": node.series,
            "samplesRead": node.samples_read,
            "shared": node.is_shared,
        })
    });
    nodes.collect()
}
