//! `grafana_datasource`: we offer ourselves as a data source, Grafana says under which uid it took us.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bag::{self, Databag, Relation};
use crate::json::{self, type_name};
use crate::name::UnitName;
use crate::place::{located, step};
use crate::problem::Problem;
use crate::text::sha256_hex;
use crate::topology::Topology;

/// The name of the interface.
pub const INTERFACE: &str = "grafana_datasource";

/// Grafana refuses longer uids since version 12, and a refused provisioning file keeps it from starting.
const UID_BYTES_MAX: usize = 40;

/// Our application's databag: what sort of data source we are. `time_interval` is how often we scrape, as in `1m`.
pub fn provider_app_bag(topology: &Topology, time_interval: &str) -> Databag {
    let data = json!({
        "model": topology.model(),
        "model_uuid": topology.model_uuid(),
        "application": topology.application(),
        "type": "prometheus",
        "extra_fields": {"timeInterval": time_interval},
        "secure_extra_fields": null,
    });
    Databag::from([("grafana_source_data".to_owned(), json::dumps(&data))])
}

/// Our unit's databag: where Grafana reaches this unit from inside, never through the ingress.
pub fn provider_unit_bag(internal_url: &str) -> Databag {
    Databag::from([("grafana_source_host".to_owned(), internal_url.to_owned())])
}

/// The name, and at the same time the uid, that the Grafana charm gives to the data source of `unit`; without a unit, to that of
/// the whole application.
pub fn source_name(topology: &Topology, unit: Option<&UnitName>) -> String {
    let application = format!("juju_{}_{}_{}", topology.model(), topology.model_uuid(), topology.application());
    match unit {
        Some(unit) => format!("{application}_{}", unit.number()),
        None => application,
    }
}

/// What a Grafana has told us about itself and our data sources in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grafana {
    /// The id of the Grafana itself.
    pub grafana_uid: String,
    /// Our units, and the uid each has there.
    pub datasource_uids: BTreeMap<String, String>,
    /// The uid of our application as a whole, if Grafana made one.
    pub app_datasource_uid: Option<String>,
    /// Where people reach it.
    pub base_url: Option<String>,
}

/// Reads what came back. `None` without a problem: Grafana has not answered, or is too old to.
pub fn answer(relation: &Relation) -> (Option<Grafana>, Vec<Problem>) {
    let bag = &relation.remote.app_bag;
    let Some(grafana_uid) = bag::value(bag, "grafana_uid") else { return (None, Vec::new()) };
    let (datasource_uids, problems) = datasource_uids(bag);
    let owned = |key: &str| bag::value(bag, key).map(str::to_owned);
    let grafana = Grafana {
        grafana_uid: grafana_uid.to_owned(),
        datasource_uids,
        app_datasource_uid: owned("app_datasource_uid"),
        base_url: owned("grafana_base_url"),
    };
    (Some(grafana), located(problems, relation))
}

fn datasource_uids(bag: &Databag) -> (BTreeMap<String, String>, Vec<Problem>) {
    const KEY: &str = "datasource_uids";
    let problem = |message: String| Problem::new(message).key(KEY);
    let entries = match json::read(bag, KEY) {
        Ok(None) => return (BTreeMap::new(), Vec::new()),
        Ok(Some(Value::Object(entries))) => entries,
        Ok(Some(other)) => {
            return (BTreeMap::new(), vec![problem(format!("value is {}, not an object", type_name(&other)))]);
        }
        Err(refused) => return (BTreeMap::new(), vec![refused]),
    };
    let (mut uids, mut problems) = (BTreeMap::new(), Vec::new());
    for (unit, uid) in entries {
        match uid {
            Value::String(uid) => drop(uids.insert(unit, uid)),
            other => {
                let name: String = unit.chars().take(100).collect();
                let message = format!("uid of {name:?} is {}, not a string", type_name(&other));
                problems.push(problem(message).path(&step(&unit)));
            }
        }
    }
    (uids, problems)
}

/// A file for Grafana's `provisioning/datasources`, as a value: for a Grafana that knows nothing of relations.
pub fn provisioning(topology: &Topology, unit: &UnitName, url: &str, time_interval: &str) -> Value {
    let name = source_name(topology, Some(unit));
    json!({
        "apiVersion": 1,
        "datasources": [{
            "name": name,
            "uid": short_uid(topology, unit, &name),
            "type": "prometheus",
            "access": "proxy",
            "url": url,
            "editable": false,
            "jsonData": {
                "httpMethod": "POST",
                "prometheusType": "Prometheus",
                "timeInterval": time_interval,
            },
        }],
    })
}

/// The charm's uid where it is short enough, else one that says as much as fits and is still the same every time.
fn short_uid(topology: &Topology, unit: &UnitName, name: &str) -> String {
    let short = format!("juju_{}_{}_{}", &topology.model_uuid()[..8], topology.application(), unit.number());
    let fits = |uid: &str| {
        uid.len() <= UID_BYTES_MAX && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if fits(name) {
        name.to_owned()
    } else if fits(&short) {
        short
    } else {
        format!("juju_{}", &sha256_hex(name)[..32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(model: &str, application: &str, expected: &str) {
        let topology = Topology::new(model, "3f1a2b4c-5d6e-4f70-8a91-b2c3d4e5f607", application).expect("a topology");
        let unit = UnitName::new("prometheus", 0).expect("a unit's name");
        let file = provisioning(&topology, &unit, "http://h:9090", "1m");
        assert_eq!(file["datasources"][0]["uid"], expected);
    }

    #[test]
    fn uids_are_what_grafana_takes() {
        // 36 characters of the uuid leave no room in Grafana's 40.
        check("cos", "prometheus", "juju_3f1a2b4c_prometheus_0");
        check("cos", "a-very-long-name-of-an-application", "juju_e9c075d0f6ddaf01b139e6065e16838a");
        check("cos", "odd name", "juju_17b416efe7559098b87405089afba148");
    }
}
