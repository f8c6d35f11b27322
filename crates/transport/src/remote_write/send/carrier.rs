//! The task that posts the parcels of one remote, one after the other, again and again if need be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Route;
use super::parcel::{Parcel, oldest_ms};
use super::post::{Failure, post};
use super::traffic::Traffic;
use crate::time::now_ms;

/// How long a shutdown may take altogether; longer would look like a process that hangs.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of a parcel.
enum Outcome {
    /// Taken, or given up for good.
    Done,
    /// Nobody waits for it any more.
    Stopped,
}

/// The task; see the module.
pub(super) struct Carrier {
    parcels: mpsc::UnboundedReceiver<Parcel>,
    route: watch::Receiver<Arc<Route>>,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
    shutdown: CancellationToken,
    // In a run of failures, of which only the first is said aloud.
    failing: bool,
}

impl Carrier {
    pub(super) fn new(
        parcels: mpsc::UnboundedReceiver<Parcel>,
        route: watch::Receiver<Arc<Route>>,
        traffic: Arc<Traffic>,
        stop: CancellationToken,
        shutdown: CancellationToken,
    ) -> Self {
        Carrier { parcels, route, traffic, stop, shutdown, failing: false }
    }

    pub(super) async fn run(mut self) {
        let (stop, shutdown) = (self.stop.clone(), self.shutdown.clone());
        let too_late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(FLUSH_TIMEOUT).await;
        };
        tokio::select! {
            () = self.carry() => {}
            () = stop.cancelled() => {}
            () = too_late => {}
        }
        let n_left = self.traffic.pending.load(Ordering::Relaxed);
        if n_left > 0 && !stop.is_cancelled() {
            let url = self.route.borrow().config.url.to_string();
            warn!(remote = url, samples = n_left, "samples not delivered before the end");
        }
        // The reader has nobody to read for.
        stop.cancel();
    }

    async fn carry(&mut self) {
        while let Some(parcel) = self.parcels.recv().await {
            if !parcel.body.is_empty() {
                match self.deliver(&parcel).await {
                    Outcome::Done => {}
                    Outcome::Stopped => return,
                }
            }
            self.traffic.settle(&parcel);
        }
    }

    /// Posts one parcel until it is taken or refused for good.
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        let mut backoff = None;
        loop {
            let route = Arc::clone(&self.route.borrow_and_update());
            if parcel.n_samples > 0 && parcel.newest_ms < oldest_ms(&route, now_ms()) {
                self.traffic.too_old.fetch_add(parcel.n_samples, Ordering::Relaxed);
                return Outcome::Done;
            }
            let Err(failure) = post(&route, parcel.version, &parcel.body).await else {
                self.traffic.sent(parcel);
                if self.failing {
                    info!(remote = %route.config.url, "samples are delivered again");
                    self.failing = false;
                }
                return Outcome::Done;
            };
            self.say(&route, parcel, &failure);
            if !failure.retry {
                self.traffic.failed.fetch_add(parcel.n_samples, Ordering::Relaxed);
                return Outcome::Done;
            }
            self.traffic.retried.fetch_add(parcel.n_samples, Ordering::Relaxed);
            if self.shutdown.is_cancelled() {
                // The rest would fare no better, and the process wants to end.
                return Outcome::Stopped;
            }
            let queue = &route.config.queue;
            let pause = backoff.unwrap_or(queue.min_backoff).min(queue.max_backoff);
            backoff = Some(pause.saturating_mul(2));
            tokio::select! {
                // One last attempt, without waiting.
                () = self.shutdown.cancelled() => {}
                // Another way to reach it may work at once.
                Ok(()) = self.route.changed() => backoff = None,
                () = tokio::time::sleep(failure.after.unwrap_or(pause)) => {}
            }
        }
    }

    fn say(&mut self, route: &Route, parcel: &Parcel, failure: &Failure) {
        let (remote, samples, error) = (&route.config.url, parcel.n_samples, &failure.text);
        self.traffic.fail(error);
        let retried = failure.retry;
        if self.failing {
            debug!(%remote, samples, retried, error, "samples not delivered");
        } else {
            warn!(%remote, samples, retried, error, "samples not delivered");
        }
        self.failing = true;
    }
}
