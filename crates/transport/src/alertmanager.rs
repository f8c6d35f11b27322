//! Sends alerts to Alertmanagers, every alert to every one of them.
//!
//! Each Alertmanager has a bounded queue and a task of its own, so that one that is slow or away holds up nobody. What could
//! not be delivered is tried again for as long as it is true.

mod payload;
mod queue;
mod sender;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use relatum_config::prometheus::{Alerting, AlertmanagerConfig, StaticConfig};
use relatum_model::exposition::{MetricFamily, MetricKind};
use relatum_model::relabel::{self, RelabelConfig};
use relatum_model::text::quote;
use relatum_model::{Alert, Labels};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{Connection, HttpClients, HttpError};
use crate::time::now_ms;
use sender::{Mailbox, Sender};

/// How many alerts wait for one Alertmanager at most; Prometheus' default.
const QUEUE_CAPACITY: usize = 10_000;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__alerts_path__";

/// Why a group of Alertmanagers cannot be used.
#[derive(Debug, Error)]
#[error("cannot prepare Alertmanager group {index}")]
pub struct PrepareError {
    /// Its place in `alerting.alertmanagers`, from 0.
    pub index: usize,
    /// The cause.
    pub source: HttpError,
}

/// Sends alerts; see the module.
#[derive(Debug)]
pub struct Notifier {
    clients: HttpClients,
    state: Mutex<State>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    external_labels: Labels,
    relabel_configs: Arc<[RelabelConfig]>,
    running: Vec<Running>,
    dropped: Vec<String>,
}

/// An Alertmanager with its task.
#[derive(Debug)]
struct Running {
    url: String,
    route: watch::Sender<Arc<Route>>,
    mailbox: Arc<Mailbox>,
    stop: CancellationToken,
}

/// How the members of one group are reached.
#[derive(Debug)]
struct Route {
    config: AlertmanagerConfig,
    connection: Connection,
}

/// A configuration that is ready to run.
#[derive(Debug)]
pub struct PreparedNotifier {
    external_labels: Labels,
    relabel_configs: Arc<[RelabelConfig]>,
    // By URL: an Alertmanager that two groups name gets every alert once, by the way of the first.
    routes: BTreeMap<String, Arc<Route>>,
    dropped: Vec<String>,
}

impl Default for Notifier {
    fn default() -> Self {
        Notifier::new()
    }
}

impl Notifier {
    /// A notifier that knows no Alertmanager yet.
    pub fn new() -> Self {
        Notifier {
            clients: HttpClients::default(),
            state: Mutex::new(State::default()),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// Reads the files and builds the clients that `alerting` names; changes nothing yet. `external_labels` are given to every
    /// alert that does not have them.
    pub fn prepare(
        &self,
        alerting: &Alerting,
        external_labels: &Labels,
    ) -> Result<PreparedNotifier, Vec<PrepareError>> {
        let mut routes = BTreeMap::new();
        let (mut dropped, mut errors) = (Vec::new(), Vec::new());
        for (index, config) in alerting.alertmanagers.iter().enumerate() {
            match self.clients.connection(&config.http) {
                Ok(connection) => {
                    let route = Arc::new(Route { config: config.clone(), connection });
                    for group in &config.static_configs {
                        for address in &group.targets {
                            match alertmanager_url(config, group, address) {
                                Ok(url) => {
                                    routes.entry(url).or_insert_with(|| Arc::clone(&route));
                                }
                                Err(url) => dropped.push(url),
                            }
                        }
                    }
                }
                Err(source) => errors.push(PrepareError { index, source }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(PreparedNotifier {
            external_labels: external_labels.clone(),
            relabel_configs: alerting.alert_relabel_configs.clone(),
            routes,
            dropped,
        })
    }

    /// Starts and stops what differs from what runs. What waits for an Alertmanager that stays is kept. Needs a Tokio runtime.
    pub fn commit(&self, prepared: PreparedNotifier) {
        let mut state = self.lock();
        let PreparedNotifier { external_labels, relabel_configs, mut routes, dropped } = prepared;
        state.external_labels = external_labels;
        state.relabel_configs = relabel_configs;
        state.dropped = dropped;
        state.running.retain(|running| match routes.remove(&running.url) {
            Some(route) => {
                running.route.send_replace(route);
                true
            }
            None => {
                running.stop.cancel();
                false
            }
        });
        for (url, route) in routes {
            let (mailbox, stop) = (Arc::new(Mailbox::new(QUEUE_CAPACITY)), CancellationToken::new());
            let (route, route_now) = watch::channel(route);
            let sender = Sender {
                url: url.clone(),
                route: route_now,
                mailbox: Arc::clone(&mailbox),
                stop: stop.clone(),
                shutdown: self.shutdown.clone(),
            };
            self.tasks.spawn(sender.run());
            state.running.push(Running { url, route, mailbox, stop });
        }
        state.running.sort_by(|a, b| a.url.cmp(&b.url));
    }

    /// Queues `alerts` for every Alertmanager, after external labels and relabelling. Never waits.
    pub fn send(&self, alerts: Vec<Alert>) {
        let state = self.lock();
        let now_ms = now_ms();
        let alerts: Vec<Arc<Alert>> = alerts
            .into_iter()
            .filter_map(|alert| relabelled(alert, &state.external_labels, &state.relabel_configs))
            .map(Arc::new)
            .collect();
        for running in &state.running {
            let own = &running.route.borrow().config.alert_relabel_configs;
            if own.is_empty() {
                running.mailbox.push(alerts.iter().cloned(), now_ms);
            } else {
                let own_alerts = alerts
                    .iter()
                    .filter_map(|alert| relabelled((**alert).clone(), &Labels::empty(), own))
                    .map(Arc::new);
                running.mailbox.push(own_alerts, now_ms);
            }
        }
    }

    /// The URLs that alerts are posted to, sorted.
    pub fn alertmanagers(&self) -> Vec<String> {
        self.lock().running.iter().map(|running| running.url.clone()).collect()
    }

    /// The URLs of Alertmanagers that relabelling dropped.
    pub fn dropped_alertmanagers(&self) -> Vec<String> {
        self.lock().dropped.clone()
    }

    /// Makes one last attempt to deliver what waits, then stops. Nothing can be sent afterwards.
    pub async fn shutdown(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What happened so far, by Alertmanager.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let state = self.lock();
        let family = |kind, name: &str, help: &str, value: fn(&Mailbox) -> f64| {
            let mut family = MetricFamily::new(kind, name, help);
            for running in &state.running {
                family.push(Labels::from_pairs([("alertmanager", running.url.as_str())]), value(&running.mailbox));
            }
            family
        };
        vec![
            MetricFamily::gauge(
                "prometheus_notifications_alertmanagers_discovered",
                "The number of alertmanagers discovered and active.",
                state.running.len() as f64,
            ),
            family(
                MetricKind::Counter,
                "prometheus_notifications_dropped_total",
                "Total number of alerts dropped due to errors when sending to Alertmanager.",
                |mailbox| mailbox.dropped() as f64,
            ),
            family(
                MetricKind::Counter,
                "prometheus_notifications_errors_total",
                "Total number of sent alerts affected by errors.",
                |mailbox| mailbox.errors() as f64,
            ),
            MetricFamily::gauge(
                "prometheus_notifications_queue_capacity",
                "The capacity of the alert notifications queue.",
                QUEUE_CAPACITY as f64,
            ),
            family(
                MetricKind::Gauge,
                "prometheus_notifications_queue_length",
                "The number of alert notifications in the queue.",
                |mailbox| mailbox.len() as f64,
            ),
            family(
                MetricKind::Counter,
                "prometheus_notifications_sent_total",
                "Total number of alerts sent.",
                |mailbox| mailbox.sent() as f64,
            ),
        ]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the tasks at once; [`Notifier::shutdown`] is the way to stop them in order.
impl Drop for Notifier {
    fn drop(&mut self) {
        for running in &self.lock().running {
            running.stop.cancel();
        }
    }
}

/// Adds the external labels that the alert does not have and relabels it; `None` if that drops it.
fn relabelled(alert: Alert, external_labels: &Labels, steps: &[RelabelConfig]) -> Option<Alert> {
    if external_labels.is_empty() && steps.is_empty() {
        return Some(alert);
    }
    let mut labels = alert.labels.to_builder();
    for (name, value) in external_labels {
        if labels.get(name).is_empty() {
            labels.set(name, value);
        }
    }
    relabel::apply(steps, &mut labels).then(|| Alert { labels: labels.build(), ..alert })
}

/// Where alerts for `address` are posted; `Err` with the URL it had before relabelling if that drops it.
fn alertmanager_url(config: &AlertmanagerConfig, group: &StaticConfig, address: &str) -> Result<String, String> {
    let mut labels = group.labels.to_builder();
    labels.set(ADDRESS, address).set(SCHEME, config.scheme.as_str()).set(PATH, post_path(&config.path_prefix));
    let url = |labels: &relatum_model::LabelsBuilder| {
        format!("{}://{}{}", labels.get(SCHEME), labels.get(ADDRESS), labels.get(PATH))
    };
    let discovered = url(&labels);
    if !relabel::apply(&config.relabel_configs, &mut labels) {
        return Err(discovered);
    }
    if labels.get(ADDRESS).is_empty() || labels.get(ADDRESS).contains('/') {
        tracing::warn!(address = quote(labels.get(ADDRESS)), "alertmanager left out: its address is not a host");
        return Err(discovered);
    }
    Ok(url(&labels))
}

fn post_path(prefix: &str) -> String {
    let mut path = String::new();
    for part in prefix.split('/').chain(["api", "v2", "alerts"]).filter(|part| !part.is_empty()) {
        path.push('/');
        path.push_str(part);
    }
    path
}

#[cfg(test)]
mod tests;
