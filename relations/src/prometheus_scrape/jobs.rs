//! The scrape jobs of one relation: named, reduced to what a peer may set, expanded to targets.

use std::collections::BTreeMap;

use relatum_config::prometheus::GlobalConfig;
use relatum_model::text::quote;
use serde_json::{Map, Value, json};

use super::expand::{EXPANDED_BYTES_MAX, Expanded, expand, set};
use super::hosts::hosts;
use super::{Job, Origin, SCRAPE_JOBS, SCRAPE_METADATA, check, dedupe};
use crate::bag::Relation;
use crate::json::{self, type_name};
use crate::problem::Problem;
use crate::topology::Topology;

/// What a peer that says who it is may set in a job. Other keys are left out without a word, as the charm does: older
/// libraries send some that mean nothing here.
const ALLOWED_KEYS: &[&str] = &[
    "job_name",
    "metrics_path",
    "static_configs",
    "scrape_interval",
    "scrape_timeout",
    "proxy_url",
    "relabel_configs",
    "metric_relabel_configs",
    "sample_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "scheme",
    "basic_auth",
    "tls_config",
    "authorization",
    "params",
];

/// What an exporter that sends no content type is taken to speak.
const FALLBACK_SCRAPE_PROTOCOL: &str = "PrometheusText0.0.4";

/// The jobs of `relation`, each fit to be scraped. A peer without units has nothing to scrape, whatever its application says.
pub(super) fn read(relation: &Relation, global: &GlobalConfig) -> (Vec<Job>, Vec<Problem>) {
    if relation.remote.units.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let mut sieve = Sieve { relation, global, jobs: Vec::new(), problems: Vec::new() };
    match published(relation) {
        Ok(None) => {}
        Ok(Some(Published { configs, topology: Some(topology) })) => sieve.expand(&configs, &topology),
        Ok(Some(Published { configs, topology: None })) => sieve.pass_through(&configs),
        Err(problem) => sieve.problems.push(problem),
    }
    (dedupe::dedupe(sieve.jobs, &[]), sieve.problems)
}

/// What was published: the jobs, and who published them if the peer says so.
struct Published {
    configs: Vec<Value>,
    topology: Option<Topology>,
}

fn published(relation: &Relation) -> Result<Option<Published>, Problem> {
    let bag = &relation.remote.app_bag;
    let configs = match json::read(bag, SCRAPE_JOBS)? {
        None => return Ok(None),
        Some(Value::Array(configs)) => configs,
        Some(other) => {
            return Err(Problem::new(format!("value is {}, not a list of jobs", type_name(&other))).key(SCRAPE_JOBS));
        }
    };
    let topology = match json::read(bag, SCRAPE_METADATA)? {
        None => None,
        Some(Value::Object(metadata)) => Some(Topology::from_metadata(&metadata).map_err(|error| {
            Problem::new(format!("cannot tell whose jobs these are: {error}")).key(SCRAPE_METADATA)
        })?),
        Some(other) => {
            return Err(Problem::new(format!("value is {}, not an object", type_name(&other))).key(SCRAPE_METADATA));
        }
    };
    Ok(Some(Published { configs, topology }))
}

/// The job with only what a peer may set, over the defaults, under its final name but for the unit.
fn named(config: &Value, prefix: &str) -> Result<Map<String, Value>, String> {
    let Value::Object(config) = config else {
        return Err(format!("job is {}, not an object", type_name(config)));
    };
    let name = match config.get("job_name") {
        None | Some(Value::Null) => prefix.to_owned(),
        Some(Value::String(name)) if name.is_empty() => prefix.to_owned(),
        Some(Value::String(name)) => format!("{prefix}_{name}"),
        Some(other) => return Err(format!("job_name is {}, not a string", type_name(other))),
    };
    let mut job = Map::new();
    job.insert("metrics_path".to_owned(), Value::from("/metrics"));
    job.insert("static_configs".to_owned(), json!([{"targets": ["*:80"]}]));
    for (key, value) in config.iter().filter(|(key, _)| ALLOWED_KEYS.contains(&key.as_str())) {
        set(&mut job, key, value.clone());
    }
    set(&mut job, "job_name", Value::String(name));
    Ok(job)
}

/// Jobs as they pass, and what did not.
struct Sieve<'a> {
    relation: &'a Relation,
    global: &'a GlobalConfig,
    jobs: Vec<Job>,
    problems: Vec<Problem>,
}

impl Sieve<'_> {
    /// Keeps those of `candidates` that are valid; all came of `config`, number `index` of the list. A fault is reported once and
    /// not for every unit, unless only some units have it.
    fn keep_valid(&mut self, index: usize, config: &Value, candidates: Vec<Expanded>) {
        let count = candidates.len();
        let mut faults: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (candidate, unit) in candidates {
            let name = candidate.get("job_name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let reasons = check::job(&candidate, self.global);
            if reasons.is_empty() {
                let relation = (self.relation.endpoint.clone(), self.relation.id);
                self.jobs.push(Job { config: candidate, origin: Origin { relation, index, unit } });
                continue;
            }
            for reason in reasons {
                // The name differs from unit to unit, the fault does not.
                let reason = reason.replace(&format!(" for scrape config with job name {}", quote(&name)), "");
                faults.entry(reason).or_default().extend(unit.clone());
            }
        }
        for (reason, units) in faults {
            let which = if units.is_empty() || units.len() == count { String::new() } else { units.join(", ") + ": " };
            self.refuse(index, config, &format!("{which}{reason}"));
        }
    }

    fn refuse(&mut self, index: usize, config: &Value, reason: &str) {
        let name = config.get("job_name").and_then(Value::as_str).unwrap_or_default();
        let name: String = name.chars().take(100).collect();
        let which = if name.is_empty() { format!("job {index}") } else { format!("job {index} ({name:?})") };
        self.problems.push(Problem::new(format!("{which}: {reason}")).key(SCRAPE_JOBS));
    }

    /// Takes jobs of a peer that says who it is: our names, its targets, and labels that say whose they are.
    fn expand(&mut self, configs: &[Value], topology: &Topology) {
        let (hosts, problems) = hosts(self.relation);
        self.problems.extend(problems);
        let prefix = format!("juju_{}_prometheus_scrape", topology.identifier());
        let mut bytes_left = EXPANDED_BYTES_MAX;
        for (index, config) in configs.iter().enumerate() {
            match named(config, &prefix).and_then(|job| expand(&job, &hosts, topology, &mut bytes_left)) {
                Ok(mut expansion) => {
                    for (job, _) in &mut expansion {
                        set(job, "fallback_scrape_protocol", Value::from(FALLBACK_SCRAPE_PROTOCOL));
                    }
                    self.keep_valid(index, config, expansion);
                }
                Err(reason) => self.refuse(index, config, &reason),
            }
        }
    }

    /// Takes jobs of a peer that does not say who it is (scrape-target, scrape-config) as they are.
    fn pass_through(&mut self, configs: &[Value]) {
        for (index, config) in configs.iter().enumerate() {
            let Value::Object(job) = config else {
                self.refuse(index, config, &format!("job is {}, not an object", type_name(config)));
                continue;
            };
            match job.get("job_name").and_then(Value::as_str) {
                Some(name) if !name.is_empty() => self.keep_valid(index, config, vec![(job.clone(), None)]),
                _ => self.refuse(index, config, "job_name is missing, and so is the metadata it could be made from"),
            }
        }
    }
}
