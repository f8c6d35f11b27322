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
    let mut told = json!({
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
    });
    if !stats.samples_looked_at_by_step.is_empty() {
        let steps = stats.samples_looked_at_by_step.iter();
        told["samples"]["totalQueryableSamplesPerStep"] =
            steps.map(|(t_ms, samples)| json!([seconds(*t_ms), samples])).collect();
    }
    told
}

/// A time as JSON has it here: without a fraction where there is none.
fn seconds(t_ms: i64) -> Value {
    if t_ms % 1000 == 0 { json!(t_ms / 1000) } else { json!(t_ms as f64 / 1000.0) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_if_they_were_counted() {
        let told = |samples_looked_at_by_step: Vec<(i64, u64)>| {
            let measured = QueryStats { samples_looked_at_by_step, ..QueryStats::default() };
            stats(&measured, Turn::default())["samples"].get("totalQueryableSamplesPerStep").map(Value::to_string)
        };
        assert_eq!(told(Vec::new()), None);
        assert_eq!(
            told(vec![(1_700_000_000_000, 5), (1_700_000_000_500, 0)]).as_deref(),
            Some("[[1700000000,5],[1700000000.5,0]]")
        );
    }
}
