//! The task of one target: waits, asks, stores, until it is told to stop.
//!
//! ```text
//!            .--------- changed ---------.
//!            v                           |
//! start -> waiting --due--> asking --answered--> storing -> waiting
//!            |                 |
//!            '----- stop ------'-> series ended        (shutdown: just gone, the series go on after the restart)
//! ```

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use relatum_model::storage::Append;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::body::Body;
use super::counters::Counters;
use super::fetch::fetch;
use super::job::Job;
use super::schedule::Schedule;
use super::status::TargetState;
use super::store::{Memory, Store};
use super::target::Target;
use super::{ScrapeError, failure_log};
use crate::time::now_ms;

/// What all tasks share.
pub(crate) struct Shared {
    pub(crate) append: Arc<dyn Append>,
    pub(crate) counters: Counters,
    /// Bounds how many scrapes are unpacked and stored at once, and with them the memory of unpacked bodies.
    pub(crate) storing: Semaphore,
    pub(crate) storing_max: usize,
    /// The memory of unpacked bodies, at most one for each permit.
    pub(crate) buffers: Mutex<Vec<Vec<u8>>>,
    pub(crate) shutdown: CancellationToken,
}

/// A buffer above this size is given back to the system after use.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

impl Shared {
    fn buffer(&self) -> Vec<u8> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= BUFFER_BYTES_KEPT {
            self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

/// What a task has to do now.
#[derive(Clone)]
pub(crate) struct Assignment {
    pub(crate) job: Arc<Job>,
    pub(crate) target: Arc<Target>,
    /// How long the next scrape waits; `None` leaves it to the regular times.
    pub(crate) delay: Option<Duration>,
}

impl Assignment {
    fn schedule(&self) -> Schedule {
        Schedule::new(self.target.interval, self.target.hash ^ self.job.seed)
    }

    /// When the first scrape after `now_ms` is due, and whether it is out of turn.
    fn first_due(&self, now_ms: i64) -> (i64, bool) {
        match self.delay {
            Some(delay) => (now_ms.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)), true),
            None => (self.schedule().next_after(now_ms), false),
        }
    }
}

/// The task; see the module.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Arc<TargetState>,
    pub(crate) assignment: watch::Receiver<Assignment>,
    /// The target is no longer wanted.
    pub(crate) stop: CancellationToken,
}

/// What interrupts waiting and asking.
enum Interruption {
    Changed,
    Stopped,
    ShutDown,
}

impl Runner {
    pub(crate) async fn run(mut self) {
        let mut now = self.assignment.borrow_and_update().clone();
        let mut memory = Box::new(Memory::new());
        let mut schedule = now.schedule();
        let (mut due_ms, mut is_first) = now.first_due(now_ms());
        let mut last_started: Option<Instant> = None;
        let end = loop {
            let wait = Duration::from_millis(u64::try_from(due_ms - now_ms()).unwrap_or(0));
            let interrupted = tokio::select! {
                biased;
                interruption = self.interruption() => Err(interruption),
                fetched = async {
                    tokio::time::sleep(wait).await;
                    let (started, started_ms) = (Instant::now(), now_ms());
                    // In a box of its own, as most of the time most targets wait, and then need no room for asking.
                    (Box::pin(fetch(&now.job, &now.target)).await, started, started_ms)
                } => Ok(fetched),
            };
            match interrupted {
                Ok((fetched, started, started_ms)) => {
                    let t_ms = schedule.timestamp(due_ms, started_ms);
                    if let Some(last) = last_started.replace(started) {
                        self.shared.counters.intervals.observe(now.target.interval, started.duration_since(last));
                    }
                    memory = self.store(&now, memory, fetched, started, started_ms, t_ms).await;
                    let done_ms = now_ms();
                    due_ms = if is_first { schedule.next_after_first(done_ms) } else { schedule.next_after(done_ms) };
                    let missed = (done_ms - t_ms).max(0) as u128 / now.target.interval.as_millis().max(1);
                    self.shared.counters.skipped_ticks.add(u64::try_from(missed).unwrap_or(0));
                    is_first = false;
                }
                Err(Interruption::Changed) => {
                    let before = std::mem::replace(&mut now, self.assignment.borrow_and_update().clone());
                    schedule = now.schedule();
                    if !Arc::ptr_eq(&before.job, &now.job) {
                        memory.cache.forget_meanings();
                    }
                    (due_ms, is_first) = now.first_due(now_ms());
                    debug!(target = now.target.url, "target changed");
                }
                Err(end) => break end,
            }
        };
        if let Interruption::Stopped = end {
            self.end(now, memory).await;
        }
    }

    async fn interruption(&mut self) -> Interruption {
        tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => Interruption::ShutDown,
            () = self.stop.cancelled() => Interruption::Stopped,
            changed = self.assignment.changed() => match changed {
                Ok(()) => Interruption::Changed,
                // Nobody can want anything of it any more.
                Err(_) => Interruption::ShutDown,
            },
        }
    }

    /// Unpacks and stores on a blocking thread, and notes how it went.
    async fn store(
        &self,
        now: &Assignment,
        mut memory: Box<Memory>,
        fetched: Result<Body, ScrapeError>,
        started: Instant,
        started_ms: i64,
        t_ms: i64,
    ) -> Box<Memory> {
        let (shared, state, now) = (Arc::clone(&self.shared), Arc::clone(&self.state), now.clone());
        let _permit = shared.storing.acquire().await.expect("the semaphore is never closed");
        let stored = {
            let shared = Arc::clone(&shared);
            tokio::task::spawn_blocking(move || {
                let mut buffer = shared.buffer();
                let text = fetched.and_then(|body| {
                    body.unpack(now.job.body_bytes_max, &mut buffer)?;
                    Ok(body.content_type)
                });
                let text = text.as_ref().map(|content_type| (buffer.as_slice(), content_type.as_str()));
                let flushes_before = memory.cache.forced_flushes();
                let result = Store {
                    append: &*shared.append,
                    job: &now.job,
                    target: &now.target,
                    metadata: &state.metadata,
                    counters: &shared.counters,
                }
                .scrape(&mut memory, t_ms, text.map_err(Clone::clone), || started.elapsed());
                shared.give_back(buffer);
                let counters = &shared.counters;
                counters.forced_flushes.add(memory.cache.forced_flushes() - flushes_before);
                counters.scrapes.add(1);
                if let Err(failure) = &result {
                    debug!(target = now.target.url, error = %failure, "scrape failed");
                    counters.failed_scrapes.add(1);
                    log_failure(&now, failure);
                    counters.exceeded_body_size_limit.add(u64::from(*failure == ScrapeError::BodySizeLimit));
                }
                state.cached_series.store(memory.cache.len(), Ordering::Relaxed);
                state.report(result, started_ms, started.elapsed());
                memory
            })
        };
        match stored.await {
            Ok(memory) => memory,
            Err(failure) => {
                // A panic is a fault of ours; this target begins anew, the others do not notice.
                error!(error = %failure, "storing a scrape failed");
                Box::new(Memory::new())
            }
        }
    }

    async fn end(&self, now: Assignment, mut memory: Box<Memory>) {
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&self.state));
        let ended = tokio::task::spawn_blocking(move || {
            let store = Store {
                append: &*shared.append,
                job: &now.job,
                target: &now.target,
                metadata: &state.metadata,
                counters: &shared.counters,
            };
            store.end(&mut memory, now_ms());
        });
        if let Err(failure) = ended.await {
            error!(error = %failure, "storing staleness markers failed");
        }
    }
}

fn log_failure(now: &Assignment, failure: &ScrapeError) {
    let Some(path) = &now.job.config.scrape_failure_log_file else { return };
    if let Err(error) = failure_log::write(path, &now.job.config.job_name, &now.target.url, failure) {
        warn!(path = %path.display(), error = &error as &dyn std::error::Error, "failed scrape not logged");
    }
}
