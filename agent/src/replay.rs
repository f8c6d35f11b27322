//! Runs the pure steps of a pass on saved databags, without an agent: what the real charm's unit would render and publish.
//!
//! A case is one JSON object: `local` says who we are, `relations` has both sides' databags, `charm_config` the options, and
//! `expected.events` in which order things happened. Nothing is read but the case and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relatum_relations::bag::Databag;
use relatum_relations::endpoints::{self, APPLICATION};
use relatum_relations::prometheus_scrape::ALERT_RULES;
use relatum_relations::topology::Topology;
use relatum_relations::{charm_options, name::UnitName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::control::Problem;
use crate::declared::local::LocalFiles;
use crate::dialect::{Dialect, Layout};
use crate::pipeline::desire::{Desired, MATERIALS, Memory, Us, desire_as};
use crate::pipeline::observe::{FileOptions, Observed, Place};
use crate::pipeline::render::{DATASOURCE_PATH, Renderer};
use crate::relate::OUR_UNIT;
use crate::store::{Bag, Endpoint, Model, Role, StoredRelation, World};
use crate::workload::Files;

/// What the charm's status says of rules that it cannot use.
const INVALID_RULES: &str = "Invalid alert rules. See debug-log";

/// A saved world.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// Who we are.
    local: Local,
    /// With the databags as they stand before the events.
    #[serde(default)]
    relations: Vec<Saved>,
    /// Options that differ from their defaults.
    #[serde(default)]
    charm_config: Map<String, Value>,
    #[serde(default)]
    expected: Expected,
}

#[derive(Debug, Clone, Deserialize)]
struct Local {
    model: String,
    model_uuid: String,
    app: String,
    unit: String,
    charm_name: Option<String>,
    fqdn: Option<String>,
    pvc_capacity: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Saved {
    endpoint: String,
    interface: String,
    id: u64,
    remote_app: String,
    #[serde(default)]
    local_app_data: Databag,
    #[serde(default)]
    local_unit_data: Databag,
    #[serde(default)]
    remote_app_data: Databag,
    #[serde(default)]
    remote_units_data: BTreeMap<String, Databag>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Expected {
    #[serde(default)]
    events: Vec<Vec<Value>>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Replayed {
    /// As the charm says it: `active`, or `blocked` with its text.
    pub status: ReplayedStatus,
    /// Jobs of relations, before `honor_labels` and before certificates became files.
    pub scrape_jobs: Vec<Value>,
    /// Path to text.
    pub files: Files,
    /// How the server is started.
    pub command: Vec<String>,
    /// `endpoint:id` to what we publish there.
    pub databags: BTreeMap<String, Published>,
    /// Everything left out.
    pub problems: Vec<Problem>,
    /// How often the files were different after an event.
    pub reloads: usize,
}

/// A unit's status.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayedStatus {
    /// The word.
    pub status: String,
    /// The text.
    pub message: String,
}

/// Our side of one relation.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Published {
    /// The application's databag.
    pub app: Databag,
    /// The unit's databag.
    pub unit: Databag,
}

/// Reads a case.
pub fn read(text: &str) -> Result<Case, serde_json::Error> {
    serde_json::from_str(text)
}

/// Runs `case` with its files below `root`.
pub fn replay(case: &Case, root: &Path) -> Result<Replayed, String> {
    let us = case.us()?;
    let (mut memory, mut renderer) = (Memory::default(), Renderer::default());
    let mut visible = Visible::default();
    let mut pass = |visible: &Visible| -> Result<(Desired, Files, Vec<Problem>), String> {
        let observed = case.observed(visible, root)?;
        let desired = desire_as(&us, &observed, &mut memory);
        let rendered = renderer.render(&desired, &BTreeMap::new(), Dialect { layout: Layout::Inlined, version: None });
        Ok((desired, placed(rendered.files, root), rendered.problems))
    };
    let (mut reloads, mut before) = (0, None);
    for event in &case.expected.events {
        visible.apply(event);
        let (_, files, _) = pass(&visible)?;
        reloads += usize::from(before.as_ref().is_some_and(|before| *before != files));
        before = Some(files);
    }
    if case.expected.events.is_empty() {
        visible.all(case);
    }
    let (desired, files, rendering) = pass(&visible)?;
    let effect = charm_options::effect(&case.charm_config, case.disk_bytes());
    let are_rules_bad = desired.problems.iter().any(|problem| problem.key.as_deref() == Some(ALERT_RULES));
    let blocked = effect.blocked.first().map(String::as_str).or(are_rules_bad.then_some(INVALID_RULES));
    Ok(Replayed {
        status: ReplayedStatus {
            status: if blocked.is_some() { "blocked" } else { "active" }.to_owned(),
            message: blocked.unwrap_or_default().to_owned(),
        },
        scrape_jobs: jobs(&desired),
        command: charm_options::command(&effect, desired.urls.most_external(), false)
            .split(' ')
            .map(str::to_owned)
            .collect(),
        databags: databags(&desired),
        problems: desired.problems.into_iter().chain(rendering).collect(),
        files,
        reloads,
    })
}

/// What the events have brought so far: relations, and the numbers of the other side's units.
#[derive(Debug, Default)]
struct Visible {
    relations: BTreeMap<u64, BTreeSet<u64>>,
}

impl Visible {
    /// `created/joined/departed/broken`, a relation's id and a unit's number; whatever else happens moves nothing.
    fn apply(&mut self, event: &[Value]) {
        let number = |at: usize| event.get(at).and_then(Value::as_u64);
        let Some(id) = number(1) else { return };
        match (event[0].as_str().unwrap_or_default(), number(2)) {
            ("created", _) => drop(self.relations.entry(id).or_default()),
            ("joined", Some(unit)) => drop(self.relations.entry(id).or_default().insert(unit)),
            ("departed", Some(unit)) => drop(self.relations.entry(id).or_default().remove(&unit)),
            ("broken", _) => drop(self.relations.remove(&id)),
            _ => {}
        }
    }

    fn all(&mut self, case: &Case) {
        let number = |unit: &String| unit.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
        let units = |saved: &Saved| saved.remote_units_data.keys().filter_map(number).collect();
        self.relations = case.relations.iter().map(|saved| (saved.id, units(saved))).collect();
    }
}

impl Case {
    fn us(&self) -> Result<Us, String> {
        let local = &self.local;
        let named = |error: &dyn std::fmt::Display| format!("cannot use `local`: {error}");
        let topology = Topology::new(&local.model, &local.model_uuid, &local.app)
            .and_then(|topology| topology.with_charm(local.charm_name.as_deref().unwrap_or(&local.app)))
            .map_err(|error| named(&error))?;
        let unit = local.unit.parse::<UnitName>().map_err(|_| named(&format!("{:?} names no unit", local.unit)))?;
        Ok(Us { topology, unit })
    }

    /// `10Gi` as bytes.
    fn disk_bytes(&self) -> Option<u64> {
        let text = self.local.pvc_capacity.as_deref()?;
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &text[number.len()..] {
            "" => 0,
            "Ki" => 10,
            "Mi" => 20,
            "Gi" => 30,
            "Ti" => 40,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(1 << shift)
    }

    fn observed(&self, visible: &Visible, root: &Path) -> Result<Observed, String> {
        let mut relations = Vec::new();
        for saved in &self.relations {
            let Some(units) = visible.relations.get(&saved.id) else { continue };
            relations.push(Arc::new(saved.stored(units)?));
        }
        relations.sort_by_key(|relation| relation.id);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let host = self.local.fqdn.clone().unwrap_or_else(|| "localhost".to_owned());
        Ok(Observed {
            world: World {
                model: Model { name: self.local.model.clone(), uuid: self.local.model_uuid.clone() },
                relations,
                config: self.charm_config.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
                ..World::default()
            },
            file: FileOptions::default(),
            option_defaults: BTreeMap::new(),
            overrides: BTreeMap::new(),
            local: LocalFiles::default(),
            declared: Vec::new(),
            current: Arc::default(),
            place: Place {
                rendered: root.to_owned(),
                samples: PathBuf::from("/var/lib/prometheus"),
                listen: "0.0.0.0:9090".to_owned(),
                self_target: format!("{host}:9090"),
                agent_target: None,
                url: format!("http://{host}:9090"),
                file_system_bytes: self.disk_bytes().unwrap_or(u64::MAX >> 1),
            },
        })
    }
}

impl Saved {
    fn stored(&self, units: &BTreeSet<u64>) -> Result<StoredRelation, String> {
        let known = endpoints::named(&self.endpoint);
        let known =
            known.ok_or_else(|| format!("cannot use relation {}: we have no endpoint {}", self.id, self.endpoint))?;
        let role = if known.role == endpoints::Role::Provides { Role::Provider } else { Role::Requirer };
        let ours = Endpoint { application: APPLICATION.to_owned(), name: self.endpoint.clone() };
        let theirs = Endpoint { application: self.remote_app.clone(), name: self.endpoint.clone() };
        let (provider, requirer) = if role == Role::Provider { (ours, theirs) } else { (theirs, ours) };
        let bag = |content: &Databag| Bag { version: 1, content: content.clone() };
        let mut bags = BTreeMap::from([
            ((role, APPLICATION.to_owned()), bag(&self.local_app_data)),
            ((role, OUR_UNIT.to_owned()), bag(&self.local_unit_data)),
            ((role.other(), self.remote_app.clone()), bag(&self.remote_app_data)),
        ]);
        for (unit, data) in &self.remote_units_data {
            let number = unit.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
            if number.is_some_and(|number| units.contains(&number)) {
                bags.insert((role.other(), unit.clone()), bag(data));
            }
        }
        Ok(StoredRelation { id: self.id, interface: self.interface.clone(), provider, requirer, bags })
    }
}

/// The files where the charm has them: certificates beside the main file, and none for Grafana.
fn placed(files: Files, root: &Path) -> Files {
    let ours = format!("{}/", root.join(MATERIALS).display());
    let theirs = format!("{}/", root.display());
    let place = |(path, text): (String, Arc<str>)| {
        let name = path.strip_prefix(&format!("{MATERIALS}/")).unwrap_or(&path).to_owned();
        let text = if name == path { text.replace(&ours, &theirs).into() } else { text };
        (root.join(name).display().to_string(), text)
    };
    files.into_iter().filter(|(path, _)| path != DATASOURCE_PATH).map(place).collect()
}

fn jobs(desired: &Desired) -> Vec<Value> {
    let mut jobs: Vec<Value> = desired.scrapes.values().flat_map(|jobs| jobs.iter()).cloned().collect();
    for job in jobs.iter_mut().filter_map(Value::as_object_mut) {
        job.shift_remove("honor_labels");
        for value in job.get_mut("tls_config").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            let name =
                value.as_str().and_then(|path| path.rsplit_once('/')).map(|(_, name)| format!("{MATERIALS}/{name}"));
            if let Some(content) = name.and_then(|name| desired.materials.get(&name)) {
                *value = json!(content);
            }
        }
    }
    jobs
}

fn databags(desired: &Desired) -> BTreeMap<String, Published> {
    let endpoints: BTreeMap<u64, &String> = desired.yields.keys().map(|(endpoint, id)| (*id, endpoint)).collect();
    let mut published: BTreeMap<String, Published> = BTreeMap::new();
    for ((id, _, owner), bag) in &desired.bags {
        let Some(endpoint) = endpoints.get(id) else { continue };
        let side = published.entry(format!("{endpoint}:{id}")).or_default();
        let part = if owner == OUR_UNIT { &mut side.unit } else { &mut side.app };
        part.clone_from(bag);
    }
    published
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_bring_and_take_what_is_rendered() {
        let local = json!({
            "model": "cos", "model_uuid": "3f1a2b4c-5d6e-4f70-8a91-b2c3d4e5f607", "app": "prom", "unit": "prom/0",
            "charm_name": "prometheus-k8s", "fqdn": "prom.example", "pvc_capacity": "10Gi",
        });
        let metadata = json!({
            "model": "shop", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "zinc",
            "unit": "zinc/0", "charm_name": "zinc-k8s",
        });
        let relation = json!({
            "endpoint": "metrics-endpoint", "interface": "prometheus_scrape", "id": 7, "remote_app": "zinc",
            "remote_app_data": {
                "scrape_metadata": metadata.to_string(),
                "scrape_jobs": json!([{"static_configs": [{"targets": ["*:80"]}]}]).to_string(),
            },
            "remote_units_data": {"zinc/0": {
                "prometheus_scrape_unit_address": "10.0.0.1", "prometheus_scrape_unit_name": "zinc/0",
            }},
        });
        let check = |events: Value, jobs: usize, reloads: usize| {
            let case = json!({"local": local, "relations": [relation], "expected": {"events": events}});
            let replayed = replay(&read(&case.to_string()).unwrap(), Path::new("/etc/prometheus")).unwrap();
            assert_eq!((replayed.scrape_jobs.len(), replayed.reloads), (jobs, reloads), "{events}: {replayed:?}");
            let main = &replayed.files["/etc/prometheus/prometheus.yml"];
            assert!(main.contains("juju_unit: prom/0") && main.contains("prom.example:9090"), "{main}");
            assert_eq!(main.contains("10.0.0.1:80"), jobs > 0, "{main}");
        };
        // Without events everything is there at once.
        check(json!([]), 1, 0);
        check(json!([["created", 7], ["joined", 7, 0], ["changed", 7, 0], ["config_changed"]]), 1, 1);
        check(json!([["created", 7], ["joined", 7, 0], ["broken", 7]]), 0, 2);
    }
}
