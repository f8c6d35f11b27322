//! `/metrics`: how the server itself does, under the names that Prometheus' dashboards expect.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use relatum_model::exposition::{MetricFamily, MetricKind, TEXT_CONTENT_TYPE, write_text};
use relatum_promql::ResultsStats;

use crate::Engine;
use crate::memory::resident_bytes;

/// All families, in the text format.
pub(crate) async fn metrics(State(engine): State<Arc<Engine>>) -> Response {
    ([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], write_text(&families(&engine))).into_response()
}

/// All families.
pub(crate) fn families(engine: &Engine) -> Vec<MetricFamily> {
    let live = engine.live();
    let mut families = vec![
        MetricFamily::new(MetricKind::Gauge, "prometheus_build_info", "What this server is.")
            .with(&[("version", super::status::COMPATIBLE_VERSION), ("revision", env!("CARGO_PKG_VERSION"))], 1.0),
        MetricFamily::new(MetricKind::Gauge, "relatum_build_info", "What this program is.")
            .with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        MetricFamily::gauge(
            "prometheus_config_last_reload_successful",
            "Whether the last configuration reload attempt was successful.",
            f64::from(u8::from(live.reload_failed_at_ms.is_none())),
        ),
        MetricFamily::gauge(
            "prometheus_config_last_reload_success_timestamp_seconds",
            "Timestamp of the last successful configuration reload.",
            live.loaded_at_ms as f64 / 1000.0,
        ),
    ];
    families.extend(engine.store().metrics());
    families.extend(engine.scrape().metrics());
    families.extend(engine.rules().metrics());
    families.extend(engine.notifier().metrics());
    families.extend(engine.receiver().metrics());
    families.extend(engine.otlp().metrics());
    families.extend(engine.remotes().metrics(engine.store().stats().max_time_ms));
    families.extend(engine.others().metrics());
    families.extend(engine.web().metrics());
    families.extend(engine.traffic().metrics());
    families.extend(engine.inflow().metrics());
    families.extend(engine.queries().metrics());
    families.extend(engine.query_metrics().metrics());
    families.push(engine.quick().metrics());
    families.extend(engine.query_log().metrics());
    families.extend(results(engine.results().stats()));
    families.extend(engine.added_metrics());
    families.extend(process(engine.started_at_ms()));
    families
}

/// The results of range queries that are used again.
fn results(stats: ResultsStats) -> [MetricFamily; 4] {
    let ResultsStats { bytes, bytes_max, steps_reused, steps_computed } = stats;
    [
        MetricFamily::gauge("relatum_results_cache_bytes", "What the results take up that are kept.", bytes as f64),
        MetricFamily::gauge("relatum_results_cache_bytes_max", "What they may take up.", bytes_max as f64),
        MetricFamily::counter(
            "relatum_results_cache_steps_reused_total",
            "Steps of range queries that were answered with what was kept.",
            steps_reused as f64,
        ),
        MetricFamily::counter(
            "relatum_results_cache_steps_computed_total",
            "Steps of range queries that could be kept and had to be computed.",
            steps_computed as f64,
        ),
    ]
}

/// The process as the kernel sees it, read from `/proc`; nothing where there is none.
fn process(started_at_ms: i64) -> Vec<MetricFamily> {
    let mut families = vec![MetricFamily::gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        started_at_ms as f64 / 1000.0,
    )];
    if let Some(bytes) = resident_bytes() {
        let help = "Resident memory size in bytes.";
        families.push(MetricFamily::gauge("process_resident_memory_bytes", help, bytes as f64));
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        let help = "Number of open file descriptors.";
        families.push(MetricFamily::gauge("process_open_fds", help, entries.count() as f64));
    }
    // Fields 14 and 15 after the name in parentheses: user and system time in ticks of a hundredth second.
    if let Some(ticks) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| {
        let fields: Vec<f64> =
            text.rsplit_once(')')?.1.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
        (fields.len() == 2).then(|| fields.iter().sum::<f64>())
    }) {
        let help = "Total user and system CPU time spent in seconds.";
        families.push(MetricFamily::counter("process_cpu_seconds_total", help, ticks / 100.0));
    }
    families
}
