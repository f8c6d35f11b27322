//! The store's metrics, for whoever renders `/metrics`.

use relatum_model::exposition::{MetricFamily, MetricKind};

use crate::replay::Recovery;
use crate::stats::Stats;

/// The families for `stats`.
pub(crate) fn families(stats: &Stats, recovery: &Recovery) -> Vec<MetricFamily> {
    let counter = |name: &str, help: &str, value: u64| MetricFamily::counter(name, help, value as f64);
    let gauge = |name: &str, help: &str, value: f64| MetricFamily::gauge(name, help, value);
    let refused = MetricFamily::new(
        MetricKind::Counter,
        "relatum_tsdb_refused_samples_total",
        "Samples that were not taken, by reason.",
    );
    vec![
        gauge("prometheus_tsdb_head_series", "Total number of series in the head block.", stats.series as f64),
        counter("prometheus_tsdb_head_series_created_total", "Series that came into being.", stats.series_created),
        counter("prometheus_tsdb_head_series_removed_total", "Series that retention removed.", stats.series_removed),
        MetricFamily::new(
            MetricKind::Counter,
            "prometheus_tsdb_head_samples_appended_total",
            "Samples that were committed.",
        )
        .with(&[("type", "float")], stats.samples_appended as f64),
        // Prometheus shows 0 for the times of an empty head as well.
        gauge("prometheus_tsdb_head_min_time", "Oldest sample in milliseconds.", stats.min_time_ms.unwrap_or(0) as f64),
        gauge("prometheus_tsdb_head_max_time", "Newest sample in milliseconds.", stats.max_time_ms.unwrap_or(0) as f64),
        gauge("prometheus_tsdb_wal_storage_size_bytes", "Size of the write-ahead log.", stats.wal_bytes as f64),
        gauge("prometheus_tsdb_wal_segment_current", "Segment that is written to.", stats.wal_segment as f64),
        counter("prometheus_tsdb_wal_corruptions_total", "Damaged places found when opening.", recovery.damages),
        counter("prometheus_tsdb_checkpoint_creations_total", "Checkpoints that were written.", stats.checkpoints),
        gauge("prometheus_tsdb_blocks_loaded", "Blocks on disk.", stats.blocks as f64),
        gauge("prometheus_tsdb_storage_blocks_bytes", "Size of all blocks.", stats.block_bytes as f64),
        counter("prometheus_tsdb_head_truncations_total", "Times the head was cut into blocks.", stats.cuts),
        counter("prometheus_tsdb_compactions_total", "Times blocks were merged or cleaned.", stats.compactions),
        counter("relatum_tsdb_head_images_total", "Images of the head that were written.", stats.images),
        gauge("prometheus_tsdb_exemplar_exemplars_in_storage", "Exemplars held.", stats.exemplars.held as f64),
        gauge("prometheus_tsdb_exemplar_max_exemplars", "Exemplars there is room for.", stats.exemplars.max as f64),
        gauge(
            "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
            "Series with exemplars.",
            stats.exemplars.series as f64,
        ),
        counter("prometheus_tsdb_exemplar_exemplars_appended_total", "Exemplars taken.", stats.exemplars.appended),
        counter(
            "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
            "Exemplars refused because they came too late.",
            stats.exemplars.out_of_order,
        ),
        gauge("relatum_tsdb_metadata_bytes", "What the descriptions of metrics take up.", stats.metadata_bytes as f64),
        gauge("relatum_tsdb_metadata_bytes_max", "What they may take up.", stats.metadata_bytes_max as f64),
        gauge("relatum_tsdb_block_samples", "Samples in all blocks.", stats.block_samples as f64),
        gauge("relatum_tsdb_blocks_damaged", "Blocks with something that cannot be read.", stats.damaged_blocks as f64),
        gauge("relatum_tsdb_head_samples", "Samples in memory.", stats.samples as f64),
        counter("relatum_tsdb_commits_total", "Batches that were committed.", stats.commits),
        counter("relatum_tsdb_wal_syncs_total", "Times the log was made durable.", stats.wal_syncs),
        gauge("relatum_tsdb_poisoned", "1 when the store takes no more writes.", f64::from(stats.poisoned.is_some())),
        gauge("relatum_tsdb_disk_full", "1 when the last batch found no room on the disk.", f64::from(stats.full)),
        refused
            .with(&[("reason", "out_of_order")], stats.refused_out_of_order as f64)
            .with(&[("reason", "duplicate")], stats.refused_duplicate as f64)
            .with(&[("reason", "too_old")], stats.refused_too_old as f64)
            .with(&[("reason", "too_far_in_future")], stats.refused_future as f64)
            .with(&[("reason", "labels")], stats.refused_labels as f64),
    ]
}
