//! `status` as a document with juju's keys, so that whoever reads juju's reads ours, and with keys of our own beside them.

use std::collections::BTreeMap;

use relatum_agent::control::{ApplicationStatus, Status, StatusInfo, UnitStatus};
use serde_json::{Map, Value, json};

use crate::failure::CommandFailure;

/// The application that the agent is itself.
const APPLICATION: &str = "prometheus";

/// The document. `model`, `machines`, `applications` and `controller` are juju's; all else is as the agent tells it.
pub(crate) fn document(status: &Status) -> Result<Value, CommandFailure> {
    let unprintable = |error: serde_json::Error| CommandFailure::failed(format!("cannot print the status: {error}"));
    let own = serde_json::to_value(status).map_err(unprintable)?;
    let (mut units, mut relations) = (units(status), relations(status));
    let mut describe = |known: &ApplicationStatus| {
        let name = known.name.as_str();
        let (units, relations) = (units.remove(name).unwrap_or_default(), relations.remove(name).unwrap_or_default());
        application(known, status, units, relations)
    };
    let applications: Map<String, Value> =
        status.applications.iter().map(|known| (known.name.clone(), describe(known))).collect();
    let mut document = json!({
        "model": {
            "name": status.model.name,
            "uuid": status.model.uuid,
            "type": "caas",
            "controller": "relatum",
            "cloud": "localhost",
            "version": status.model.version,
            "model-status": {"current": "available"},
        },
        "machines": {},
        "applications": applications,
        "controller": {"timestamp": moment(status.at_ms, "%H:%M:%SZ")},
    });
    if let (Some(fields), Value::Object(own)) = (document.as_object_mut(), own) {
        fields.extend(own.into_iter().filter(|(key, _)| !JUJUS.contains(&key.as_str())));
    }
    Ok(document)
}

/// Keys that say the same in another form.
const JUJUS: [&str; 3] = ["model", "applications", "units"];

fn application(
    known: &ApplicationStatus,
    status: &Status,
    units: Map<String, Value>,
    relations: BTreeMap<&str, Vec<Value>>,
) -> Value {
    let is_open = status.listen.parse::<std::net::SocketAddr>().is_ok_and(|listen| !listen.ip().is_loopback());
    let mut shown = json!({
        "charm": if known.charm.is_empty() { &known.name } else { &known.charm },
        "charm-origin": "local",
        "charm-name": if known.charm.is_empty() { &known.name } else { &known.charm },
        "charm-rev": 0,
        "scale": known.scale,
        "exposed": is_open && known.name == APPLICATION,
        "application-status": info(&known.status),
        "units": units,
    });
    if !relations.is_empty() {
        shown["relations"] = json!(relations);
    }
    if !known.version.is_empty() {
        shown["version"] = Value::from(known.version.as_str());
    }
    shown
}

/// By application, its units.
fn units(status: &Status) -> BTreeMap<&str, Map<String, Value>> {
    let mut found: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for one in &status.units {
        found.entry(&one.application).or_default().insert(one.name.clone(), unit(one));
    }
    found
}

/// By application, and by its endpoint, who is at the other end.
fn relations(status: &Status) -> BTreeMap<&str, BTreeMap<&str, Vec<Value>>> {
    let mut found: BTreeMap<&str, BTreeMap<&str, Vec<Value>>> = BTreeMap::new();
    for relation in &status.relations {
        for (ours, theirs) in [(&relation.provider, &relation.requirer), (&relation.requirer, &relation.provider)] {
            let (Some((application, endpoint)), Some((related, _))) = (ours.split_once(':'), theirs.split_once(':'))
            else {
                continue;
            };
            let one = json!({"related-application": related, "interface": relation.interface, "scope": "global"});
            found.entry(application).or_default().entry(endpoint).or_default().push(one);
        }
    }
    found
}

fn unit(unit: &UnitStatus) -> Value {
    let is_ours = unit.application == APPLICATION;
    let mut shown = json!({
        "workload-status": {"current": unit.workload.current, "message": unit.workload.message},
        // The agents of others are not ours to ask.
        "juju-status": {"current": if is_ours { "idle" } else { "unknown" }},
    });
    if is_ours {
        shown["juju-status"]["version"] = Value::from(env!("CARGO_PKG_VERSION"));
    }
    if unit.leader {
        shown["leader"] = Value::Bool(true);
    }
    if !unit.ports.is_empty() {
        shown["open-ports"] = json!(unit.ports);
    }
    if !unit.address.is_empty() {
        shown["address"] = Value::from(unit.address.as_str());
        shown["public-address"] = Value::from(unit.address.as_str());
    }
    shown
}

fn info(info: &StatusInfo) -> Value {
    json!({"current": info.current, "message": info.message})
}

fn moment(at_ms: i64, format: &str) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| String::new(), |moment| moment.strftime(format).to_string())
}
