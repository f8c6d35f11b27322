//! The scrape jobs of one relation: named, reduced to what a peer may set, expanded to targets.

use std::collections::{BTreeMap, HashSet};

use relatum_model::text::quote;
use serde_json::{Map, Value, json};

use super::check::{JobFault, Judge};
use super::expand::{EXPANDED_BYTES_MAX, Expanded, expand, set};
use super::hosts::hosts;
use super::{Job, Origin, SCRAPE_JOBS, SCRAPE_METADATA, dedupe};
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
pub(super) fn read(relation: &Relation, judge: &Judge<'_>) -> (Vec<Job>, Vec<Problem>) {
    if relation.remote.units.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let mut sieve = Sieve { relation, judge, jobs: Vec::new(), problems: Vec::new(), n_seen: 0 };
    match published(relation) {
        Ok(None) => {}
        Ok(Some(Published { configs, .. })) if configs.len() > JOBS_MAX => {
            let reason = format!("value has {} jobs, more than {JOBS_MAX}", configs.len());
            sieve.problems.push(Problem::new(reason).key(SCRAPE_JOBS));
        }
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
            let path = error.key().unwrap_or_default();
            Problem::new(format!("cannot tell whose jobs these are: {error}")).key(SCRAPE_METADATA).path(path)
        })?),
        Some(other) => {
            return Err(Problem::new(format!("value is {}, not an object", type_name(&other))).key(SCRAPE_METADATA));
        }
    };
    Ok(Some(Published { configs, topology }))
}

/// The job at `index` of the list, and what its name begins with if the peer says who it is.
pub(super) fn config_at(relation: &Relation, index: usize) -> Option<(Value, Option<String>)> {
    let Published { configs, topology } = published(relation).ok()??;
    Some((configs.into_iter().nth(index)?, topology.as_ref().map(prefix)))
}

/// Who the peer says it is.
pub(super) fn topology(relation: &Relation) -> Option<Topology> {
    published(relation).ok()??.topology
}

fn prefix(topology: &Topology) -> String {
    format!("juju_{}_prometheus_scrape", topology.identifier())
}

/// Whether a peer that says who it is may set `key` in a job.
pub(super) fn is_allowed(key: &str) -> bool {
    ALLOWED_KEYS.contains(&key)
}

/// The job with only what a peer may set, over the defaults, under its final name but for the unit.
pub(super) fn named(config: &Value, prefix: &str) -> Result<Map<String, Value>, JobFault> {
    let Value::Object(config) = config else {
        return Err(JobFault::new("", format!("job is {}, not an object", type_name(config))));
    };
    let name = match config.get("job_name") {
        None | Some(Value::Null) => prefix.to_owned(),
        Some(Value::String(name)) if name.is_empty() => prefix.to_owned(),
        Some(Value::String(name)) => format!("{prefix}_{name}"),
        Some(other) => {
            return Err(JobFault::new("job_name", format!("job_name is {}, not a string", type_name(other))));
        }
    };
    let mut job = Map::new();
    job.insert("metrics_path".to_owned(), Value::from("/metrics"));
    job.insert("static_configs".to_owned(), json!([{"targets": ["*:80"]}]));
    for (key, value) in config.iter().filter(|(key, _)| is_allowed(key)) {
        set(&mut job, key, value.clone());
    }
    set(&mut job, "job_name", Value::String(name));
    Ok(job)
}

/// A relation gives at most this many jobs: looking at each takes time, and thousands are far beyond what one peer needs.
const JOBS_MAX: usize = 10_000;

/// One job reports at most this many faults one by one.
const FAULTS_MAX: usize = 50;

/// Jobs as they pass, and what did not.
struct Sieve<'a> {
    relation: &'a Relation,
    judge: &'a Judge<'a>,
    jobs: Vec<Job>,
    problems: Vec<Problem>,
    n_seen: usize,
}

impl Sieve<'_> {
    /// Keeps those of `candidates` that are valid; all came of `config`, number `index` of the list. A fault is reported once and
    /// not for every unit, unless only some units have it.
    fn keep_valid(&mut self, index: usize, config: &Value, candidates: Vec<Expanded>) {
        let count = candidates.len();
        self.n_seen += count;
        if self.n_seen > JOBS_MAX {
            return self.refuse(index, config, "", &format!("the relation has more than {JOBS_MAX} jobs"), None);
        }
        let mut faults: BTreeMap<JobFault, Vec<String>> = BTreeMap::new();
        for (candidate, unit) in candidates {
            let name = candidate.get("job_name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let (kept, found) = self.sift(&candidate);
            let n_faults = found.len();
            for (n_found, fault) in found.into_iter().enumerate() {
                // Nobody reads more of them, and each place is a walk through the job.
                if n_found == FAULTS_MAX {
                    let message = format!("{} more faults", n_faults - n_found);
                    faults.entry(JobFault::new("", message)).or_default().extend(unit.clone());
                    break;
                }
                // The name differs from unit to unit, the fault does not.
                let message = fault.message.replace(&format!(" for scrape config with job name {}", quote(&name)), "");
                let path = published_path(config, &candidate, &fault.path);
                faults.entry(JobFault { path, message, ..fault }).or_default().extend(unit.clone());
            }
            if let Some(mut kept) = kept {
                self.judge.permissions.bind(&mut kept);
                let relation = (self.relation.endpoint.clone(), self.relation.id);
                self.jobs.push(Job { config: kept, origin: Origin { relation, index, unit } });
            }
        }
        for (fault, units) in faults {
            let which = match units.as_slice() {
                units if units.len() == count => String::new(),
                [] => String::new(),
                [unit] => format!("{unit}: "),
                [unit, rest @ ..] => format!("{unit} and {} more units: ", rest.len()),
            };
            self.refuse(index, config, &fault.path, &format!("{which}{}", fault.message), fault.hint);
        }
    }

    /// `job` without the targets that it may not have, and what was wrong; nothing of it if something else is, or no target is left.
    fn sift(&self, candidate: &Map<String, Value>) -> (Option<Map<String, Value>>, Vec<JobFault>) {
        let faults = self.judge.faults(candidate);
        let targets: Option<HashSet<(usize, usize)>> = faults.iter().map(|fault| target_at(&fault.path)).collect();
        // In a list of targets one is as good as another; what else is wrong, such as a bound, changes what all of them mean.
        let Some(targets) = targets else { return (None, faults) };
        let mut job = candidate.clone();
        if faults.is_empty() {
            return (Some(job), faults);
        }
        let mut n_left = 0;
        for (at, config) in
            job.get_mut("static_configs").and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            let Some(listed) = config.get_mut("targets").and_then(Value::as_array_mut) else { continue };
            let mut target_at = 0..;
            listed.retain(|_| target_at.next().is_some_and(|target| !targets.contains(&(at, target))));
            n_left += listed.len();
        }
        let is_fit = n_left > 0 && self.judge.faults(&job).is_empty();
        (is_fit.then_some(job), faults)
    }

    /// Reports what is wrong at `path` of job number `index`.
    fn refuse(&mut self, index: usize, config: &Value, path: &str, reason: &str, hint: Option<String>) {
        let name = config.get("job_name").and_then(Value::as_str).unwrap_or_default();
        let name: String = name.chars().take(100).collect();
        let number = index + 1;
        let which = if name.is_empty() { format!("job {number}") } else { format!("job {number} ({name:?})") };
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("[{index}]{dot}{path}");
        let mut problem = Problem::new(format!("{which}: {reason}")).key(SCRAPE_JOBS).path(&path);
        problem.hint = hint.map(Into::into);
        self.problems.push(problem);
    }

    /// Takes jobs of a peer that says who it is: our names, its targets, and labels that say whose they are.
    fn expand(&mut self, configs: &[Value], topology: &Topology) {
        let (hosts, problems) = hosts(self.relation);
        self.problems.extend(problems);
        let prefix = prefix(topology);
        let mut bytes_left = EXPANDED_BYTES_MAX;
        for (index, config) in configs.iter().enumerate() {
            match named(config, &prefix).and_then(|job| expand(&job, &hosts, topology, &mut bytes_left)) {
                Ok((mut expansion, faults)) => {
                    for fault in faults {
                        self.refuse(index, config, &fault.path, &fault.message, fault.hint);
                    }
                    for (job, _) in &mut expansion {
                        set(job, "fallback_scrape_protocol", Value::from(FALLBACK_SCRAPE_PROTOCOL));
                    }
                    self.keep_valid(index, config, expansion);
                }
                Err(fault) => self.refuse(index, config, &fault.path, &fault.message, fault.hint),
            }
        }
    }

    /// Takes jobs of a peer that does not say who it is (scrape-target, scrape-config) as they are.
    fn pass_through(&mut self, configs: &[Value]) {
        for (index, config) in configs.iter().enumerate() {
            let Value::Object(job) = config else {
                self.refuse(index, config, "", &format!("job is {}, not an object", type_name(config)), None);
                continue;
            };
            match job.get("job_name").and_then(Value::as_str) {
                Some(name) if !name.is_empty() => self.keep_valid(index, config, vec![(job.clone(), None)]),
                _ => {
                    let reason = "job_name is missing, and so is the metadata it could be made from";
                    self.refuse(index, config, "", reason, None);
                }
            }
        }
    }
}

/// `static_configs[A].targets[B]` as two numbers.
fn target_at(path: &str) -> Option<(usize, usize)> {
    let (config, target) = path.strip_prefix("static_configs[")?.split_once("].targets[")?;
    Some((config.parse().ok()?, target.strip_suffix(']')?.parse().ok()?))
}

/// Where in the peer's job `config` that stands which is at `path` of `made`, a job made of it: its static configs are sorted by unit,
/// and its wildcards replaced.
fn published_path(config: &Value, made: &Map<String, Value>, path: &str) -> String {
    if !path.starts_with("static_configs") {
        return path.to_owned();
    }
    let target = |config: &Value, (at, target_at): (usize, usize)| {
        config.get(at)?.get("targets")?.get(target_at)?.as_str().map(str::to_owned)
    };
    let found = target_at(path).and_then(|place| target(made.get("static_configs")?, place)).and_then(|made| {
        let is_it = |target: &Value| {
            let target = target.as_str().unwrap_or_default();
            // What replaces the wildcard stands in front of what follows it.
            let is_wildcard = target.starts_with('*') && made.ends_with(target.rsplit('*').next().unwrap_or_default());
            target == made || is_wildcard
        };
        let lists = config.get("static_configs")?.as_array()?.iter().enumerate();
        let place = |(at, list): (usize, &Value)| Some((at, list.get("targets")?.as_array()?.iter().position(is_it)?));
        lists.into_iter().find_map(place)
    });
    match found {
        Some((at, target_at)) => format!("static_configs[{at}].targets[{target_at}]"),
        None => "static_configs".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use relatum_config::prometheus::{GlobalConfig, TlsConfig};

    use super::*;
    use crate::bag::{Databag, Side};
    use crate::prometheus_scrape::client_tls::Fault;
    use crate::prometheus_scrape::permissions::Permissions;

    fn refuse_rotten(tls: &TlsConfig) -> Result<(), Fault> {
        let is_rotten = tls.ca.as_ref().is_some_and(|text| text.contains("rotten"));
        if is_rotten { Err(Fault { key: "ca", message: "it is rotten".to_owned() }) } else { Ok(()) }
    }

    const METADATA: &str =
        r#"{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "a"}"#;

    /// `expected` is, for each job, its path and targets, and how many problems there are.
    #[track_caller]
    fn check(jobs: &str, units: &[&[(&str, &str)]], expected: &[&str], n_problems: usize) {
        let mut remote = Side::new("a");
        remote.app_bag = Databag::from([
            (SCRAPE_METADATA.to_owned(), METADATA.to_owned()),
            (SCRAPE_JOBS.to_owned(), jobs.to_owned()),
        ]);
        for (number, bag) in units.iter().enumerate() {
            let bag = bag.iter().map(|&(key, value)| (format!("prometheus_scrape_{key}"), value.to_owned())).collect();
            remote.units.insert(format!("a/{number}").parse().expect("a unit's name"), bag);
        }
        let relation = Relation {
            id: 1,
            endpoint: "metrics-endpoint".to_owned(),
            interface: "prometheus_scrape".to_owned(),
            local: Side::new("prometheus"),
            remote,
        };
        let (global, permissions) = (GlobalConfig::default(), Permissions::of_charm());
        let judge = Judge { global: &global, permissions: &permissions, check_tls: refuse_rotten };
        let (jobs, problems) = read(&relation, &judge);
        let seen = jobs.iter().map(|job| {
            let targets = &job.config["static_configs"][0]["targets"];
            let targets = targets.as_array().into_iter().flatten().filter_map(Value::as_str);
            let path = job.config["metrics_path"].as_str().unwrap_or_default();
            let unit = job.origin.unit.as_deref().unwrap_or("-");
            format!("{unit} {path} {}", targets.collect::<Vec<_>>().join(","))
        });
        assert_eq!(seen.collect::<Vec<_>>(), expected, "{problems:?}");
        assert_eq!(problems.len(), n_problems, "{problems:?}");
    }

    #[test]
    fn targets() {
        let plain = r#"[{"static_configs": [{"targets": ["*:80"]}]}]"#;
        check(plain, &[&[("unit_address", "10.0.0.1")]], &["a/0 /metrics 10.0.0.1:80"], 0);
        check(plain, &[&[("unit_address", "fe80::1")]], &["a/0 /metrics [fe80::1]:80"], 0);
        check(plain, &[&[("host", "old")]], &["a/0 /metrics old:80"], 0);
        check(
            plain,
            &[&[("unit_name", "b/7"), ("unit_address", "h"), ("unit_path", "/p")]],
            &["b/7 /p/metrics h:80"],
            0,
        );
        // Made by hand: the address has the port.
        check(r#"[{"static_configs": [{"targets": ["*"]}]}]"#, &[&[("unit_address", "h:1")]], &["a/0 /metrics h:1"], 0);
        // Only what starts with a star is a wildcard.
        check(
            r#"[{"static_configs": [{"targets": ["*.svc:1", "x*:1"]}]}]"#,
            &[&[("unit_address", "h")]],
            &["a/0 /metrics h.svc:1", "- /metrics x*:1"],
            0,
        );
        // A target that names a unit by its address or its full name belongs to that unit.
        check(
            r#"[{"static_configs": [{"targets": ["[fe80::1]:1", "full:2", "else:3"]}]}]"#,
            &[&[("unit_address", "fe80::1"), ("unit_fqdn", "full")]],
            &["a/0 /metrics [fe80::1]:1,full:2", "- /metrics else:3"],
            0,
        );
        // Not there yet, claims another's name, is nowhere.
        check(
            plain,
            &[&[], &[("unit_address", "h"), ("unit_name", "b/1")], &[("unit_address", "i"), ("unit_name", "b/1")]],
            &["b/1 /metrics h:80"],
            1,
        );
        check(plain, &[&[("unit_address", "a b")]], &[], 1);
    }

    #[test]
    fn targets_are_no_urls() {
        let unit: &[&[(&str, &str)]] = &[&[("unit_address", "h")]];
        let job =
            |target: &str, more: &str| format!(r#"[{{"static_configs": [{{"targets": ["{target}", "*:1"]}}]{more}}}]"#);
        check(&job("http://*:80", ""), unit, &["a/0 /metrics h:1"], 1);
        check(&job("*:80/metrics", ""), unit, &["a/0 /metrics h:1"], 1);
        check(&job("", ""), unit, &["a/0 /metrics h:1"], 1);
        // What it is relabelled to counts.
        let proxied = r#", "relabel_configs": [{"target_label": "__address__", "replacement": "prober:1"}]"#;
        check(&job("http://shop/", proxied), unit, &["a/0 /metrics h:1", "- /metrics http://shop/"], 0);
    }

    #[test]
    fn files_of_ours_are_not_for_peers() {
        let unit: &[&[(&str, &str)]] = &[&[("unit_address", "h")]];
        check(r#"[{"authorization": {"credentials_file": "/etc/shadow"}}]"#, unit, &[], 1);
        check(r#"[{"basic_auth": {"username": "u", "password_file": "p"}}]"#, unit, &[], 1);
        check(r#"[{"proxy_url": "http://p", "params": {"files": ["x"]}}]"#, unit, &["a/0 /metrics h:80"], 0);
        check(r#"[{"basic_auth": {"username": "u", "password": "p"}}]"#, unit, &["a/0 /metrics h:80"], 0);
        check(r#"[{"tls_config": {"ca_file": "-----BEGIN CERTIFICATE-----"}}]"#, unit, &["a/0 /metrics h:80"], 0);
        check(r#"[{"tls_config": {"cert_file": "-----BEGIN CERTIFICATE-----"}}]"#, unit, &[], 1);
        let rotten = r#"[{"tls_config": {"ca_file": "-----BEGIN CERTIFICATE-----rotten"}}, {}]"#;
        check(rotten, unit, &["a/0 /metrics h:80"], 1);
        check(r#"[{"tls_config": {"ca_file": "/etc/ssl/ca.pem"}}, {}]"#, unit, &["a/0 /metrics h:80"], 1);
        // A label may be called anything.
        check(
            r#"[{"static_configs": [{"targets": ["*:1"], "labels": {"key_file": "x"}}]}]"#,
            unit,
            &["a/0 /metrics h:1"],
            0,
        );
    }
}
