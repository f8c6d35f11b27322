//! `metrics-endpoint`: what to scrape and which rules come with it; and the job that scrapes ourselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use relatum_config::prometheus::GlobalConfig;
use relatum_model::time::parse_duration;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::prometheus_scrape::{self as scrape, RuleFile};
use relatum_relations::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, JUJU_UNIT};
use serde_json::{Map, Value, json};

use super::view::View;
use super::{Desired, MATERIALS, Memory, Owner, RelationKey, Us, problem};
use crate::charm_config::Settings;
use crate::pipeline::observe::Place;

/// The name of the job that scrapes the server, and of the one that scrapes an agent beside its server; no peer gets them.
const SELF_JOB: &str = "prometheus";
const AGENT_JOB: &str = "relatum";

impl Desired {
    /// Adds the jobs and rules of all relations on `metrics-endpoint`.
    pub(super) fn add_scrapes(&mut self, views: &[View<'_>], memory: &mut Memory) {
        let global = global(&self.settings);
        let intervals = (self.settings.scrape_interval.clone(), self.settings.scrape_timeout.clone());
        if memory.intervals != intervals {
            memory.scraped.clear();
            memory.intervals = intervals;
        }
        let mut remembered = HashMap::new();
        let mut scraped = Vec::new();
        for view in views.iter().filter(|view| view.endpoint() == "metrics-endpoint") {
            let versions = view.remote_versions();
            let read = match memory.scraped.remove(&view.key()) {
                Some((known, read)) if known == versions => read,
                _ => Arc::new(scrape::read(view.relation(), &global)),
            };
            remembered.insert(view.key(), (versions, Arc::clone(&read)));
            let mut bag = view.relation().local.app_bag.clone();
            match scrape::event(&read) {
                Some(event) => bag.insert(scrape::EVENT.to_owned(), event),
                None => bag.remove(scrape::EVENT),
            };
            self.publish(view, APPLICATION, bag);
            self.problems.extend(read.problems.iter().cloned().map(problem));
            if let Some(file) = &read.rules {
                self.add_rules(file.clone());
            }
            scraped.push(read);
        }
        memory.scraped = remembered;
        let folder = self.place.rendered.join(MATERIALS).display().to_string();
        let reserved = if self.place.agent_target.is_some() { vec![SELF_JOB, AGENT_JOB] } else { vec![SELF_JOB] };
        let finished = scrape::finish(scraped.iter().map(|read| &**read), &folder, &reserved);
        for job in finished.jobs {
            let key = job.origin.relation.clone();
            self.owners.insert(scrape_path(&key), Owner::Relation(key.clone()));
            self.yields.entry(key.clone()).or_default().targets += targets(&job.config);
            self.scrapes.entry(key).or_default().push(Value::Object(job.config));
        }
        for (path, secret) in finished.files {
            let name = path.rsplit('/').next().unwrap_or(&path);
            self.materials.insert(format!("{MATERIALS}/{name}"), secret.expose().into());
        }
    }
}

impl Desired {
    /// Has the rules of one relation evaluated.
    pub(super) fn add_rules(&mut self, file: RuleFile) {
        let count = |group: &Value| group["rules"].as_array().map_or(0, Vec::len);
        self.yields.entry(file.relation.clone()).or_default().rules += file.groups.iter().map(count).sum::<usize>();
        let owner = Owner::Relation(file.relation.clone());
        self.owners.insert(format!("rules/{}", file.file_name), owner);
        self.rules.insert(file.file_name, (file.relation, file.groups));
    }
}

/// How many targets a job lists.
fn targets(job: &Map<String, Value>) -> usize {
    let lists = job.get("static_configs").and_then(Value::as_array).into_iter().flatten();
    lists.filter_map(|list| list["targets"].as_array()).map(Vec::len).sum()
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
pub(in crate::pipeline) fn scrape_path(key: &RelationKey) -> String {
    format!("scrape/{}_{}.yml", key.0, key.1)
}

/// The jobs that scrape the server, as the charm renders it, and this agent where that is another process.
pub(super) fn own_jobs(us: &Us, place: &Place) -> Vec<Value> {
    let is_https = place.url.starts_with("https://");
    let path = place.url.splitn(4, '/').nth(3).filter(|_| place.agent_target.is_some()).unwrap_or_default();
    let path = if path.is_empty() { "/metrics".to_owned() } else { format!("/{path}/metrics") };
    let scheme = if is_https { "https" } else { "http" };
    let server = own_job(us, SELF_JOB, &place.self_target, scheme, &path);
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
