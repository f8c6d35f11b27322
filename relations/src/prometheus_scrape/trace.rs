//! Where what is scraped and evaluated came from: the steps of [`super::read`] once more, for one job or rule, with their places.
//!
//! Nothing of this is kept while reading, as nearly nothing is ever asked for. Who asks has the relation still.

use relatum_promql::syntax::{self, ParseOptions};
use serde_json::{Map, Value, json};

use super::expand::{EXPANDED_BYTES_MAX, expand};
use super::hosts::{self, hosts};
use super::{Origin, jobs, rules};
use crate::bag::Relation;
use crate::injection::without_token;

pub use super::hosts::{UNIT_ADDRESS, UNIT_NAME};

/// The position of a rule in the databag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleOrigin {
    /// In the list of groups.
    pub group: usize,
    /// In the group's list of rules.
    pub rule: usize,
}

/// Where the rules of [`super::RuleFile::groups`] stood, group by group.
pub fn rule_origins(relation: &Relation) -> Vec<Vec<RuleOrigin>> {
    let places = rules::places(relation).into_iter();
    places.map(|(group, rules)| rules.into_iter().map(|rule| RuleOrigin { group, rule }).collect()).collect()
}

/// How the expression of a rule came to be what is evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoundExpression {
    /// As published.
    pub published: String,
    /// Without the topology token, if there was one.
    pub without_token: Option<String>,
    /// In Prometheus' own notation, before the matchers came in. `None` if it cannot be parsed or no topology is named.
    pub canonical: Option<String>,
    /// With the matchers of its topology in every selector; `None` if none was added.
    pub bound: Option<String>,
}

/// The steps of the expression of `rule`, which stands in a databag.
pub fn bound_expression(rule: &Value) -> BoundExpression {
    let published = rule.get("expr").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut steps = BoundExpression { published, ..BoundExpression::default() };
    if !rules::names_topology(rule) {
        return steps;
    }
    let plain = without_token(&steps.published);
    steps.canonical = syntax::parse(&plain, &ParseOptions::default()).ok().map(|expr| expr.to_string());
    let bound = rules::bound_rule(rule, &mut EXPANDED_BYTES_MAX.clone()).ok();
    let bound = bound.and_then(|bound| bound.get("expr").and_then(Value::as_str).map(str::to_owned));
    steps.bound = bound.filter(|_| steps.canonical.is_some()).filter(|bound| steps.canonical.as_ref() != Some(bound));
    steps.without_token = Some(plain).filter(|plain| *plain != steps.published);
    steps
}

/// A unit that is scraped, and which key of whose databag says where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOrigin {
    /// What the unit calls itself, as in [`Origin::unit`].
    pub name: String,
    /// Whose databag it is.
    pub owner: String,
    /// Whether the name stands there too; else it is the owner's.
    pub is_named: bool,
    /// The key with the address.
    pub address_key: &'static str,
    /// The address.
    pub address: String,
    /// What comes before the metrics path.
    pub path: String,
}

/// The units of `relation` that are scraped.
pub fn host_origins(relation: &Relation) -> Vec<HostOrigin> {
    let mut origins = Vec::new();
    for host in hosts(relation).0 {
        let is_of = |bag: &crate::Databag, owner: &crate::UnitName| {
            hosts::host(owner, bag).ok().flatten().is_some_and(|known| known == host)
        };
        let Some((owner, bag)) = relation.remote.units.iter().find(|(owner, bag)| is_of(bag, owner)) else { continue };
        origins.push(HostOrigin {
            name: host.unit,
            owner: owner.to_string(),
            is_named: bag.get(UNIT_NAME).is_some_and(|name| !name.is_empty()),
            address_key: hosts::address_key(bag),
            address: host.address,
            path: host.path,
        });
    }
    origins
}

/// How a published job became one that is scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct JobOrigin {
    /// The job as it stands in the databag.
    pub published: Value,
    /// Its name before it had to be told from others of the same name.
    pub name: String,
    /// Keys that a peer may not set.
    pub left_out: Vec<String>,
    /// Whether the peer says who it is, so that its jobs get names, labels and targets from us.
    pub is_named: bool,
}

/// How the job of `origin` began.
pub fn job_origin(relation: &Relation, origin: &Origin) -> Option<JobOrigin> {
    let (config, prefix) = jobs::config_at(relation, origin.index)?;
    let Some(prefix) = prefix else {
        let name = config.get("job_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        return Some(JobOrigin { published: config, name, left_out: Vec::new(), is_named: false });
    };
    let named = jobs::named(&config, &prefix).ok()?;
    let mut name = named.get("job_name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(unit) = &origin.unit {
        name = format!("{name}-{}", unit.rsplit('/').next().unwrap_or_default());
    }
    let keys = config.as_object().into_iter().flat_map(Map::keys);
    let left_out = keys.filter(|key| !jobs::is_allowed(key)).cloned().collect();
    Some(JobOrigin { published: config, name, left_out, is_named: true })
}

/// The position of a target in the databag: of the static config in its job, and of the target in that.
///
/// Each published target is expanded by itself, until one of them gives `target` for the unit of `origin`.
pub fn target_origin(relation: &Relation, origin: &Origin, target: &str) -> Option<(usize, usize)> {
    let (config, prefix) = jobs::config_at(relation, origin.index)?;
    let expanded = |job: &Map<String, Value>, topology| {
        let (hosts, _) = hosts(relation);
        expand(job, &hosts, topology, &mut EXPANDED_BYTES_MAX.clone()).unwrap_or_default()
    };
    let topology = jobs::topology(relation);
    let job = prefix.as_ref().and_then(|prefix| jobs::named(&config, prefix).ok());
    let of_job = job.as_ref().map_or(&config["static_configs"], |job| &job["static_configs"]);
    // There may be very many targets, and each is expanded in a copy.
    let without_targets = job.clone().map(|mut job| {
        job.insert("static_configs".to_owned(), Value::Null);
        job
    });
    for (at, static_config) in of_job.as_array()?.iter().enumerate() {
        for (target_at, published) in static_config["targets"].as_array().into_iter().flatten().enumerate() {
            let found = match (&without_targets, &topology) {
                // What stands for no unit stays as it is.
                (Some(_), Some(_)) if published != target && published.as_str().is_some_and(|at| !at.contains('*')) => {
                    false
                }
                (Some(job), Some(topology)) => {
                    let mut alone = job.clone();
                    let entries = static_config.as_object().into_iter().flatten().filter(|(key, _)| *key != "targets");
                    let mut one: Map<String, Value> =
                        entries.map(|(key, value)| (key.clone(), value.clone())).collect();
                    one.insert("targets".to_owned(), json!([published]));
                    alone.insert("static_configs".to_owned(), json!([one]));
                    expanded(&alone, topology).0.into_iter().any(|(job, unit)| {
                        let targets = &job["static_configs"][0]["targets"];
                        unit == origin.unit && targets.as_array().is_some_and(|all| all.iter().any(|one| one == target))
                    })
                }
                _ => published == target,
            };
            if found {
                return Some((at, target_at));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::{Databag, Side};

    const METADATA: &str =
        r#"{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "a"}"#;

    fn relation(bag: &[(&str, &str)], addresses: &[&str]) -> Relation {
        let mut remote = Side::new("a");
        remote.app_bag = bag.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        for (number, address) in addresses.iter().enumerate() {
            let bag = Databag::from([(UNIT_ADDRESS.to_owned(), address.to_string())]);
            remote.units.insert(format!("a/{number}").parse().unwrap(), bag);
        }
        let (endpoint, interface) = ("metrics-endpoint".to_owned(), "prometheus_scrape".to_owned());
        Relation { id: 1, endpoint, interface, local: Side::new("prometheus"), remote }
    }

    #[test]
    fn targets_have_a_place() {
        let jobs = r#"[{}, {"static_configs": [{"targets": ["x:1"]}, {"targets": ["y:1", "*:2", "h:3"]}]}]"#;
        let relation = relation(&[("scrape_metadata", METADATA), ("scrape_jobs", jobs)], &["h", "i"]);
        let origin = |index, unit: Option<&str>| Origin {
            relation: ("metrics-endpoint".to_owned(), 1),
            index,
            unit: unit.map(str::to_owned),
        };
        for (index, unit, target, expected) in [
            (1, None, "x:1", Some((0, 0))),
            (1, None, "y:1", Some((1, 0))),
            (1, Some("a/1"), "i:2", Some((1, 1))),
            (1, Some("a/0"), "h:3", Some((1, 2))),
            (1, Some("a/1"), "h:3", None),
            // The default is in no databag, and has the place it would have there.
            (0, Some("a/0"), "h:80", Some((0, 0))),
            (7, None, "x:1", None),
        ] {
            assert_eq!(target_origin(&relation, &origin(index, unit), target), expected, "{index} {unit:?} {target}");
        }
        let job = job_origin(&relation, &origin(1, Some("a/1"))).unwrap();
        assert_eq!(job.name, "juju_m_12de4fae_a_prometheus_scrape-1");
        let hosts = host_origins(&relation);
        assert_eq!((hosts.len(), hosts[1].owner.as_str(), hosts[1].address_key), (2, "a/1", UNIT_ADDRESS));
    }

    #[test]
    fn rules_keep_their_place() {
        let labels = METADATA.replace("\"model", "\"juju_model").replace("\"app", "\"juju_app");
        let rules = format!(
            r#"{{"groups": [{{"name": "bad", "rules": [{{"alert": "X", "expr": "("}}]}},
                {{"name": "g", "rules": [{{"alert": "A", "expr": ")"}}, {{"alert": "B", "expr": "up{{%%juju_topology%%, a='b'}}", "labels": {labels}}}]}}]}}"#
        );
        let relation = relation(&[("alert_rules", &rules)], &["h"]);
        let file = super::super::read_rules(&relation).0.expect("one rule is good");
        assert_eq!(file.groups.len(), 1);
        assert_eq!(rule_origins(&relation), [[RuleOrigin { group: 1, rule: 1 }]]);
        let published: Value = serde_json::from_str(&rules).unwrap();
        let steps = bound_expression(&published["groups"][1]["rules"][1]);
        assert_eq!(steps.without_token.as_deref(), Some("up{ a='b'}"));
        assert_eq!(steps.canonical.as_deref(), Some("up{a=\"b\"}"));
        assert_eq!(steps.bound.as_deref(), file.groups[0]["rules"][0]["expr"].as_str());
        assert_eq!(bound_expression(&published["groups"][1]["rules"][0]).bound, None);
    }
}
