//! What `juju show-unit` prints, as YAML or JSON, read as cases.
//!
//! It shows what one unit sees: of the other side the application's databag and those of all units, of its own side that of the unit.
//! The model, the disk and the options are not in it.

use std::collections::BTreeMap;

use relatum_relations::bag::Databag;
use relatum_relations::endpoints;
use relatum_relations::name::UnitName;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::case::{Case, Expected, Local, Saved, SavedWorkload};
use super::{ModelName, ReplayError};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ShownUnit {
    charm: Option<String>,
    #[serde(default)]
    leader: bool,
    public_address: Option<String>,
    address: Option<String>,
    #[serde(default)]
    relation_info: Vec<ShownRelation>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ShownRelation {
    /// Older versions do not show it.
    relation_id: Option<u64>,
    endpoint: String,
    #[serde(default)]
    related_endpoint: String,
    #[serde(default)]
    application_data: Map<String, Value>,
    #[serde(default)]
    local_unit: ShownData,
    #[serde(default)]
    related_units: BTreeMap<String, ShownData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ShownData {
    #[serde(default)]
    data: Map<String, Value>,
}

/// One case for each unit of `shown`.
pub(super) fn cases(shown: &Map<String, Value>, model: &ModelName) -> Result<Vec<Case>, ReplayError> {
    let mut cases = Vec::new();
    for (name, unit) in shown {
        let Ok(name) = name.parse::<UnitName>() else {
            return Err(ReplayError::Read(format!("{name:?} is neither a part of a case nor a unit that juju shows")));
        };
        let unit: ShownUnit = serde_json::from_value(unit.clone())
            .map_err(|error| ReplayError::Read(format!("{name} is not as juju shows a unit: {error}")))?;
        cases.push(unit.case(&name, model));
    }
    if cases.is_empty() {
        return Err(ReplayError::Read("it shows no unit".to_owned()));
    }
    Ok(cases)
}

impl ShownUnit {
    fn case(self, name: &UnitName, model: &ModelName) -> Case {
        let host = self.host();
        let relations = self.relation_info.into_iter().enumerate();
        let relations = relations.filter_map(|(at, shown)| shown.saved(name, at as u64)).collect();
        Case {
            local: Local {
                model: model.name.clone(),
                model_uuid: model.uuid.clone(),
                app: name.application().to_owned(),
                unit: name.to_string(),
                charm_name: self.charm.as_deref().map(charm_name),
                fqdn: host,
                pvc_capacity: None,
                leader: self.leader,
            },
            relations,
            charm_config: Map::new(),
            workload: SavedWorkload::Runs,
            remote_app_data_steps: Vec::new(),
            expected: Expected::default(),
        }
    }

    /// Under which name the unit told others of itself, or else its address.
    fn host(&self) -> Option<String> {
        let said = |key: &str| {
            let mut bags = self.relation_info.iter().map(|shown| &shown.local_unit.data);
            bags.find_map(|bag| Some(bag.get(key)?.as_str()?.to_owned()))
        };
        let of_url = |url: String| {
            let host = url.split_once("://")?.1.split('/').next()?.to_owned();
            Some(host.rsplit_once(':').map_or(host.clone(), |(host, _)| host.to_owned()))
        };
        let address = self.address.clone().or_else(|| self.public_address.clone());
        said("host").or_else(|| said("grafana_source_host").and_then(of_url)).or(address)
    }
}

impl ShownRelation {
    /// The relation; `None` for one among the units of one application.
    fn saved(self, us: &UnitName, at: u64) -> Option<Saved> {
        let known = endpoints::named(&self.endpoint);
        if known.is_some_and(|known| known.role == endpoints::Role::Peer) {
            return None;
        }
        let named = self.related_units.keys().find_map(|unit| unit.parse::<UnitName>().ok());
        let id = self.relation_id.unwrap_or(at);
        // Without units nothing says which application it is.
        let remote_app = named.map_or_else(|| format!("related-{id}x"), |unit| unit.application().to_owned());
        let is_own = remote_app == us.application() && self.endpoint == self.related_endpoint;
        if is_own {
            return None;
        }
        Some(Saved {
            interface: known.map_or_else(String::new, |known| known.interface.to_owned()),
            endpoint: self.endpoint,
            id,
            remote_app,
            local_app_data: Databag::new(),
            local_unit_data: bag(self.local_unit.data),
            remote_app_data: bag(self.application_data),
            remote_units_data: self.related_units.into_iter().map(|(unit, shown)| (unit, bag(shown.data))).collect(),
        })
    }
}

/// The texts of a databag. A number or a truth value is one that lost its quotes on the way.
fn bag(shown: Map<String, Value>) -> Databag {
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    };
    shown.into_iter().map(|(key, value)| (key, text(value))).collect()
}

/// `prometheus-k8s` of `ch:amd64/noble/prometheus-k8s-220`.
fn charm_name(url: &str) -> String {
    let last = url.rsplit(['/', ':']).next().unwrap_or(url);
    match last.rsplit_once('-') {
        Some((name, revision)) if revision.bytes().all(|b| b.is_ascii_digit()) => name.to_owned(),
        _ => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charm_names() {
        for (url, expected) in [
            ("ch:amd64/noble/prometheus-k8s-220", "prometheus-k8s"),
            ("local:prometheus-k8s-0", "prometheus-k8s"),
            ("cs:~someone/focal/prometheus-3", "prometheus"),
            ("prometheus-k8s", "prometheus-k8s"),
        ] {
            assert_eq!(charm_name(url), expected, "{url}");
        }
    }
}
