//! Scraping: asks targets for their metrics at regular times and stores what they answer.
//!
//! [`Scraper::prepare`] finds the targets of all jobs and [`Scraper::commit`] has each wait for its turns. What a turn stores
//! beside the samples (`up` and its relatives, staleness markers), which labels it gives them and what it says when it fails
//! are Prometheus'.

mod body;
mod cache;
mod counters;
mod failure_log;
mod fetch;
mod intervals;
mod job;
mod metadata;
mod plan;
mod queue;
mod run;
mod schedule;
mod status;
mod store;
mod target;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use relatum_config::prometheus::{GlobalConfig, ScrapeConfig, ScrapeFiles};
use relatum_model::Labels;
use relatum_model::exposition::{MetricFamily, MetricKind};
use relatum_model::storage::Append;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::http::{HttpClients, HttpError};
use counters::Counters;
use job::Job;
use plan::{Step, plan};
use queue::Queue;
use run::{Assignment, Running, Shared};
use target::{JobTargets, job_targets};

pub use metadata::FamilyMetadata;
pub use status::{DroppedTarget, Health, TargetMetadata, TargetStatus};

/// Why a job cannot run.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// It cannot be spoken to its targets as it says.
    #[error("cannot prepare scrape job {job}")]
    Http {
        /// The job.
        job: String,
        /// The cause.
        source: HttpError,
    },
    /// It cannot write down failed scrapes as it says.
    #[error("cannot write {} for scrape job {job}", path.display())]
    FailureLog {
        /// The job.
        job: String,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another job has its name.
    #[error("cannot prepare scrape job {job}: another job has the same name")]
    Duplicate {
        /// The name.
        job: String,
    },
}

impl PrepareError {
    /// The name of the job.
    pub fn job(&self) -> &str {
        match self {
            PrepareError::Http { job, .. } | PrepareError::FailureLog { job, .. } | PrepareError::Duplicate { job } => {
                job
            }
        }
    }
}

/// Why a scrape failed; the texts are Prometheus' and are shown as a target's last error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ScrapeError {
    /// The target was not asked at all.
    #[error("{0}")]
    Forbidden(String),
    /// The target is where its job may not go.
    #[error("{0}")]
    Denied(String),
    /// There is no answer.
    #[error("{0}")]
    Request(String),
    /// The answer came too slowly.
    #[error("context deadline exceeded")]
    Deadline,
    /// The answer is not the page.
    #[error("server returned HTTP status {0}")]
    Status(String),
    /// The body is too large.
    #[error("body size limit exceeded")]
    BodySizeLimit,
    /// The body cannot be unpacked.
    #[error("{0}")]
    Unpack(String),
    /// The body is in no format we read.
    #[error("{0}")]
    ContentType(String),
    /// The body is not in the format it claims to be in.
    #[error("{0}")]
    Parse(String),
    /// A series is not allowed.
    #[error("{0}")]
    Series(String),
    /// There are too many samples.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// The store takes no more.
    #[error("{0}")]
    Commit(String),
}

/// Scrapes targets; see the module.
pub struct Scraper {
    shared: Arc<Shared>,
    clients: HttpClients,
    jobs: Mutex<Jobs>,
}

/// The jobs that run, and what they came from.
#[derive(Default)]
struct Jobs {
    pools: BTreeMap<String, Pool>,
    own: Vec<Arc<ScrapeConfig>>,
    files: ScrapeFiles,
    seed: u64,
    /// How often something was committed.
    n_commits: u64,
}

impl Jobs {
    /// What is different with `own` and `files`: the names of the jobs of all that does not run as it is any more, and the jobs of
    /// all that does not run as it is yet. A name can be among both.
    fn difference(
        &self,
        own: &[Arc<ScrapeConfig>],
        files: &ScrapeFiles,
        seed: u64,
    ) -> (HashSet<String, FixedState>, Vec<Arc<ScrapeConfig>>) {
        // Whatever the seed moves runs otherwise.
        let (none, is_alike) = (ScrapeFiles::default(), self.seed == seed);
        let (before, after) = if is_alike { (&self.files, files) } else { (&self.files, &none) };
        let gone = before.changes(after).filter_map(|change| change.before);
        let (before, after) = if is_alike { (&self.files, files) } else { (&none, files) };
        let new = before.changes(after).filter_map(|change| change.after);
        let gone = self.own.iter().chain(gone.flat_map(|file| &file.scrape_configs));
        let new = own.iter().chain(new.flat_map(|file| &file.scrape_configs));
        (gone.map(|job| job.job_name.clone()).collect(), new.cloned().collect())
    }
}

/// With more jobs than this, what is counted of each is shown of all together: there may be one job for every unit, and what a server
/// says of each of them would soon be most of what it stores.
const JOBS_SHOWN_MAX: usize = 200;

fn above_zero(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

/// The running targets of one job.
struct Pool {
    prepared: Arc<PreparedPool>,
    // In the order of the prepared targets.
    running: Vec<Arc<Running>>,
    n_syncs: u64,
    n_refused: u64,
}

impl Pool {
    /// How the targets of the job called `name` do, and whether they are where it may not go.
    fn statuses(&self, name: &str) -> impl Iterator<Item = (TargetStatus, bool)> {
        self.prepared.targets.active.iter().zip(&self.running).map(move |(target, running)| {
            let last = running.state.last();
            let status = TargetStatus {
                discovered_labels: target.discovered(&self.prepared.source),
                labels: target.labels.clone(),
                pool: name.to_owned(),
                url: target.url.to_string(),
                health: last.health,
                last_error: last.error,
                last_scrape_ms: last.started_ms,
                last_duration: last.duration,
                interval: target.interval,
                timeout: target.timeout,
            };
            (status, last.is_denied)
        })
    }
}

/// One job with its targets, not yet running.
struct PreparedPool {
    // As it was given, to see whether a later one is the same.
    source: Arc<ScrapeConfig>,
    job: Arc<Job>,
    targets: JobTargets,
}

/// Jobs that are ready to run.
pub struct PreparedScrape {
    /// After how many commits it was prepared.
    since: u64,
    own: Vec<Arc<ScrapeConfig>>,
    files: ScrapeFiles,
    global: GlobalConfig,
    /// The jobs that do not run as they are.
    changed: BTreeMap<String, Arc<PreparedPool>>,
    /// The names of those that run otherwise, or are not wanted any more.
    gone: HashSet<String, FixedState>,
}

impl fmt::Debug for PreparedScrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedScrape").field("changed", &self.changed.keys()).finish()
    }
}

impl fmt::Debug for Scraper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraper").field("jobs", &self.lock().pools.keys()).finish()
    }
}

impl Scraper {
    /// A scraper without targets, which will store into `append`.
    pub fn new(append: Arc<dyn Append>) -> Self {
        // Storing keeps a core busy; a few more than there are cores cover those that wait for the disk.
        let storing_max = 2 * std::thread::available_parallelism().map_or(2, usize::from);
        let shared = Shared {
            append,
            counters: Counters::default(),
            queue: Queue::default(),
            tasks: TaskTracker::new(),
            storing: Semaphore::new(storing_max),
            storing_max,
            buffers: Mutex::new(Vec::new()),
            shutdown: CancellationToken::new(),
        };
        Scraper { shared: Arc::new(shared), clients: HttpClients::default(), jobs: Mutex::default() }
    }

    /// Finds the targets of all jobs, reads the files they name and builds their clients; changes nothing yet. The jobs are those
    /// of the main file, `own`, and of `files`.
    ///
    /// A file that runs already costs nothing, so whoever changes one of many hands over the others as they are. Returns all errors,
    /// at most one for each job.
    pub fn prepare(
        &self,
        own: &[Arc<ScrapeConfig>],
        files: &ScrapeFiles,
        global: &GlobalConfig,
    ) -> Result<PreparedScrape, Vec<PrepareError>> {
        let seed = job::seed(global);
        let (since, gone, changed) = {
            let running = self.lock();
            let (gone, changed) = running.difference(own, files, seed);
            let changed: Vec<_> = changed
                .into_iter()
                .map(|job| {
                    let known = running.pools.get(&job.job_name).map(|pool| Arc::clone(&pool.prepared));
                    (job, known)
                })
                .collect();
            (running.n_commits, gone, changed)
        };
        let (mut pools, mut errors) = (BTreeMap::new(), Vec::new());
        for (source, known) in changed {
            let name = &source.job_name;
            if pools.contains_key(name) || (known.is_some() && !gone.contains(name)) {
                errors.push(PrepareError::Duplicate { job: name.clone() });
                continue;
            }
            match self.prepare_pool(&source, global, known.as_ref()) {
                Ok(pool) => {
                    pools.insert(name.clone(), pool);
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(PreparedScrape {
            since,
            own: own.to_vec(),
            files: files.clone(),
            global: global.clone(),
            changed: pools,
            gone,
        })
    }

    fn prepare_pool(
        &self,
        source: &Arc<ScrapeConfig>,
        global: &GlobalConfig,
        running: Option<&Arc<PreparedPool>>,
    ) -> Result<Arc<PreparedPool>, PrepareError> {
        let seed = job::seed(global);
        let is_same = |running: &&Arc<PreparedPool>| {
            (Arc::ptr_eq(&running.source, source) || running.source == *source) && running.job.seed == seed
        };
        if let Some(running) = running.filter(is_same) {
            return Ok(Arc::clone(running));
        }
        let targets = job_targets(source);
        let name = &source.job_name;
        let job = Job::open(source, seed, targets.active.len(), &self.clients);
        let mut job = Arc::new(job.map_err(|source| PrepareError::Http { job: name.clone(), source })?);
        if let Some(path) = &source.scrape_failure_log_file {
            let failed = |source| PrepareError::FailureLog { job: name.clone(), path: path.clone(), source };
            failure_log::open(path).map_err(failed)?;
        }
        if let Some(running) = running.filter(|running| running.job.is_same(&job)) {
            job = Arc::clone(&running.job);
        }
        Ok(Arc::new(PreparedPool { source: Arc::clone(source), job, targets }))
    }

    /// Starts, changes and stops what differs from what runs; all else goes on undisturbed. Needs a Tokio runtime.
    ///
    /// A target that is gone gets staleness markers at once, not after Prometheus' two intervals: a reload knows which
    /// targets take over its series.
    pub fn commit(&self, prepared: PreparedScrape) {
        let mut running = self.lock();
        if running.n_commits != prepared.since {
            // Something else was committed in between, and with it other jobs are gone or changed.
            drop(running);
            return match self.prepare(&prepared.own, &prepared.files, &prepared.global) {
                Ok(prepared) => self.commit(prepared),
                Err(errors) => errors.iter().for_each(|error| error!(%error, "scrape jobs not changed")),
            };
        }
        if running.n_commits == 0 {
            self.shared.tasks.spawn(Arc::clone(&self.shared).give_turns());
        }
        let (mut n_started, mut kept) = (0, HashSet::with_hasher(FixedState::default()));
        for (name, prepared) in prepared.changed {
            let pool = match running.pools.remove(&name) {
                Some(old) if Arc::ptr_eq(&old.prepared, &prepared) => old,
                old => self.commit_pool(old, prepared, &mut n_started),
            };
            running.pools.insert(name.clone(), pool);
            kept.insert(name);
        }
        for name in prepared.gone.difference(&kept) {
            let pool = running.pools.remove(name);
            pool.into_iter().flat_map(|pool| pool.running).for_each(|target| target.stop(&self.shared));
        }
        running.seed = job::seed(&prepared.global);
        running.own = prepared.own;
        running.files = prepared.files;
        running.n_commits += 1;
    }

    fn commit_pool(&self, old: Option<Pool>, prepared: Arc<PreparedPool>, n_started: &mut usize) -> Pool {
        self.shared.counters.pool_reloads.add(1);
        for refused in &prepared.targets.refused {
            warn!(job = prepared.source.job_name, target = %refused.discovered, reason = refused.reason, "target left out");
        }
        if let Some(reason) = &prepared.job.forbidden {
            self.shared.counters.exceeded_target_limit.add(1);
            warn!(job = prepared.source.job_name, reason, "no target of the job is scraped");
        }
        let n_refused_now = prepared.targets.refused.len() as u64;
        self.shared.counters.syncs.add(1);
        self.shared.counters.refused_targets.add(n_refused_now);
        let (old_targets, mut old_running, n_syncs, n_refused) = match old {
            Some(old) => {
                let running = old.running.into_iter().map(Some).collect();
                (Some(old.prepared), running, old.n_syncs, old.n_refused)
            }
            None => {
                self.shared.counters.pools.add(1);
                (None, Vec::new(), 0, 0)
            }
        };
        let old_targets: Vec<&target::Target> =
            old_targets.iter().flat_map(|prepared| &prepared.targets.active).map(|target| &**target).collect();
        let steps = plan(&old_targets, &prepared.targets.active);
        let mut running = Vec::with_capacity(steps.len());
        for (step, target) in steps.into_iter().zip(&prepared.targets.active) {
            // Whoever adds a target, or changes where or how it is asked, wants to see at once whether that works.
            let mut next_delay = || {
                *n_started += 1;
                Some(schedule::first_delay(*n_started - 1, target.interval))
            };
            let job = Arc::clone(&prepared.job);
            let assign = |delay| Assignment { job, target: Arc::clone(target), delay };
            running.push(match step {
                Step::Keep(at) | Step::Change(at) => {
                    let target = old_running[at].take().expect("a plan names each running target once");
                    let before = target.job();
                    if matches!(step, Step::Change(_)) || !before.asks_alike(&prepared.job) {
                        target.change(&self.shared, assign(next_delay()));
                    } else if !Arc::ptr_eq(&before, &prepared.job) {
                        target.change(&self.shared, assign(None));
                    }
                    target
                }
                Step::Start => Running::start(&self.shared, assign(next_delay())),
            });
        }
        for gone in old_running.into_iter().flatten() {
            gone.stop(&self.shared);
        }
        Pool { prepared, running, n_syncs: n_syncs + 1, n_refused: n_refused + n_refused_now }
    }

    /// The targets that are scraped, by job and in the order in which the job lists them.
    pub fn targets(&self) -> Vec<TargetStatus> {
        self.lock().pools.iter().flat_map(|(name, pool)| pool.statuses(name)).map(|(status, _)| status).collect()
    }

    /// Those of them that turned out to be in one of the networks that are denied to their job.
    pub fn denied_targets(&self) -> Vec<TargetStatus> {
        // That is asked often, and mostly there is none.
        if self.shared.counters.denied.load(Ordering::Relaxed) <= 0 {
            return Vec::new();
        }
        let jobs = self.lock();
        let bound = jobs.pools.iter().filter(|(_, pool)| !pool.prepared.source.denied_networks.is_empty());
        let targets = bound.flat_map(|(name, pool)| pool.statuses(name));
        targets.filter(|(_, is_denied)| *is_denied).map(|(status, _)| status).collect()
    }

    /// The targets that relabelling dropped, by job; at most as many as each job keeps.
    pub fn dropped_targets(&self) -> Vec<DroppedTarget> {
        let mut dropped = Vec::new();
        for (name, pool) in &self.lock().pools {
            for labels in &pool.prepared.targets.dropped {
                dropped.push(DroppedTarget { discovered_labels: labels.clone(), pool: name.clone() });
            }
        }
        dropped
    }

    /// How many targets of each job relabelling dropped.
    pub fn dropped_target_counts(&self) -> BTreeMap<String, usize> {
        self.lock().pools.iter().map(|(name, pool)| (name.clone(), pool.prepared.targets.n_dropped)).collect()
    }

    /// The names of the jobs, sorted.
    pub fn pools(&self) -> Vec<String> {
        self.lock().pools.keys().cloned().collect()
    }

    /// What the targets say about their metrics.
    pub fn metadata(&self) -> Vec<TargetMetadata> {
        let mut metadata = Vec::new();
        for pool in self.lock().pools.values() {
            for (target, running) in pool.prepared.targets.active.iter().zip(&pool.running) {
                metadata.push(TargetMetadata {
                    labels: target.labels.clone(),
                    families: running.state.metadata.families(),
                });
            }
        }
        metadata
    }

    /// Calls `each` with name, kind, help and unit of all metrics of every target of which a scrape said something else since the last
    /// call.
    pub fn take_described(&self, each: &mut dyn FnMut(&str, MetricKind, &str, &str)) {
        // Targets are asked without the lock: one that is being scraped answers when that is done.
        let running: Vec<Arc<Running>> = self.lock().pools.values().flat_map(|pool| &pool.running).cloned().collect();
        running.iter().for_each(|target| target.state.metadata.take_news(each));
    }

    /// Stops all tasks and waits for what they are storing. The series go on when the same targets are scraped again.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// What happened so far.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let pools = &self.lock().pools;
        let counters = &self.shared.counters;
        let counter = |name: &str, help: &str, counter: &counters::Counter| {
            MetricFamily::counter(name, help, counter.get() as f64)
        };
        let sum = |value: fn(&Pool) -> usize| pools.values().map(value).sum::<usize>() as f64;
        // A job of which there is nothing to say has no series: with one job a unit there are very many of them. What is counted
        // of all together goes on when a job goes.
        let by_pool = |kind, name: &str, help: &str, value: fn(&Pool) -> Option<f64>, total: Option<f64>| {
            let mut family = MetricFamily::new(kind, name, help);
            if pools.len() > JOBS_SHOWN_MAX {
                if let Some(total) = total {
                    family.push(Labels::empty(), total);
                }
                return family;
            }
            for (name, pool) in pools {
                if let Some(value) = value(pool) {
                    family.push(Labels::from_pairs([("scrape_job", name.as_str())]), value);
                }
            }
            family
        };
        vec![
            by_pool(
                MetricKind::Gauge,
                "prometheus_target_scrape_pool_target_limit",
                "Maximum number of targets allowed in this scrape pool.",
                |pool| above_zero(pool.prepared.source.limits.targets as f64),
                // Limits of different jobs are nothing together.
                None,
            ),
            by_pool(
                MetricKind::Gauge,
                "prometheus_target_scrape_pool_targets",
                "Current number of targets in this scrape pool.",
                |pool| Some(pool.running.len() as f64),
                Some(sum(|pool| pool.running.len())),
            ),
            by_pool(
                MetricKind::Counter,
                "prometheus_target_scrape_pool_sync_total",
                "Total number of syncs that were executed on a scrape pool.",
                |pool| Some(pool.n_syncs as f64),
                Some(counters.syncs.get() as f64),
            ),
            by_pool(
                MetricKind::Counter,
                "prometheus_target_sync_failed_total",
                "Total number of target sync failures.",
                |pool| Some(pool.n_refused as f64),
                Some(counters.refused_targets.get() as f64),
            ),
            counter(
                "prometheus_target_scrape_pools_total",
                "Total number of scrape pool creation attempts.",
                &counters.pools,
            ),
            by_pool(
                MetricKind::Gauge,
                "relatum_scrape_pool_refused_targets",
                "Targets of the job that cannot be scraped, for instance because they have no address.",
                |pool| above_zero(pool.prepared.targets.refused.len() as f64),
                above_zero(sum(|pool| pool.prepared.targets.refused.len())),
            ),
            MetricFamily::gauge(
                "relatum_scrape_cache_series",
                "Series whose text is remembered from scrape to scrape.",
                pools
                    .values()
                    .flat_map(|pool| &pool.running)
                    .map(|running| running.state.cached_series.load(Ordering::Relaxed))
                    .sum::<usize>() as f64,
            ),
            MetricFamily::gauge("relatum_scrape_pools", "How many scrape jobs there are.", pools.len() as f64),
            counter(
                "prometheus_target_scrape_pool_reloads_total",
                "Total number of scrape pool reloads.",
                &counters.pool_reloads,
            ),
            counter(
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Total number of times scrape pools hit the target limit, during sync or config reload.",
                &counters.exceeded_target_limit,
            ),
            counter(
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Total number of times scrape pools hit the label limits, during sync or config reload.",
                &counters.exceeded_label_limits,
            ),
            counter(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Total number of scrapes that hit the body size limit",
                &counters.exceeded_body_size_limit,
            ),
            counter(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Total number of scrapes that hit the sample limit and were rejected.",
                &counters.exceeded_sample_limit,
            ),
            counter(
                "prometheus_target_scrapes_cache_flush_forced_total",
                "How many times a scrape cache was flushed due to getting big while scrapes are failing.",
                &counters.forced_flushes,
            ),
            counter(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Total number of samples rejected due to duplicate timestamps but different values.",
                &counters.duplicate,
            ),
            counter(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Total number of samples rejected due to not being out of the expected order.",
                &counters.out_of_order,
            ),
            counter(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Total number of samples rejected due to timestamp falling outside of the time bounds.",
                &counters.out_of_bounds,
            ),
            counters.intervals.family(),
            counter("relatum_scrapes_total", "Scrapes that were made.", &counters.scrapes),
            counter("relatum_scrapes_failed_total", "Scrapes that failed.", &counters.failed_scrapes),
            counter(
                "relatum_scrapes_skipped_total",
                "Scrapes that were left out because the one before took longer than the interval.",
                &counters.skipped_ticks,
            ),
            MetricFamily::gauge(
                "relatum_scrape_storing",
                "Scrapes that are being stored now.",
                (self.shared.storing_max - self.shared.storing.available_permits()) as f64,
            ),
            MetricFamily::gauge(
                "relatum_scrape_storing_max",
                "Scrapes that can be stored at once; more wait.",
                self.shared.storing_max as f64,
            ),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the turns that are under way without waiting for them; [`Scraper::shutdown`] is the way to stop them in order.
impl Drop for Scraper {
    fn drop(&mut self) {
        self.shared.shutdown.cancel();
    }
}

#[cfg(test)]
mod tests;
