//! `show-unit` with juju's keys, and actions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What `show-unit` prints: units by name.
pub type ShownUnits = BTreeMap<String, ShownUnit>;

/// One unit and its relations, as the unit sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShownUnit {
    /// What it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload_version: String,
    /// Such as `9090/tcp`.
    pub opened_ports: Vec<String>,
    /// Where it is reached; empty if it never said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub public_address: String,
    /// What manages it.
    pub charm: String,
    /// Whether it leads.
    pub leader: bool,
    /// Always `alive`.
    pub life: String,
    /// Its relations, by id.
    pub relation_info: Vec<UnitRelation>,
    /// As [`ShownUnit::public_address`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
}

/// One relation of a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UnitRelation {
    /// Its id.
    pub relation_id: u64,
    /// The endpoint of the unit's application.
    pub endpoint: String,
    /// Whether the other side is of another model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cross_model: bool,
    /// The endpoint of the other side.
    pub related_endpoint: String,
    /// What the other application wrote.
    pub application_data: BTreeMap<String, String>,
    /// What the unit itself wrote; none where only applications are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_unit: Option<ScopedData>,
    /// What the units of the other side wrote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub related_units: BTreeMap<String, ScopedData>,
}

/// What one unit wrote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ScopedData {
    /// Whether it is in the relation.
    pub in_scope: bool,
    /// Its databag.
    pub data: BTreeMap<String, String>,
}

/// `run UNIT ACTION`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunAction {
    /// The unit, or `APP/leader`.
    pub unit: String,
    /// The action.
    pub action: String,
}

/// How an action went, with juju's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number since the agent began.
    pub id: String,
    /// `completed` or `failed`.
    pub status: String,
    /// The unit it ran on.
    pub unit: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What it gave; `return-code` among it.
    pub results: BTreeMap<String, serde_json::Value>,
    /// When it was asked for, begun and done, milliseconds since 1970.
    pub timing: BTreeMap<String, i64>,
}
