//! What waits for its time, in the order in which it is due.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Where something waits: until when, and the number that tells it from others with the same time.
pub(crate) type Place = (Instant, u64);

/// With nothing waiting it is looked again after this long; what comes in between says so.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What waits, and its one taker, who sleeps until the next is due. Times are those of the steady clock: somebody who sets the
/// machine's does not hold up anything.
pub(crate) struct Queue<T>(Mutex<Waiting<T>>, Notify);

struct Waiting<T> {
    by_place: BTreeMap<Place, T>,
    last_number: u64,
    /// Until when the taker sleeps; `None` while it does not.
    sleeps_until: Option<Instant>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let waiting = Waiting { by_place: BTreeMap::new(), last_number: 0, sleeps_until: None };
        Queue(Mutex::new(waiting), Notify::new())
    }
}

impl<T> Queue<T> {
    /// Has `item` wait until `due`.
    pub(crate) fn insert(&self, due: Instant, item: T) -> Place {
        let mut waiting = self.lock();
        waiting.last_number += 1;
        let place = (due, waiting.last_number);
        waiting.by_place.insert(place, item);
        // Only the first of many that come wakes the taker.
        if waiting.sleeps_until.is_some_and(|until| due < until) {
            waiting.sleeps_until = None;
            self.1.notify_one();
        }
        place
    }

    /// Takes out what is at `place`; `None` if it was taken already.
    pub(crate) fn remove(&self, place: Place) -> Option<T> {
        self.lock().by_place.remove(&place)
    }

    /// How much waits.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().by_place.len()
    }

    /// Sleeps until something is due, or may be, and takes out all that is.
    pub(crate) async fn due(&self) -> Vec<T> {
        let until = {
            let mut waiting = self.lock();
            let longest = Instant::now() + LONGEST_SLEEP;
            let until = waiting.by_place.keys().next().map_or(longest, |(due, _)| (*due).min(longest));
            waiting.sleeps_until = Some(until);
            until
        };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.1.notified() => {}
        }
        let (now, mut due) = (Instant::now(), Vec::new());
        let mut waiting = self.lock();
        waiting.sleeps_until = None;
        while let Some(first) = waiting.by_place.first_entry().filter(|first| first.key().0 <= now) {
            due.push(first.remove());
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_due_comes_in_its_order_and_once() {
        let (queue, begun) = (Arc::new(Queue::default()), Instant::now());
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let late = queue.insert(at(500), "late");
        queue.insert(at(30), "b");
        queue.insert(at(20), "a");
        let gone = queue.insert(at(10), "gone");
        assert_eq!(queue.remove(gone), Some("gone"));
        assert_eq!(queue.remove(gone), None);
        assert_eq!((queue.due().await, begun.elapsed().as_millis()), (vec!["a"], 20));
        assert_eq!((queue.due().await, begun.elapsed().as_millis()), (vec!["b"], 30));
        // What comes while the taker sleeps does not wait for what was there before.
        let taker = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.due().await }
        });
        tokio::task::yield_now().await;
        queue.insert(at(60), "later");
        queue.insert(at(40), "sooner");
        assert_eq!(taker.await.unwrap(), Vec::<&str>::new());
        assert_eq!((queue.due().await, begun.elapsed().as_millis()), (vec!["sooner"], 40));
        assert_eq!((queue.due().await, begun.elapsed().as_millis()), (vec!["later"], 60));
        queue.remove(late);
        let now = Instant::now();
        assert!(queue.due().await.is_empty());
        assert_eq!(now.elapsed(), LONGEST_SLEEP);
    }
}
