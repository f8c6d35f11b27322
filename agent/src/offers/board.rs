//! How the agents at the other ends are doing, as of now. Nothing of it is kept: after a restart they are asked anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::link::Trouble;

/// What is known of every other agent, by relation. It holds as many entries as there are relations.
#[derive(Debug)]
pub(crate) struct Board {
    upstreams: Mutex<BTreeMap<u64, Upstream>>,
    consumers: Mutex<BTreeMap<u64, Consumer>>,
    wrong_secrets: Mutex<WrongSecrets>,
    changes: watch::Sender<u64>,
}

/// How often somebody came to our offers without their secret.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WrongSecrets {
    /// Since the start.
    pub(crate) total: u64,
    /// When last, milliseconds since 1970.
    pub(crate) last_ms: i64,
}

impl Default for Board {
    fn default() -> Self {
        Board {
            upstreams: Mutex::default(),
            consumers: Mutex::default(),
            wrong_secrets: Mutex::default(),
            changes: watch::channel(0).0,
        }
    }
}

/// An agent whose offer we use.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// Since when it is connected or in trouble, milliseconds since 1970.
    pub(crate) since_ms: i64,
    /// Its model, or what is wrong.
    pub(crate) state: Result<String, Trouble>,
}

/// An agent that uses an offer of ours.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumer {
    /// Since when it is connected, or gone, milliseconds since 1970.
    pub(crate) since_ms: i64,
    /// When it was last heard of.
    pub(crate) heard_ms: i64,
    /// The revision of our bags that it has.
    pub(crate) seen: String,
    /// How far its samples are behind.
    pub(crate) lag_ms: Option<u64>,
    /// How many of its questions wait.
    asking: usize,
}

/// A consumer that does not ask is connected for so long: it asks again at once, but a network may be slow.
const ABSENT_AFTER_MS: i64 = 10_000;

impl Consumer {
    /// Whether it is there at `now_ms`.
    pub(crate) fn is_connected(&self, now_ms: i64) -> bool {
        self.asking > 0 || now_ms - self.heard_ms < ABSENT_AFTER_MS
    }

    /// Since when it is, or is not.
    pub(crate) fn since_ms(&self, now_ms: i64) -> i64 {
        if self.is_connected(now_ms) { self.since_ms } else { self.heard_ms }
    }
}

impl Board {
    /// An upstream has answered or not. Gives whether that is news: the first word, or well after trouble, or trouble after well.
    pub(crate) fn put_upstream(&self, relation: u64, state: Result<String, Trouble>, now_ms: i64) -> bool {
        let mut upstreams = crate::lock(&self.upstreams);
        let before = upstreams.get(&relation);
        let same = before.is_some_and(|before| before.state.is_ok() == state.is_ok());
        let since_ms = before.filter(|_| same).map_or(now_ms, |before| before.since_ms);
        upstreams.insert(relation, Upstream { since_ms, state });
        drop(upstreams);
        self.changes.send_modify(|changes| *changes += 1);
        !same
    }

    /// Whether the upstream of `relation` has answered last time.
    pub(crate) fn is_connected(&self, relation: u64) -> bool {
        crate::lock(&self.upstreams).get(&relation).is_some_and(|upstream| upstream.state.is_ok())
    }

    /// A relation to an upstream is no more.
    pub(crate) fn remove_upstream(&self, relation: u64) {
        crate::lock(&self.upstreams).remove(&relation);
    }

    /// The upstreams that were asked so far.
    pub(crate) fn upstreams(&self) -> BTreeMap<u64, Upstream> {
        crate::lock(&self.upstreams).clone()
    }

    /// Waits until the upstream of `relation` has answered or failed, but no longer than `patience`.
    pub(crate) async fn first_word(&self, relation: u64, patience: Duration) {
        let mut changes = self.changes.subscribe();
        let heard = changes.wait_for(|_| crate::lock(&self.upstreams).contains_key(&relation));
        let _ = tokio::time::timeout(patience, heard).await;
    }

    /// A consumer asks, until what this gives is dropped.
    pub(crate) fn asking(
        self: &Arc<Self>,
        relation: u64,
        seen: &str,
        lag_ms: Option<u64>,
        clock: fn() -> i64,
    ) -> Asking {
        let now_ms = clock();
        let mut consumers = crate::lock(&self.consumers);
        let consumer = consumers.entry(relation).or_default();
        if !consumer.is_connected(now_ms) {
            consumer.since_ms = now_ms;
        }
        consumer.heard_ms = now_ms;
        consumer.asking += 1;
        consumer.lag_ms = lag_ms;
        seen.clone_into(&mut consumer.seen);
        Asking { board: Arc::clone(self), relation, clock }
    }

    /// Somebody came without the secret.
    pub(crate) fn count_wrong_secret(&self, now_ms: i64) {
        let mut wrong = crate::lock(&self.wrong_secrets);
        *wrong = WrongSecrets { total: wrong.total + 1, last_ms: now_ms };
    }

    /// How often that was.
    pub(crate) fn wrong_secrets(&self) -> WrongSecrets {
        *crate::lock(&self.wrong_secrets)
    }

    /// How many questions wait now.
    pub(crate) fn n_asking(&self) -> usize {
        crate::lock(&self.consumers).values().map(|consumer| consumer.asking).sum()
    }

    /// The consumers heard of since the start, of those relations that `is_there`; others are forgotten.
    pub(crate) fn consumers(&self, is_there: impl Fn(u64) -> bool) -> BTreeMap<u64, Consumer> {
        let mut consumers = crate::lock(&self.consumers);
        consumers.retain(|relation, _| is_there(*relation));
        consumers.clone()
    }
}

/// A question that waits for its answer.
pub(crate) struct Asking {
    board: Arc<Board>,
    relation: u64,
    clock: fn() -> i64,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(consumer) = crate::lock(&self.board.consumers).get_mut(&self.relation) {
            consumer.asking = consumer.asking.saturating_sub(1);
            consumer.heard_ms = (self.clock)();
        }
    }
}
