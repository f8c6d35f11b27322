//! The task that follows the log for one remote and keeps a few parcels ready.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use relatum_model::storage::{Position, SelectError, Tail};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Route;
use super::parcel::{Packed, Parcel, pack};
use super::traffic::Traffic;
use crate::time::now_ms;

/// How often the log is looked at while it does not grow. New samples are sent at once, however few: while a request is on its
/// way, the next one fills up by itself, so waiting for `batch_send_deadline` would only delay them.
const POLL: Duration = Duration::from_millis(100);

/// How long to wait after the log could not be read.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The task; see the module.
pub(super) struct Reader {
    pub(super) tail: Arc<dyn Tail>,
    pub(super) position: Position,
    pub(super) route: watch::Receiver<Arc<Route>>,
    pub(super) parcels: mpsc::UnboundedSender<Parcel>,
    pub(super) traffic: Arc<Traffic>,
    /// The remote is no longer wanted, or no longer tried.
    pub(super) stop: CancellationToken,
    /// The process ends.
    pub(super) shutdown: CancellationToken,
}

impl Reader {
    pub(super) async fn run(mut self) {
        let mut failing = false;
        loop {
            // Looked at before reading: whatever was committed before the shutdown is read.
            let is_last = self.shutdown.is_cancelled();
            let mut pause = POLL;
            match self.read().await {
                Ok(Some((next, packed))) => {
                    failing = false;
                    if !self.queue(next, packed).await {
                        return;
                    }
                    continue;
                }
                Ok(None) => failing = false,
                Err(error) => {
                    self.traffic.failed_reads.fetch_add(1, Ordering::Relaxed);
                    let error = &error as &dyn std::error::Error;
                    if failing {
                        debug!(error, "log not read for remote write");
                    } else {
                        warn!(error, "log not read for remote write");
                    }
                    (failing, pause) = (true, READ_AGAIN_AFTER);
                }
            }
            if is_last {
                return;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads and packs what follows; `None` when there is nothing.
    async fn read(&self) -> Result<Option<(Position, Packed)>, SelectError> {
        let (tail, from, route) = (Arc::clone(&self.tail), self.position.clone(), Arc::clone(&self.route.borrow()));
        let read = tokio::task::spawn_blocking(move || {
            if tail.end() == from {
                return Ok(None);
            }
            let samples_max = usize::try_from(route.config.queue.capacity).unwrap_or(usize::MAX);
            let batch = tail.read(&from, samples_max)?;
            if batch.next == from {
                return Ok(None);
            }
            let packed = pack(&batch, tail.as_ref(), &route, now_ms());
            Ok(Some((batch.next, packed)))
        });
        match read.await {
            Ok(result) => result,
            Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
            // The runtime is shutting down, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        }
    }

    /// Hands parcels over as there is room for them. `false` when nobody wants them any more.
    async fn queue(&mut self, next: Position, packed: Packed) -> bool {
        let Packed { mut parcels, n_relabelled_away, n_too_old } = packed;
        self.traffic.relabelled_away.fetch_add(n_relabelled_away, Ordering::Relaxed);
        self.traffic.too_old.fetch_add(n_too_old, Ordering::Relaxed);
        if parcels.is_empty() {
            // Says how far we are, in its turn.
            parcels.push(Parcel { newest_ms: i64::MIN, ..Parcel::default() });
        }
        if let Some(last) = parcels.last_mut() {
            last.reached = Some(next.clone());
        }
        self.position = next;
        for parcel in parcels {
            let mut waited = false;
            while !self.traffic.has_room(parcel.n_samples, self.route.borrow().config.queue.capacity) {
                if !waited {
                    self.traffic.waits.fetch_add(1, Ordering::Relaxed);
                }
                waited = true;
                tokio::select! {
                    () = self.stop.cancelled() => return false,
                    () = self.traffic.emptied.notified() => {}
                }
            }
            self.traffic.pending.fetch_add(parcel.n_samples, Ordering::Relaxed);
            if self.parcels.send(parcel).is_err() {
                return false;
            }
        }
        !self.stop.is_cancelled()
    }
}
