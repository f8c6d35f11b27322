//! The engine: store, queries, rules and scraping, and the configuration they run with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use relatum_config::prometheus::{Config, ScrapeConfig, ScrapeFiles};
use relatum_model::exposition::MetricFamily;
use relatum_promql::{EngineOptions, Results};
use relatum_transport::alertmanager::{Notifier, PreparedNotifier};
use relatum_transport::http::{Authorities, trust_also};
use relatum_transport::otlp::OtlpReceiver;
use relatum_transport::remote_read::{PreparedSources, RemoteSources};
use relatum_transport::remote_write;
use relatum_transport::remote_write::send::{PreparedRemotes, Remotes};
use relatum_transport::scrape::{PreparedScrape, Scraper};
use relatum_tsdb::prometheus::decode_chunk;
use relatum_tsdb::{ReplayState, Replaying, Store};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::active_queries::ActiveQueries;
use crate::clock::now_ms;
use crate::everywhere::Everywhere;
use crate::files::{DiskFiles, FileProblem, Files, Loaded, Loader, whole_file};
use crate::flags::Flags;
use crate::http::{Inflow, Traffic};
use crate::notices::{Notice, Notices};
use crate::queries::Queries;
use crate::query_log::{PreparedQueryLog, QueryLog};
use crate::query_metrics::QueryMetrics;
use crate::quick::Quick;
use crate::rule_runner::RuleRunner;
use crate::start::Start;
use crate::web::{Door, PreparedWeb, Web};

/// Everything behind the HTTP API. Dropping it does not stop what runs: call [`Engine::close`].
pub struct Engine {
    store: Arc<Store>,
    // Replaced with the configuration, which says the step of subqueries.
    promql: Arc<ArcSwap<relatum_promql::Engine>>,
    scrape: Scraper,
    notifier: Arc<Notifier>,
    receiver: remote_write::Receiver,
    otlp: OtlpReceiver,
    others: Arc<RemoteSources>,
    remotes: Remotes,
    rules: RuleRunner,
    web: Arc<Web>,
    notices: Notices,
    traffic: Traffic,
    inflow: Inflow,
    query_log: Arc<QueryLog>,
    results: Results,
    loader: Loader,
    replaying: Arc<Replaying>,
    live: ArcSwap<Live>,
    // A reload happens wholly, so only one at a time.
    reloading: Mutex<()>,
    queries: Queries,
    quick: Quick,
    active_queries: ActiveQueries,
    query_metrics: Arc<QueryMetrics>,
    read_slots: Arc<Semaphore>,
    quit: CancellationToken,
    added_metrics: OnceLock<AddedMetrics>,
    when_configured: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    started_at_ms: i64,
}

/// Families of whoever the engine works for.
type AddedMetrics = Box<dyn Fn() -> Vec<MetricFamily> + Send + Sync>;

/// The configuration that runs.
#[derive(Debug, Clone)]
pub struct Live {
    /// The flags; of those that cannot change while running, the ones from the start.
    pub flags: Flags,
    /// The main configuration.
    pub config: Arc<Config>,
    /// It as text, secrets hidden.
    pub yaml: String,
    /// When it was loaded, milliseconds since 1970.
    pub loaded_at_ms: i64,
    /// Whether any configuration was loaded yet.
    pub ready: bool,
    /// When the last attempt to load failed; `None` if it worked. If not, what runs is older than what is on disk.
    pub reload_failed_at_ms: Option<i64>,
    /// The other files with scrape jobs.
    pub scrape_files: ScrapeFiles,
}

impl Live {
    /// The scrape job called `name`.
    pub fn scrape_job(&self, name: &str) -> Option<&ScrapeConfig> {
        let others = self.scrape_files.iter().flat_map(|(_, file)| &file.scrape_configs);
        self.config.scrape_configs.iter().chain(others).map(|job| &**job).find(|job| job.job_name == name)
    }
}

/// Why the engine could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store is damaged beyond its own repair, locked, or not permitted.
    #[error(transparent)]
    Store(#[from] relatum_tsdb::OpenError),
}

/// Why a configuration was refused. What ran before still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadError {
    /// Every problem that was found; at least one.
    pub problems: Vec<FileProblem>,
}

impl ReloadError {
    fn in_file<E: std::error::Error>(path: &Path, errors: &[E]) -> Self {
        let problem = |error: &E| FileProblem { path: path.to_owned(), problem: whole_file(crate::chain(error)) };
        ReloadError { problems: errors.iter().map(problem).collect() }
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("; "))
    }
}

impl std::error::Error for ReloadError {}

/// A configuration of which every part is ready to run; [`Engine::commit`] cannot fail.
#[must_use = "a prepared configuration does nothing before it is committed"]
pub struct Prepared {
    flags: Flags,
    loaded: Loaded,
    scrape: PreparedScrape,
    notifier: PreparedNotifier,
    remotes: PreparedRemotes,
    others: PreparedSources,
    web: PreparedWeb,
    query_log: PreparedQueryLog,
    authorities: Option<Authorities>,
}

impl Engine {
    /// Opens the store named by the flags. Nothing is scraped or evaluated before the first commit.
    ///
    /// Must be called inside a tokio runtime.
    pub fn open(flags: Flags) -> Result<Arc<Self>, OpenError> {
        Start::new(flags).open()
    }

    pub(crate) fn open_started(start: Start) -> Result<Arc<Self>, OpenError> {
        let Start { flags, loader, web, replaying, .. } = start;
        let options = relatum_tsdb::Options {
            retention: flags.retention,
            retention_bytes: flags.retention_bytes,
            durability: flags.durability,
            // How many there may be is known with the first configuration.
            replaying: Arc::clone(&replaying),
            exemplars_max: if keeps_exemplars(&flags) { usize::MAX } else { 0 },
            ..relatum_tsdb::Options::default()
        };
        let store = Store::open(&flags.data_dir, options)?;
        let store = Arc::new(store);
        let promql = Arc::new(ArcSwap::from_pointee(query_engine(&flags, &Config::default())));
        let notifier = Arc::new(Notifier::new());
        let others = Arc::new(RemoteSources::new(|encoding, data, bytes_left, samples| {
            decode_chunk(encoding, data, bytes_left, samples).map_err(|error| error.to_string())
        }));
        let live = Live {
            config: Arc::new(Config::default()),
            yaml: String::new(),
            loaded_at_ms: now_ms(),
            ready: false,
            reload_failed_at_ms: None,
            scrape_files: ScrapeFiles::default(),
            flags: flags.clone(),
        };
        let query_log = Arc::new(QueryLog::default());
        let query_metrics = Arc::new(QueryMetrics::default());
        Ok(Arc::new(Engine {
            scrape: Scraper::new(Arc::clone(&store) as _),
            rules: RuleRunner::new(
                Arc::clone(&store),
                Arc::clone(&others),
                Arc::clone(&promql),
                Arc::clone(&notifier),
                Arc::clone(&query_log),
                Arc::clone(&query_metrics),
            ),
            queries: Queries::new(flags.concurrency),
            quick: Quick::new(),
            // The store keeps other processes away from its directory.
            active_queries: ActiveQueries::open(&flags.data_dir, flags.concurrency),
            query_metrics,
            read_slots: Arc::new(Semaphore::new(match flags.read_concurrency {
                0 => Semaphore::MAX_PERMITS,
                n => n.min(Semaphore::MAX_PERMITS),
            })),
            receiver: remote_write::Receiver::new(remote_write::ReceiverOptions {
                accepted: flags.write_messages.clone(),
                start_timestamps: flags.has_feature("st-storage"),
            }),
            otlp: OtlpReceiver::default(),
            remotes: Remotes::new(Arc::clone(&store) as _),
            web,
            replaying,
            notices: Notices::default(),
            traffic: Traffic::default(),
            inflow: Inflow::default(),
            query_log: Arc::clone(&query_log),
            results: Results::new(flags.results_cache_bytes),
            loader,
            live: ArcSwap::from_pointee(live),
            reloading: Mutex::new(()),
            quit: CancellationToken::new(),
            added_metrics: OnceLock::new(),
            when_configured: Mutex::default(),
            started_at_ms: now_ms(),
            store,
            others,
            promql,
            notifier,
        }))
    }

    /// Reads and checks a whole set of files without any effect.
    pub fn check(&self, files: &dyn Files, main: &Path) -> Result<Loaded, ReloadError> {
        self.loader.load(files, main).map_err(|problems| ReloadError { problems })
    }

    /// As [`Engine::check`] for files of which only those at `changed` are otherwise than when they were `loaded`. `None` when it
    /// takes checking them all.
    pub fn check_changed(
        &self,
        loaded: &Loaded,
        files: &dyn Files,
        main: &Path,
        changed: &[PathBuf],
    ) -> Option<Loaded> {
        self.loader.amend(loaded, files, main, changed)
    }

    /// Makes every part ready to run `loaded`; nothing has changed if this fails, or if the result is dropped.
    ///
    /// The web configuration is read from `files`, the certificates that any of the files names from disk.
    pub fn prepare(&self, files: &dyn Files, loaded: Loaded, flags: Flags) -> Result<Prepared, ReloadError> {
        let main = &flags.config_file;
        let global = &loaded.config.global;
        let scrape = self
            .scrape
            .prepare(&loaded.config.scrape_configs, &loaded.scrape_files, global)
            .map_err(|errors| ReloadError::in_file(main, &errors))?;
        let notifier = self
            .notifier
            .prepare(&loaded.config.alerting, &global.external_labels)
            .map_err(|errors| ReloadError::in_file(main, &errors))?;
        let remotes = self
            .remotes
            .prepare(&loaded.config.remote_write, &global.external_labels)
            .map_err(|errors| ReloadError::in_file(main, &errors))?;
        let others = self
            .others
            .prepare(&loaded.config.remote_read, &global.external_labels)
            .map_err(|errors| ReloadError::in_file(main, &errors))?;
        let web = self.web.prepare(files, flags.web_config.as_deref()).map_err(|problems| ReloadError { problems })?;
        let authorities = flags.authorities.as_deref().map(authorities).transpose()?;
        let query_log = QueryLog::prepare(global.query_log_file.as_deref())
            .map_err(|error| ReloadError::in_file(global.query_log_file.as_deref().unwrap_or(main), &[error]))?;
        Ok(Prepared { flags, loaded, scrape, notifier, remotes, others, web, query_log, authorities })
    }

    /// Runs a prepared configuration instead of what ran before.
    pub fn commit(&self, prepared: Prepared) {
        let Prepared { flags, loaded, scrape, notifier, remotes, others, web, query_log, authorities } = prepared;
        self.query_log.commit(query_log);
        let before = self.live();
        let door = |flags: &Flags| (flags.access_log, flags.client_requests_per_second);
        if door(&before.flags) != door(&flags) {
            self.web.set_door(Door::new(&flags));
        }
        self.web.commit(web);
        trust_also(authorities);
        self.promql.store(Arc::new(query_engine(&flags, &loaded.config)));
        self.notifier.commit(notifier);
        // Before the scrapes: a new remote gets what is committed from now on, and that is to be all of it.
        self.remotes.commit(remotes);
        self.others.commit(others);
        self.scrape.commit(scrape);
        self.rules.commit(&loaded, &flags);
        self.store.set_retention(flags.retention);
        self.store.set_retention_bytes(flags.retention_bytes);
        self.store.set_out_of_order_window(loaded.config.storage.out_of_order_time_window);
        let exemplars_max = if keeps_exemplars(&flags) { loaded.config.storage.exemplars_max } else { 0 };
        self.store.set_exemplars_max(usize::try_from(exemplars_max).unwrap_or(0));
        self.live.store(Arc::new(Live {
            yaml: loaded.config.redacted.clone(),
            config: loaded.config,
            loaded_at_ms: now_ms(),
            ready: true,
            reload_failed_at_ms: None,
            scrape_files: loaded.scrape_files,
            flags,
        }));
        let first = self.when_configured.lock().expect("nothing panics while it is held").take();
        if let Some(done) = first {
            done();
        }
    }

    /// Has the first commit end with `done`.
    pub(crate) fn when_configured(&self, done: impl FnOnce() + Send + 'static) {
        *self.when_configured.lock().expect("nothing panics while it is held") = Some(Box::new(done));
    }

    /// Loads the configuration from disk: checks, prepares, commits. On failure all stays as it was.
    pub fn reload(&self) -> Result<(), ReloadError> {
        let flags = self.live().flags.clone();
        self.load(&DiskFiles, flags)
    }

    /// Loads `flags.config_file` and all that it names from `files`. On failure all stays as it was.
    pub fn load(&self, files: &dyn Files, flags: Flags) -> Result<(), ReloadError> {
        let _one_at_a_time = self.reloading.lock().expect("no reload panics");
        let main = flags.config_file.clone();
        let outcome = self.check(files, &main).and_then(|loaded| self.prepare(files, loaded, flags));
        match outcome {
            Ok(prepared) => {
                self.commit(Prepared { web: prepared.web.watched(), ..prepared });
                self.notices.set(Notice::ReloadFailed, false, now_ms());
                info!(file = %main.display(), "configuration loaded");
                Ok(())
            }
            Err(error) => {
                let live = self.live();
                self.notices.set(Notice::ReloadFailed, true, now_ms());
                self.live.store(Arc::new(Live { reload_failed_at_ms: Some(now_ms()), ..Live::clone(&live) }));
                Err(error)
            }
        }
    }

    /// Stops scraping and evaluating, sends on what that left, and closes the store.
    pub async fn close(&self) {
        self.rules.stop().await;
        self.scrape.shutdown().await;
        tokio::join!(self.remotes.shutdown(), self.notifier.shutdown());
        self.remember_descriptions();
        if let Err(error) = self.store.close() {
            warn!(error = %crate::chain(&error), "the store was not closed cleanly");
        }
    }

    /// Has `/metrics` show the families that `metrics` gives, too. Only the first call has an effect.
    pub fn add_metrics(&self, metrics: impl Fn() -> Vec<MetricFamily> + Send + Sync + 'static) {
        let _ = self.added_metrics.set(Box::new(metrics));
    }

    pub(crate) fn added_metrics(&self) -> Vec<MetricFamily> {
        self.added_metrics.get().map(|metrics| metrics()).unwrap_or_default()
    }

    /// Cancelled when somebody asked over HTTP that the server stop; whoever runs the engine should.
    pub fn quit(&self) -> &CancellationToken {
        &self.quit
    }

    /// The HTTP surface. Many listeners may serve it.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        crate::http::router(Arc::clone(self))
    }

    /// Who may come in, and how; every listener is to ask it.
    pub fn web(&self) -> &Arc<Web> {
        &self.web
    }

    /// What a person should know.
    pub(crate) fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Where queries are logged.
    pub(crate) fn query_log(&self) -> &QueryLog {
        &self.query_log
    }

    /// What comes in over HTTP.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Bodies that come in over HTTP.
    pub(crate) fn inflow(&self) -> &Inflow {
        &self.inflow
    }

    /// The configuration that runs.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The scrape targets.
    pub fn scrape(&self) -> &Scraper {
        &self.scrape
    }

    /// The rules and alerts.
    pub fn rules(&self) -> &RuleRunner {
        &self.rules
    }

    /// Where alerts go.
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Where samples are sent on to.
    pub fn remotes(&self) -> &Remotes {
        &self.remotes
    }

    /// Takes remote writes.
    pub(crate) fn receiver(&self) -> &remote_write::Receiver {
        &self.receiver
    }

    /// Takes metrics of OpenTelemetry.
    pub(crate) fn otlp(&self) -> &OtlpReceiver {
        &self.otlp
    }

    /// What one query selects from: our samples, and those of other stores.
    pub(crate) fn everywhere(&self) -> Everywhere {
        Everywhere::new(Arc::clone(&self.store), Arc::clone(&self.others))
    }

    /// What a query selects from that has no time to wait.
    pub(crate) fn at_hand(&self) -> Everywhere {
        Everywhere::at_hand(Arc::clone(&self.store))
    }

    /// Other stores that queries read from.
    pub(crate) fn others(&self) -> &RemoteSources {
        &self.others
    }

    /// How the log was read.
    pub(crate) fn replayed(&self) -> ReplayState {
        self.replaying.state()
    }

    /// The samples.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn promql(&self) -> Arc<relatum_promql::Engine> {
        self.promql.load_full()
    }

    /// The results of range queries that may be used again.
    pub(crate) fn results(&self) -> &Results {
        &self.results
    }

    pub(crate) fn started_at_ms(&self) -> i64 {
        self.started_at_ms
    }

    /// The turns of queries.
    pub(crate) fn queries(&self) -> &Queries {
        &self.queries
    }

    /// Which questions are quick.
    pub(crate) fn quick(&self) -> &Quick {
        &self.quick
    }

    /// Which queries run.
    pub(crate) fn active_queries(&self) -> &ActiveQueries {
        &self.active_queries
    }

    /// What queries took.
    pub(crate) fn query_metrics(&self) -> &QueryMetrics {
        &self.query_metrics
    }

    /// Waits for a turn among the remote reads.
    pub(crate) async fn read_slots(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.read_slots).acquire_owned().await.expect("the semaphore is never closed")
    }
}

fn authorities(path: &Path) -> Result<Authorities, ReloadError> {
    let refused = |reason: String| {
        let problem = whole_file(format!("cannot use the authorities to trust: {reason}"));
        ReloadError { problems: vec![FileProblem { path: path.to_owned(), problem }] }
    };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    Authorities::read(&pem).map_err(refused)
}

/// Whether exemplars are stored; like a Prometheus, only where that is asked for.
fn keeps_exemplars(flags: &Flags) -> bool {
    flags.has_feature("exemplar-storage")
}

/// The part of the memory of this process that one query may take if nobody says otherwise.
const QUERY_SHARE: usize = 4;

/// The query engine that flags and configuration ask for.
fn query_engine(flags: &Flags, config: &Config) -> relatum_promql::Engine {
    let mut options = EngineOptions {
        lookback: flags.lookback,
        timeout: flags.timeout,
        samples_max: flags.samples_max,
        series_max: if flags.series_max == 0 { usize::MAX } else { flags.series_max },
        bytes_max: match flags.query_bytes_max {
            0 => crate::memory::available_bytes().map_or(usize::MAX, |bytes| bytes / QUERY_SHARE),
            bytes => bytes,
        },
        subquery_step: config.global.evaluation_interval,
        delayed_name_removal: flags.has_feature("promql-delayed-name-removal"),
        type_and_unit_labels: flags.has_feature("type-and-unit-labels"),
        start_timestamps: flags.has_feature("use-start-timestamps"),
        ..EngineOptions::default()
    };
    for feature in &flags.features {
        options.syntax.enable(feature);
    }
    relatum_promql::Engine::new(options)
}
