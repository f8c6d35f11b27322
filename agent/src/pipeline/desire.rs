//! What should be: from databags and options to jobs, rules, Alertmanagers, arguments, and our side of every relation.
//!
//! What a databag means is for `relations` to say; here the parts are put together. A relation whose bags are as they were is
//! not understood anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use relatum_config::prometheus::GlobalConfig;
use relatum_model::time::parse_duration;
use relatum_relations::alertmanager_dispatch as dispatch;
use relatum_relations::bag::{Databag, Relation, Side};
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::grafana_datasource as grafana;
use relatum_relations::name::UnitName;
use relatum_relations::prometheus_scrape as scrape;
use relatum_relations::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, JUJU_UNIT, Topology};
use serde_json::{Map, Value, json};

use super::observe::{Observed, Place};
use crate::charm_config::{self, Settings};
use crate::control::Problem;
use crate::relate::OUR_UNIT;
use crate::store::{Model, Role, StoredRelation};
use crate::workload::Files;

/// The charm name of the built-in application.
pub const CHARM: &str = "relatum";

/// The name of the job that scrapes ourselves; no peer gets it.
const SELF_JOB: &str = "prometheus";

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
    /// Jobs by relation.
    pub scrapes: BTreeMap<RelationKey, Vec<Value>>,
    /// Rule groups by the name of the file.
    pub rules: BTreeMap<String, (RelationKey, Vec<Value>)>,
    /// Certificates and keys, by path below `rendered/`.
    pub materials: Files,
    /// The list of data sources for Grafana.
    pub datasources: Value,
    /// Provider and requirer of each relation, as `application:endpoint`.
    pub ends: BTreeMap<RelationKey, (String, String)>,
    /// Which relation a rendered file belongs to.
    pub owners: BTreeMap<String, RelationKey>,
    /// Where the server is.
    pub place: Place,
    /// Our bags, complete.
    pub bags: BTreeMap<BagKey, Databag>,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// How late a sample may come.
    pub out_of_order_window: &'static str,
}

/// What was understood of relations before.
#[derive(Default)]
pub struct Memory {
    /// By the versions of the bags it was read from.
    relations: HashMap<RelationKey, (Versions, Arc<scrape::Scraped>)>,
    /// The global interval and timeout it was checked against.
    intervals: (String, String),
}

/// Owner and version of every bag of the other side.
type Versions = Vec<(String, u64)>;

/// Puts together what should be.
pub fn desire(observed: &Observed, memory: &mut Memory) -> Desired {
    let world = &observed.world;
    let values = charm_config::layer(&observed.option_defaults, &world.config, &observed.file.options);
    let (settings, mut problems) = charm_config::settings(&values);
    problems.extend(observed.file.fault.as_ref().map(|(file, reason)| Problem {
        relation: None,
        unit: None,
        key: Some(file.clone()),
        message: reason.clone(),
        hint: Some("what it said before stays in effect".to_owned()),
    }));
    let topology = topology(&world.model);
    let unit: UnitName = OUR_UNIT.parse().expect("our unit has a unit's name");
    let datasource = grafana::provisioning(&topology, &unit, &observed.place.url, &settings.scrape_interval);
    let mut desired = Desired {
        own_jobs: vec![self_job(&topology, &observed.place)],
        alertmanagers: Vec::new(),
        scrapes: BTreeMap::new(),
        rules: BTreeMap::new(),
        materials: Files::new(),
        datasources: datasource["datasources"].clone(),
        ends: BTreeMap::new(),
        owners: BTreeMap::new(),
        place: observed.place.clone(),
        bags: BTreeMap::new(),
        problems,
        settings,
        out_of_order_window: OUT_OF_ORDER_WINDOW,
    };
    let views: Vec<View<'_>> = world.relations.iter().flat_map(View::of).collect();
    for view in &views {
        let ends = (view.stored.provider.to_string(), view.stored.requirer.to_string());
        desired.ends.insert(view.key(), ends);
    }
    desired.add_scrapes(&views, memory);
    let dispatching = views.iter().filter(|view| view.relation.endpoint == "alertmanager").map(|view| &view.relation);
    let (alertmanagers, dispatch_problems) = dispatch::alertmanagers(dispatching);
    desired.alertmanagers = dispatch::configuration(&alertmanagers);
    desired.problems.extend(dispatch_problems.into_iter().map(problem));
    for view in views.iter().filter(|view| view.relation.endpoint == "grafana-source") {
        desired.publish(
            view,
            APPLICATION,
            grafana::provider_app_bag(&topology, &desired.settings.scrape_interval.clone()),
        );
        desired.publish(view, OUR_UNIT, grafana::provider_unit_bag(&observed.place.url));
        let (_, problems) = grafana::answer(&view.relation);
        desired.problems.extend(problems.into_iter().map(problem));
    }
    desired
}

impl Desired {
    fn add_scrapes(&mut self, views: &[View<'_>], memory: &mut Memory) {
        let global = global(&self.settings);
        let intervals = (self.settings.scrape_interval.clone(), self.settings.scrape_timeout.clone());
        if memory.intervals != intervals {
            *memory = Memory { intervals, relations: HashMap::new() };
        }
        let mut remembered = HashMap::new();
        let mut scraped = Vec::new();
        for view in views.iter().filter(|view| view.relation.endpoint == "metrics-endpoint") {
            let versions = view.remote_versions();
            let read = match memory.relations.remove(&view.key()) {
                Some((known, read)) if known == versions => read,
                _ => Arc::new(scrape::read(&view.relation, &global)),
            };
            remembered.insert(view.key(), (versions, Arc::clone(&read)));
            let mut bag = view.relation.local.app_bag.clone();
            match scrape::event(&read) {
                Some(event) => bag.insert(scrape::EVENT.to_owned(), event),
                None => bag.remove(scrape::EVENT),
            };
            self.publish(view, APPLICATION, bag);
            self.problems.extend(read.problems.iter().cloned().map(problem));
            if let Some(file) = &read.rules {
                let path = format!("rules/{}", file.file_name);
                self.owners.insert(path, view.key());
                self.rules.insert(file.file_name.clone(), (view.key(), file.groups.clone()));
            }
            scraped.push(read);
        }
        memory.relations = remembered;
        let folder = self.place.rendered.join(MATERIALS).display().to_string();
        let finished = scrape::finish(scraped.iter().map(|read| &**read), &folder, &[SELF_JOB]);
        for job in finished.jobs {
            let key = job.origin.relation.clone();
            self.owners.insert(scrape_path(&key), key.clone());
            self.scrapes.entry(key).or_default().push(Value::Object(job.config));
        }
        for (path, secret) in finished.files {
            let name = path.rsplit('/').next().unwrap_or(&path);
            self.materials.insert(format!("{MATERIALS}/{name}"), secret.expose().to_owned());
        }
    }

    fn publish(&mut self, view: &View<'_>, owner: &str, bag: Databag) {
        self.bags.insert((view.stored.id, view.role, owner.to_owned()), bag);
    }
}

/// What jobs inherit, for judging them: a timeout may not be longer than the interval, wherever either comes from.
fn global(settings: &Settings) -> GlobalConfig {
    let mut global = GlobalConfig::default();
    let set = |text: &str, to: &mut Duration| *to = parse_duration(text).unwrap_or(*to);
    set(&settings.scrape_interval, &mut global.scrape_interval);
    set(&settings.scrape_timeout, &mut global.scrape_timeout);
    global
}

/// The path of a relation's scrape file below `rendered/`.
pub(super) fn scrape_path(key: &RelationKey) -> String {
    format!("scrape/{}_{}.yml", key.0, key.1)
}

/// The topology of the built-in application.
pub fn topology(model: &Model) -> Topology {
    Topology::new(&model.name, &model.uuid, APPLICATION)
        .and_then(|topology| topology.with_charm(CHARM))
        .expect("the model got a valid name and uuid when it was made")
}

/// A relation from the side of one of our endpoints. A relation with ourselves has two.
struct View<'a> {
    stored: &'a StoredRelation,
    role: Role,
    relation: Relation,
}

impl<'a> View<'a> {
    fn of(stored: &'a StoredRelation) -> impl Iterator<Item = View<'a>> {
        let ours = |role: &Role| stored.end(*role).application == APPLICATION;
        [Role::Provider, Role::Requirer].into_iter().filter(ours).map(move |role| View {
            stored,
            role,
            relation: Relation {
                id: stored.id,
                endpoint: stored.end(role).name.clone(),
                interface: stored.interface.clone(),
                local: side(stored, role),
                remote: side(stored, role.other()),
            },
        })
    }

    fn key(&self) -> RelationKey {
        (self.relation.endpoint.clone(), self.relation.id)
    }

    fn remote_versions(&self) -> Versions {
        let remote = self.stored.bags.iter().filter(|((role, _), _)| *role == self.role.other());
        remote.map(|((_, owner), bag)| (owner.clone(), bag.version)).collect()
    }
}

fn side(stored: &StoredRelation, role: Role) -> Side {
    let mut side = Side::new(&stored.end(role).application);
    for ((bag_role, owner), bag) in &stored.bags {
        if *bag_role != role {
            continue;
        }
        match owner.parse::<UnitName>() {
            Ok(unit) => {
                side.units.insert(unit, bag.content.clone());
            }
            Err(_) => side.app_bag = bag.content.clone(),
        }
    }
    side
}

/// A problem of `relations` as the control API shows it.
pub(crate) fn problem(problem: relatum_relations::Problem) -> Problem {
    Problem {
        relation: problem.relation.map(|(endpoint, id)| format!("{endpoint}:{id}")),
        unit: problem.unit,
        key: problem.key,
        message: problem.message,
        hint: problem.hint.map(Into::into),
    }
}

/// The job that scrapes ourselves, as the charm renders it.
fn self_job(topology: &Topology, place: &Place) -> Value {
    let mut labels: Map<String, Value> =
        topology.labels().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    labels.insert(JUJU_UNIT.to_owned(), Value::from(OUR_UNIT));
    labels.insert("host".to_owned(), Value::from("localhost"));
    json!({
        "job_name": SELF_JOB,
        "honor_timestamps": true,
        "scrape_interval": "5s",
        "scrape_timeout": "5s",
        "metrics_path": "/metrics",
        "scheme": "http",
        "static_configs": [{"targets": [place.self_target], "labels": labels}],
        "relabel_configs": [{
            "source_labels": [JUJU_MODEL, JUJU_MODEL_UUID, JUJU_APPLICATION, JUJU_UNIT],
            "separator": "_",
            "target_label": "instance",
            "regex": "(.*)",
        }],
    })
}
