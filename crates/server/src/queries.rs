//! The turns of queries: so many run at once, the others wait, and nobody waits longer than for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use relatum_model::exposition::MetricFamily;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The queries that are here: those that run, and those that wait.
#[derive(Debug)]
pub(crate) struct Queries {
    slots: Arc<Semaphore>,
    running_max: usize,
    here: Arc<AtomicUsize>,
}

/// Until when somebody waits for an answer. It counts from when the question came, so what is spent waiting for a turn is not there
/// for the evaluation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// `None` if it has no end.
    until: Option<Instant>,
}

/// The time for a query was up before it was its turn. The text is Prometheus'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("query timed out in query queue")]
pub(crate) struct WaitedTooLong;

/// A query that runs, until this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    _slot: OwnedSemaphorePermit,
    _here: Here,
    /// How long it waited for that.
    pub(crate) waited: Duration,
}

impl Patience {
    /// The lesser of what the server allows, which is any time if zero, and what the client asks for, if it does, from now on.
    pub(crate) fn new(allowed: Duration, asked: Option<Duration>) -> Self {
        let allowed = Some(allowed).filter(|allowed| !allowed.is_zero());
        let shortest = allowed.into_iter().chain(asked).min();
        // A time too long for the clock is as good as any.
        Patience { until: shortest.and_then(|time| Instant::now().checked_add(time)) }
    }

    /// How much is left: never zero, and `None` for any time.
    pub(crate) fn left(self) -> Result<Option<Duration>, WaitedTooLong> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) { Err(WaitedTooLong) } else { Ok(left) }
    }
}

impl Queries {
    /// Lets so many run at once.
    pub(crate) fn new(running_max: usize) -> Self {
        let running_max = running_max.clamp(1, Semaphore::MAX_PERMITS);
        Queries { slots: Arc::new(Semaphore::new(running_max)), running_max, here: Arc::default() }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self, patience: Patience) -> Result<Running, WaitedTooLong> {
        let came = Instant::now();
        let here = Here::new(&self.here);
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = match patience.until {
            Some(until) => tokio::time::timeout_at(until, slot).await.map_err(|_| WaitedTooLong)?,
            None => slot.await,
        };
        let slot = slot.expect("the semaphore is never closed");
        Ok(Running { _slot: slot, _here: here, waited: came.elapsed() })
    }

    /// How full it is, for `/metrics`.
    pub(crate) fn metrics(&self) -> [MetricFamily; 2] {
        [
            MetricFamily::gauge(
                "prometheus_engine_queries",
                "Queries that run, and those that wait for their turn.",
                self.here.load(Ordering::Relaxed) as f64,
            ),
            MetricFamily::gauge(
                "prometheus_engine_queries_concurrent_max",
                "How many queries may run at once.",
                self.running_max as f64,
            ),
        ]
    }
}

/// Counts one that is here, until this is dropped: also when its client goes away while it waits.
#[derive(Debug)]
struct Here(Arc<AtomicUsize>);

impl Here {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Here(Arc::clone(count))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn patience_is_the_lesser_of_both() {
        for (allowed, asked, expected) in [
            (2 * SECOND, None, Some(2 * SECOND)),
            (2 * SECOND, Some(SECOND), Some(SECOND)),
            (2 * SECOND, Some(3 * SECOND), Some(2 * SECOND)),
            (Duration::ZERO, Some(3 * SECOND), Some(3 * SECOND)),
            (Duration::ZERO, None, None),
            (Duration::MAX, None, None),
        ] {
            assert_eq!(Patience::new(allowed, asked).left(), Ok(expected), "{allowed:?} {asked:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_turn_or_told_that_it_took_too_long() {
        let queries = Queries::new(1);
        let first = queries.turn(Patience::new(2 * SECOND, None)).await.unwrap();
        assert_eq!(first.waited, Duration::ZERO);
        let (came, short) = (Instant::now(), Patience::new(10 * SECOND, Some(SECOND)));
        assert_eq!(queries.turn(short).await.unwrap_err(), WaitedTooLong);
        assert_eq!((came.elapsed(), short.left()), (SECOND, Err(WaitedTooLong)));
        let counts = || queries.metrics().map(|family| family.samples[0].value);
        assert_eq!(counts(), [1.0, 1.0]);
        let long = Patience::new(10 * SECOND, None);
        let ends = async {
            tokio::time::sleep(4 * SECOND).await;
            assert_eq!(counts(), [2.0, 1.0]);
            drop(first);
        };
        let (second, ()) = tokio::join!(queries.turn(long), ends);
        // What is left is what the query may take.
        assert_eq!((second.unwrap().waited, long.left()), (4 * SECOND, Ok(Some(6 * SECOND))));
        assert_eq!(counts(), [0.0, 1.0]);
    }
}
