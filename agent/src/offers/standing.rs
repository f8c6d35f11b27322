//! What `status` and `offers` say about other agents: from the newest pass and from how they are doing now. Pure.

use std::collections::BTreeMap;

use relatum_relations::endpoints::APPLICATION;

use super::board::{Board, Consumer, Upstream};
use super::our_bags;
use crate::control::{ConnectionStatus, OfferStatus, Problem, StatusInfo};
use crate::store::{Offer, StoredRelation, World};
use crate::workload::Remote;

/// What is so at this moment, and not written down anywhere.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// By relation: its state, where nothing is wrong.
    pub notes: BTreeMap<u64, StatusInfo>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// How many other agents are related.
    pub n_tiers: usize,
    /// How many of them are connected.
    pub n_connected: usize,
}

/// Samples are on their way for a moment always; what is longer is worth a word.
const LAG_SHOWN_MS: u64 = 10_000;

/// How long after a wrong secret `status` speaks of it.
const WRONG_SECRETS_SHOWN_MS: i64 = 10 * 60 * 1000;

/// The name, in the rendered configuration, of where samples are sent to for `relation`.
pub(crate) fn remote_name(endpoint: &str, relation: u64) -> String {
    format!("{endpoint}_{relation}")
}

/// Whether this is the remote called `name`, or one of several of its relation.
fn is_of(remote: &str, name: &str) -> bool {
    remote.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// The URL of our offer `id`.
pub(crate) fn url(public_url: &str, id: &str) -> String {
    format!("{}/offers/{id}", public_url.trim_end_matches('/'))
}

/// Everything there is to say.
pub(crate) fn live(world: &World, board: &Board, remotes: &[Remote], public_url: &str, now_ms: i64) -> Live {
    let mut live = Live::default();
    let upstreams = board.upstreams();
    for upstream in &world.offers.upstreams {
        let Some(relation) = find(world, upstream.relation) else {
            let text = format!("{} does not know yet that relation {} is gone", upstream.url, upstream.relation);
            live.warnings.push(text);
            continue;
        };
        live.count(upstreams.get(&upstream.relation).is_some_and(|upstream| upstream.state.is_ok()));
        let name = remote_name(&relation.requirer.name, relation.id);
        let lag_ms = remotes.iter().find(|remote| remote.name == name).and_then(|remote| remote.lag_ms);
        live.add_upstream(relation, upstreams.get(&upstream.relation), lag_ms.unwrap_or(0));
        if upstream.url.starts_with("http://") {
            live.warnings.push(format!(
                "{} goes over plain HTTP: its secret and all that it carries can be read on the way to {}",
                key(relation),
                upstream.url
            ));
        }
    }
    let consumers = board.consumers(|relation| world.offers.connection(relation).is_some());
    for connection in &world.offers.connections {
        let Some(relation) = find(world, connection.relation) else { continue };
        let consumer = consumers.get(&connection.relation);
        live.count(consumer.is_some_and(|consumer| consumer.is_connected(now_ms)));
        let note = note_of_consumer(consumer, &connection.model, now_ms);
        live.notes.insert(relation.id, note);
    }
    let failing: Vec<&Remote> = remotes.iter().filter(|remote| remote.failure.is_some()).collect();
    // Mostly there is none, and there may be very many relations.
    let asked = world.relations.iter().filter(|_| !failing.is_empty());
    for relation in asked {
        let name = remote_name(&relation.requirer.name, relation.id);
        let of_relation = |remote: &&&Remote| is_of(&remote.name, &name);
        if let Some(failure) = failing.iter().find(of_relation).and_then(|remote| remote.failure.as_ref()) {
            live.problems.push(Problem {
                relation: Some(key(relation)),
                message: format!("samples are not delivered: {failure}"),
                hint: Some(hint_of_failure(failure).to_owned()),
                ..Problem::default()
            });
        }
    }
    let wrong = board.wrong_secrets();
    if wrong.total > 0 && now_ms - wrong.last_ms < WRONG_SECRETS_SHOWN_MS {
        let (total, last) = (wrong.total, clock(wrong.last_ms));
        live.warnings.push(format!("offers were asked for with a wrong secret {total} times, last at {last}"));
    }
    if world.offers.made.iter().any(|offer| !offer.removed) && !public_url.starts_with("https://") {
        let warning = "offers are answered over plain HTTP: their secrets and the samples can be read on the way; relate \
                       prometheus:certificates to an authority, or put a proxy with a certificate in front";
        live.warnings.push(warning.to_owned());
    }
    live
}

impl Live {
    fn count(&mut self, connected: bool) {
        self.n_tiers += 1;
        self.n_connected += usize::from(connected);
    }

    fn add_upstream(&mut self, relation: &StoredRelation, upstream: Option<&Upstream>, lag_ms: u64) {
        let Some(upstream) = upstream else {
            self.notes.insert(relation.id, info("waiting", "the offer was not asked yet"));
            return;
        };
        let since = clock(upstream.since_ms);
        match &upstream.state {
            Ok(model) => {
                let mut message = format!("connected to model {model} since {since}");
                if lag_ms >= LAG_SHOWN_MS {
                    message.push_str(&format!(", samples are {}s behind", lag_ms / 1000));
                }
                self.notes.insert(relation.id, info("joined", &message));
            }
            Err(trouble) => {
                self.problems.push(Problem {
                    relation: Some(key(relation)),
                    message: format!("{}, since {since}", trouble.message()),
                    hint: Some(trouble.hint().to_owned()),
                    ..Problem::default()
                });
            }
        }
    }
}

fn note_of_consumer(consumer: Option<&Consumer>, model: &str, now_ms: i64) -> StatusInfo {
    match consumer {
        None => info("waiting", &format!("model {model} was not heard of since the agent started")),
        Some(consumer) => {
            let since = clock(consumer.since_ms(now_ms));
            if consumer.is_connected(now_ms) {
                info("joined", &format!("model {model} is connected since {since}"))
            } else {
                info(
                    "waiting",
                    &format!("model {model} was last heard of at {since}; its last databag stays in effect"),
                )
            }
        }
    }
}

/// What to do when samples are not taken; by the words in which the sender says why.
fn hint_of_failure(failure: &str) -> &'static str {
    let status = failure.strip_prefix("server returned HTTP status ").and_then(|rest| rest.get(..3));
    match status {
        Some("401" | "403") => "the receiver wants other credentials; what it refuses is not sent again",
        Some("404" | "405") => "nobody takes samples at this URL: is the receiver switched on there?",
        Some("410") => "the offer was removed by the agent that made it",
        Some("429") => "the receiver asks for a pause: samples wait in the log and are sent again",
        Some(status) if status.starts_with('4') => "the receiver refuses these samples for good: its log says why",
        Some(_) => "samples wait in the log and are sent again; the receiver's log says more",
        None => "samples wait in the log and are sent when it answers",
    }
}

/// The rows of `offers`.
pub(crate) fn offers(world: &World, board: &Board, public_url: &str, now_ms: i64) -> Vec<OfferStatus> {
    let consumers = board.consumers(|relation| world.offers.connection(relation).is_some());
    let standing = world.offers.made.iter().filter(|offer| !offer.removed);
    let describe = |offer: &Offer| {
        let connections = world.offers.connections.iter().filter(|connection| connection.offer == offer.id);
        let connection = |connection: &crate::store::OfferConnection| {
            let relation = find(world, connection.relation)?;
            let consumer = consumers.get(&connection.relation);
            Some(ConnectionStatus {
                relation: key(relation),
                application: relation.requirer.application.clone(),
                model: connection.model.clone(),
                connected: consumer.is_some_and(|consumer| consumer.is_connected(now_ms)),
                since_ms: consumer.map(|consumer| consumer.since_ms(now_ms)),
                revision: connection.revision.clone(),
                up_to_date: consumer.is_some_and(|consumer| consumer.seen == our_bags(relation).0),
                lag_ms: consumer.and_then(|consumer| consumer.lag_ms),
            })
        };
        OfferStatus {
            id: offer.id.clone(),
            endpoint: format!("{APPLICATION}:{}", offer.endpoint),
            url: url(public_url, &offer.id),
            created_ms: offer.created_ms,
            connections: connections.filter_map(connection).collect(),
        }
    };
    standing.map(describe).collect()
}

fn find(world: &World, id: u64) -> Option<&StoredRelation> {
    world.relation(id).map(|relation| &**relation)
}

fn key(relation: &StoredRelation) -> String {
    let ours = if relation.requirer.application == APPLICATION { &relation.requirer } else { &relation.provider };
    format!("{}:{}", ours.name, relation.id)
}

fn info(current: &str, message: &str) -> StatusInfo {
    StatusInfo { current: current.to_owned(), message: message.to_owned() }
}

/// The time of day in UTC.
fn clock(at_ms: i64) -> String {
    let seconds = at_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use relatum_config::Secret;

    use std::sync::Arc;

    use super::*;
    use crate::offers::link::Trouble;
    use crate::store::{self, Endpoint, Offers};

    fn world() -> World {
        let end = |application: &str, name: &str| Endpoint { application: application.into(), name: name.into() };
        let relation = StoredRelation {
            id: 7,
            interface: "prometheus_remote_write".into(),
            provider: end("upstream", "receive-remote-write"),
            requirer: end(APPLICATION, "send-remote-write"),
            bags: BTreeMap::new(),
        };
        let upstream = |relation| store::Upstream {
            relation,
            consumer: "c".into(),
            url: "http://above:1/offers/a".into(),
            secret: Secret::new("s"),
            ca: None,
            revision: String::new(),
        };
        // One relation is gone, and the other side does not know.
        let offers = Offers { upstreams: vec![upstream(7), upstream(8)], ..Offers::default() };
        World { relations: [Arc::new(relation)].into_iter().collect(), offers, ..World::default() }
    }

    #[track_caller]
    fn check(board: &Board, remote: Option<Remote>, note: Option<&str>, problems: &[&str]) {
        let live = live(&world(), board, remote.as_slice(), "http://a:1", 3_600_000);
        let notes = live.notes.get(&7).map(|note| format!("{}: {}", note.current, note.message));
        assert_eq!(notes.as_deref(), note);
        let found: Vec<String> = live.problems.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), problems.len(), "{found:?}");
        assert!(found.iter().zip(problems).all(|(problem, part)| problem.contains(part)), "{found:?}");
        assert!(live.warnings.iter().any(|warning| warning.contains("does not know yet that relation 8 is gone")));
        assert!(live.warnings.iter().any(|warning| warning.contains("send-remote-write:7 goes over plain HTTP")));
    }

    #[test]
    fn how_an_upstream_does() {
        let board = Board::default();
        let remote = |name: &str, lag_ms, failure: Option<&str>| {
            Some(Remote { name: name.into(), lag_ms, failure: failure.map(str::to_owned) })
        };
        check(&board, None, Some("waiting: the offer was not asked yet"), &[]);
        assert!(board.put_upstream(7, Ok("above".into()), 1000));
        assert!(!board.put_upstream(7, Ok("above".into()), 2000));
        let connected = "joined: connected to model above since 00:00:01Z";
        check(&board, remote("send-remote-write_7", Some(900), None), Some(connected), &[]);
        let late = format!("{connected}, samples are 12s behind");
        check(&board, remote("send-remote-write_7", Some(12_900), None), Some(&late), &[]);
        let refused = "server returned HTTP status 429 Too Many Requests";
        check(
            &board,
            remote("send-remote-write_7_mimir-0", None, Some(refused)),
            Some(connected),
            &["asks for a pause"],
        );
        check(&board, remote("send-remote-write_71", None, Some(refused)), Some(connected), &[]);
        assert!(board.put_upstream(7, Err(Trouble::Unreachable("EOF".into())), 61_000));
        check(&board, None, None, &["send-remote-write:7: the offer cannot be reached: EOF, since 00:01:01Z"]);
    }

    #[test]
    fn what_to_do_when_samples_are_not_taken() {
        for (failure, part) in [
            ("server returned HTTP status 400 Bad Request: out of order", "refuses these samples for good"),
            ("server returned HTTP status 401 Unauthorized", "other credentials"),
            ("server returned HTTP status 404 Not Found", "switched on there"),
            ("server returned HTTP status 500 Internal Server Error", "are sent again"),
            ("Post \"http://a\": EOF", "when it answers"),
            ("server returned HTTP status ", "when it answers"),
        ] {
            assert!(hint_of_failure(failure).contains(part), "{failure}: {}", hint_of_failure(failure));
        }
    }
}
