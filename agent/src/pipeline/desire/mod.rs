//! What should be: from databags and options to jobs, rules, Alertmanagers, arguments, and our side of every relation.
//!
//! What a databag means is for `relations` to say; here the parts are put together, one file for each thing that relations are
//! about. A relation whose bags are as they were is not understood anew.

mod alerting;
mod certificate;
mod client_tls;
mod grafana;
mod outside;
mod own_metrics;
mod remote_write;
pub mod rules;
mod scrape;
mod scrapes;
pub(crate) mod telemetry;
pub(crate) mod trace;
mod trust;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::HashMap;
use imbl::OrdMap;
use relatum_relations::bag::Databag;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::ingress_per_unit::Urls;
use relatum_relations::name::UnitName;
use relatum_relations::published_url::Origin;
use relatum_relations::topology::Topology;
use serde_json::Value;

use super::observe::{Observed, Place};
use super::render::WEB_PATH;
use crate::charm_config::{self, Settings};
use crate::control::Problem;
use crate::declared::local::LocalFiles;
use crate::identity::Wish;
use crate::store::{Model, Relations, Role, StoredRelation};
use crate::workload::Files;
use remote_write::Sender;
use rules::Rules;
use scrape::Basis;
pub use scrape::Jobs;
pub(crate) use scrape::scrape_path;
use scrapes::Scrapes;
pub(crate) use trust::AUTHORITIES_PATH;
pub use view::Ends;
use view::View;

/// The charm name of the built-in application.
pub const CHARM: &str = "relatum";

/// How late a sample may come, as in what the agent renders for its server.
const OUT_OF_ORDER_WINDOW: &str = "30m";

/// The folder of certificates and keys below `rendered/`.
pub const MATERIALS: &str = "tls";

/// A relation as it is named in paths and problems: our endpoint and the id.
pub type RelationKey = (String, u64);

/// Which bag of which relation: id, role, owner.
pub type BagKey = (u64, Role, String);

/// Everything to be rendered and published.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The options in effect.
    pub settings: Settings,
    /// The jobs of `prometheus.yml` itself.
    pub own_jobs: Vec<Value>,
    /// The list under `alerting.alertmanagers`.
    pub alertmanagers: Vec<Value>,
    /// The list under `remote_write`.
    pub remote_writes: Vec<Value>,
    /// The section `tracing`.
    pub tracing: Option<Value>,
    /// Jobs by relation.
    pub scrapes: OrdMap<RelationKey, Arc<Jobs>>,
    /// Rules by the name of their file.
    pub rules: OrdMap<String, Arc<Rules>>,
    /// Certificates and keys, by path below `rendered/`.
    pub materials: Files,
    /// What the web configuration says; plain HTTP without it.
    pub web: Option<Value>,
    /// The authority that signed our certificate.
    pub authority: Option<Authority>,
    /// What is to become of our key and requests.
    pub identity: Wish,
    /// When to look again though nothing happened, milliseconds since 1970.
    pub look_again_at_ms: Option<i64>,
    /// The list of data sources for Grafana.
    pub datasources: Value,
    /// What each relation brought, for people.
    pub yields: OrdMap<RelationKey, Yield>,
    /// Where the server is.
    pub place: Place,
    /// Under which URLs it is reached.
    pub urls: Urls,
    /// Our bags, complete.
    pub bags: OrdMap<BagKey, Arc<Databag>>,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// How late a sample may come.
    pub out_of_order_window: &'static str,
    /// Files of `scrape.d` and `rules.d`, as they are.
    pub local: LocalFiles,
}

/// Who signed the certificate that we serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its own certificate.
    pub pem: String,
    /// The path of the file that holds it.
    pub file: String,
}

/// What a rendered file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A relation.
    Relation(RelationKey),
    /// A file that an operator wrote: its path.
    File(String),
}

/// What came of one relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Yield {
    /// Targets that are scraped because of it.
    pub targets: usize,
    /// Rules that are evaluated because of it.
    pub rules: usize,
    /// What else there is to say, such as the URL that an ingress gave us.
    pub note: String,
}

/// What was understood of relations before.
#[derive(Default)]
pub struct Memory {
    /// All relations as they were then.
    relations: Relations,
    /// Those that one of our other endpoints sees: few, and gone through each time.
    others: BTreeSet<u64>,
    scrapes: Scrapes,
    /// Of `receive-remote-write`, by id, with what each was understood from.
    senders: HashMap<u64, (Arc<StoredRelation>, Arc<Sender>)>,
}

impl Memory {
    /// Takes note of what changed since the last time.
    fn update(&mut self, relations: &Relations, basis: Basis) {
        let changed: Vec<u64> = relations.changed_since(&self.relations).collect();
        for id in &changed {
            match relations.get(*id).is_some_and(|stored| others(stored).next().is_some()) {
                true => self.others.insert(*id),
                false => self.others.remove(id),
            };
        }
        self.scrapes.update(relations, &changed, basis);
        self.relations = relations.clone();
    }
}

/// The views of a relation from all of our endpoints but `metrics-endpoint`.
fn others(stored: &Arc<StoredRelation>) -> impl Iterator<Item = View<'_>> {
    View::of(stored).filter(|view| view.endpoint() != scrapes::ENDPOINT)
}

/// Who we are in every relation.
pub(crate) struct Us {
    pub(crate) topology: Topology,
    pub(crate) unit: UnitName,
    /// Whether it speaks for the application.
    pub(crate) leads: bool,
    /// Who signed our certificate, where that is not for a pass to find out.
    pub(crate) authority: Option<Authority>,
}

/// Puts together what should be.
pub fn desire(observed: &Observed, memory: &mut Memory) -> Desired {
    let us = Us {
        topology: topology(&observed.world.model),
        unit: observed.place.unit.clone(),
        leads: !observed.file.follows,
        authority: None,
    };
    desire_as(&us, observed, memory)
}

/// The same for whoever we are said to be.
pub(crate) fn desire_as(us: &Us, observed: &Observed, memory: &mut Memory) -> Desired {
    let world = &observed.world;
    let values = charm_config::layer(&observed.option_defaults, &world.config, &observed.file.options);
    let (settings, mut problems) = charm_config::settings(&values);
    problems.extend(observed.file.fault.as_ref().map(|(file, reason)| Problem {
        key: Some(file.clone()),
        message: reason.clone(),
        hint: Some("what it said before stays in effect".to_owned()),
        ..Problem::default()
    }));
    problems.extend(observed.declared.iter().cloned());
    memory.update(&world.relations, Basis::of(&settings, &observed.place));
    let views: Vec<View<'_>> = memory.others.iter().filter_map(|id| world.relation(*id)).flat_map(others).collect();
    let mut desired = Desired {
        own_jobs: scrape::own_jobs(us, &observed.place, None),
        alertmanagers: Vec::new(),
        remote_writes: Vec::new(),
        tracing: None,
        scrapes: memory.scrapes.jobs.clone(),
        rules: memory.scrapes.rules.clone(),
        materials: Files::new(),
        web: None,
        authority: None,
        identity: Wish::Keep,
        look_again_at_ms: None,
        datasources: Value::Null,
        yields: memory.scrapes.yields.clone(),
        urls: Urls { internal: observed.place.url.clone(), external: None },
        place: observed.place.clone(),
        bags: memory.scrapes.bags.clone(),
        problems,
        settings,
        out_of_order_window: OUT_OF_ORDER_WINDOW,
        local: observed.local.clone(),
    };
    for view in &views {
        desired.yields.insert(view.key(), Yield::default());
    }
    // The certificate before everything, as it makes URLs what they are; the outside URL next, as much of what is published holds it;
    // what is sent on last, as it is made of all rules.
    desired.take_certificate(us, &views, observed);
    desired.find_outside_url(us, &views);
    desired.announce_outside_url(&views);
    desired.trust(&views);
    desired.add_scrapes(&memory.scrapes);
    let outbound = desired.receive_writes(us, &views, world, memory);
    desired.add_alertmanagers(&views);
    desired.serve_grafana(us, &views);
    desired.announce_own_metrics(us, &views);
    desired.find_telemetry(us, &views);
    desired.send_writes(us, &views, world, outbound);
    desired.take_local_files(observed);
    // A follower makes of the relations what the leader makes of them, and leaves it to the leader to say so.
    if !us.leads {
        let own = desired.bags.into_iter().filter(|((.., owner), _)| owner != APPLICATION);
        desired.bags = own.collect();
    }
    desired
}

impl Desired {
    /// What the rendered file at `path` is made of, to be named when it is at fault; `None` where that is no one thing.
    pub fn owner(&self, path: &str) -> Option<Owner> {
        if let Some((source, _)) = self.local.files.get(path) {
            return Some(Owner::File(source.clone()));
        }
        if path == WEB_PATH || path.starts_with(certificate::SERVER) {
            let certificates = self.yields.keys().find(|(endpoint, _)| endpoint == "certificates");
            return certificates.cloned().map(Owner::Relation);
        }
        let rules = path.strip_prefix("rules/").and_then(|name| self.rules.get(name));
        let scrape = || self.scrapes.keys().find(|key| scrape_path(key) == path);
        rules.map(|file| &file.ends.relation).or_else(scrape).cloned().map(Owner::Relation)
    }

    fn publish(&mut self, view: &View<'_>, owner: &str, bag: Databag) {
        self.bags.insert((view.stored.id, view.role, owner.to_owned()), Arc::new(bag));
    }

    fn publish_unit(&mut self, view: &View<'_>, us: &Us, bag: Databag) {
        self.publish(view, &us.unit.to_string(), bag);
    }

    fn report(&mut self, problems: impl IntoIterator<Item = relatum_relations::Problem>) {
        self.problems.extend(problems.into_iter().map(problem));
    }

    /// Takes the files of `scrape.d` and `rules.d` as they are.
    fn take_local_files(&mut self, observed: &Observed) {
        let problem = |file: &str, reason: &str| Problem {
            key: Some(file.to_owned()),
            message: reason.to_owned(),
            hint: Some("what it said before stays in effect".to_owned()),
            ..Problem::default()
        };
        for (source, content) in observed.local.files.values() {
            if let Err(reason) = content {
                self.problems.push(problem(source, reason));
            }
        }
        self.problems.extend(observed.local.faults.iter().map(|(folder, reason)| problem(folder, reason)));
    }

    fn note(&mut self, key: &RelationKey, note: impl Into<String>) {
        self.yields.entry(key.clone()).or_default().note = note.into();
    }
}

/// Those of `urls` that the relation `key` told us of, for people; each URL comes with everyone who told it.
fn told_by<'a>(key: &RelationKey, urls: impl IntoIterator<Item = (&'a String, &'a Vec<Origin>)>) -> String {
    let is_told = |origins: &[Origin]| origins.iter().any(|(relation, _)| relation == key);
    let told = urls.into_iter().filter(|(_, origins)| is_told(origins)).map(|(url, _)| url.as_str());
    told.collect::<Vec<_>>().join(" ")
}

/// The relations on the endpoint called `endpoint`.
fn on<'v, 'w>(views: &'v [View<'w>], endpoint: &'static str) -> impl Iterator<Item = &'v View<'w>> {
    views.iter().filter(move |view| view.endpoint() == endpoint)
}

/// The topology of the built-in application.
pub fn topology(model: &Model) -> Topology {
    Topology::new(&model.name, &model.uuid, APPLICATION)
        .and_then(|topology| topology.with_charm(CHARM))
        .expect("the model got a valid name and uuid when it was made")
}

/// A problem of `relations` as the control API shows it.
pub(crate) fn problem(problem: relatum_relations::Problem) -> Problem {
    let inside = problem.inside.map(|inside| *inside).unwrap_or_default();
    Problem {
        relation: problem.relation.map(|(endpoint, id)| format!("{endpoint}:{id}")),
        unit: problem.unit,
        key: problem.key,
        path: Some(inside.path).filter(|path| !path.is_empty()),
        line: inside.place.map(|place| place.line),
        column: inside.place.map(|place| place.column),
        message: problem.message.into(),
        hint: problem.hint.map(Into::into),
    }
}
