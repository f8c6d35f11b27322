//! `metrics-endpoint`: what to scrape and which rules come with it; and the job that scrapes ourselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use relatum_config::Secret;
use relatum_config::prometheus::GlobalConfig;
use relatum_model::time::parse_duration;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::prometheus_scrape::permissions::Permissions;
use relatum_relations::prometheus_scrape::{self as scrape, Scraped};
use relatum_relations::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, JUJU_UNIT};
use serde_json::{Map, Value, json};

use super::rules::Rules;
use super::view::{View, relation};
use super::{Desired, MATERIALS, Memory, RelationKey, Us, on, problem};
use crate::charm_config::Settings;
use crate::control::Problem;
use crate::pipeline::observe::Place;
use crate::pipeline::packed::Packed;
use crate::pipeline::parallel;
use crate::store::{Role, StoredRelation};
use crate::workload::Files;

/// The name of the job that scrapes the server, and of the one that scrapes an agent beside its server; no peer gets them.
const SELF_JOB: &str = "prometheus";
const AGENT_JOB: &str = "relatum";

/// A relation on `metrics-endpoint`, understood by itself.
pub(super) struct Scrape {
    /// The jobs as they are rendered while no other job has one of their names.
    jobs: Arc<Packed>,
    names: Vec<String>,
    /// Certificates and keys of those jobs, by path below `rendered/`.
    materials: Files,
    rules: Option<Arc<Rules>>,
    n_targets: usize,
    /// What we tell the other side.
    event: Option<String>,
    problems: Vec<Problem>,
}

impl Scrape {
    fn read(stored: &StoredRelation, role: Role, basis: &Basis) -> Self {
        let mut scraped = scrape::read(&relation(stored, role), &basis.global, &basis.permissions);
        let event = scrape::event(&scraped);
        let problems = std::mem::take(&mut scraped.problems).into_iter().map(problem).collect();
        let rules = scraped.rules.take().map(|file| Arc::new(Rules::from(file)));
        let names = scraped.jobs.iter().map(|job| job.name().to_owned()).collect();
        let finished = scrape::finish([&scraped], &basis.folder, &[]);
        let jobs: Vec<Value> = finished.jobs.into_iter().map(|job| Value::Object(job.config)).collect();
        Scrape {
            n_targets: jobs.iter().map(targets).sum(),
            jobs: Arc::new(Packed::new(&jobs)),
            names,
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
    global: GlobalConfig,
    /// What operators allow to peers.
    permissions: Permissions,
    /// Where certificates and keys will be.
    folder: String,
}

impl Memory {
    /// Understands the relations on `metrics-endpoint` that are new or not as they were, and forgets those that are gone.
    fn understand(&mut self, views: &[View<'_>]) {
        let mut before = std::mem::take(&mut self.scrapes);
        let mut changed = Vec::new();
        for view in on(views, "metrics-endpoint") {
            match before.remove(&view.stored.id) {
                Some((known, scrape)) if view.is_as(&known) => {
                    self.scrapes.insert(view.stored.id, (Arc::clone(view.stored), scrape));
                }
                _ => changed.push((view.stored, view.role)),
            }
        }
        let read = parallel::map(&changed, |(stored, role)| Arc::new(Scrape::read(stored, *role, &self.basis)));
        let stored = changed.iter().map(|(stored, _)| Arc::clone(stored));
        self.scrapes.extend(stored.zip(read).map(|(stored, scrape)| (stored.id, (stored, scrape))));
    }
}

impl Desired {
    /// Adds the jobs and rules of all relations on `metrics-endpoint`.
    pub(super) fn add_scrapes(&mut self, views: &[View<'_>], memory: &mut Memory) {
        let folder = self.place.rendered.join(MATERIALS).display().to_string();
        let basis = Basis { global: global(&self.settings), permissions: self.settings.permissions.clone(), folder };
        if memory.basis != basis {
            memory.scrapes.clear();
            memory.basis = basis;
        }
        memory.understand(views);
        let mut scrapes = Vec::new();
        for view in on(views, "metrics-endpoint") {
            let scrape = Arc::clone(&memory.scrapes[&view.stored.id].1);
            let mut bag = view.our_bag().cloned().unwrap_or_default();
            match &scrape.event {
                Some(event) => bag.insert(scrape::EVENT.to_owned(), event.clone()),
                None => bag.remove(scrape::EVENT),
            };
            self.publish(view, APPLICATION, bag);
            self.problems.extend(scrape.problems.iter().cloned());
            if let Some(rules) = &scrape.rules {
                self.add_rules(Arc::clone(rules));
            }
            scrapes.push((view, scrape));
        }
        let reserved = reserved(&self.place);
        let clashing = clashing(&scrapes, &reserved);
        for (view, scrape) in scrapes.iter().filter(|(view, _)| !clashing.contains(&view.stored.id)) {
            self.materials.extend(scrape.materials.iter().map(|(path, text)| (path.clone(), Arc::clone(text))));
            self.add_jobs(view.key(), Arc::clone(&scrape.jobs), scrape.n_targets);
        }
        self.add_clashing(&scrapes, &clashing, &memory.basis, &reserved);
    }

    /// Adds the jobs of the relations with a job whose name another one has, too; such jobs get new names.
    fn add_clashing(
        &mut self,
        scrapes: &[(&View<'_>, Arc<Scrape>)],
        clashing: &HashSet<u64>,
        basis: &Basis,
        reserved: &[&str],
    ) {
        if clashing.is_empty() {
            return;
        }
        // The names of all others count as taken, too: whatever a new name would be, it renames nobody else's job.
        let (among, others): (Vec<_>, Vec<_>) =
            scrapes.iter().partition(|(view, _)| clashing.contains(&view.stored.id));
        let scraped: Vec<Scraped> =
            among.iter().map(|(view, _)| scrape::read(view.relation(), &basis.global, &basis.permissions)).collect();
        let others = others.iter().flat_map(|(_, scrape)| &scrape.names).map(String::as_str);
        let taken: Vec<&str> = reserved.iter().copied().chain(others).collect();
        let finished = scrape::finish(&scraped, &basis.folder, &taken);
        let mut jobs: BTreeMap<RelationKey, Vec<Value>> = BTreeMap::new();
        for job in finished.jobs {
            jobs.entry(job.origin.relation).or_default().push(Value::Object(job.config));
        }
        self.materials.extend(materials(finished.files));
        for (key, jobs) in jobs {
            let n_targets = jobs.iter().map(targets).sum();
            self.add_jobs(key, Arc::new(Packed::new(&jobs)), n_targets);
        }
    }

    fn add_jobs(&mut self, key: RelationKey, jobs: Arc<Packed>, n_targets: usize) {
        if !jobs.is_empty() {
            self.yields.entry(key.clone()).or_default().targets += n_targets;
            self.scrapes.insert(key, jobs);
        }
    }
}

/// The relations with a job whose name is not theirs alone.
fn clashing(scrapes: &[(&View<'_>, Arc<Scrape>)], reserved: &[&str]) -> HashSet<u64> {
    let n_names = reserved.len() + scrapes.iter().map(|(_, scrape)| scrape.names.len()).sum::<usize>();
    let mut owners: HashMap<&str, Option<u64>> = HashMap::with_capacity(n_names);
    owners.extend(reserved.iter().map(|name| (*name, None)));
    let mut clashing = HashSet::new();
    for (view, scrape) in scrapes {
        for name in &scrape.names {
            if let Some(other) = owners.insert(name, Some(view.stored.id)) {
                clashing.extend(other);
                clashing.insert(view.stored.id);
            }
        }
    }
    clashing
}

fn materials(files: BTreeMap<String, Secret>) -> Files {
    let place = |(path, secret): (String, Secret)| {
        let name = path.rsplit('/').next().unwrap_or(&path);
        (format!("{MATERIALS}/{name}"), secret.expose().into())
    };
    files.into_iter().map(place).collect()
}

/// The names of our own jobs.
pub(super) fn reserved(place: &Place) -> Vec<&'static str> {
    if place.agent_target.is_some() { vec![SELF_JOB, AGENT_JOB] } else { vec![SELF_JOB] }
}

/// How many targets a job lists.
fn targets(job: &Value) -> usize {
    let lists = job["static_configs"].as_array().into_iter().flatten();
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
