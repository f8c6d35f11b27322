//! The provider's side: the databags that announce an application's metrics and rules.

use serde_json::{Map, Value, json};

use super::{ALERT_RULES, EVENT, SCRAPE_JOBS, SCRAPE_METADATA};
use crate::bag::{Databag, Relation};
use crate::ingress_per_unit::Urls;
use crate::json::{self, dumps, dumps_object, type_name};
use crate::name::UnitName;
use crate::problem::Problem;
use crate::text::UrlParts;
use crate::topology::Topology;

/// The application's databag. `topology` is that of the leader's unit; `alert_rules` is `{"groups": […]}` or `{}`.
pub fn app_bag(topology: &Topology, jobs: &[Map<String, Value>], alert_rules: &Value) -> Databag {
    let jobs = Value::Array(jobs.iter().cloned().map(Value::Object).collect());
    Databag::from([
        (SCRAPE_METADATA.to_owned(), dumps_object(&topology.to_metadata())),
        (SCRAPE_JOBS.to_owned(), dumps(&jobs)),
        (ALERT_RULES.to_owned(), dumps(alert_rules)),
    ])
}

/// The databag of a unit at `address`, which may be an address, a host name, or either with a port.
pub fn unit_bag(unit: &UnitName, address: &str) -> Databag {
    Databag::from([
        ("prometheus_scrape_unit_address".to_owned(), address.to_owned()),
        ("prometheus_scrape_unit_name".to_owned(), unit.to_string()),
    ])
}

/// The databag of a unit that is reached at `urls`, and the job that goes with it. `ca` is the certificate of the authority that
/// signed ours, as text. `None` if one of them is not a URL.
///
/// As in the charm, whether to speak TLS is for the server to say and not for the proxy in front of it: behind a proxy that does, the
/// job is one over plain HTTP, which the proxy redirects because we ask it to.
pub fn at_urls(unit: &UnitName, urls: &Urls, ca: Option<&str>) -> Option<(Databag, Map<String, Value>)> {
    let scheme = UrlParts::split(&urls.internal).ok()?.scheme;
    let parts = UrlParts { scheme, ..UrlParts::split(urls.most_external()).ok()? };
    let mut bag = unit_bag(unit, &parts.host());
    if !parts.path.is_empty() {
        bag.insert("prometheus_scrape_unit_path".to_owned(), parts.path.clone());
    }
    let mut job = Map::new();
    job.insert("metrics_path".to_owned(), Value::from("/metrics"));
    job.insert("static_configs".to_owned(), json!([{"targets": [format!("*:{}", parts.port())]}]));
    job.insert("scheme".to_owned(), Value::String(parts.scheme));
    if let Some(ca) = ca {
        job.insert("tls_config".to_owned(), json!({"ca_file": ca}));
    }
    Some((bag, job))
}

/// What the requirer of `relation` says is wrong with what we published.
pub fn complaints(relation: &Relation) -> Vec<Problem> {
    let problem = |message: String| Problem::new(message).key(EVENT).relation(relation);
    let event = match json::read(&relation.remote.app_bag, EVENT) {
        Ok(None) => return Vec::new(),
        Ok(Some(Value::Object(event))) => event,
        Ok(Some(other)) => return vec![problem(format!("value is {}, not an object", type_name(&other)))],
        Err(refused) => return vec![refused.relation(relation)],
    };
    let mut complaints: Vec<Problem> = [("errors", "alert rules"), ("scrape_job_errors", "scrape jobs")]
        .into_iter()
        .filter_map(|(key, what)| Some((what, event.get(key)?.as_str()?)))
        .filter(|(_, text)| !text.is_empty())
        .map(|(what, text)| {
            let text: String = text.chars().take(1000).collect();
            problem(format!("the other side refuses our {what}: {text}"))
        })
        .collect();
    if complaints.is_empty() && event.get("valid") == Some(&Value::Bool(false)) {
        complaints.push(problem("the other side refuses our alert rules and does not say why".to_owned()));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Side;

    #[track_caller]
    fn check(event: &str, expected: &[&str]) {
        let mut remote = Side::new("prometheus");
        remote.app_bag.insert(EVENT.to_owned(), event.to_owned());
        let (endpoint, interface) = ("self-metrics-endpoint".to_owned(), super::super::INTERFACE.to_owned());
        let relation = Relation { id: 1, endpoint, interface, local: Side::new("prometheus"), remote };
        let seen = complaints(&relation);
        let seen: Vec<&str> = seen.iter().map(|problem| &*problem.message).collect();
        assert_eq!(seen, expected, "{event}");
    }

    #[test]
    fn what_the_other_side_says_of_us() {
        check("", &[]);
        check("{}", &[]);
        check(r#"{"valid": true, "errors": ""}"#, &[]);
        check(r#"{"errors": "bad"}"#, &["the other side refuses our alert rules: bad"]);
        check(r#"{"scrape_job_errors": "bad"}"#, &["the other side refuses our scrape jobs: bad"]);
        check(r#"{"valid": false}"#, &["the other side refuses our alert rules and does not say why"]);
        check(r#"{"valid": false, "errors": "bad"}"#, &["the other side refuses our alert rules: bad"]);
        check("7", &["value is a number, not an object"]);
    }
}
