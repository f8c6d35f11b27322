//! The task of one Alertmanager: takes alerts from its queue, posts them, tries again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relatum_model::Alert;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::queue::{AlertQueue, Queued};
use super::{Route, payload};
use crate::http::{complaint, request_failure};
use crate::time::now_ms;

/// How many alerts one request carries at most; Prometheus' default.
const BATCH_ALERTS: usize = 256;

/// How long to wait after a failure, doubled with each further one up to the bound.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A queue with its counters, shared by those who fill it and the task that empties it.
#[derive(Debug)]
pub(super) struct Mailbox {
    queue: Mutex<AlertQueue>,
    filled: Notify,
    sent: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
}

impl Mailbox {
    pub(super) fn new(capacity: usize) -> Self {
        Mailbox {
            queue: Mutex::new(AlertQueue::new(capacity)),
            filled: Notify::new(),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    /// Queues `alerts` and wakes the task.
    pub(super) fn push(&self, alerts: impl Iterator<Item = Arc<Alert>>, now_ms: i64) {
        let mut queue = self.lock();
        let dropped: usize = alerts.map(|alert| queue.push(alert, now_ms)).sum();
        drop(queue);
        if dropped > 0 {
            warn!(alerts = dropped, "alert queue full, oldest alerts dropped");
            self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        }
        self.filled.notify_one();
    }

    /// How many alerts wait.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many alerts an Alertmanager took.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many alerts were given up.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many alerts were in requests that failed.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, AlertQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Queued> {
        let (batch, expired) = self.lock().take(BATCH_ALERTS, now_ms());
        self.dropped.fetch_add(expired as u64, Ordering::Relaxed);
        batch
    }

    fn put_back(&self, batch: Vec<Queued>) {
        let dropped = self.lock().put_back(batch);
        self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
    }
}

/// Why a batch was not taken.
struct Failure {
    text: String,
    /// Whether it may go better next time.
    retry: bool,
}

/// The task; see the module.
pub(super) struct Sender {
    pub(super) url: String,
    pub(super) route: watch::Receiver<Arc<Route>>,
    pub(super) mailbox: Arc<Mailbox>,
    /// The Alertmanager is no longer wanted.
    pub(super) stop: CancellationToken,
    /// The process ends.
    pub(super) shutdown: CancellationToken,
}

impl Sender {
    pub(super) async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let batch = self.mailbox.take();
            if batch.is_empty() {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    () = self.mailbox.filled.notified() => continue,
                    () = self.shutdown.cancelled() => return,
                }
            }
            let result = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                result = self.post(&batch) => result,
            };
            let failure = match result {
                Ok(()) => {
                    self.mailbox.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    backoff = BACKOFF_MIN;
                    continue;
                }
                Err(failure) => failure,
            };
            self.mailbox.errors.fetch_add(batch.len() as u64, Ordering::Relaxed);
            // Said once for each run of failures, not at every attempt.
            if backoff == BACKOFF_MIN {
                warn!(alertmanager = self.url, alerts = batch.len(), error = failure.text, "alerts not delivered");
            } else {
                debug!(alertmanager = self.url, alerts = batch.len(), error = failure.text, "alerts not delivered");
            }
            if !failure.retry || self.shutdown.is_cancelled() {
                self.mailbox.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                if self.shutdown.is_cancelled() && failure.retry {
                    // The rest would fare no better, and the process wants to end.
                    self.mailbox.dropped.fetch_add(self.mailbox.len() as u64, Ordering::Relaxed);
                    return;
                }
                continue;
            }
            self.mailbox.put_back(batch);
            tokio::select! {
                () = self.stop.cancelled() => return,
                // One last attempt, without waiting.
                () = self.shutdown.cancelled() => {}
                // Another way to reach it may work at once.
                Ok(()) = self.route.changed() => {}
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
            }
        }
    }

    async fn post(&self, batch: &[Queued]) -> Result<(), Failure> {
        let route = Arc::clone(&self.route.borrow());
        let final_failure = |text: String| Failure { text, retry: false };
        let url = Url::parse(&self.url).map_err(|error| final_failure(format!("{}: {error}", self.url)))?;
        let body = payload::encode(batch.iter().map(|queued| &*queued.alert));
        let request = async {
            let opened = route.connection.open().await;
            // A file with credentials may be there again the next time.
            let (client, mut headers) = opened.map_err(|error| Failure { text: error.to_string(), retry: true })?;
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let response = client.post(url.clone()).headers(headers).body(body).send().await;
            let response =
                response.map_err(|error| Failure { text: request_failure("Post", &self.url, &error), retry: true })?;
            let status = response.status();
            if status.is_success() {
                return Ok(());
            }
            let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            let text = format!("bad response status {status}{}", complaint(response).await);
            Err(Failure { text, retry: busy || status.is_server_error() })
        };
        match tokio::time::timeout(route.config.timeout, request).await {
            Ok(result) => result,
            Err(_) => Err(Failure { text: format!("Post \"{}\": context deadline exceeded", self.url), retry: true }),
        }
    }
}
