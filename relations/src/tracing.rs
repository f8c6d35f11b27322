//! `tracing`: where spans go.

use serde_json::{Map, Value, json};

use crate::bag::{Databag, Relation};
use crate::json::{self, dumps, type_name};
use crate::place::located;
use crate::problem::Problem;
use crate::topology::Topology;

/// The name of the interface.
pub const INTERFACE: &str = "tracing";

/// The protocol that Prometheus itself speaks.
pub const OTLP_GRPC: &str = "otlp_grpc";
/// The protocol that charms speak.
pub const OTLP_HTTP: &str = "otlp_http";

const RECEIVERS: &str = "receivers";

/// A longer address is refused.
const URL_BYTES_MAX: usize = 2048;

/// Our application's databag: the protocols in which we would like to send.
pub fn requirer_app_bag(protocols: &[&str]) -> Databag {
    Databag::from([(RECEIVERS.to_owned(), dumps(&json!(protocols)))])
}

/// Where the other side takes spans in `protocol`: a URL, or `host:port` for gRPC. `None` without a problem: it has not said.
pub fn endpoint(relation: &Relation, protocol: &str) -> (Option<String>, Vec<Problem>) {
    let (address, problems) = wanted(&relation.remote.app_bag, protocol);
    (address, located(problems, relation))
}

fn wanted(bag: &Databag, protocol: &str) -> (Option<String>, Vec<Problem>) {
    let problem = |message: String| Problem::new(message).key(RECEIVERS);
    let receivers = match json::read(bag, RECEIVERS) {
        Ok(None) => return (None, Vec::new()),
        Ok(Some(Value::Array(receivers))) => receivers,
        Ok(Some(other)) => return (None, vec![problem(format!("value is {}, not a list", type_name(&other)))]),
        Err(refused) => return (None, vec![refused]),
    };
    let mut problems = Vec::new();
    for (at, receiver) in receivers.iter().enumerate() {
        match receiver["protocol"]["name"].as_str() {
            Some(name) if name == protocol => match receiver["url"].as_str() {
                Some(url) if is_address(url) => return (Some(url.to_owned()), problems),
                Some(_) => {
                    let message = format!("url of receiver {} is no address", at + 1);
                    problems.push(problem(message).path(&format!("[{at}].url")));
                }
                None => {
                    problems.push(problem(format!("receiver {} has no url", at + 1)).path(&format!("[{at}]")));
                }
            },
            Some(_) => {}
            None => {
                let message = format!("receiver {} does not name its protocol", at + 1);
                problems.push(problem(message).path(&format!("[{at}].protocol.name")));
            }
        }
    }
    (None, problems)
}

fn is_address(url: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    !url.is_empty() && url.len() <= URL_BYTES_MAX && !url.contains(is_odd) && !url.contains('@')
}

/// The section `tracing` of Prometheus' configuration. With `ca_file`, the path of the certificate of the authority to trust,
/// the connection is encrypted.
pub fn configuration(endpoint: &str, ca_file: Option<&str>) -> Value {
    let mut section = Map::new();
    section.insert("endpoint".to_owned(), endpoint.into());
    section.insert("insecure".to_owned(), ca_file.is_none().into());
    section.insert("sampling_fraction".to_owned(), 1.into());
    if let Some(ca_file) = ca_file {
        section.insert("tls_config".to_owned(), json!({"ca_file": ca_file}));
    }
    section.into()
}

/// The value of `OTEL_RESOURCE_ATTRIBUTES` that says who sends the spans.
pub fn resource_attributes(topology: &Topology) -> String {
    let optional = |name: &str, value: Option<&str>| value.map(|value| format!(",{name}={value}")).unwrap_or_default();
    format!(
        "juju_application={},juju_model={},juju_model_uuid={}{}{}",
        topology.application(),
        topology.model(),
        topology.model_uuid(),
        optional("juju_unit", topology.unit()),
        optional("juju_charm", topology.charm_name()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Side;

    #[track_caller]
    fn check(receivers: &str, expected: Option<&str>, n_problems: usize) {
        let mut remote = Side::new("tempo");
        remote.app_bag.insert(RECEIVERS.to_owned(), receivers.to_owned());
        let relation = Relation {
            id: 1,
            endpoint: "workload-tracing".to_owned(),
            interface: INTERFACE.to_owned(),
            local: Side::new("prometheus"),
            remote,
        };
        let (url, problems) = endpoint(&relation, OTLP_GRPC);
        assert_eq!((url.as_deref(), problems.len()), (expected, n_problems), "{receivers}");
    }

    #[test]
    fn receivers() {
        let http = r#"{"protocol": {"name": "otlp_http", "type": "http"}, "url": "http://t:4318"}"#;
        let grpc = r#"{"protocol": {"name": "otlp_grpc", "type": "grpc"}, "url": "t:4317"}"#;
        check("", None, 0);
        check(&format!("[{http}]"), None, 0);
        check(&format!("[{http}, {grpc}]"), Some("t:4317"), 0);
        // What is wrong is named, what is good still counts.
        check(&format!("[7, {grpc}]"), Some("t:4317"), 1);
        check(r#"[{"protocol": {"name": "otlp_grpc"}}]"#, None, 1);
        check(r#"[{"protocol": {"name": "otlp_grpc"}, "url": "u:p@h:1"}]"#, None, 1);
        check("{", None, 1);
    }
}
