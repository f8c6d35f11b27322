//! The rules of one relation: bound to the application they speak of, and the unfit ones left out.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{ALERT_RULES, SCRAPE_METADATA};
use crate::bag::Relation;
use crate::json::{self, type_name};
use crate::problem::Problem;
use crate::text::file_stem;
use crate::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, Topology, TopologyError};

/// What the name of every rule file starts with; the main configuration takes in all files that do.
pub const RULE_FILE_PREFIX: &str = "juju_";

/// Charm authors write this where the topology's matchers go.
const TOKEN: &str = "%%juju_topology%%";

/// The rules of one relation, as one file.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFile {
    /// Endpoint on our side and id of the relation.
    pub relation: (String, u64),
    /// Whose rules these are: `{model}_{uuid8}_{application}`, or the first group's name where nobody says.
    pub identifier: String,
    /// `juju_<identifier>_<endpoint>_<id>.rules`; without characters that are not fit for a file name.
    pub file_name: String,
    /// The groups, in the peer's order, each with at least one rule or none in the first place.
    pub groups: Vec<Value>,
}

impl RuleFile {
    /// The file's content in Prometheus' rule file format.
    pub fn content(&self) -> Value {
        json!({"groups": self.groups})
    }
}

/// The rules of `relation` that are fit to run, whether it published any, and what was left out.
pub(super) fn read(relation: &Relation) -> (Option<RuleFile>, bool, Vec<Problem>) {
    let bag = &relation.remote.app_bag;
    if relation.remote.units.is_empty() {
        return (None, false, Vec::new());
    }
    let published = match json::read(bag, ALERT_RULES) {
        Ok(None) => return (None, false, Vec::new()),
        Ok(Some(Value::Object(published))) => published,
        Ok(Some(other)) => {
            return (None, true, vec![problem(format!("value is {}, not an object", type_name(&other)))]);
        }
        Err(problem) => return (None, true, vec![problem]),
    };
    let mut problems: Vec<Problem> = published
        .keys()
        .filter(|key| *key != "groups")
        .map(|key| problem(format!("unknown key {}", name(key))))
        .collect();
    let groups = match published.get("groups") {
        Some(Value::Array(groups)) => groups.as_slice(),
        Some(other) => {
            problems.push(problem(format!("groups is {}, not a list", type_name(other))));
            &[]
        }
        None => {
            problems.push(problem("groups is missing".to_owned()));
            &[]
        }
    };
    let identifier = identifier(relation, groups);
    let groups = fit_groups(groups, &mut problems);
    let file = (!groups.is_empty()).then(|| RuleFile {
        relation: (relation.endpoint.clone(), relation.id),
        file_name: format!("{RULE_FILE_PREFIX}{}_{}_{}.rules", file_stem(&identifier), relation.endpoint, relation.id),
        identifier,
        groups,
    });
    (file, true, problems)
}

/// Whose rules these are: what the first rule of a group says, else the relation, else the first group's name. A group whose
/// first rule does not say is passed over.
fn identifier(relation: &Relation, groups: &[Value]) -> String {
    let of_labels = || {
        let first_rules = groups.iter().filter_map(|group| group.get("rules")?.get(0));
        first_rules.filter_map(|rule| topology_of(rule).ok()?).map(|topology| topology.identifier()).next()
    };
    // A topology that cannot be read is reported where the jobs are read; here it only means that there is no name to be had.
    let of_metadata = || match json::read(&relation.remote.app_bag, SCRAPE_METADATA) {
        Ok(Some(Value::Object(metadata))) => {
            Topology::from_metadata(&metadata).ok().map(|topology| topology.identifier())
        }
        _ => None,
    };
    let of_groups = || groups.first()?.get("name")?.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    of_labels().or_else(of_metadata).or_else(of_groups).unwrap_or_else(|| relation.remote.application.clone())
}

fn fit_groups(groups: &[Value], problems: &mut Vec<Problem>) -> Vec<Value> {
    let mut fit = Vec::new();
    let mut names = HashSet::new();
    for (at, group) in groups.iter().enumerate() {
        let Value::Object(group) = group else {
            problems.push(problem(format!("group {at} is {}, not an object", type_name(group))));
            continue;
        };
        let title = match group.get("name").and_then(Value::as_str) {
            Some(text) if !text.is_empty() => format!("group {}", name(text)),
            _ => format!("group {at}"),
        };
        match fit_group(&title, group, problems) {
            Ok(None) => {}
            Ok(Some(group)) => {
                let group_name = group.get("name").and_then(Value::as_str).unwrap_or_default();
                if names.insert(group_name.to_owned()) {
                    fit.push(Value::Object(group));
                } else {
                    problems.push(problem(format!("{title}: another group has the same name")));
                }
            }
            Err(reason) => problems.push(problem(format!("{title}: {reason}"))),
        }
    }
    fit
}

/// The group with its fit rules; `None` if it had rules and none is fit.
fn fit_group(
    title: &str,
    group: &Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Map<String, Value>>, String> {
    let rules = match group.get("rules") {
        None | Some(Value::Null) => &Vec::new(),
        Some(Value::Array(rules)) => rules,
        Some(other) => return Err(format!("rules is {}, not a list", type_name(other))),
    };
    let mut fit = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        match fit_rule(rule) {
            Ok(rule) => fit.push(rule),
            Err(reason) => problems.push(problem(format!("{title}, {}: {reason}", rule_title(at, rule)))),
        }
    }
    if fit.is_empty() && !rules.is_empty() {
        return Ok(None);
    }
    let mut group = group.clone();
    group.insert("rules".to_owned(), Value::Array(fit));
    Ok(Some(group))
}

/// The rule, with the matchers of its topology in every selector if it names one.
fn fit_rule(rule: &Value) -> Result<Value, String> {
    let Value::Object(fields) = rule else {
        return Err(format!("rule is {}, not an object", type_name(rule)));
    };
    let mut fields = fields.clone();
    let topology = topology_of(rule).map_err(|error| format!("labels: {error}"))?;
    if let (Some(_topology), Some(Value::String(expr))) = (topology, fields.get_mut("expr")) {
        *expr = without_token(expr);
    }
    Ok(Value::Object(fields))
}

/// The application the labels of `rule` name; `None` if they do not name all of it.
fn topology_of(rule: &Value) -> Result<Option<Topology>, TopologyError> {
    let Some(Value::Object(labels)) = rule.get("labels") else { return Ok(None) };
    let part = |name: &'static str| match labels.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(TopologyError::NotText(name)),
    };
    match Topology::new(part(JUJU_MODEL)?, part(JUJU_MODEL_UUID)?, part(JUJU_APPLICATION)?) {
        Ok(topology) => Ok(Some(topology)),
        Err(TopologyError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `expr` without the token, and without one comma directly after each.
fn without_token(expr: &str) -> String {
    let mut parts = expr.split(TOKEN);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.strip_prefix(',').unwrap_or(part));
    }
    text
}

fn rule_title(at: usize, rule: &Value) -> String {
    let named = ["alert", "record"].into_iter().find_map(|key| rule.get(key)?.as_str());
    match named {
        Some(text) => format!("rule {} ({})", at + 1, name(text)),
        None => format!("rule {}", at + 1),
    }
}

/// A peer's name for something, quoted and cut.
fn name(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

fn problem(message: String) -> Problem {
    Problem::new(message).key(ALERT_RULES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for (expr, expected) in [
            ("up{%%juju_topology%%}", "up{}"),
            ("up{%%juju_topology%%, a=\"b\"}", "up{ a=\"b\"}"),
            ("up{a=\"b\", %%juju_topology%%}", "up{a=\"b\", }"),
            ("up{%%juju_topology%%,%%juju_topology%%}", "up{}"),
            ("up", "up"),
        ] {
            assert_eq!(without_token(expr), expected, "{expr}");
        }
    }
}
