//! From one job with wildcards to jobs with targets: one for each unit, and one for targets that are no unit.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::check::JobFault;
use super::hosts::Host;
use crate::json::{is_empty, type_name};
use crate::text::{bracketed, host_of};
use crate::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, JUJU_UNIT, Topology};

/// A target that starts with this stands for every unit.
const WILDCARD: char = '*';

/// How much text the jobs of one relation may grow to. A job of megabytes times a thousand units would not fit into memory.
pub(super) const EXPANDED_BYTES_MAX: usize = 32 << 20;

/// A job after expansion, and the unit it is for.
pub(super) type Expanded = (Map<String, Value>, Option<String>);

/// Expands the targets of `job`, which has its final name already. What it grows by is taken from `bytes_left`. What of its targets is
/// no target is left out and told beside.
pub(super) fn expand(
    job: &Map<String, Value>,
    hosts: &[Host],
    topology: &Topology,
    bytes_left: &mut usize,
) -> Result<(Vec<Expanded>, Vec<JobFault>), JobFault> {
    let mut expansion = Expansion::new(job, hosts, topology, bytes_left)?;
    let static_configs = match job.get("static_configs") {
        None | Some(Value::Null) => &Vec::new(),
        Some(Value::Array(configs)) => configs,
        Some(other) => return Err(unfit("static_configs", other, "a list")),
    };
    for (at, config) in static_configs.iter().enumerate() {
        let path = format!("static_configs[{at}]");
        match config {
            Value::Object(config) => expansion.add(config, &path)?,
            other => expansion.faults.push(unfit(&path, other, "an object")),
        }
    }
    expansion.finish()
}

/// What stands at `path` is not what it has to be.
fn unfit(path: &str, value: &Value, expected: &str) -> JobFault {
    JobFault::new(path, format!("{path} is {}, not {expected}", type_name(value)))
}

struct Expansion<'a> {
    /// The job without its static configs and metrics path, whose places are kept.
    template: Map<String, Value>,
    template_bytes: usize,
    name: &'a str,
    metrics_path: &'a str,
    relabel_configs: Vec<Value>,
    hosts: &'a [Host],
    by_identifier: HashMap<&'a str, usize>,
    topology: &'a Topology,
    bytes_left: &'a mut usize,
    shared: Vec<Value>,
    jobs: Vec<Expanded>,
    faults: Vec<JobFault>,
}

impl<'a> Expansion<'a> {
    fn new(
        job: &'a Map<String, Value>,
        hosts: &'a [Host],
        topology: &'a Topology,
        bytes_left: &'a mut usize,
    ) -> Result<Self, JobFault> {
        let metrics_path = match job.get("metrics_path") {
            None | Some(Value::Null) => "/metrics",
            Some(Value::String(path)) if path.is_empty() => "/metrics",
            Some(Value::String(path)) => path,
            Some(other) => return Err(unfit("metrics_path", other, "a string")),
        };
        let relabel_configs = match job.get("relabel_configs") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(configs)) => configs.clone(),
            Some(other) => return Err(unfit("relabel_configs", other, "a list")),
        };
        let set_later = |key: &str| matches!(key, "static_configs" | "metrics_path" | "relabel_configs");
        let template: Map<_, _> = job
            .iter()
            .map(|(key, value)| (key.clone(), if set_later(key) { Value::Null } else { value.clone() }))
            .collect();
        // Two units may be known by one name, for instance behind one proxy; then the last one counts.
        let by_identifier = hosts
            .iter()
            .enumerate()
            .flat_map(|(at, host)| [(host.address.as_str(), at), (host.fqdn.as_str(), at)])
            .filter(|(identifier, _)| !identifier.is_empty())
            .collect();
        Ok(Expansion {
            template_bytes: map_bytes(&template) + relabel_configs.iter().map(bytes).sum::<usize>(),
            template,
            name: job.get("job_name").and_then(Value::as_str).unwrap_or_default(),
            metrics_path,
            relabel_configs,
            hosts,
            by_identifier,
            topology,
            bytes_left,
            shared: Vec::new(),
            jobs: Vec::new(),
            faults: Vec::new(),
        })
    }

    /// Adds one static config: first the targets that name a unit, then the wildcards for every unit. What is left over waits for
    /// the shared job.
    fn add(&mut self, config: &Map<String, Value>, path: &str) -> Result<(), JobFault> {
        let targets = match config.get("targets") {
            None => return Ok(()),
            Some(targets) if is_empty(targets) => return Ok(()),
            Some(Value::Array(targets)) => targets,
            Some(other) => {
                self.faults.push(unfit(&format!("{path}.targets"), other, "a list"));
                return Ok(());
            }
        };
        let labels = match config.get("labels") {
            None | Some(Value::Null) => &Map::new(),
            Some(Value::Object(labels)) => labels,
            Some(other) => {
                self.faults.push(unfit(&format!("{path}.labels"), other, "an object"));
                return Ok(());
            }
        };
        let (mut wildcards, mut strangers) = (Vec::new(), Vec::new());
        let mut of_units: Vec<(usize, Vec<String>)> = Vec::new();
        for (target_at, target) in targets.iter().enumerate() {
            let Value::String(target) = target else {
                self.faults.push(unfit(&format!("{path}.targets[{target_at}]"), target, "a string"));
                continue;
            };
            if target.starts_with(WILDCARD) {
                wildcards.push(target);
                continue;
            }
            match self.by_identifier.get(host_of(target).as_str()) {
                Some(&at) => match of_units.iter_mut().find(|(other, _)| *other == at) {
                    Some((_, targets)) => targets.push(target.clone()),
                    None => of_units.push((at, vec![target.clone()])),
                },
                None => strangers.push(target.clone()),
            }
        }
        if !strangers.is_empty() {
            self.take(map_bytes(config))?;
            self.shared.push(self.static_config(config, strangers, labels, None));
        }
        for (at, targets) in of_units {
            self.add_unit_job(config, targets, labels, at)?;
        }
        if !wildcards.is_empty() {
            for (at, host) in self.hosts.iter().enumerate() {
                let address = bracketed(&host.address);
                let stars: usize = wildcards.iter().map(|target| target.matches(WILDCARD).count()).sum();
                self.take(stars * address.len())?;
                let targets = wildcards.iter().map(|target| target.replace(WILDCARD, &address)).collect();
                self.add_unit_job(config, targets, labels, at)?;
            }
        }
        Ok(())
    }

    fn add_unit_job(
        &mut self,
        config: &Map<String, Value>,
        targets: Vec<String>,
        labels: &Map<String, Value>,
        at: usize,
    ) -> Result<(), JobFault> {
        self.take(self.template_bytes + map_bytes(config))?;
        let host = &self.hosts[at];
        let static_config = self.static_config(config, targets, labels, Some(&host.unit));
        let mut job = self.template.clone();
        set(&mut job, "job_name", Value::String(format!("{}-{}", self.name, host.number())));
        set(&mut job, "metrics_path", Value::String(format!("{}{}", host.path, self.metrics_path)));
        set(&mut job, "relabel_configs", self.relabelling(true));
        set(&mut job, "static_configs", Value::Array(vec![static_config]));
        self.jobs.push((job, Some(host.unit.clone())));
        Ok(())
    }

    /// The jobs of units in the order they came up, and last the one shared by all targets that are no unit.
    fn finish(mut self) -> Result<(Vec<Expanded>, Vec<JobFault>), JobFault> {
        if !self.shared.is_empty() {
            self.take(self.template_bytes)?;
            let mut job = self.template.clone();
            set(&mut job, "static_configs", Value::Array(std::mem::take(&mut self.shared)));
            set(&mut job, "metrics_path", Value::String(self.metrics_path.to_owned()));
            set(&mut job, "relabel_configs", self.relabelling(false));
            self.jobs.push((job, None));
        }
        Ok((self.jobs, self.faults))
    }

    /// `config` with these targets, and with labels: the topology's first, then the peer's own, which win.
    fn static_config(
        &self,
        config: &Map<String, Value>,
        targets: Vec<String>,
        labels: &Map<String, Value>,
        unit: Option<&str>,
    ) -> Value {
        let topology = self.topology.labels().into_iter().chain(unit.map(|unit| (JUJU_UNIT, unit)));
        let mut all: Map<String, Value> =
            topology.map(|(name, value)| (name.to_owned(), Value::String(value.to_owned()))).collect();
        for (name, value) in labels {
            set(&mut all, name, value.clone());
        }
        let mut config: Map<_, _> = config
            .iter()
            .map(|(key, value)| (key.clone(), if key == "targets" { Value::Null } else { value.clone() }))
            .collect();
        set(&mut config, "targets", targets.into());
        set(&mut config, "labels", Value::Object(all));
        Value::Object(config)
    }

    /// The peer's relabelling, and last ours, which makes the topology the `instance`.
    fn relabelling(&self, with_unit: bool) -> Value {
        let mut source_labels = vec![JUJU_MODEL, JUJU_MODEL_UUID, JUJU_APPLICATION];
        source_labels.extend(with_unit.then_some(JUJU_UNIT));
        let mut configs = self.relabel_configs.clone();
        configs.push(json!({
            "source_labels": source_labels,
            "separator": "_",
            "target_label": "instance",
            "regex": "(.*)",
        }));
        Value::Array(configs)
    }

    fn take(&mut self, bytes: usize) -> Result<(), JobFault> {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => {
                *self.bytes_left = left;
                Ok(())
            }
            None => {
                let message = format!("the jobs of this relation grow to more than {EXPANDED_BYTES_MAX} bytes");
                Err(JobFault::new("", message))
            }
        }
    }
}

/// Sets `key`, at the place it has or else at the end, as a Python dictionary does.
pub(super) fn set(entries: &mut Map<String, Value>, key: &str, value: Value) {
    match entries.get_mut(key) {
        Some(place) => *place = value,
        None => {
            entries.insert(key.to_owned(), value);
        }
    }
}

/// About how many bytes `value` takes in memory.
fn bytes(value: &Value) -> usize {
    const NODE_BYTES: usize = size_of::<Value>();
    NODE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(bytes).sum(),
            Value::Object(entries) => map_bytes(entries),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

fn map_bytes(entries: &Map<String, Value>) -> usize {
    entries.iter().map(|(key, value)| key.len() + bytes(value)).sum()
}
