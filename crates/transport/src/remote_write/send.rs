//! Sends committed samples on to other stores: remote write 1.0, or 2.0 where `protobuf_message` asks for it.
//!
//! Each remote follows the store's log on its own, so one that is slow or away holds up nobody, and what waits for it waits in
//! the log: in memory is only what is about to be sent, bounded by `queue_config.capacity`. A remote gets its samples in the
//! order of their commits, one request after the other; `max_shards` is no reason to give that up.
//!
//! ```text
//! log --Reader: read, relabel, encode--> parcels, bounded --Carrier: post, retry--> remote
//! what metrics are --Describer: now and then, where the receiver knows 1.0--> remote
//! ```

mod carrier;
mod describer;
mod parcel;
mod post;
mod reader;
#[cfg(test)]
mod tests;
mod traffic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relatum_config::prometheus::{RemoteWriteConfig, WriteMessage};
use relatum_model::Labels;
use relatum_model::exposition::MetricFamily;
use relatum_model::remote_write::Version;
use relatum_model::storage::{Position, Tail};
use reqwest::Url;
use reqwest::header::HeaderMap;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{Connection, HttpClients, HttpError, header_map};
use carrier::Carrier;
use describer::Describer;
use reader::Reader;
use traffic::Traffic;

/// Why a remote cannot be used.
#[derive(Debug, Error)]
#[error("cannot prepare remote write to {url}")]
pub struct PrepareError {
    /// Where to, without the password.
    pub url: String,
    /// The cause.
    pub source: Unusable,
}

/// What is wrong with a remote.
#[derive(Debug, Error)]
pub enum Unusable {
    /// The URL is none.
    #[error("cannot parse the url: {0}")]
    Url(String),
    /// It asks for something that we do not do.
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    /// Its client cannot be built.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Sends samples on; see the module.
pub struct Remotes {
    tail: Arc<dyn Tail>,
    clients: HttpClients,
    running: Mutex<Vec<Running>>,
    /// Where the log ended at the start, until the first configuration runs.
    opened_at: Mutex<Option<Position>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Which remote it is, across reloads: one that keeps its name and URL goes on where it was, whatever else changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteId {
    /// The configured name; empty when there is none.
    pub name: String,
    /// Where to, without the password.
    pub url: String,
    /// How many of the same name and URL stand before it.
    pub ordinal: usize,
}

impl RemoteId {
    /// The label `remote_name`: the name, or else a short hash that stays the same.
    fn shown_name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        // FNV-1a: short, and the same in every build.
        let ordinal = self.ordinal.to_le_bytes();
        let bytes = self.url.bytes().chain(ordinal);
        let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        format!("{:06x}", hash & 0xff_ffff)
    }
}

/// How one remote does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteState {
    /// Which one it is.
    pub id: RemoteId,
    /// Up to where it has got its samples: what lies before was delivered, or given up for good.
    pub position: Position,
    /// Samples in memory that are on their way.
    pub n_pending: u64,
    /// The time of the newest sample that it took; `None` before the first.
    pub newest_sent_ms: Option<i64>,
    /// Why the last request failed; `None` after one that worked.
    pub failure: Option<String>,
}

/// A remote with its tasks.
struct Running {
    id: RemoteId,
    route: watch::Sender<Arc<Route>>,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
}

/// How a remote is reached, and what happens to samples on the way.
#[derive(Debug)]
struct Route {
    config: RemoteWriteConfig,
    external_labels: Labels,
    url: Url,
    headers: HeaderMap,
    connection: Connection,
}

impl Route {
    /// Which message its receiver gets.
    fn version(&self) -> Version {
        match self.config.protobuf_message {
            WriteMessage::V1 => Version::V1,
            WriteMessage::V2 => Version::V2,
        }
    }

    /// Whether its receiver is told what metrics are in messages of their own: of 2.0 each series says it.
    fn describes(&self) -> bool {
        self.config.metadata.send && self.version() == Version::V1
    }

    fn is_same(&self, other: &Route) -> bool {
        self.config == other.config && self.external_labels == other.external_labels
    }
}

/// A configuration that is ready to run.
#[derive(Debug)]
pub struct PreparedRemotes {
    routes: BTreeMap<RemoteId, Arc<Route>>,
}

impl Remotes {
    /// Follows `tail`, for no remote yet.
    pub fn new(tail: Arc<dyn Tail>) -> Self {
        Remotes {
            opened_at: Mutex::new(Some(tail.end())),
            tail,
            clients: HttpClients::default(),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// Reads the files and builds the clients that `configs` name; changes nothing yet. `external_labels` are given to every
    /// series that does not have them.
    pub fn prepare(
        &self,
        configs: &[RemoteWriteConfig],
        external_labels: &Labels,
    ) -> Result<PreparedRemotes, Vec<PrepareError>> {
        let (mut routes, mut errors) = (BTreeMap::new(), Vec::new());
        for config in configs {
            let mut id = RemoteId { name: config.name.clone(), url: config.url.to_string(), ordinal: 0 };
            while routes.contains_key(&id) {
                id.ordinal += 1;
            }
            match self.route(config, external_labels) {
                Ok(route) => {
                    routes.insert(id, Arc::new(route));
                }
                Err(source) => errors.push(PrepareError { url: id.url, source }),
            }
        }
        if errors.is_empty() { Ok(PreparedRemotes { routes }) } else { Err(errors) }
    }

    fn route(&self, config: &RemoteWriteConfig, external_labels: &Labels) -> Result<Route, Unusable> {
        if config.round_robin_dns {
            return Err(Unusable::Unsupported("round_robin_dns"));
        }
        Ok(Route {
            config: config.clone(),
            external_labels: external_labels.clone(),
            url: Url::parse(config.url.expose()).map_err(|error| Unusable::Url(error.to_string()))?,
            headers: header_map(&config.headers)?,
            connection: self.clients.connection(&config.http)?,
        })
    }

    /// Starts and stops what differs from what runs. A remote that stays goes on where it was; a new one begins with what is
    /// committed from now on, and those of the first configuration with what was committed since the start: others may have
    /// written to us before we were configured. Needs a Tokio runtime.
    pub fn commit(&self, prepared: PreparedRemotes) {
        let PreparedRemotes { mut routes } = prepared;
        let mut running = self.lock();
        running.retain(|remote| match routes.remove(&remote.id) {
            Some(route) => {
                remote.route.send_if_modified(|current| {
                    let is_new = !current.is_same(&route);
                    if is_new {
                        *current = route;
                    }
                    is_new
                });
                true
            }
            None => {
                remote.stop.cancel();
                false
            }
        });
        let opened_at = self.opened_at.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (id, route) in routes {
            running.push(self.start(id, route, opened_at.clone().unwrap_or_else(|| self.tail.end())));
        }
        running.sort_by(|a, b| a.id.cmp(&b.id));
    }

    /// Starts the tasks of one remote, which sends what follows `from`.
    fn start(&self, id: RemoteId, route: Arc<Route>, from: Position) -> Running {
        let (traffic, stop) = (Arc::new(Traffic::new(from.clone())), CancellationToken::new());
        let (route, route_now) = watch::channel(route);
        // Its bound is the number of samples in it, which the reader keeps.
        let (parcels, to_send) = mpsc::unbounded_channel();
        let reader = Reader {
            tail: Arc::clone(&self.tail),
            position: from,
            route: route_now.clone(),
            parcels,
            traffic: Arc::clone(&traffic),
            stop: stop.clone(),
            shutdown: self.shutdown.clone(),
        };
        let describer = Describer {
            tail: Arc::clone(&self.tail),
            route: route_now.clone(),
            traffic: Arc::clone(&traffic),
            stop: stop.clone(),
            shutdown: self.shutdown.clone(),
        };
        let carrier = Carrier::new(to_send, route_now, Arc::clone(&traffic), stop.clone(), self.shutdown.clone());
        self.tasks.spawn(reader.run());
        self.tasks.spawn(carrier.run());
        self.tasks.spawn(describer.run());
        Running { id, route, traffic, stop }
    }

    /// How each remote does, sorted by name and URL.
    pub fn states(&self) -> Vec<RemoteState> {
        self.lock().iter().map(|remote| remote.traffic.state(remote.id.clone())).collect()
    }

    /// Sends what was committed before this call, without repeating what fails, and stops. Bounded in time.
    pub async fn shutdown(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What happened so far, by remote. `newest_ms` is the time of the newest sample in the store.
    pub fn metrics(&self, newest_ms: Option<i64>) -> Vec<MetricFamily> {
        let running = self.lock();
        let remotes = running.iter().map(|remote| {
            let labels = Labels::from_pairs([("remote_name", remote.id.shown_name()), ("url", remote.id.url.clone())]);
            (labels, Arc::clone(&remote.route.borrow()), &*remote.traffic)
        });
        traffic::metrics(&remotes.collect::<Vec<_>>(), newest_ms, &|position| self.tail.lag(position))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the tasks at once; [`Remotes::shutdown`] is the way to stop them in order.
impl Drop for Remotes {
    fn drop(&mut self) {
        for remote in &*self.lock() {
            remote.stop.cancel();
        }
    }
}
