//! The task that tells a receiver of 1.0 now and then what metrics are.
//!
//! It is one of its own: descriptions are told again before long, so no sample waits for a receiver that does not take them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use relatum_model::remote_write::{Encoder, Version};
use relatum_model::storage::Tail;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Route;
use super::parcel::{BODY_BYTES_FULL, compressed};
use super::post::post;
use super::traffic::Traffic;

/// How often a message is tried.
const TRIES: u32 = 3;

/// The descriptions of some families.
#[derive(Debug)]
struct Message {
    /// Compressed.
    body: Bytes,
    n: u64,
}

/// The task; see the module.
pub(super) struct Describer {
    pub(super) tail: Arc<dyn Tail>,
    pub(super) route: watch::Receiver<Arc<Route>>,
    pub(super) traffic: Arc<Traffic>,
    /// The remote is no longer wanted, or no longer tried.
    pub(super) stop: CancellationToken,
    /// The process ends.
    pub(super) shutdown: CancellationToken,
}

impl Describer {
    pub(super) async fn run(mut self) {
        let (stop, shutdown) = (self.stop.clone(), self.shutdown.clone());
        tokio::select! {
            () = self.tell() => {}
            () = stop.cancelled() => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Goes on until nobody is there whose route could change.
    async fn tell(&mut self) {
        let (mut told_at, mut failing) = (Instant::now(), false);
        loop {
            let route = Arc::clone(&self.route.borrow_and_update());
            let metadata = &route.config.metadata;
            let due = async {
                match told_at.checked_add(metadata.send_interval) {
                    Some(moment) if route.describes() => tokio::time::sleep_until(moment).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.route.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = due => {}
            }
            told_at = Instant::now();
            let (tail, n_max) = (Arc::clone(&self.tail), metadata.max_samples_per_send);
            let packed = tokio::task::spawn_blocking(move || pack(tail.as_ref(), n_max)).await;
            for message in packed.unwrap_or_default() {
                self.deliver(&message, &mut failing).await;
            }
        }
    }

    /// Posts one message a few times, as long as the receiver is to be told.
    async fn deliver(&mut self, message: &Message, failing: &mut bool) {
        let mut pause = Duration::ZERO;
        for n_tries in 1.. {
            let route = Arc::clone(&self.route.borrow_and_update());
            if !route.describes() {
                return;
            }
            let Err(failure) = post(&route, Version::V1, &message.body).await else {
                self.traffic.delivered_descriptions.fetch_add(message.n, Ordering::Relaxed);
                *failing = false;
                return;
            };
            let (remote, error) = (&route.config.url, &failure.text);
            if *failing {
                debug!(%remote, descriptions = message.n, error, "descriptions of metrics not delivered");
            } else {
                warn!(%remote, descriptions = message.n, error, "descriptions of metrics not delivered");
            }
            *failing = true;
            if !failure.retry || n_tries == TRIES {
                self.traffic.failed_descriptions.fetch_add(message.n, Ordering::Relaxed);
                return;
            }
            self.traffic.retried_descriptions.fetch_add(message.n, Ordering::Relaxed);
            let queue = &route.config.queue;
            pause = (pause * 2).max(queue.min_backoff).min(queue.max_backoff);
            tokio::select! {
                // Another way to reach it may work at once.
                Ok(()) = self.route.changed() => {}
                () = tokio::time::sleep(failure.after.unwrap_or(pause)) => {}
            }
        }
    }
}

/// All that is known of families, some in a message.
fn pack(tail: &dyn Tail, n_max: u64) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut encoder, mut n) = (Encoder::of(Version::V1), 0);
    tail.descriptions(&mut |family, description| {
        encoder.push_description(family, description);
        n += 1;
        if n >= n_max || encoder.body_bytes() >= BODY_BYTES_FULL {
            let full = std::mem::replace(&mut encoder, Encoder::of(Version::V1));
            messages.push(Message { body: compressed(full), n: std::mem::take(&mut n) });
        }
    });
    if n > 0 {
        messages.push(Message { body: compressed(encoder), n });
    }
    messages
}

#[cfg(test)]
mod tests {
    use relatum_model::exposition::MetricKind;
    use relatum_model::remote_write::descriptions;

    use super::*;
    use crate::memory::MemoryStore;

    fn told(message: &Message) -> Vec<String> {
        let body = snap::raw::Decoder::new().decompress_vec(&message.body).unwrap();
        let mut told = Vec::new();
        descriptions(Version::V1, &body, |said| {
            told.push(format!("{} {} {} {}", said.metric, said.kind.as_str(), said.help, said.unit));
        });
        told
    }

    #[test]
    fn messages() {
        let store = MemoryStore::default();
        store.describe("h", MetricKind::Histogram, "How long.", "s");
        store.describe("old", MetricKind::Gauge, "That.", "");
        store.describe("gone", MetricKind::Counter, "Not sampled.", "");
        let expected = ["h histogram How long. s", "old gauge That. ", "gone counter Not sampled. "];
        for (n_max, n_messages) in [(1, 3), (2, 2), (3, 1), (1000, 1)] {
            let messages = pack(&store, n_max);
            assert_eq!(messages.iter().flat_map(told).collect::<Vec<_>>(), expected);
            assert_eq!((messages.len(), messages.iter().map(|message| message.n).sum::<u64>()), (n_messages, 3));
        }
        assert!(pack(&MemoryStore::default(), 1).is_empty());
    }
}
