//! What somebody saved of a unit, and how it becomes the world that a pass looks at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relatum_relations::bag::Databag;
use relatum_relations::endpoints::{self, APPLICATION};
use relatum_relations::name::UnitName;
use relatum_relations::prometheus_scrape::permissions::ALLOW_PROXY_URL;
use relatum_relations::topology::Topology;
use relatum_relations::unit_status::Workload;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::events::Visible;
use super::{ReplayError, certificate};
use crate::control::Problem;
use crate::declared::local::LocalFiles;
use crate::packed::PackedBag;
use crate::pipeline::desire::Us;
use crate::pipeline::observe::{FileOptions, Observed, Place};
use crate::store::{Bag, Endpoint, Model, Relations, Role, StoredRelation, World};

/// The port the charm's server listens on.
const PORT: u16 = 9090;

/// A saved unit and its relations.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub(super) local: Local,
    /// With the databags as they stand before the events.
    #[serde(default)]
    pub(super) relations: Vec<Saved>,
    /// Options that differ from their defaults.
    #[serde(default)]
    pub(super) charm_config: Map<String, Value>,
    #[serde(default)]
    pub(super) workload: SavedWorkload,
    /// What the other side's leader writes at each event `remote_app_data_set`.
    #[serde(default)]
    pub(super) remote_app_data_steps: Vec<Databag>,
    #[serde(default)]
    pub(super) expected: Expected,
}

/// Who we are.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Local {
    pub(super) model: String,
    pub(super) model_uuid: String,
    pub(super) app: String,
    pub(super) unit: String,
    pub(super) charm_name: Option<String>,
    pub(super) fqdn: Option<String>,
    pub(super) pvc_capacity: Option<String>,
    /// Only the leader writes its application's databag.
    #[serde(default = "yes")]
    pub(super) leader: bool,
}

fn yes() -> bool {
    true
}

/// One relation with the databags of both sides.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Saved {
    pub(super) endpoint: String,
    pub(super) interface: String,
    pub(super) id: u64,
    pub(super) remote_app: String,
    #[serde(default)]
    pub(super) local_app_data: Databag,
    #[serde(default)]
    pub(super) local_unit_data: Databag,
    #[serde(default)]
    pub(super) remote_app_data: Databag,
    #[serde(default)]
    pub(super) remote_units_data: BTreeMap<String, Databag>,
}

/// How the server that we do not have is said to be.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SavedWorkload {
    #[default]
    Runs,
    Unreachable,
    Refuses,
}

impl From<SavedWorkload> for Workload {
    fn from(saved: SavedWorkload) -> Self {
        match saved {
            SavedWorkload::Runs => Workload::Runs,
            SavedWorkload::Unreachable => Workload::Unreachable,
            SavedWorkload::Refuses => Workload::Refuses,
        }
    }
}

/// Of what is expected, that which moves the case on; the rest is for those who compare.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Expected {
    #[serde(default)]
    pub(super) events: Vec<Vec<Value>>,
}

impl Case {
    pub(super) fn us(&self) -> Result<Us, ReplayError> {
        let local = &self.local;
        let named = |what: &'static str, reason: String| ReplayError::Name { what, reason };
        let topology = Topology::new(&local.model, &local.model_uuid, &local.app)
            .and_then(|topology| topology.with_charm(local.charm_name.as_deref().unwrap_or(&local.app)))
            .map_err(|error| named("`local`", error.to_string()))?;
        let unit = local.unit.parse::<UnitName>().map_err(|error| named("`local.unit`", error.to_string()))?;
        if unit.application() != local.app {
            return Err(named("`local.unit`", format!("{unit} is no unit of {}", local.app)));
        }
        Ok(Us { topology, unit, leads: local.leader, authority: None })
    }

    /// `10Gi` as bytes.
    pub(super) fn disk_bytes(&self) -> Option<u64> {
        let text = self.local.pvc_capacity.as_deref()?;
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (base, power): (u64, u32) = match &text[number.len()..] {
            "" => (1, 0),
            "Ki" => (1024, 1),
            "Mi" => (1024, 2),
            "Gi" => (1024, 3),
            "Ti" => (1024, 4),
            "k" => (1000, 1),
            "M" => (1000, 2),
            "G" => (1000, 3),
            "T" => (1000, 4),
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(base.pow(power))
    }

    /// The world as far as the events have come, and what of the case is not in it.
    pub(super) fn observed(&self, unit: &UnitName, visible: &Visible<'_>, root: &Path) -> (Observed, Vec<Problem>) {
        let (mut relations, mut refused) = (Relations::default(), Vec::new());
        for saved in &self.relations {
            relations.extend(saved.stored(unit, visible, &mut refused).map(Arc::new));
        }
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let host = self.local.fqdn.clone().unwrap_or_else(|| "localhost".to_owned());
        let scheme = if certificate::of(self, visible).is_some() { "https" } else { "http" };
        let observed = Observed {
            world: World {
                model: Model { name: self.local.model.clone(), uuid: self.local.model_uuid.clone() },
                relations,
                config: self.charm_config.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
                ..World::default()
            },
            file: FileOptions::default(),
            // The charm lets peers choose their proxy.
            option_defaults: BTreeMap::from([(ALLOW_PROXY_URL.to_owned(), "true".to_owned())]),
            overrides: BTreeMap::new(),
            local: LocalFiles::default(),
            declared: Vec::new(),
            current: Default::default(),
            // Its key is nowhere in a case; what was signed for it is added afterwards.
            identity: Ok(None),
            now_ms: 0,
            place: Place {
                unit: unit.clone(),
                identity: PathBuf::new(),
                rendered: root.to_owned(),
                samples: PathBuf::from("/var/lib/prometheus"),
                listen: format!("0.0.0.0:{PORT}"),
                self_target: format!("{host}:{PORT}"),
                agent_target: None,
                url: format!("{scheme}://{host}:{PORT}"),
                file_system_bytes: self.disk_bytes().unwrap_or(u64::MAX >> 1),
                tries_certificates: false,
            },
        };
        (observed, refused)
    }
}

impl Saved {
    /// The relation as far as it is visible; nothing of it if no endpoint of ours is meant.
    fn stored(&self, us: &UnitName, visible: &Visible<'_>, refused: &mut Vec<Problem>) -> Option<StoredRelation> {
        let units = visible.units(self.id)?;
        let mut refuse = |unit: Option<&String>, message: String| {
            let relation = Some(format!("{}:{}", self.endpoint, self.id));
            refused.push(Problem { relation, unit: unit.cloned(), ..Problem::new(message) });
        };
        let Some(known) = endpoints::named(&self.endpoint) else {
            refuse(None, format!("we have no endpoint {}", self.endpoint));
            return None;
        };
        let role = if known.role == endpoints::Role::Provides { Role::Provider } else { Role::Requirer };
        let ours = Endpoint { application: APPLICATION.to_owned(), name: self.endpoint.clone() };
        let theirs = Endpoint { application: self.remote_app.clone(), name: self.endpoint.clone() };
        let (provider, requirer) = if role == Role::Provider { (ours, theirs) } else { (theirs, ours) };
        let bag = |content: &Databag| Bag { version: 1, content: PackedBag::new(content) };
        let mut bags = BTreeMap::from([
            ((role, APPLICATION.to_owned()), bag(&self.local_app_data)),
            ((role, us.to_string()), bag(&self.local_unit_data)),
            ((role.other(), self.remote_app.clone()), bag(visible.app_data(self))),
        ]);
        for (unit, data) in self.remote_units_data.iter().filter(|(unit, _)| units.contains(unit.as_str())) {
            match unit.parse::<UnitName>() {
                Ok(_) => drop(bags.insert((role.other(), unit.clone()), bag(data))),
                Err(error) => refuse(Some(unit), error.to_string()),
            }
        }
        Some(StoredRelation { id: self.id, interface: self.interface.clone(), provider, requirer, bags })
    }
}
