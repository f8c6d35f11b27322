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
    let applications: BTreeMap<&str, Value> =
        status.applications.iter().map(|known| (known.name.as_str(), application(known, status))).collect();
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
    let fields = document.as_object_mut().into_iter();
    for fields in fields {
        let ours = own.as_object().into_iter().flatten().filter(|(key, _)| !JUJUS.contains(&key.as_str()));
        fields.extend(ours.map(|(key, value)| (key.clone(), value.clone())));
    }
    Ok(document)
}

/// Keys that say the same in another form.
const JUJUS: [&str; 3] = ["model", "applications", "units"];

fn application(known: &ApplicationStatus, status: &Status) -> Value {
    let units: BTreeMap<&str, Value> = status
        .units
        .iter()
        .filter(|unit| unit.application == known.name)
        .map(|one| (one.name.as_str(), unit(one)))
        .collect();
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
    let relations = relations(&known.name, status);
    if !relations.is_empty() {
        shown["relations"] = Value::Object(relations);
    }
    if !known.version.is_empty() {
        shown["version"] = Value::from(known.version.as_str());
    }
    shown
}

/// By endpoint of the application, who is at the other end.
fn relations(name: &str, status: &Status) -> Map<String, Value> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for relation in &status.relations {
        for (ours, theirs) in [(&relation.provider, &relation.requirer), (&relation.requirer, &relation.provider)] {
            let (Some((application, endpoint)), Some((related, _))) = (ours.split_once(':'), theirs.split_once(':'))
            else {
                continue;
            };
            if application == name {
                let one = json!({"related-application": related, "interface": relation.interface, "scope": "global"});
                found.entry(endpoint.to_owned()).or_default().push(one);
            }
        }
    }
    found.into_iter().map(|(endpoint, related)| (endpoint, Value::Array(related))).collect()
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
