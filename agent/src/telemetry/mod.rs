//! What the agent tells of itself: its log lines to Loki, spans of its passes and of queries to a receiver of OpenTelemetry.
//!
//! Everything here may fail without anybody else noticing. Whoever makes a line or a span puts it into a queue of fixed size and goes
//! on; what a slow or absent receiver does not take falls out of it at the far end and is counted. Each receiver has a task of
//! its own ([`courier`]), so that one that is gone does not hold up the others.

mod courier;
pub(crate) mod loki;
pub(crate) mod otlp;
pub(crate) mod queries;
pub(crate) mod span;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use relatum_model::exposition::MetricFamily;
use relatum_relations::topology::Topology;
use relatum_server::outgoing::HttpClients;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::control::{LogLevel, StatusInfo};
use crate::daemon::Agent;
use crate::pipeline::desire::{self, telemetry};
use courier::Courier;
use span::SpanFeed;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Lines of the agent's log.
    LogLines,
    /// Spans of passes.
    PassSpans,
    /// Spans of queries.
    QuerySpans,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::LogLines, Kind::PassSpans, Kind::QuerySpans];

    /// As a label and in sentences.
    fn word(self) -> &'static str {
        match self {
            Kind::LogLines => "log lines",
            Kind::PassSpans => "spans of passes",
            Kind::QuerySpans => "spans of queries",
        }
    }
}

/// Where something is sent to, and which relations told us of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    pub(crate) kind: Kind,
    /// The whole URL that is posted to.
    pub(crate) url: String,
    pub(crate) relations: Vec<u64>,
}

/// What came of sending to one receiver so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) sent: u64,
    /// What fell out of the queue, and what the receiver refused for good.
    pub(crate) lost: u64,
    /// Why the newest attempt came to nothing, if it did.
    pub(crate) failure: Option<String>,
}

type Key = (Kind, String);

/// What is on its way, and how it goes.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) passes: SpanFeed,
    pub(crate) queries: SpanFeed,
    standings: Mutex<BTreeMap<Key, Standing>>,
    /// Of receivers that are no longer related.
    former: Mutex<BTreeMap<Kind, (u64, u64)>>,
}

impl Telemetry {
    fn tell(&self, key: &Key, change: impl FnOnce(&mut Standing)) {
        change(crate::lock(&self.standings).entry(key.clone()).or_default());
    }

    fn forget(&self, key: &Key) {
        if let Some(standing) = crate::lock(&self.standings).remove(key) {
            // Counters do not go back because a relation went.
            let mut former = crate::lock(&self.former);
            let (sent, lost) = former.entry(key.0).or_default();
            (*sent, *lost) = (*sent + standing.sent, *lost + standing.lost);
        }
    }

    /// What to say of the relations that told of `receivers`.
    pub(crate) fn notes(&self, receivers: &[Receiver]) -> BTreeMap<u64, StatusInfo> {
        let standings = crate::lock(&self.standings);
        let mut notes = BTreeMap::new();
        for receiver in receivers {
            let standing = standings.get(&(receiver.kind, receiver.url.clone())).cloned().unwrap_or_default();
            let lost = if standing.lost > 0 { format!(", {} lost", standing.lost) } else { String::new() };
            let counted = format!("{}: {} sent{lost}", receiver.kind.word(), standing.sent);
            let (current, message) = match standing.failure {
                None => ("joined", counted),
                Some(failure) => ("waiting", format!("{counted}; {failure}")),
            };
            for relation in &receiver.relations {
                let note = StatusInfo { current: current.to_owned(), message: message.clone() };
                notes.insert(*relation, note);
            }
        }
        notes
    }

    /// For `/metrics`.
    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        let mut counted = crate::lock(&self.former).clone();
        for ((kind, _), standing) in crate::lock(&self.standings).iter() {
            let (sent, lost) = counted.entry(*kind).or_default();
            (*sent, *lost) = (*sent + standing.sent, *lost + standing.lost);
        }
        let of = |kind| counted.get(&kind).copied().unwrap_or_default();
        let family = |name: String, help: String, value: u64| MetricFamily::counter(name, help, value as f64);
        let families = Kind::ALL.into_iter().flat_map(|kind| {
            let (word, (sent, lost)) = (kind.word(), of(kind));
            let name = word.replace(' ', "_");
            [
                family(format!("relatum_agent_{name}_sent_total"), format!("How many {word} receivers took."), sent),
                family(
                    format!("relatum_agent_{name}_lost_total"),
                    format!("How many {word} waited too long for a receiver, or were refused by it."),
                    lost,
                ),
            ]
        });
        families.collect()
    }
}

/// Whose lines and spans these are, unit included.
fn origin(topology: &Topology) -> impl Iterator<Item = (&str, &str)> {
    topology.labels().into_iter().chain(topology.unit().map(|unit| ("juju_unit", unit)))
}

/// Keeps a courier for every receiver until the agent stops.
pub(crate) async fn run(agent: Arc<Agent>) {
    let clients = Arc::new(HttpClients::default());
    let mut passes = agent.passes();
    let mut known: BTreeMap<Key, CancellationToken> = BTreeMap::new();
    let mut running = JoinSet::new();
    loop {
        if let Some(report) = passes.borrow_and_update().report.clone() {
            let receivers = telemetry::receivers(&report.world);
            let wanted: Vec<Key> = receivers.into_iter().map(|receiver| (receiver.kind, receiver.url)).collect();
            known.retain(|key, stop| {
                let stays = wanted.contains(key);
                if !stays {
                    stop.cancel();
                }
                stays
            });
            for key in wanted {
                if known.contains_key(&key) {
                    continue;
                }
                let stop = agent.stopping.child_token();
                let topology = desire::topology(&report.world.model).with_unit(&report.unit.to_string());
                let topology: Topology = topology.expect("our unit has a unit's name");
                let courier = Courier::new(Arc::clone(&agent.telemetry), key.clone(), &clients, stop.clone());
                // Whoever subscribes now gets what comes from now on.
                match key.0 {
                    Kind::LogLines => {
                        let lines = agent.log.follow(0, LogLevel::default()).1;
                        running.spawn(courier.carry(lines, move |lines| loki::body(&topology, lines)));
                    }
                    Kind::PassSpans => {
                        let spans = agent.telemetry.passes.follow();
                        running.spawn(courier.carry(spans, move |spans| otlp::body(&topology, spans)));
                    }
                    Kind::QuerySpans => {
                        let spans = agent.telemetry.queries.follow();
                        running.spawn(courier.carry(spans, move |spans| otlp::body(&topology, spans)));
                    }
                }
                known.insert(key, stop);
            }
        }
        tokio::select! {
            Ok(()) = passes.changed() => {}
            Some(_) = running.join_next() => {}
            () = agent.stopping.cancelled() => break,
        }
    }
    running.shutdown().await;
}

#[cfg(test)]
mod tests;
