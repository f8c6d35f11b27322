//! When groups of rules tick, and where their alerts go.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use relatum_config::prometheus::GlobalConfig;
use relatum_config::rules::RuleFile;
use relatum_config::{FilePlace, FileSet};
use relatum_model::Labels;
use relatum_model::exposition::{MetricFamily, MetricKind};
use relatum_rules::{ActiveAlert, Group, GroupSource, GroupView, RuleQuery, Tick};
use relatum_transport::alertmanager::Notifier;
use relatum_transport::remote_read::RemoteSources;
use relatum_tsdb::Store;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::clock::now_ms;
use crate::everywhere::Everywhere;
use crate::files::Loaded;
use crate::flags::Flags;
use crate::http::query_stats::{Turn, stats};
use crate::query_log::{Asked, By, QueryLog, warn_if_slow};
use crate::query_metrics::QueryMetrics;

/// With more groups than this, what is measured of each is shown of all together: whoever relates very many applications would store
/// more of the server than of them.
const GROUPS_SHOWN_MAX: usize = 200;

/// How many groups evaluate at once for each core: while one waits for the disk, another can go on.
const TURNS_PER_CORE: usize = 2;

/// Runs groups: each in a task of its own, each at its own beat.
pub struct RuleRunner {
    shared: Arc<Shared>,
    running: Mutex<RunningFiles>,
}

struct Shared {
    store: Arc<Store>,
    others: Arc<RemoteSources>,
    promql: Arc<ArcSwap<relatum_promql::Engine>>,
    notifier: Arc<Notifier>,
    query_log: Arc<QueryLog>,
    query_metrics: Arc<QueryMetrics>,
    /// Turns of groups that evaluate: more at once than this would only take memory for their threads.
    turns: Semaphore,
    surroundings: Mutex<Surroundings>,
    evaluations: AtomicU64,
    failures: AtomicU64,
    samples: AtomicU64,
    missed: AtomicU64,
}

#[derive(Clone, Default)]
struct Surroundings {
    external_labels: Labels,
    external_url: String,
    slow_after: Duration,
}

/// The groups of the files that were committed last.
#[derive(Default)]
struct RunningFiles {
    files: FileSet<RuleFile>,
    /// What counts where the files say nothing.
    defaults: (Duration, Duration),
    groups: BTreeMap<FilePlace, Vec<RunningGroup>>,
}

impl RunningFiles {
    fn groups(&self) -> impl Iterator<Item = &RunningGroup> {
        self.groups.values().flatten()
    }
}

struct RunningGroup {
    source: GroupSource,
    slot: Arc<Slot>,
    task: JoinHandle<()>,
}

/// A group, and what it looked like after its last tick: whoever looks does not wait for a slow evaluation.
struct Slot {
    group: Mutex<Group>,
    view: Mutex<GroupView>,
}

impl RuleRunner {
    pub(crate) fn new(
        store: Arc<Store>,
        others: Arc<RemoteSources>,
        promql: Arc<ArcSwap<relatum_promql::Engine>>,
        notifier: Arc<Notifier>,
        query_log: Arc<QueryLog>,
        query_metrics: Arc<QueryMetrics>,
    ) -> Self {
        let shared = Shared {
            store,
            others,
            promql,
            notifier,
            query_log,
            query_metrics,
            turns: Semaphore::new(TURNS_PER_CORE * std::thread::available_parallelism().map_or(1, usize::from)),
            surroundings: Mutex::default(),
            evaluations: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        };
        RuleRunner { shared: Arc::new(shared), running: Mutex::default() }
    }

    /// Runs the groups of `loaded` and no others. A group that did not change is not disturbed; one that did goes on with the
    /// state of the rules it kept; the series of one that is gone end, and its alerts are resolved.
    pub(crate) fn commit(&self, loaded: &Loaded, flags: &Flags) {
        let global = &loaded.config.global;
        *lock(&self.shared.surroundings) = Surroundings {
            external_labels: global.external_labels.clone(),
            external_url: flags.external_url.clone(),
            slow_after: flags.slow_query,
        };
        let defaults = (global.evaluation_interval, global.rule_query_offset);
        let mut running = lock(&self.running);
        let before = std::mem::replace(&mut running.files, loaded.rule_files.clone());
        // With other defaults no file is as it was.
        let is_alike = std::mem::replace(&mut running.defaults, defaults) == defaults;
        let known = if is_alike { before } else { FileSet::default() };
        let mut old: HashMap<Arc<Path>, Vec<RunningGroup>> = HashMap::new();
        if !is_alike {
            old = std::mem::take(&mut running.groups).into_iter().map(|((_, path), groups)| (path, groups)).collect();
        }
        for gone in known.changes(&loaded.rule_files).filter(|change| change.before.is_some()) {
            let groups = running.groups.remove(gone.place);
            old.insert(Arc::clone(&gone.place.1), groups.unwrap_or_default());
        }
        for change in known.changes(&loaded.rule_files) {
            let Some(file) = change.after else { continue };
            let (_, path) = change.place;
            let groups = self.run_file(path, file, global, old.remove(path).unwrap_or_default());
            running.groups.insert(change.place.clone(), groups);
        }
        drop(running);
        self.retire(old.into_values().flatten());
    }

    /// Runs the groups of one file in the place of those that it had before.
    fn run_file(
        &self,
        path: &Path,
        file: &RuleFile,
        global: &GlobalConfig,
        mut before: Vec<RunningGroup>,
    ) -> Vec<RunningGroup> {
        let name: Arc<str> = path.display().to_string().into();
        let mut groups = Vec::with_capacity(file.groups.len());
        for definition in &file.groups {
            let source = GroupSource::new(Arc::clone(&name), Arc::clone(definition), global);
            let old = before.iter().position(|old| old.source.name() == source.name());
            groups.push(match old.map(|at| before.remove(at)) {
                Some(old) if old.source == source => old,
                Some(old) => {
                    old.task.abort();
                    let mut group = Group::new(source);
                    // A tick that is under way holds the lock and ends first.
                    group.continue_from(&mut lock(&old.slot.group));
                    self.start(group)
                }
                None => self.start(Group::new(source)),
            });
        }
        self.retire(before);
        groups
    }

    /// Ends groups for good.
    fn retire(&self, groups: impl IntoIterator<Item = RunningGroup>) {
        for gone in groups {
            gone.task.abort();
            let alerts = self.shared.with_tick(now_ms(), |tick| lock(&gone.slot.group).retire(tick));
            self.shared.notifier.send(alerts);
        }
    }

    fn start(&self, group: Group) -> RunningGroup {
        let source = group.source().clone();
        let offset = group.offset();
        let slot = Arc::new(Slot { view: Mutex::new(group.view()), group: Mutex::new(group) });
        let task = tokio::spawn(run(Arc::clone(&self.shared), Arc::clone(&slot), source.interval(), offset));
        RunningGroup { source, slot, task }
    }

    /// Stops all groups; their state stays in the store, so that a restart goes on with it.
    pub(crate) async fn stop(&self) {
        let running = std::mem::take(&mut *lock(&self.running));
        for group in running.groups.into_values().flatten() {
            group.task.abort();
            let _ = group.task.await;
        }
    }

    /// The groups as they stand, in the order of the files.
    pub fn groups(&self) -> Vec<GroupView> {
        let running = lock(&self.running);
        running.groups().map(|group| lock(&group.slot.view).clone()).collect()
    }

    /// The alerts that are pending or firing.
    pub fn alerts(&self) -> Vec<ActiveAlert> {
        let rules = self.groups().into_iter().flat_map(|group| group.rules);
        rules.filter_map(|rule| rule.alerting).flat_map(|details| details.alerts).collect()
    }

    /// How the rules do, under Prometheus' names.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let mut rules = MetricFamily::new(MetricKind::Gauge, "prometheus_rule_group_rules", "The number of rules.");
        let mut took = MetricFamily::new(
            MetricKind::Gauge,
            "prometheus_rule_group_last_duration_seconds",
            "The duration of the last rule group evaluation.",
        );
        {
            let running = lock(&self.running);
            let groups = || running.groups().map(|group| lock(&group.slot.view));
            if groups().count() > GROUPS_SHOWN_MAX {
                rules.push(Labels::empty(), groups().map(|group| group.rules.len() as f64).sum());
                let longest = groups().map(|group| group.took).max().unwrap_or_default();
                took.push(Labels::empty(), longest.as_secs_f64());
            } else {
                for group in groups() {
                    let name = format!("{};{}", group.source.file(), group.source.name());
                    let labels = Labels::from_pairs([("rule_group", name)]);
                    rules.push(labels.clone(), group.rules.len() as f64);
                    took.push(labels, group.took.as_secs_f64());
                }
            }
        }
        vec![
            MetricFamily::counter(
                "prometheus_rule_evaluations_total",
                "The total number of rule evaluations.",
                count(&self.shared.evaluations),
            ),
            MetricFamily::counter(
                "prometheus_rule_evaluation_failures_total",
                "The total number of rule evaluation failures.",
                count(&self.shared.failures),
            ),
            MetricFamily::counter(
                "prometheus_rule_group_iterations_missed_total",
                "The total number of rule group evaluations missed due to slow rule group evaluation.",
                count(&self.shared.missed),
            ),
            MetricFamily::counter(
                "relatum_rule_samples_total",
                "The samples that rules appended.",
                count(&self.shared.samples),
            ),
            rules,
            took,
        ]
    }
}

impl Shared {
    fn with_tick<T>(&self, at_ms: i64, work: impl FnOnce(&Tick<'_>) -> T) -> T {
        let Surroundings { external_labels, external_url, slow_after } = lock(&self.surroundings).clone();
        let everywhere = Everywhere::new(Arc::clone(&self.store), Arc::clone(&self.others));
        let watch = |asked: &RuleQuery<'_>| self.note(asked, slow_after);
        let done = work(&Tick {
            now_ms: at_ms,
            engine: &self.promql.load(),
            select: &everywhere,
            append: &*self.store,
            external_labels: &external_labels,
            external_url: &external_url,
            watch: Some(&watch),
        });
        for warning in everywhere.take_warnings() {
            warn!(warning, "rules saw less than there is");
        }
        done
    }
}

impl Shared {
    /// Counts a query of a rule, writes it into the log of queries, and says when it took long.
    fn note(&self, query: &RuleQuery<'_>, slow_after: Duration) {
        self.query_metrics.count_of_rule(&query.stats);
        // Most often nobody wants the text.
        if !self.query_log.is_open() && slow_after.is_zero() {
            return;
        }
        let by = By::Rule { file: query.group.file(), group: query.group.name() };
        let text = query.expr.to_string();
        let asked = Asked { query: &text, start_ms: query.at_ms, end_ms: query.at_ms, step_ms: 0, by };
        let turn = Turn { waited: Duration::ZERO, took: query.took };
        self.query_log.write(&asked, query.error, || stats(&query.stats, turn), now_ms());
        warn_if_slow(&asked, query.error, turn, slow_after);
    }
}

/// Ticks at every multiple of the interval, moved by the offset. The first tick comes at once, so that a new rule shows its
/// state without a wait; ticks that a slow evaluation missed are counted and left out.
async fn run(shared: Arc<Shared>, slot: Arc<Slot>, interval: Duration, offset: Duration) {
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let offset_ms = offset.as_millis() as i64;
    let mut at_ms = now_ms();
    loop {
        let turn = shared.turns.acquire().await.expect("the semaphore is never closed");
        let (shared_here, slot_here) = (Arc::clone(&shared), Arc::clone(&slot));
        let evaluated = tokio::task::spawn_blocking(move || {
            let mut group = lock(&slot_here.group);
            let evaluation = shared_here.with_tick(at_ms, |tick| group.evaluate(tick));
            *lock(&slot_here.view) = group.view();
            evaluation
        });
        let evaluated = evaluated.await;
        drop(turn);
        match evaluated {
            Ok(evaluation) => {
                shared.evaluations.fetch_add(evaluation.evaluations, Ordering::Relaxed);
                shared.failures.fetch_add(evaluation.failures, Ordering::Relaxed);
                shared.samples.fetch_add(evaluation.samples, Ordering::Relaxed);
                shared.notifier.send(evaluation.alerts);
            }
            Err(error) => warn!(%error, "a group of rules ended unexpectedly"),
        }
        let now = now_ms();
        let next_ms =
            (now - offset_ms).div_euclid(interval_ms).saturating_add(1).saturating_mul(interval_ms) + offset_ms;
        let missed = (next_ms - at_ms).div_euclid(interval_ms) - 1;
        shared.missed.fetch_add(u64::try_from(missed).unwrap_or(0), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(u64::try_from(next_ms - now).unwrap_or(0))).await;
        at_ms = next_ms;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside a tick leaves a group that can still be evaluated and shown.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
