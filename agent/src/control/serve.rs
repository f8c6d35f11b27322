//! The agent's end of the control socket.

mod copy;
mod explain;
mod history;
mod offers;
mod peer;
mod rehearsal;
mod removal;
mod units;

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use nix::unistd::Group;
use relatum_relations::bag::Databag;
use relatum_relations::endpoints::APPLICATION;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::{broadcast, mpsc};
use tracing::{debug, info, warn};

use peer::Caller;

use super::{
    ChangeConfiguration, Configuration, Datasource, Failure, FailureClass, LogLevel, LogLine, Problem, Relate, Related,
    RelationDetail, RemoveRelation, Removed, Rendered, RenderedFile, Status, Stopping,
};
use crate::charm_config;
use crate::daemon::Agent;
use crate::decode;
use crate::events::Event;
use crate::history::command;
use crate::options;
use crate::pipeline::apply::RenderedDirectory;
use crate::relate::{self, RelateError, Which};
use crate::secrets;
use crate::status;
use crate::store::{Change, StoreError};

/// Databags of a large site, and then some.
const BODY_BYTES_MAX: usize = 64 << 20;

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `relate` waits for the first word of an offer.
const FIRST_WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// How many log lines wait for a slow reader.
const LOG_LINES_WAITING_MAX: usize = 256;

/// Opens the socket; the future serves it until the agent stops. A socket that a dead agent left is replaced: whoever gets here
/// holds the lock of the data directory.
pub(crate) fn listen(agent: Arc<Agent>) -> io::Result<impl Future<Output = ()>> {
    let path = options::socket(&agent.data_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
    if let Ok(Some(group)) = Group::from_name(peer::GROUP) {
        // Only root and members may give a file to a group; others' sockets stay with their own.
        let given = chown(&path, None, Some(group.gid.as_raw()));
        let _ = given.and_then(|()| chown(&agent.data_dir, None, Some(group.gid.as_raw())));
    }
    Ok(accept(agent, listener))
}

async fn accept(agent: Arc<Agent>, listener: UnixListener) {
    let graceful = GracefulShutdown::new();
    let (allowed, refused) = (router(Arc::clone(&agent)), Router::new().fallback(not_permitted));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = agent.stopping.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a control connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let router = if peer::may_connect(&stream) { &allowed } else { &refused };
        let (caller, is_owner) = (Extension(peer::caller(&stream)), Extension(peer::is_owner(&stream)));
        let service = TowerToHyperService::new(router.clone().layer(caller).layer(is_owner));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(error, "a control connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        debug!("control requests still running at shutdown were cut off");
    }
}

async fn not_permitted() -> Failure {
    Failure::failed("permission denied by the agent")
        .hint("root, the agent's own user and members of the group `relatum` may connect")
}

fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/v1/status", get(show_status))
        .route("/v1/relate", post(do_relate))
        .route("/v1/remove-relation", post(do_remove_relation))
        .route("/v1/relations/{which}", get(show_relation))
        .route("/v1/config", get(show_config).post(change_config))
        .route("/v1/render", get(show_rendered))
        .route("/v1/datasource/grafana", get(show_datasource))
        .route("/v1/log", get(show_log))
        .route("/v1/reload", post(do_reload))
        .route("/v1/shutdown", post(do_shutdown))
        .merge(offers::routes())
        .merge(copy::routes())
        .merge(explain::routes())
        .merge(history::routes())
        .merge(rehearsal::routes())
        .merge(removal::routes())
        .merge(units::routes())
        .fallback(async || {
            Failure::usage("this agent does not know the request").hint("is it of the same version as the command?")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(agent)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.class {
            FailureClass::Usage => StatusCode::BAD_REQUEST,
            FailureClass::Failed => StatusCode::CONFLICT,
            FailureClass::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, json_bytes(&self)).into_response()
    }
}

type Answer = Result<Response, Failure>;

fn json(value: &impl Serialize) -> Answer {
    Ok(json_bytes(value))
}

fn json_bytes(value: &impl Serialize) -> Response {
    // Only maps with keys that are no texts fail, and there are none.
    let bytes = serde_json::to_vec(value).expect("answers are JSON");
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::usage(format!("cannot read the request: {error}"))
            .hint("is the agent of the same version as the command?")
    })
}

/// Details for our log, one line for the caller.
fn internal(error: &dyn std::error::Error) -> Failure {
    let text = crate::chain(error);
    warn!(error = text, "a control request failed");
    Failure::internal(text)
}

impl From<RelateError> for Failure {
    fn from(error: RelateError) -> Self {
        match error {
            RelateError::Refused(failure) => failure,
            RelateError::Store(error) => internal(&error),
        }
    }
}

/// Runs what blocks on disk away from the threads that serve.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(internal(&error)),
    }
}

async fn now(agent: &Agent) -> Result<Status, Failure> {
    let (report, facts) = agent.settled(0).await?;
    Ok(status::status(&report, &facts))
}

async fn show_status(State(agent): State<Arc<Agent>>) -> Answer {
    json(&now(&agent).await?)
}

async fn do_relate(
    State(agent): State<Arc<Agent>>,
    Extension(Caller(author)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let request: Relate = read(&body)?;
    let shared = Arc::clone(&agent);
    let (before, after, outcome) = blocking(move || {
        let mut store = crate::lock(&shared.store);
        let before = store.revision().map_err(|error| internal(&error))?;
        let description = command::relate(&request);
        let (after, outcome) = store.mutate_by(&author, &description, |change| relate::relate(&request, change))?;
        Ok((before, after, outcome))
    })
    .await?;
    let ticket = agent.queue.push(Event::RelationsChanged);
    if outcome.is_elsewhere {
        agent.settled(ticket).await?;
        // Most offers answer at once, and then the command can say how it went.
        agent.board.first_word(outcome.relation, FIRST_WORD_TIMEOUT).await;
    }
    let (report, facts) = agent.settled(ticket).await?;
    let stored = report.world.relation(outcome.relation);
    let stored = stored.ok_or_else(|| match &facts.failure {
        Some(failure) => Failure::internal(format!("the relation is stored but not in effect: {failure}")),
        None => Failure::failed("the relation was removed by somebody else meanwhile"),
    })?;
    let changed = after != before;
    if changed {
        info!(relation = outcome.relation, application = outcome.application, added = outcome.added.len(), "related");
    }
    let problems: Vec<Problem> = report.problems.iter().chain(&facts.live.problems).cloned().collect();
    json(&Related {
        relation: status::relation_status(stored, &report, &problems),
        application: outcome.application,
        added: outcome.added,
        changed,
        problems: status::of_relation(stored, &problems).into_iter().cloned().collect(),
    })
}

async fn do_remove_relation(
    State(agent): State<Arc<Agent>>,
    Extension(Caller(author)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let request: RemoveRelation = read(&body)?;
    let which = Which::parse(&request.arguments)?;
    let shared = Arc::clone(&agent);
    let removed = blocking(move || {
        let description = command::line("remove-relation", request.arguments.iter().map(String::as_str));
        let mut store = crate::lock(&shared.store);
        Ok(store.mutate_by::<_, RelateError>(&author, &description, |change| relate::remove(&which, change))?.1)
    })
    .await?;
    let ticket = agent.queue.push(Event::RelationsChanged);
    let (report, _) = agent.settled(ticket).await?;
    info!(relation = removed.id, "relation removed");
    json(&Removed { relation: status::relation_status(&removed, &report, &[]) })
}

async fn show_relation(
    State(agent): State<Arc<Agent>>,
    Path(which): Path<String>,
    Query(query): Query<SecretsQuery>,
) -> Answer {
    let which = Which::parse(&[which])?;
    let (report, facts) = agent.settled(0).await?;
    let relation = relate::find(&which, &report.world)?;
    let problems: Vec<Problem> = report.problems.iter().chain(&facts.live.problems).cloned().collect();
    let mut detail = status::relation_detail(relation, &report, &problems);
    if !query.show_secrets {
        secrets::hide_in_relation(&mut detail);
    }
    open_bags(&mut detail, query.show_secrets);
    json(&detail)
}

/// Lays open what is encoded in the databags.
fn open_bags(detail: &mut RelationDetail, show_secrets: bool) {
    let open = |bag: &Databag| {
        let mut opened = Value::Object(decode::bag(bag));
        if !show_secrets {
            secrets::hide_in(&mut opened);
        }
        opened
    };
    let mut decoded = BTreeMap::from([
        (detail.related_application.clone(), open(&detail.application_data)),
        (APPLICATION.to_owned(), open(&detail.local_application_data)),
    ]);
    let units = detail.related_units.iter().chain([&detail.local_unit]);
    decoded.extend(units.map(|unit| (unit.name.clone(), open(&unit.data))));
    detail.decoded = decoded;
}

async fn configuration(agent: &Agent, ticket: u64) -> Result<Configuration, Failure> {
    let (report, _) = agent.settled(ticket).await?;
    let file = crate::lock(&agent.file_options).options.clone();
    let values = charm_config::layer(&agent.option_defaults, &report.world.config, &file);
    let settings = charm_config::describe(&values, &agent.option_defaults);
    Ok(Configuration { application: APPLICATION.to_owned(), settings })
}

async fn show_config(State(agent): State<Arc<Agent>>) -> Answer {
    json(&configuration(&agent, 0).await?)
}

async fn change_config(
    State(agent): State<Arc<Agent>>,
    Extension(Caller(author)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let request: ChangeConfiguration = read(&body)?;
    check_change(&request)?;
    let shared = Arc::clone(&agent);
    blocking(move || {
        let mut store = crate::lock(&shared.store);
        let description = command::config(&request);
        let changed =
            store.mutate_by::<_, StoreError>(&author, &description, |change| change_settings(&request, change));
        changed.map_err(|error| internal(&error))
    })
    .await?;
    let ticket = agent.queue.push(Event::ConfigChanged);
    json(&configuration(&agent, ticket).await?)
}

fn change_settings(request: &ChangeConfiguration, change: &Change<'_>) -> Result<(), StoreError> {
    for (key, value) in &request.set {
        change.set_config(APPLICATION, key, value)?;
    }
    request.reset.iter().try_for_each(|key| change.reset_config(APPLICATION, key))
}

fn check_change(request: &ChangeConfiguration) -> Result<(), Failure> {
    if request.application != APPLICATION {
        return Err(Failure::failed(format!("application {:?} has no configuration here", request.application))
            .hint("only prometheus has"));
    }
    if request.set.is_empty() && request.reset.is_empty() {
        return Err(Failure::usage("nothing to set and nothing to reset"));
    }
    for (key, value) in &request.set {
        if key.is_empty() {
            return Err(Failure::usage(format!("cannot set {value:?}: no option is named before the ="))
                .hint("write KEY=VALUE; `relatum config prometheus` lists the options"));
        }
        charm_config::check(key, value)
            .map_err(|message| not_configured(key, format!("cannot set {key}: {message}")))?;
    }
    for key in &request.reset {
        charm_config::check_name(key)
            .map_err(|message| not_configured(key, format!("cannot reset {key}: {message}")))?;
    }
    Ok(())
}

/// With the option that was meant, if the name is that of none.
fn not_configured(key: &str, message: String) -> Failure {
    let failure = Failure::failed(message);
    match charm_config::check_name(key).err().and_then(|_| charm_config::similar(key)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure,
    }
}

#[derive(Deserialize)]
struct SecretsQuery {
    #[serde(default)]
    show_secrets: bool,
}

async fn show_rendered(State(agent): State<Arc<Agent>>, Query(query): Query<SecretsQuery>) -> Answer {
    // After the pass that is on its way, so that nobody sees a mixture.
    agent.settled(0).await?;
    let path = agent.rendered.clone();
    let files = blocking(move || RenderedDirectory::new(path).read().map_err(|error| internal(&error))).await?;
    let hide = |path: &str, text: String| if query.show_secrets { text } else { secrets::hide(path, text) };
    let files = files
        .iter()
        .map(|(path, text)| RenderedFile { path: path.to_string(), text: hide(path, text.read()) })
        .collect();
    json(&Rendered { directory: agent.rendered.display().to_string(), files })
}

async fn show_datasource(State(agent): State<Arc<Agent>>) -> Answer {
    let (report, _) = agent.settled(0).await?;
    json(&Datasource { yaml: report.datasource.clone() })
}

async fn do_reload(State(agent): State<Arc<Agent>>) -> Answer {
    let ticket = agent.queue.push(Event::ConfigChanged);
    let (report, facts) = agent.settled(ticket).await?;
    json(&status::status(&report, &facts))
}

async fn do_shutdown(State(agent): State<Arc<Agent>>) -> Answer {
    agent.stopping.cancel();
    json(&Stopping { process_id: std::process::id() })
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default = "lines_default")]
    lines: usize,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    level: LogLevel,
}

fn lines_default() -> usize {
    10
}

async fn show_log(State(agent): State<Arc<Agent>>, Query(query): Query<LogQuery>) -> Response {
    let (lines, mut news) = agent.log.follow(query.lines, query.level);
    let (sender, receiver) = mpsc::channel(LOG_LINES_WAITING_MAX);
    let stopping = agent.stopping.clone();
    tokio::spawn(async move {
        for line in lines {
            if sender.send(line).await.is_err() {
                return;
            }
        }
        if !query.follow {
            return;
        }
        loop {
            let line = tokio::select! {
                line = news.recv() => line,
                () = stopping.cancelled() => return,
                () = sender.closed() => return,
            };
            let line = match line {
                Ok(line) if !query.level.includes(&line) => continue,
                Ok(line) => line,
                Err(broadcast::error::RecvError::Lagged(lines)) => missed(lines),
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(Lines(receiver))).into_response()
}

fn missed(lines: u64) -> LogLine {
    LogLine {
        at_ms: crate::now_ms(),
        level: "WARN".to_owned(),
        target: module_path!().to_owned(),
        message: format!("{lines} lines were not shown: the reader is too slow"),
    }
}

/// Log lines as a body, one JSON object a line, as they come.
struct Lines(mpsc::Receiver<LogLine>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|line| {
            let mut bytes = serde_json::to_vec(&line?).expect("a log line is JSON");
            bytes.push(b'\n');
            Some(Ok(Frame::data(Bytes::from(bytes))))
        })
    }
}
