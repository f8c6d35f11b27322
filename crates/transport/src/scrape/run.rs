//! The life of one target: it waits, asks, stores, until it is told to stop.
//!
//! ```text
//!            .--------- changed ---------.
//!            v                           |
//! start -> waiting --due--> asking --answered--> storing -> waiting
//!            |                 |
//!            '----- stop ------'-> series ended        (shutdown: just gone, the series go on after the restart)
//! ```
//!
//! A target that waits is a place in a queue and nothing more: most of very many targets wait most of the time. It has a task of its own
//! only for its turn, which ends with the target back in the queue.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relatum_model::storage::Append;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::body::Body;
use super::counters::Counters;
use super::fetch::fetch;
use super::job::Job;
use super::queue::{Place, Queue};
use super::schedule::Schedule;
use super::status::TargetState;
use super::store::{Memory, Store};
use super::target::Target;
use super::{ScrapeError, failure_log};
use crate::time::now_ms;

/// What all targets share.
pub(crate) struct Shared {
    pub(crate) append: Arc<dyn Append>,
    pub(crate) counters: Counters,
    /// Those that wait, each with the time at which it is due, milliseconds since 1970.
    pub(crate) queue: Queue<(Arc<Running>, i64)>,
    /// The turns that are under way.
    pub(crate) tasks: TaskTracker,
    /// Bounds how many scrapes are unpacked and stored at once, and with them the memory of unpacked bodies.
    pub(crate) storing: Semaphore,
    pub(crate) storing_max: usize,
    /// The memory of unpacked bodies, at most one for each permit.
    pub(crate) buffers: Mutex<Vec<Vec<u8>>>,
    pub(crate) shutdown: CancellationToken,
}

/// A buffer above this size is given back to the system after use.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// How long a target waits that is due when no clock goes any more.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 86_400);

impl Shared {
    fn buffer(&self) -> Vec<u8> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= BUFFER_BYTES_KEPT {
            self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }

    /// Gives every target its turn when it is due, until the shutdown.
    pub(crate) async fn give_turns(self: Arc<Self>) {
        loop {
            let due = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                due = self.queue.due() => due,
            };
            for (target, due_ms) in due {
                self.tasks.spawn(target.turn(Arc::clone(&self), due_ms));
            }
        }
    }
}

/// What a target has to do now.
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

/// A target that runs; see the module.
pub(crate) struct Running {
    pub(crate) state: TargetState,
    life: Mutex<Life>,
}

struct Life {
    now: Assignment,
    /// What was decided during a turn, for its end.
    news: Option<News>,
    phase: Phase,
    /// Whether the next scrape is the first, out of turn.
    is_first: bool,
    last_started: Option<Instant>,
    /// What the last scrape left; nothing before the first, and while one is stored.
    memory: Option<Box<Memory>>,
}

enum News {
    Changed(Assignment),
    Stopped,
}

enum Phase {
    Waiting(Place),
    /// Dropping what is inside interrupts it.
    Asking {
        _go_on: oneshot::Sender<()>,
    },
    /// From when it is due until it asks, and from when it is answered until it waits: not to be interrupted.
    Busy,
}

impl Running {
    /// Puts a new target into the queue.
    pub(crate) fn start(shared: &Shared, assignment: Assignment) -> Arc<Self> {
        let (due_ms, is_first) = assignment.first_due(now_ms());
        let running = Arc::new(Running {
            state: TargetState::default(),
            life: Mutex::new(Life {
                now: assignment,
                news: None,
                phase: Phase::Busy,
                is_first,
                last_started: None,
                memory: None,
            }),
        });
        running.wait(&mut running.life(), shared, due_ms);
        running
    }

    /// The job that it belongs to.
    pub(crate) fn job(&self) -> Arc<Job> {
        let life = self.life();
        match &life.news {
            Some(News::Changed(next)) => Arc::clone(&next.job),
            _ => Arc::clone(&life.now.job),
        }
    }

    /// Has it go on as `assignment` says.
    pub(crate) fn change(self: &Arc<Self>, shared: &Shared, assignment: Assignment) {
        let mut life = self.life();
        if self.leaves_queue(&mut life, shared) {
            self.begin_anew(&mut life, shared, assignment);
        } else {
            life.news = Some(News::Changed(assignment));
        }
    }

    /// Ends it and its series. Needs a Tokio runtime.
    pub(crate) fn stop(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut life = self.life();
        if self.leaves_queue(&mut life, shared) {
            shared.tasks.spawn(Arc::clone(self).end(Arc::clone(shared)));
        } else {
            life.news = Some(News::Stopped);
        }
    }

    /// Takes it out of the queue; false if it is at its turn, which is interrupted if it asks.
    fn leaves_queue(&self, life: &mut Life, shared: &Shared) -> bool {
        match std::mem::replace(&mut life.phase, Phase::Busy) {
            // It may be out of the queue and not have begun yet.
            Phase::Waiting(place) => shared.queue.remove(place).is_some(),
            Phase::Asking { .. } | Phase::Busy => false,
        }
    }

    fn wait(self: &Arc<Self>, life: &mut Life, shared: &Shared, due_ms: i64) {
        let wait = Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms())).unwrap_or(0));
        let now = tokio::time::Instant::now();
        let due = now.checked_add(wait).unwrap_or(now + LONGEST_WAIT);
        life.phase = Phase::Waiting(shared.queue.insert(due, (Arc::clone(self), due_ms)));
    }

    fn begin_anew(self: &Arc<Self>, life: &mut Life, shared: &Shared, assignment: Assignment) {
        let before = std::mem::replace(&mut life.now, assignment);
        if let Some(memory) = life.memory.as_mut().filter(|_| !Arc::ptr_eq(&before.job, &life.now.job)) {
            memory.cache.forget_meanings();
        }
        debug!(target = life.now.target.url, "target changed");
        let due_ms;
        (due_ms, life.is_first) = life.now.first_due(now_ms());
        self.wait(life, shared, due_ms);
    }

    /// Asks and stores once, as it was due at `due_ms`, and puts the target back into the queue.
    async fn turn(self: Arc<Self>, shared: Arc<Shared>, due_ms: i64) {
        let _rescue = Rescue { running: &self, shared: &shared };
        // Where the target shall change or stop already, there is nobody to ask.
        if let Some((now, interrupted)) = self.ask() {
            let (started, started_ms) = (Instant::now(), now_ms());
            let fetched = tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return,
                _ = interrupted => None,
                fetched = fetch(&now.job, &now.target) => Some(fetched),
            };
            if let Some(fetched) = fetched {
                let t_ms = now.schedule().timestamp(due_ms, started_ms);
                self.answered(&shared, now.target.interval, started);
                self.store(&shared, &now, fetched, started, started_ms, t_ms).await;
                if shared.shutdown.is_cancelled() {
                    return;
                }
                let missed = (now_ms() - t_ms).max(0) as u128 / now.target.interval.as_millis().max(1);
                shared.counters.skipped_ticks.add(u64::try_from(missed).unwrap_or(0));
            }
        }
        if !self.goes_on(&shared) {
            Arc::clone(&self).end(Arc::clone(&shared)).await;
        }
    }

    /// Begins to ask, unless there is news.
    fn ask(&self) -> Option<(Assignment, oneshot::Receiver<()>)> {
        let mut life = self.life();
        life.phase = Phase::Busy;
        if life.news.is_some() {
            return None;
        }
        let (go_on, interrupted) = oneshot::channel();
        life.phase = Phase::Asking { _go_on: go_on };
        Some((life.now.clone(), interrupted))
    }

    fn answered(&self, shared: &Shared, interval: Duration, started: Instant) {
        let mut life = self.life();
        life.phase = Phase::Busy;
        if let Some(last) = life.last_started.replace(started) {
            shared.counters.intervals.observe(interval, started.duration_since(last));
        }
    }

    /// Puts the target back into the queue; false if it shall stop.
    fn goes_on(self: &Arc<Self>, shared: &Shared) -> bool {
        let mut life = self.life();
        match life.news.take() {
            None => {
                let (schedule, done_ms) = (life.now.schedule(), now_ms());
                let was_first = std::mem::take(&mut life.is_first);
                let due_ms = if was_first { schedule.next_after_first(done_ms) } else { schedule.next_after(done_ms) };
                self.wait(&mut life, shared, due_ms);
                true
            }
            Some(News::Changed(assignment)) => {
                self.begin_anew(&mut life, shared, assignment);
                true
            }
            Some(News::Stopped) => false,
        }
    }

    /// Unpacks and stores on a blocking thread, and notes how it went.
    async fn store(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        now: &Assignment,
        fetched: Result<Body, ScrapeError>,
        started: Instant,
        started_ms: i64,
        t_ms: i64,
    ) {
        let _permit = shared.storing.acquire().await.expect("the semaphore is never closed");
        let (running, shared, now) = (Arc::clone(self), Arc::clone(shared), now.clone());
        let stored = tokio::task::spawn_blocking(move || {
            let mut memory = running.life().memory.take().unwrap_or_default();
            let mut buffer = shared.buffer();
            let text = fetched.and_then(|body| {
                body.unpack(now.job.body_bytes_max, &mut buffer)?;
                Ok(body.content_type)
            });
            let text = text.as_ref().map(|content_type| (buffer.as_slice(), content_type.as_str()));
            let flushes_before = memory.cache.forced_flushes();
            let result = running
                .store_of(&shared, &now)
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
            running.state.cached_series.store(memory.cache.len(), Ordering::Relaxed);
            let is_denied = matches!(result, Err(ScrapeError::Denied(_)));
            let before = running.state.report(result, started_ms, started.elapsed());
            counters.denied.fetch_add(i64::from(is_denied) - i64::from(before.is_denied), Ordering::Relaxed);
            running.life().memory = Some(memory);
        });
        if let Err(failure) = stored.await {
            // A panic is a fault of ours; this target begins anew, the others do not notice.
            error!(error = %failure, "storing a scrape failed");
        }
    }

    fn store_of<'a>(&'a self, shared: &'a Shared, now: &'a Assignment) -> Store<'a> {
        Store {
            append: &*shared.append,
            job: &now.job,
            target: &now.target,
            metadata: &self.state.metadata,
            counters: &shared.counters,
        }
    }

    async fn end(self: Arc<Self>, shared: Arc<Shared>) {
        shared.counters.denied.fetch_sub(i64::from(self.state.last().is_denied), Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(move || {
            let (now, memory) = {
                let mut life = self.life();
                (life.now.clone(), life.memory.take())
            };
            // Without a scrape there is nothing to end.
            if let Some(mut memory) = memory {
                self.store_of(&shared, &now).end(&mut memory, now_ms());
            }
        });
        if let Err(failure) = ended.await {
            error!(error = %failure, "storing staleness markers failed");
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Running {
    /// A turn that ends with a panic.
    pub(super) async fn fall(self: Arc<Self>, shared: Arc<Shared>) {
        assert!(self.leaves_queue(&mut self.life(), &shared), "it waits");
        let _rescue = Rescue { running: &self, shared: &shared };
        panic!("as the test wants it");
    }
}

/// Sees to it that a target whose turn ends with a panic gets another one.
struct Rescue<'a> {
    running: &'a Arc<Running>,
    shared: &'a Arc<Shared>,
}

impl Drop for Rescue<'_> {
    fn drop(&mut self) {
        // A turn that is dropped without one ended well, or everything ends.
        if !std::thread::panicking() || self.shared.shutdown.is_cancelled() {
            return;
        }
        // A fault of ours; the others do not notice.
        error!("a scrape ended with a panic");
        if !self.running.goes_on(self.shared) {
            self.shared.tasks.spawn(Arc::clone(self.running).end(Arc::clone(self.shared)));
        }
    }
}

fn log_failure(now: &Assignment, failure: &ScrapeError) {
    let Some(path) = &now.job.config.scrape_failure_log_file else { return };
    if let Err(error) = failure_log::write(path, &now.job.config.job_name, &now.target.url, failure) {
        warn!(path = %path.display(), error = &error as &dyn std::error::Error, "failed scrape not logged");
    }
}
