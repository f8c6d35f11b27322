//! Which queries take hardly any time, so that they are answered where their request is read: to hand work over to another thread and
//! its result back takes several times as long as such a query itself.
//!
//! That a query was quick the last time is no promise. So it gets a moment only, and is asked anew on a thread of its own if that was
//! not enough.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;

/// A query that took at most this long is quick.
const QUICK_MAX: Duration = Duration::from_micros(250);

/// What a query gets that was quick the last time. Everything else that the thread has to do waits meanwhile.
pub(crate) const MOMENT: Duration = Duration::from_millis(5);

/// How many queries are remembered; a power of two.
const REMEMBERED: usize = 4096;

/// The queries that were quick the last time they were asked; of two that share a place, the later one.
pub(crate) struct QuickQueries {
    hasher: RandomState,
    places: Box<[AtomicU64]>,
}

/// Stands for a query over a span with a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryKey(u64);

impl QuickQueries {
    pub(crate) fn new() -> Self {
        QuickQueries { hasher: RandomState::default(), places: (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(crate) fn key(&self, query: &str, span_ms: i64, step_ms: i64) -> QueryKey {
        QueryKey(self.hasher.hash_one((query, span_ms, step_ms)).max(1))
    }

    /// Whether the query was quick the last time.
    pub(crate) fn has(&self, key: QueryKey) -> bool {
        self.place(key).load(Ordering::Relaxed) == key.0
    }

    /// Remembers how long the query took.
    pub(crate) fn took(&self, key: QueryKey, duration: Duration) {
        let is_quick = duration <= QUICK_MAX;
        if is_quick != self.has(key) {
            self.place(key).store(if is_quick { key.0 } else { 0 }, Ordering::Relaxed);
        }
    }

    fn place(&self, key: QueryKey) -> &AtomicU64 {
        &self.places[key.0 as usize % REMEMBERED]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_counts() {
        let quick = QuickQueries::new();
        let [up, longer, other] = [("up", 0), ("up", 3600), ("down", 0)].map(|(query, span)| quick.key(query, span, 0));
        assert!(!quick.has(up));
        for (key, micros, expected) in
            [(up, 250, true), (longer, 251, false), (up, 251, false), (other, 0, true), (up, 1, true)]
        {
            quick.took(key, Duration::from_micros(micros));
            assert_eq!(quick.has(key), expected, "{key:?} took {micros} us");
        }
        assert!(quick.has(other) && !quick.has(longer), "each is known by itself");
    }
}
