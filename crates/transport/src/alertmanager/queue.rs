//! The alerts that wait for one Alertmanager: in order, bounded, each of them once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use relatum_model::{Alert, Labels};

/// How long a resolved alert is worth sending: as long as the rules repeat it.
const RESOLVED_KEPT_MS: i64 = 15 * 60 * 1000;

/// A bounded queue. The rules send an alert again and again while it lives, so of two waiting copies the newer one replaces
/// the older at the older's place; when the queue is full, the oldest go.
#[derive(Debug)]
pub(super) struct AlertQueue {
    capacity: usize,
    next_number: u64,
    waiting: BTreeMap<u64, Queued>,
    numbers: HashMap<Episode, u64>,
}

/// What two copies of an alert have in common. Firing and resolved are two things to say about one episode, and both are
/// said: a receiver that was told only the end would not know what ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Episode {
    labels: Labels,
    starts_at_ms: i64,
    resolved: bool,
}

/// An alert with its place in the queue.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) alert: Arc<Alert>,
    number: u64,
    resolved: bool,
}

impl Queued {
    fn episode(&self) -> Episode {
        Episode { labels: self.alert.labels.clone(), starts_at_ms: self.alert.starts_at_ms, resolved: self.resolved }
    }

    /// Whether the receiver would still learn something true: a firing alert is true until its end, a resolved one is news
    /// for a while.
    fn is_current(&self, now_ms: i64) -> bool {
        let kept_ms = if self.resolved { RESOLVED_KEPT_MS } else { 0 };
        now_ms < self.alert.ends_at_ms.saturating_add(kept_ms)
    }
}

impl AlertQueue {
    /// An empty queue for at most `capacity` alerts.
    pub(super) fn new(capacity: usize) -> Self {
        AlertQueue { capacity, next_number: 0, waiting: BTreeMap::new(), numbers: HashMap::new() }
    }

    /// Adds an alert at the end, or in place of its older copy. Returns how many alerts had to go.
    pub(super) fn push(&mut self, alert: Arc<Alert>, now_ms: i64) -> usize {
        let mut queued = Queued { resolved: alert.ends_at_ms <= now_ms, alert, number: self.next_number };
        queued.number = *self.numbers.entry(queued.episode()).or_insert(queued.number);
        self.next_number += 1;
        self.waiting.insert(queued.number, queued);
        self.shrink()
    }

    /// Takes up to `count` alerts that are still current from the front. The second value is how many were not.
    pub(super) fn take(&mut self, count: usize, now_ms: i64) -> (Vec<Queued>, usize) {
        let (mut batch, mut expired) = (Vec::new(), 0);
        while batch.len() < count {
            let Some((_, queued)) = self.waiting.pop_first() else { break };
            self.numbers.remove(&queued.episode());
            if queued.is_current(now_ms) {
                batch.push(queued);
            } else {
                expired += 1;
            }
        }
        (batch, expired)
    }

    /// Puts a batch that could not be sent back to the front, but for those of which a newer copy came meanwhile. Returns how
    /// many alerts had to go because of the bound.
    pub(super) fn put_back(&mut self, batch: Vec<Queued>) -> usize {
        for queued in batch {
            if let Entry::Vacant(free) = self.numbers.entry(queued.episode()) {
                free.insert(queued.number);
                self.waiting.insert(queued.number, queued);
            }
        }
        self.shrink()
    }

    /// How many alerts wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn shrink(&mut self) -> usize {
        let mut dropped = 0;
        while self.waiting.len() > self.capacity {
            let (_, oldest) = self.waiting.pop_first().expect("a queue above its bound is not empty");
            self.numbers.remove(&oldest.episode());
            dropped += 1;
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str, starts_at_ms: i64, ends_at_ms: i64) -> Arc<Alert> {
        Arc::new(Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::empty(),
            starts_at_ms,
            ends_at_ms,
            generator_url: String::new(),
        })
    }

    #[track_caller]
    fn check(batch: &[Queued], expected: &[(&str, i64)]) {
        let shown: Vec<(&str, i64)> =
            batch.iter().map(|q| (q.alert.labels.value("alertname"), q.alert.ends_at_ms)).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn newer_copies_replace_older_ones() {
        let mut queue = AlertQueue::new(10);
        queue.push(alert("a", 1, 100), 10);
        queue.push(alert("b", 1, 100), 10);
        queue.push(alert("a", 1, 200), 20);
        // The end of the same episode is something else, and so is the next episode.
        queue.push(alert("a", 1, 25), 30);
        queue.push(alert("a", 26, 200), 30);
        let (batch, expired) = queue.take(10, 30);
        check(&batch, &[("a", 200), ("b", 100), ("a", 25), ("a", 200)]);
        assert_eq!((expired, queue.len()), (0, 0));
    }

    #[test]
    fn a_failed_batch_goes_to_the_front() {
        let mut queue = AlertQueue::new(3);
        for name in ["a", "b", "c"] {
            queue.push(alert(name, 1, 100), 10);
        }
        let (batch, _) = queue.take(2, 10);
        queue.push(alert("b", 1, 300), 20);
        assert_eq!(queue.put_back(batch), 0);
        // At time 150 only the newer copy of b still holds.
        let (batch, expired) = queue.take(10, 150);
        check(&batch, &[("b", 300)]);
        assert_eq!(expired, 2);
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let mut queue = AlertQueue::new(2);
        let dropped: usize = ["a", "b", "c", "d"].iter().map(|name| queue.push(alert(name, 1, 100), 10)).sum();
        assert_eq!((dropped, queue.len()), (2, 2));
        let (batch, _) = queue.take(1, 10);
        check(&batch, &[("c", 100)]);
        queue.push(alert("e", 1, 100), 10);
        assert_eq!(queue.put_back(batch), 1);
        check(&queue.take(10, 10).0, &[("d", 100), ("e", 100)]);
    }

    #[test]
    fn resolved_alerts_stay_news_for_a_while() {
        let mut queue = AlertQueue::new(10);
        queue.push(alert("a", 1, 50), 60);
        let (batch, _) = queue.take(10, 50 + RESOLVED_KEPT_MS - 1);
        assert_eq!(batch.len(), 1);
        queue.put_back(batch);
        assert_eq!(queue.take(10, 50 + RESOLVED_KEPT_MS).1, 1);
    }
}
