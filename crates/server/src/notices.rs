//! What a person looking at the server should know now, and who is told when that changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::clock::rfc3339;

/// How many changes may wait for a subscriber that does not read; it misses the oldest beyond.
const CHANGES_WAITING_MAX: usize = 64;

/// Something to know. The texts are Prometheus', whose pages look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    /// What runs is older than what is on disk.
    ReloadFailed,
    /// Requests that run are finished, and no others come.
    ShuttingDown,
}

impl Notice {
    fn text(self) -> &'static str {
        match self {
            Notice::ReloadFailed => "Configuration reload has failed.",
            Notice::ShuttingDown => "Prometheus is shutting down and gracefully stopping all operations.",
        }
    }

    fn shown(self, since_ms: i64, active: bool) -> Value {
        json!({ "text": self.text(), "date": rfc3339(since_ms), "active": active })
    }
}

/// The notices of one server.
#[derive(Debug)]
pub(crate) struct Notices {
    active: Mutex<BTreeMap<Notice, i64>>,
    changes: broadcast::Sender<Value>,
    subscribers: Arc<AtomicUsize>,
}

impl Default for Notices {
    fn default() -> Self {
        let (changes, _) = broadcast::channel(CHANGES_WAITING_MAX);
        Notices { active: Mutex::default(), changes, subscribers: Arc::default() }
    }
}

/// Hears of changes until it is dropped.
pub(crate) struct Subscription {
    /// What was active at the beginning.
    pub(crate) active: Vec<Value>,
    /// Each notice that comes or goes from then on.
    pub(crate) changes: broadcast::Receiver<Value>,
    subscribers: Arc<AtomicUsize>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Notices {
    /// From now on, `notice` is to be known, or is not any more.
    pub(crate) fn set(&self, notice: Notice, is_active: bool, now_ms: i64) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let change = match (is_active, active.get(&notice).copied()) {
            (true, None) => {
                active.insert(notice, now_ms);
                notice.shown(now_ms, true)
            }
            (false, Some(since_ms)) => {
                active.remove(&notice);
                notice.shown(since_ms, false)
            }
            _ => return,
        };
        // Nobody may be listening, which is no fault.
        let _ = self.changes.send(change);
    }

    /// What is active.
    pub(crate) fn active(&self) -> Vec<Value> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.iter().map(|(notice, since_ms)| notice.shown(*since_ms, true)).collect()
    }

    /// Begins to listen, unless `subscribers_max` do already.
    pub(crate) fn subscribe(&self, subscribers_max: usize) -> Option<Subscription> {
        // Under the lock, so that no change falls between the list and the first message.
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |n: usize| (n < subscribers_max).then_some(n + 1);
        self.subscribers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
        Some(Subscription {
            active: active.iter().map(|(notice, since_ms)| notice.shown(*since_ms, true)).collect(),
            changes: self.changes.subscribe(),
            subscribers: Arc::clone(&self.subscribers),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_hear_what_comes_and_goes() {
        let notices = Notices::default();
        notices.set(Notice::ReloadFailed, true, 1000);
        let mut listening = notices.subscribe(1).unwrap();
        assert!(notices.subscribe(1).is_none(), "there is room for one");
        assert_eq!(listening.active, notices.active());
        // Once more is no change.
        notices.set(Notice::ReloadFailed, true, 2000);
        notices.set(Notice::ReloadFailed, false, 3000);
        let change = listening.changes.try_recv().unwrap();
        assert_eq!(
            change,
            json!({"text": "Configuration reload has failed.", "date": "1970-01-01T00:00:01Z", "active": false})
        );
        assert!(listening.changes.try_recv().is_err());
        assert!(notices.active().is_empty());
        drop(listening);
        assert!(notices.subscribe(1).is_some(), "who leaves makes room");
    }
}
