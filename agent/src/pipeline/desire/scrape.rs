//! `metrics-endpoint`: what to scrape and which rules come with it; and the job that scrapes ourselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use relatum_config::prometheus::GlobalConfig;
use relatum_model::time::parse_duration;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::prometheus_scrape::{self as scrape, RuleFile};
use relatum_relations::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, JUJU_UNIT, Topology};
use serde_json::{Map, Value, json};

use super::view::View;
use super::{Desired, MATERIALS, Memory, Owner, RelationKey, problem};
use crate::charm_config::Settings;
use crate::pipeline::observe::Place;
use crate::relate::OUR_UNIT;

/// The name of the job that scrapes ourselves; no peer gets it.
const SELF_JOB: &str = "prometheus";

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
        for view in views.iter().filter(|view| view.relation.endpoint == "metrics-endpoint") {
            let versions = view.remote_versions();
            let read = match memory.scraped.remove(&view.key()) {
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
                self.add_rules(file.clone());
            }
            scraped.push(read);
        }
        memory.scraped = remembered;
        let folder = self.place.rendered.join(MATERIALS).display().to_string();
        let finished = scrape::finish(scraped.iter().map(|read| &**read), &folder, &[SELF_JOB]);
        for job in finished.jobs {
            let key = job.origin.relation.clone();
            self.owners.insert(scrape_path(&key), Owner::Relation(key.clone()));
            self.yields.entry(key.clone()).or_default().targets += targets(&job.config);
            self.scrapes.entry(key).or_default().push(Value::Object(job.config));
        }
        for (path, secret) in finished.files {
            let name = path.rsplit('/').next().unwrap_or(&path);
            self.materials.insert(format!("{MATERIALS}/{name}"), secret.expose().to_owned());
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

/// The job that scrapes ourselves, as the charm renders it.
pub(super) fn self_job(topology: &Topology, place: &Place) -> Value {
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
