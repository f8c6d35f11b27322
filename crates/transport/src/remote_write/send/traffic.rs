//! What one remote was sent so far, shared by its tasks and by those who ask.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relatum_model::Labels;
use relatum_model::exposition::{MetricFamily, MetricKind};
use relatum_model::storage::{Lag, Position};
use tokio::sync::Notify;

use super::parcel::Parcel;
use super::{RemoteId, RemoteState, Route};

/// The counters; all but `failed_reads`, `waits` and those of descriptions count samples, native histograms among them.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Packed and not settled yet.
    pub(super) pending: AtomicU64,
    /// Told when `pending` shrinks.
    pub(super) emptied: Notify,
    /// Given up because the remote refused them.
    pub(super) failed: AtomicU64,
    /// In requests that failed and were to be repeated.
    pub(super) retried: AtomicU64,
    /// Left out by relabelling.
    pub(super) relabelled_away: AtomicU64,
    /// Left out by age.
    pub(super) too_old: AtomicU64,
    /// How often reading had to wait for room.
    pub(super) waits: AtomicU64,
    /// How often the log could not be read.
    pub(super) failed_reads: AtomicU64,
    /// Descriptions of families that the remote refused.
    pub(super) failed_descriptions: AtomicU64,
    /// Those in requests that failed and were to be repeated.
    pub(super) retried_descriptions: AtomicU64,
    /// Those that it took.
    pub(super) delivered_descriptions: AtomicU64,
    delivered: AtomicU64,
    delivered_histograms: AtomicU64,
    delivered_exemplars: AtomicU64,
    body_bytes: AtomicU64,
    /// The time of the newest sample that was delivered; `i64::MIN` for none.
    newest_sent_ms: AtomicI64,
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    position: Position,
    failure: Option<String>,
}

impl Traffic {
    /// Nothing sent yet, and all before `position` not wanted.
    pub(super) fn new(position: Position) -> Self {
        Traffic {
            pending: AtomicU64::new(0),
            emptied: Notify::new(),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            relabelled_away: AtomicU64::new(0),
            too_old: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            failed_reads: AtomicU64::new(0),
            failed_descriptions: AtomicU64::new(0),
            retried_descriptions: AtomicU64::new(0),
            delivered_descriptions: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            delivered_histograms: AtomicU64::new(0),
            delivered_exemplars: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            newest_sent_ms: AtomicI64::new(i64::MIN),
            place: Mutex::new(Place { position, failure: None }),
        }
    }

    /// Whether `n_samples` more may be packed. A parcel larger than the bound goes alone.
    pub(super) fn has_room(&self, n_samples: u64, capacity: u64) -> bool {
        let pending = self.pending.load(Ordering::Relaxed);
        pending == 0 || pending.saturating_add(n_samples) <= capacity
    }

    /// The remote took the parcel.
    pub(super) fn sent(&self, parcel: &Parcel) {
        self.delivered.fetch_add(parcel.n_samples - parcel.n_histograms, Ordering::Relaxed);
        self.delivered_histograms.fetch_add(parcel.n_histograms, Ordering::Relaxed);
        self.delivered_exemplars.fetch_add(parcel.n_exemplars, Ordering::Relaxed);
        self.body_bytes.fetch_add(parcel.body.len() as u64, Ordering::Relaxed);
        self.newest_sent_ms.fetch_max(parcel.newest_ms, Ordering::Relaxed);
        self.place().failure = None;
    }

    /// A request failed.
    pub(super) fn fail(&self, reason: &str) {
        self.place().failure = Some(reason.to_owned());
    }

    /// The parcel needs no more care: it was sent, or given up.
    pub(super) fn settle(&self, parcel: &Parcel) {
        if let Some(reached) = &parcel.reached {
            self.place().position = reached.clone();
        }
        self.pending.fetch_sub(parcel.n_samples, Ordering::Relaxed);
        self.emptied.notify_one();
    }

    /// How the remote `id` does, of which this is the traffic.
    pub(super) fn state(&self, id: RemoteId) -> RemoteState {
        let newest_sent_ms = self.newest_sent_ms.load(Ordering::Relaxed);
        let place = self.place();
        RemoteState {
            id,
            position: place.position.clone(),
            n_pending: self.pending.load(Ordering::Relaxed),
            newest_sent_ms: (newest_sent_ms != i64::MIN).then_some(newest_sent_ms),
            failure: place.failure.clone(),
        }
    }

    /// Up to where everything is settled.
    fn position(&self) -> Position {
        self.place().position.clone()
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970, 0 for never, as Prometheus has it.
fn seconds(t_ms: i64) -> f64 {
    if t_ms == i64::MIN { 0.0 } else { t_ms as f64 / 1000.0 }
}

/// The families, under Prometheus' names where it has one. `lag` tells what stands behind a position.
pub(super) fn metrics(
    remotes: &[(Labels, Arc<Route>, &Traffic)],
    newest_ms: Option<i64>,
    lag: &dyn Fn(&Position) -> Lag,
) -> Vec<MetricFamily> {
    use MetricKind::{Counter, Gauge};
    if remotes.is_empty() {
        return Vec::new();
    }
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let family = |kind, name: &str, help: &str, value: &dyn Fn(&Route, &Traffic) -> f64| {
        let mut family = MetricFamily::new(kind, name, help);
        for (labels, route, traffic) in remotes {
            family.push(labels.clone(), value(route, traffic));
        }
        family
    };
    let mut dropped = MetricFamily::new(
        Counter,
        "prometheus_remote_storage_samples_dropped_total",
        "Total number of samples which were dropped after being read from the WAL before being sent via remote write, either via relabelling or due to being too old.",
    );
    for (labels, _, traffic) in remotes {
        let reasons = [("dropped_series", &traffic.relabelled_away), ("too_old", &traffic.too_old)];
        for (reason, count) in reasons {
            dropped.push(labels.to_builder().set("reason", reason).build(), load(count));
        }
    }
    vec![
        family(
            Counter,
            "prometheus_remote_storage_bytes_total",
            "The total number of bytes of data (not metadata) sent by the queue after compression.",
            &|_, traffic| load(&traffic.body_bytes),
        ),
        family(
            Counter,
            "prometheus_remote_storage_enqueue_retries_total",
            "Total number of times enqueue has failed because a shards queue was full.",
            &|_, traffic| load(&traffic.waits),
        ),
        family(
            Counter,
            "prometheus_remote_storage_exemplars_total",
            "Total number of exemplars sent to remote storage.",
            &|_, traffic| load(&traffic.delivered_exemplars),
        ),
        MetricFamily::gauge(
            "prometheus_remote_storage_highest_timestamp_in_seconds",
            "Highest timestamp that has come into the remote storage via the Appender interface, in seconds since epoch.",
            seconds(newest_ms.unwrap_or(i64::MIN)),
        ),
        family(
            Counter,
            "prometheus_remote_storage_histograms_total",
            "Total number of histograms sent to remote storage.",
            &|_, traffic| load(&traffic.delivered_histograms),
        ),
        family(
            Gauge,
            "prometheus_remote_storage_max_samples_per_send",
            "The maximum number of samples to be sent, in a single request, to the remote storage.",
            &|route, _| route.config.queue.max_samples_per_send as f64,
        ),
        family(
            Counter,
            "prometheus_remote_storage_metadata_failed_total",
            "Total number of metadata entries which failed on send to remote storage, non-recoverable errors.",
            &|_, traffic| load(&traffic.failed_descriptions),
        ),
        family(
            Counter,
            "prometheus_remote_storage_metadata_retried_total",
            "Total number of metadata entries which failed on send to remote storage but were retried because the send error was recoverable.",
            &|_, traffic| load(&traffic.retried_descriptions),
        ),
        family(
            Counter,
            "prometheus_remote_storage_metadata_total",
            "Total number of metadata entries sent to remote storage.",
            &|_, traffic| load(&traffic.delivered_descriptions),
        ),
        family(
            Gauge,
            "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
            "Timestamp from a WAL sample, the highest timestamp successfully sent by this queue, in seconds since epoch.",
            &|_, traffic| seconds(traffic.newest_sent_ms.load(Ordering::Relaxed)),
        ),
        dropped,
        family(
            Counter,
            "prometheus_remote_storage_samples_failed_total",
            "Total number of samples which failed on send to remote storage, non-recoverable errors.",
            &|_, traffic| load(&traffic.failed),
        ),
        family(
            Gauge,
            "prometheus_remote_storage_samples_pending",
            "The number of samples pending in the queues shards to be sent to the remote storage.",
            &|_, traffic| load(&traffic.pending),
        ),
        family(
            Counter,
            "prometheus_remote_storage_samples_retried_total",
            "Total number of samples which failed on send to remote storage but were retried because the send error was recoverable.",
            &|_, traffic| load(&traffic.retried),
        ),
        family(
            Counter,
            "prometheus_remote_storage_samples_total",
            "Total number of samples sent to remote storage.",
            &|_, traffic| load(&traffic.delivered),
        ),
        family(
            Gauge,
            "prometheus_remote_storage_shard_capacity",
            "The capacity of each shard of the queue used for parallel sending to the remote storage.",
            &|route, _| route.config.queue.capacity as f64,
        ),
        // One shard keeps the order, so all that can be said of their number is one.
        family(
            Gauge,
            "prometheus_remote_storage_shards",
            "The number of shards used for parallel sending to the remote storage.",
            &|_, _| 1.0,
        ),
        family(
            Gauge,
            "prometheus_remote_storage_shards_desired",
            "The number of shards that the queues shard calculation wants to run based on the rate of samples in vs. samples out.",
            &|_, _| 1.0,
        ),
        family(
            Gauge,
            "prometheus_remote_storage_shards_max",
            "The maximum number of shards that the queue is allowed to run.",
            &|_, _| 1.0,
        ),
        family(
            Gauge,
            "prometheus_remote_storage_shards_min",
            "The minimum number of shards that the queue is allowed to run.",
            &|_, _| 1.0,
        ),
        family(
            Counter,
            "relatum_remote_write_failed_reads_total",
            "How often the log could not be read for a remote.",
            &|_, traffic| load(&traffic.failed_reads),
        ),
        family(
            Gauge,
            "relatum_remote_write_lag_bytes",
            "How many bytes of the log are not delivered yet.",
            &|_, traffic| lag(&traffic.position()).bytes as f64,
        ),
        family(
            Gauge,
            "relatum_remote_write_lag_samples",
            "About how many samples of the log are not delivered yet.",
            &|_, traffic| lag(&traffic.position()).samples as f64,
        ),
    ]
}
