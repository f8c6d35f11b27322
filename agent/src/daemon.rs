//! The running agent: store, loop, workload, control socket and HTTP listener, from start to graceful stop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use relatum_model::exposition::MetricFamily;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::name::{self, UnitName};
use relatum_server::flags::UnknownDurability;
use relatum_server::listen::{self, ListenError};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::agent_file::{AgentFile, AgentFileError};
use crate::control::{Failure, serve};
use crate::declared::folder::let_writer_finish;
use crate::events::{Event, EventQueue};
use crate::identity;
use crate::log::LogRing;
use crate::metrics::{self, Fill, Fills, Metrics, Passes};
use crate::offers::board::Board;
use crate::offers::{Live, consumer, provider, standing};
use crate::options::{self, LISTEN_DEFAULT, Options};
use crate::pipeline::desire::CHARM;
use crate::pipeline::desire::telemetry::receivers;
use crate::pipeline::observe::{FileOptions, Place, Sources};
use crate::pipeline::{Pipeline, Report};
use crate::status::Facts;
use crate::store::{self, Model, Origin, Store, StoreError};
use crate::telemetry::{self, Telemetry};
use crate::workload::Workload;
use crate::{external, host};

/// Why the agent did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its config file is bad.
    #[error(transparent)]
    File(#[from] AgentFileError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StoreError),
    /// `--durability` is none of the two.
    #[error("cannot use durability {text:?}")]
    Durability {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: UnknownDurability,
    },
    /// `--model` is not a model's name.
    #[error("cannot use model name {0:?}: lower-case letters, digits and hyphens only, not beginning with a hyphen")]
    Model(String),
    /// `--unit` is no unit of ours.
    #[error("cannot use unit {0:?}: it is {APPLICATION}/NUMBER")]
    Unit(String),
    /// The HTTP listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals {
        /// The cause.
        source: io::Error,
    },
    /// The workload cannot begin.
    #[error("cannot start the server")]
    Workload(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The control socket cannot be opened.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Starts an agent with `start` and keeps it until SIGTERM, SIGINT or `shutdown`. SIGHUP re-reads `relatum.yaml`.
pub async fn run_until_signal(start: impl Future<Output = Result<Running, StartError>>) -> Result<(), StartError> {
    let failed = |source| StartError::Signals { source };
    // Before anything else, so that an early signal is not lost.
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let running = start.await?;
    loop {
        tokio::select! {
            _ = hangup.recv() => { running.agent.queue.push(Event::ConfigChanged); }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = running.agent.stopping.cancelled() => break,
        }
    }
    running.stop().await;
    Ok(())
}

/// An agent that runs. Dropping it does not stop it.
pub struct Running {
    agent: Arc<Agent>,
    tasks: Vec<JoinHandle<()>>,
    workload: Arc<dyn Workload>,
}

impl Running {
    /// Where clients on this host reach the HTTP API.
    pub fn api_url(&self) -> &str {
        &self.agent.api_url
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.agent.data_dir
    }

    /// Completes when somebody asked the agent to stop.
    pub async fn stopping(&self) {
        self.agent.stopping.cancelled().await;
    }

    /// Stops: no new requests, running ones end, the last pass ends, then the stores are closed.
    pub async fn stop(self) {
        info!("agent stopping");
        self.agent.stopping.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                error!(%error, "a part of the agent ended badly");
            }
        }
        self.workload.close().await;
        let socket = options::socket(&self.agent.data_dir);
        if let Err(error) = std::fs::remove_file(&socket) {
            warn!(%error, socket = %socket.display(), "cannot remove the control socket");
        }
        info!("agent stopped");
    }
}

/// What all parts of a running agent share.
pub(crate) struct Agent {
    pub(crate) store: Mutex<Store>,
    pub(crate) queue: EventQueue,
    pub(crate) log: LogRing,
    pub(crate) stopping: CancellationToken,
    pub(crate) file_options: Arc<Mutex<FileOptions>>,
    pub(crate) option_defaults: std::collections::BTreeMap<String, String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) rendered: PathBuf,
    /// How other agents are doing.
    pub(crate) board: Arc<Board>,
    /// What is told of the agent to receivers of logs and spans.
    pub(crate) telemetry: Arc<Telemetry>,
    /// Set as soon as there is one.
    workload: OnceLock<Arc<dyn Workload>>,
    counted: Mutex<Passes>,
    passes: watch::Receiver<Seen>,
    publish_pass: watch::Sender<Seen>,
    /// What passes read, to try changes on.
    pub(crate) place: Place,
    pub(crate) sources: Sources,
    config: PathBuf,
    config_required: bool,
    /// What the file said at the start.
    file: AgentFile,
    /// Whether we lead, if that was said at the start.
    leader: Option<bool>,
    /// Whether it also tells how the host does.
    host_metrics: bool,
    listen: SocketAddr,
    api_url: String,
    public_url: String,
}

/// The newest pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Events up to this number were seen by it.
    ticket: u64,
    pub(crate) report: Option<Arc<Report>>,
    failure: Option<String>,
}

impl Agent {
    /// What is driven.
    pub(crate) fn workload(&self) -> Result<Arc<dyn Workload>, Failure> {
        self.workload.get().cloned().ok_or_else(|| Failure::failed("the agent is still starting"))
    }

    /// Waits for a pass that has seen the event with this number.
    pub(crate) async fn settled(&self, ticket: u64) -> Result<(Arc<Report>, Facts), Failure> {
        let mut passes = self.passes.clone();
        let is_over = |seen: &Seen| seen.ticket >= ticket && (seen.report.is_some() || seen.failure.is_some());
        let seen = tokio::select! {
            seen = passes.wait_for(is_over) => seen.map(|seen| seen.clone()).ok(),
            () = self.stopping.cancelled() => None,
        };
        let stopping = || Failure::failed("the agent is stopping");
        let seen = seen.ok_or_else(stopping)?;
        let report = seen.report.ok_or_else(|| Failure::internal(seen.failure.clone().unwrap_or_default()))?;
        let at_ms = crate::now_ms();
        let facts = Facts {
            listen: self.listen,
            api_url: self.api_url.clone(),
            public_url: self.public_url.clone(),
            rendered: self.rendered.display().to_string(),
            at_ms,
            live: self.live(&report, at_ms),
            failure: seen.failure,
            restart_needed: crate::lock(&self.file_options).restart_needed.clone(),
        };
        Ok((report, facts))
    }

    /// Tells of every pass.
    pub(crate) fn passes(&self) -> watch::Receiver<Seen> {
        self.passes.clone()
    }

    /// What the newest pass that was possible found.
    pub(crate) fn newest(&self) -> Option<Arc<Report>> {
        self.passes.borrow().report.clone()
    }

    /// How other agents are doing.
    fn live(&self, report: &Report, at_ms: i64) -> Live {
        let remotes = self.workload.get().map(|workload| workload.remotes()).unwrap_or_default();
        let mut live = standing::live(&report.world, &self.board, &remotes, report.urls.most_external(), at_ms);
        let workload = self.workload.get().map(|workload| workload.standing()).unwrap_or_default();
        live.problems.extend(workload.problems);
        live.warnings.extend(workload.warnings);
        live.notes.extend(self.telemetry.notes(&receivers(&report.world)));
        live
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        let report = self.newest();
        let live = report.as_ref().map(|report| self.live(report, crate::now_ms())).unwrap_or_default();
        let fills = Fills {
            events: metrics::queue_fill(self.queue.waiting()),
            log_lines: self.log.fill(),
            questions: Fill { length: self.board.n_asking(), max: provider::WAITING_MAX },
            wrong_secrets: self.board.wrong_secrets().total,
        };
        let report = report.as_deref().map(|report| (report, &live));
        let mut families = metrics::families(*crate::lock(&self.counted), report, fills);
        families.extend(self.telemetry.families());
        if self.host_metrics {
            families.extend(host::families());
        }
        families
    }

    /// Re-reads `relatum.yaml`. If it is bad, what it said before stays in effect.
    fn reload_file(&self) {
        let_writer_finish(&self.config);
        match AgentFile::read(&self.config, self.config_required) {
            Ok(file) => {
                let restart_needed = file.changed_flags(&self.file);
                let follows = !self.leader.or(file.leader).unwrap_or(true);
                *crate::lock(&self.file_options) =
                    FileOptions { options: file.options(), fault: None, follows, restart_needed };
            }
            Err(error) => {
                let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), crate::chain);
                crate::lock(&self.file_options).fault = Some((self.config.display().to_string(), reason));
            }
        }
    }
}

/// What a workload gets to begin with.
pub struct Wiring {
    /// The directory of the rendered files.
    pub rendered: PathBuf,
    /// The directory for samples.
    pub samples: PathBuf,
    /// Where HTTP is to be answered.
    pub listener: TcpListener,
    /// The log; the workload sets its level.
    pub log: LogRing,
    /// Says when to stop answering.
    pub stopping: CancellationToken,
    /// What the agent adds to `/metrics`.
    pub metrics: Metrics,
    /// Has a pass look at the workload again.
    pub wake: Box<dyn Fn() + Send + Sync>,
    /// Puts what the agent answers itself beside what the server answers.
    pub mount: Mount,
}

/// From the routes of a server to those of the whole listener.
pub(crate) type Mount = Box<dyn FnOnce(Router) -> Router + Send>;

/// An agent about to begin.
struct Setup {
    agent: Arc<Agent>,
    place: Place,
    sources: Sources,
    listener: TcpListener,
}

impl Setup {
    /// Takes the data directory and the port; nothing runs yet.
    async fn open(given: Options) -> Result<Setup, StartError> {
        let (config, config_required) = given.config_file();
        let file = AgentFile::read(&config, config_required)?;
        let data_dir = given.data_dir.or_else(|| file.data_dir.clone()).unwrap_or_else(options::data_dir);
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        // The lock first: a second agent in the directory is told so, whatever else is in its way.
        let mut store = Store::open(&data_dir, Arc::new(crate::now_ms))?;
        let wanted = given.listen.or_else(|| file.listen.clone());
        let default = if given.workload_url.is_some() { external::LISTEN_DEFAULT } else { LISTEN_DEFAULT };
        let listener = listen::bind(wanted.as_deref().unwrap_or(default)).await?;
        let listen =
            listener.local_addr().map_err(|source| ListenError::Bind { address: default.to_owned(), source })?;
        // Only now that nothing is in the way any more is the state changed.
        let unit = given.unit.or_else(|| file.unit.clone());
        let unit = prepare_state(&mut store, given.model.or_else(|| file.model.clone()), unit)?;
        let follows = !given.leader.or(file.leader).unwrap_or(true);
        let file_options =
            Arc::new(Mutex::new(FileOptions { options: file.options(), follows, ..FileOptions::default() }));
        let local = SocketAddr::new(reachable(listen.ip()), listen.port());
        let public_url = public_url(listen);
        let place = Place {
            unit,
            identity: data_dir.join(identity::FILE_NAME),
            rendered: data_dir.join("rendered"),
            samples: data_dir.join("tsdb"),
            listen: listen.to_string(),
            self_target: given.workload_url.as_deref().map_or_else(|| local.to_string(), target_of),
            agent_target: given.workload_url.is_some().then(|| local.to_string()),
            url: given.workload_url.clone().unwrap_or_else(|| public_url.clone()),
            file_system_bytes: file_system_bytes(&data_dir),
            tries_certificates: given.workload_url.is_none(),
        };
        let sources = Sources {
            templates: config.parent().unwrap_or(Path::new("/")).join("templates"),
            config: config.parent().unwrap_or(Path::new("/")).to_owned(),
            option_defaults: given.option_defaults.clone(),
            file_options: Arc::clone(&file_options),
        };
        let (publish_pass, passes) = watch::channel(Seen::default());
        let agent = Agent {
            place: place.clone(),
            sources: sources.clone(),
            store: Mutex::new(store),
            queue: EventQueue::default(),
            log: given.log,
            stopping: CancellationToken::new(),
            file_options,
            option_defaults: given.option_defaults,
            leader: given.leader,
            rendered: place.rendered.clone(),
            data_dir,
            board: Arc::default(),
            telemetry: Arc::default(),
            workload: OnceLock::new(),
            counted: Mutex::default(),
            passes,
            publish_pass,
            config,
            config_required,
            host_metrics: given.host_metrics || file.host_metrics,
            file,
            listen,
            api_url: given.workload_url.unwrap_or_else(|| format!("http://{local}")),
            public_url,
        };
        Ok(Setup { agent: Arc::new(agent), place, sources, listener })
    }
}

/// Starts an agent that drives the workload that `build` makes; it is ready when this returns.
pub async fn start_with(
    options: Options,
    build: impl FnOnce(Wiring) -> Result<Arc<dyn Workload>, StartError>,
) -> Result<Running, StartError> {
    let Setup { agent, place, sources, listener } = Setup::open(options).await?;
    let wiring = Wiring {
        rendered: place.rendered.clone(),
        samples: place.samples.clone(),
        listener,
        log: agent.log.clone(),
        stopping: agent.stopping.clone(),
        metrics: {
            let agent = Arc::clone(&agent);
            Box::new(move || agent.metrics())
        },
        wake: {
            let agent = Arc::clone(&agent);
            Box::new(move || {
                agent.queue.push(Event::WorkloadChanged);
            })
        },
        mount: {
            let agent = Arc::clone(&agent);
            Box::new(move |server| {
                let observed = telemetry::queries::observed(agent.telemetry.queries.clone(), server);
                provider::mount(agent, observed)
            })
        },
    };
    let workload = build(wiring)?;
    let _ = agent.workload.set(Arc::clone(&workload));
    let config = sources.config.clone();
    let pipeline = Pipeline::new(place, sources).telling(agent.telemetry.passes.clone());
    // The socket is there before the first pass, so that whoever sees the server ready can talk to the agent; who asks earlier
    // waits for that pass.
    let first = agent.queue.push(Event::Start);
    let serving = match serve::listen(Arc::clone(&agent)) {
        Ok(serving) => tokio::spawn(serving),
        Err(source) => {
            agent.stopping.cancel();
            workload.close().await;
            return Err(StartError::Socket { path: options::socket(&agent.data_dir), source });
        }
    };
    let tasks = vec![
        tokio::spawn(passes(Arc::clone(&agent), pipeline, Arc::clone(&workload))),
        tokio::spawn(consumer::run(Arc::clone(&agent), Arc::clone(&workload))),
        tokio::spawn(telemetry::run(Arc::clone(&agent))),
        tokio::spawn(crate::watch::run(Arc::clone(&agent), config)),
        tokio::spawn(keep_small(Arc::clone(&agent))),
        serving,
    ];
    let _ = agent.settled(first).await;
    info!(listen = %agent.listen, data_dir = %agent.data_dir.display(), "agent ready");
    Ok(Running { agent, tasks, workload })
}

/// Keeps the process small for as long as the agent runs.
async fn keep_small(agent: Arc<Agent>) {
    tokio::select! {
        () = agent.stopping.cancelled() => {}
        () = relatum_server::memory::keep_small() => {}
    }
}

/// Passes that nothing but the time asks for are this far apart at least.
const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);

/// When a pass that was not possible, as on a full disk, is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The loop: one pass for all that happened since the last.
async fn passes(agent: Arc<Agent>, mut pipeline: Pipeline, workload: Arc<dyn Workload>) {
    let mut failed = false;
    loop {
        let look_again_at_ms = agent.newest().and_then(|report| report.look_again_at_ms);
        let (events, ticket) = tokio::select! {
            biased;
            () = agent.stopping.cancelled() => return,
            taken = agent.queue.take() => taken,
            () = again(look_again_at_ms, failed) => {
                agent.queue.push(Event::TimePassed);
                agent.queue.take().await
            }
        };
        let (shared, driven) = (Arc::clone(&agent), Arc::clone(&workload));
        let pass = tokio::task::spawn_blocking(move || {
            if events.contains(&Event::ConfigChanged) {
                shared.reload_file();
            }
            let begun = Instant::now();
            // A relation that changed says nothing about the files on disk, of which there may be thousands.
            let looked_at = events.iter().any(|event| *event != Event::RelationsChanged);
            let outcome = pipeline.run(&shared.store, &*driven, looked_at);
            let mut counted = crate::lock(&shared.counted);
            counted.total += 1;
            counted.failed += u64::from(outcome.is_err());
            counted.last_duration = begun.elapsed();
            drop(counted);
            (pipeline, outcome)
        });
        let outcome = match pass.await {
            Ok((back, outcome)) => {
                pipeline = back;
                outcome
            }
            // A panic is a fault of ours that a test should have found; without a pipeline there is nothing to go on with.
            Err(error) => {
                error!(%error, "a pass ended badly, the agent stops");
                agent.stopping.cancel();
                return;
            }
        };
        failed = outcome.is_err();
        agent.publish_pass.send_modify(|seen| match outcome {
            Ok(report) => *seen = Seen { ticket, report: Some(Arc::new(report)), failure: None },
            Err(error) => {
                let failure = crate::chain(&error);
                if seen.failure.as_ref() != Some(&failure) {
                    error!(error = failure, "no pass was possible");
                }
                (seen.ticket, seen.failure) = (ticket, Some(failure));
            }
        });
    }
}

/// Waits until it is time for another pass: at `look_again_at_ms`, or some seconds after one that failed.
async fn again(look_again_at_ms: Option<i64>, failed: bool) {
    tokio::select! {
        () = until(look_again_at_ms) => {}
        () = tokio::time::sleep(TRY_AGAIN), if failed => {}
    }
}

/// Waits for a time that is not far away; for ever if there is none.
async fn until(at_ms: Option<i64>) {
    match at_ms {
        Some(at_ms) => {
            let left_ms = u64::try_from(at_ms.saturating_sub(crate::now_ms())).unwrap_or(0);
            // Should a pass not change that the time has come, the next one is not at once.
            tokio::time::sleep(Duration::from_millis(left_ms).max(LOOK_AGAIN_MIN)).await;
        }
        None => std::future::pending().await,
    }
}

/// Gives the model its name and uuid, and the agent its own application with one unit, which is returned. What another unit said here
/// goes with it.
fn prepare_state(store: &mut Store, model: Option<String>, unit: Option<String>) -> Result<UnitName, StartError> {
    if let Some(name) = model.as_deref().filter(|name| !name::is_model(name)) {
        return Err(StartError::Model(name.to_owned()));
    }
    let world = store.world()?;
    let before = world.applications.get(APPLICATION).map_or(&[][..], |known| &known.units);
    let unit = match unit {
        Some(text) => text
            .parse()
            .ok()
            .filter(|unit: &UnitName| unit.application() == APPLICATION)
            .ok_or(StartError::Unit(text))?,
        None => UnitName::new(APPLICATION, before.first().copied().unwrap_or(0)).expect("our application has a name"),
    };
    let known = &world.model;
    let name = model.or_else(|| Some(known.name.clone()).filter(|name| !name.is_empty())).unwrap_or_else(model_of_host);
    let uuid = if known.uuid.is_empty() { Uuid::new_v4().to_string() } else { known.uuid.clone() };
    store.mutate::<_, StoreError>("agent start", |change| {
        change.set_model(&Model { name, uuid })?;
        change.put_application(APPLICATION, Origin::Builtin, CHARM, "{}")?;
        for number in before.iter().filter(|number| **number != unit.number()) {
            let owner = format!("{APPLICATION}/{number}");
            for relation in world.relations.iter() {
                for (role, owner) in relation.bags.keys().filter(|(_, known)| *known == owner) {
                    change.remove_bag(relation.id, *role, owner)?;
                }
            }
            change.remove_unit(APPLICATION, *number)?;
        }
        change.put_unit(APPLICATION, unit.number())
    })?;
    Ok(unit)
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_default()
}

/// The host's name in letters that a model's name may have.
fn model_of_host() -> String {
    model_name(&host_name())
}

fn model_name(host: &str) -> String {
    let host = host.to_lowercase();
    let legal = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = host.chars().map(legal).collect();
    let name = name.trim_start_matches('-');
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// `host:port` of a URL.
fn target_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.split('/').next().unwrap_or(rest);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = if scheme == "https" { 443 } else { 80 };
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}

/// An address of this host for a listener on `ip`.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// What others are told: the host's name when we listen everywhere, else the very address.
fn public_url(listen: SocketAddr) -> String {
    let host = host_name();
    if listen.ip().is_unspecified() && !host.is_empty() {
        format!("http://{host}:{}", listen.port())
    } else {
        format!("http://{}", SocketAddr::new(reachable(listen.ip()), listen.port()))
    }
}

fn file_system_bytes(path: &Path) -> u64 {
    // Zero renders as a limit of nothing at all, which nobody may get by accident.
    nix::sys::statvfs::statvfs(path).map_or(u64::MAX >> 1, |stat| stat.blocks().saturating_mul(stat.fragment_size()))
}

#[cfg(test)]
mod tests;
