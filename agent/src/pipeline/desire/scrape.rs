//! `metrics-endpoint`: what to scrape and which rules come with it; and the job that scrapes ourselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashSet;
use relatum_config::Secret;
use relatum_config::prometheus::GlobalConfig;
use relatum_model::time::parse_duration;
use relatum_relations::Relation;
use relatum_relations::prometheus_scrape::permissions::Permissions;
use relatum_relations::prometheus_scrape::{self as scrape, Scraped, client_tls::accept};
use relatum_relations::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, JUJU_UNIT};
use serde_json::{Map, Value, json};

use super::client_tls;
use super::rules::Rules;
use super::view::{Ends, View};
use super::{MATERIALS, RelationKey, Us, problem};
use crate::charm_config::Settings;
use crate::control::Problem;
use crate::packed::{PackedList, PackedText};
use crate::pipeline::observe::Place;
use crate::workload::Files;

/// The name of the job that scrapes the server, and of the one that scrapes an agent beside its server; no peer gets them.
const SELF_JOB: &str = "prometheus";
const AGENT_JOB: &str = "relatum";

/// The jobs of one relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// Whose they are.
    pub ends: Ends,
    jobs: PackedList,
}

impl Jobs {
    pub(super) fn new(ends: Ends, jobs: &[Value]) -> Self {
        Jobs { ends, jobs: PackedList::new(jobs) }
    }

    /// The jobs, in the order of the file.
    pub fn values(&self) -> Vec<Value> {
        self.jobs.values()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

/// A relation on `metrics-endpoint`, understood by itself.
pub(super) struct Scrape {
    /// The jobs as they are rendered while no other job has one of their names.
    pub(super) jobs: Arc<Jobs>,
    pub(super) names: Vec<Arc<str>>,
    /// Whether two of the jobs have one name.
    pub(super) has_double: bool,
    /// Certificates and keys of those jobs, by path below `rendered/`.
    pub(super) materials: Files,
    pub(super) rules: Option<Arc<Rules>>,
    pub(super) n_targets: usize,
    /// What we tell the other side.
    pub(super) event: Option<String>,
    pub(super) problems: Vec<Problem>,
}

impl Scrape {
    pub(super) fn read(view: &View<'_>, basis: &Basis) -> Self {
        let mut scraped = basis.read(view.relation());
        let event = scrape::event(&scraped);
        let problems = std::mem::take(&mut scraped.problems).into_iter().map(problem).collect();
        let rules = scraped.rules.take().map(|file| Arc::new(Rules::new(view.ends(), file)));
        let names: Vec<Arc<str>> = scraped.jobs.iter().map(|job| job.name().into()).collect();
        let has_double = names.iter().collect::<HashSet<_>>().len() < names.len();
        let finished = scrape::finish([&scraped], &basis.folder, &[]);
        let jobs: Vec<Value> = finished.jobs.into_iter().map(|job| Value::Object(job.config)).collect();
        Scrape {
            n_targets: n_targets(&jobs),
            jobs: Arc::new(Jobs::new(view.ends(), &jobs)),
            names,
            has_double,
            materials: materials(finished.files),
            rules,
            event,
            problems,
        }
    }
}

/// What a relation is understood with beside itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Basis {
    /// What jobs inherit.
    pub(super) global: GlobalConfig,
    /// What operators allow to peers.
    pub(super) permissions: Permissions,
    /// Whether their certificates are tried.
    pub(super) tries_certificates: bool,
    /// Where certificates and keys will be.
    pub(super) folder: String,
    /// The names of our own jobs.
    pub(super) reserved: Vec<&'static str>,
}

impl Basis {
    pub(super) fn of(settings: &Settings, place: &Place) -> Self {
        Basis {
            global: global(settings),
            permissions: settings.permissions.clone(),
            tries_certificates: place.tries_certificates,
            folder: place.rendered.join(MATERIALS).display().to_string(),
            reserved: reserved(place),
        }
    }

    /// Understands `relation`.
    pub(super) fn read(&self, relation: &Relation) -> Scraped {
        let check_tls = if self.tries_certificates { client_tls::attempt } else { accept };
        scrape::read(relation, &self.global, &self.permissions, check_tls)
    }
}

/// Certificates and keys by their path below `rendered/`.
pub(super) fn materials(files: BTreeMap<String, Secret>) -> Files {
    let place = |(path, secret): (String, Secret)| -> (Arc<str>, PackedText) {
        let name = path.rsplit('/').next().unwrap_or(&path);
        (format!("{MATERIALS}/{name}").into(), secret.expose().into())
    };
    files.into_iter().map(place).collect()
}

/// The names of our own jobs.
pub(super) fn reserved(place: &Place) -> Vec<&'static str> {
    if place.agent_target.is_some() { vec![SELF_JOB, AGENT_JOB] } else { vec![SELF_JOB] }
}

/// How many targets `jobs` list.
pub(super) fn n_targets(jobs: &[Value]) -> usize {
    let lists = jobs.iter().filter_map(|job| job["static_configs"].as_array()).flatten();
    lists.filter_map(|list| list["targets"].as_array()).map(Vec::len).sum()
}

/// What jobs inherit, for judging them: a timeout may not be longer than the interval, wherever either comes from.
pub(super) fn global(settings: &Settings) -> GlobalConfig {
    let mut global = GlobalConfig::default();
    let set = |text: &str, to: &mut Duration| *to = parse_duration(text).unwrap_or(*to);
    set(&settings.scrape_interval, &mut global.scrape_interval);
    set(&settings.scrape_timeout, &mut global.scrape_timeout);
    global
}

/// The path of a relation's scrape file below `rendered/`.
pub(crate) fn scrape_path(key: &RelationKey) -> String {
    format!("scrape/{}_{}.yml", key.0, key.1)
}

/// The jobs that scrape the server, as the charm renders it, and this agent where that is another process. `tls` says how to know the
/// server's certificate, if it has one of ours.
pub(super) fn own_jobs(us: &Us, place: &Place, tls: Option<&Value>) -> Vec<Value> {
    let is_https = tls.is_some() || place.url.starts_with("https://");
    let path = place.url.splitn(4, '/').nth(3).filter(|_| place.agent_target.is_some()).unwrap_or_default();
    let path = if path.is_empty() { "/metrics".to_owned() } else { format!("/{path}/metrics") };
    let scheme = if is_https { "https" } else { "http" };
    let mut server = own_job(us, SELF_JOB, &place.self_target, scheme, &path);
    if let Some(tls) = tls {
        server["tls_config"] = tls.clone();
    }
    let agent = place.agent_target.as_ref().map(|target| own_job(us, AGENT_JOB, target, "http", "/metrics"));
    [server].into_iter().chain(agent).collect()
}

fn own_job(us: &Us, name: &str, target: &str, scheme: &str, path: &str) -> Value {
    let mut labels: Map<String, Value> =
        us.topology.labels().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    labels.insert(JUJU_UNIT.to_owned(), Value::from(us.unit.to_string()));
    labels.insert("host".to_owned(), Value::from("localhost"));
    json!({
        "job_name": name,
        "honor_timestamps": true,
        "scrape_interval": "5s",
        "scrape_timeout": "5s",
        "metrics_path": path,
        "scheme": scheme,
        "static_configs": [{"targets": [target], "labels": labels}],
        "relabel_configs": [{
            "source_labels": [JUJU_MODEL, JUJU_MODEL_UUID, JUJU_APPLICATION, JUJU_UNIT],
            "separator": "_",
            "target_label": "instance",
            "regex": "(.*)",
        }],
    })
}
