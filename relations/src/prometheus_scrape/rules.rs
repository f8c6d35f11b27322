//! The rules of one relation: bound to the application they speak of, and the unfit ones left out.

use std::collections::{HashMap, HashSet};

use relatum_model::text::quote;
use relatum_promql::syntax::{self, Injection, ParseOptions};
use serde_json::{Value, json};

use super::check::{self, Fault};
use super::{ALERT_RULES, SCRAPE_METADATA};
use crate::bag::Relation;
use crate::injection::{self, TOKEN, without_token};
use crate::json::{self, type_name};
use crate::problem::Problem;
use crate::text::file_stem;
use crate::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, Topology, TopologyError};

/// What the name of every rule file starts with; the main configuration takes in all files that do.
pub const RULE_FILE_PREFIX: &str = "juju_";

/// What to do about a rule that still holds the token.
const TOKEN_HINT: &str =
    "labels that name juju_model, juju_model_uuid and juju_application let the topology token be replaced";

/// How much text the expressions of one relation may grow to: each selector gets three matchers more.
const BOUND_BYTES_MAX: usize = 32 << 20;

/// In longer expressions nothing is pointed at.
const POINTED_BYTES_MAX: usize = 64 << 10;

/// How often unfit rules are looked for: leaving one out can bring up another fault, such as a repeated name, but not for long.
const ROUNDS_MAX: usize = 4;

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
        .map(|key| problem(format!("unknown key {}", name(key))).path(key))
        .collect();
    let groups = match published.get("groups") {
        Some(Value::Array(groups)) => groups.as_slice(),
        Some(other) => {
            problems.push(problem(format!("groups is {}, not a list", type_name(other))).path("groups"));
            &[]
        }
        None => {
            problems.push(problem("groups is missing".to_owned()));
            &[]
        }
    };
    let identifier = identifier(relation, groups);
    let groups: Vec<Value> = fit_groups(groups, &mut problems).into_iter().map(|kept| kept.group).collect();
    let file = (!groups.is_empty()).then(|| RuleFile {
        relation: (relation.endpoint.clone(), relation.id),
        file_name: format!("{RULE_FILE_PREFIX}{}_{}_{}.rules", file_stem(&identifier), relation.endpoint, relation.id),
        identifier,
        groups,
    });
    (file, true, problems)
}

/// For each group that is fit to run, its position and those of its rules that are.
pub(super) fn places(relation: &Relation) -> Vec<(usize, Vec<usize>)> {
    let Ok(Some(published)) = json::read(&relation.remote.app_bag, ALERT_RULES) else { return Vec::new() };
    let groups = published.get("groups").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    fit_groups(groups, &mut Vec::new()).into_iter().map(|kept| (kept.at, kept.rules_at)).collect()
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

/// A group, and where it and its rules stood in the databag before some were left out.
struct Kept {
    group: Value,
    at: usize,
    rules_at: Vec<usize>,
}

impl Kept {
    /// The group's name, or its number where it has none.
    fn title(&self) -> String {
        group_title(self.at, &self.group)
    }

    /// A problem of rule number `rule_at` of those that are left; `path` leads on from the rule.
    fn rule_problem(&self, rule_at: usize, path: &str, reason: &str) -> Problem {
        let stood_at = self.rules_at.get(rule_at).copied().unwrap_or(rule_at);
        rule_problem((self.at, &self.group), (stood_at, &self.group["rules"][rule_at]), path, reason)
    }
}

/// The groups as they can be run.
fn fit_groups(published: &[Value], problems: &mut Vec<Problem>) -> Vec<Kept> {
    let mut groups = Vec::new();
    let mut bytes_left = BOUND_BYTES_MAX;
    for (at, group) in published.iter().enumerate() {
        match bound_group(at, group, &mut bytes_left, problems) {
            Ok(group) => groups.extend(group),
            Err(reason) => {
                let path = format!("groups[{at}]");
                problems.push(problem(format!("{}: {reason}", group_title(at, group))).path(&path));
            }
        }
    }
    let n_before = problems.len();
    let groups = fit(groups, problems);
    for problem in &mut problems[n_before..] {
        point_into_expression(published, problem);
    }
    groups
}

/// Has a problem with an expression point to where in the expression it stops being one.
fn point_into_expression(published: &[Value], problem: &mut Problem) {
    let Some(inside) = &mut problem.inside else { return };
    let of_rule = || {
        let (group, rest) = check::position(&inside.path, "groups[")?;
        let (rule, rest) = check::position(rest, ".rules[")?;
        (rest == ".expr").then_some(published.get(group)?.get("rules")?.get(rule)?)
    };
    let Some(rule) = of_rule() else { return };
    let Some(written) = rule.get("expr").and_then(Value::as_str).filter(|text| text.len() <= POINTED_BYTES_MAX) else {
        return;
    };
    // What is judged is the expression without the token, where that goes.
    let (judged, is_bound) =
        if names_topology(rule) { (without_token(written), true) } else { (written.to_owned(), false) };
    let Err(error) = syntax::parse(&judged, &ParseOptions::default()) else { return };
    let before = if is_bound { injection::with_token(written, error.span.start) } else { error.span.start };
    inside.character = written.get(..before).map_or(0, |text| text.chars().count());
}

/// Leaves out what is at fault until the rest is a rule file. Nearly always the first look finds nothing.
fn fit(mut groups: Vec<Kept>, problems: &mut Vec<Problem>) -> Vec<Kept> {
    for _ in 0..ROUNDS_MAX {
        let faults = check::rule_groups(&groups.iter().map(|kept| &kept.group).collect::<Vec<_>>());
        if faults.is_empty() {
            return groups;
        }
        if faults.iter().any(|fault| fault.group.is_some()) {
            groups = without(groups, faults, problems);
        } else if groups.len() > 1 {
            // Nothing tells whose fault it is, so each group stands alone.
            groups = groups.into_iter().flat_map(|group| fit(vec![group], problems)).collect();
        } else {
            problems.extend(faults.into_iter().map(|fault| problem(fault.message)));
            return Vec::new();
        }
    }
    problems.push(problem("these groups cannot be one rule file".to_owned()));
    Vec::new()
}

/// The groups without the rules at fault, and without groups that are at fault themselves or lose all their rules.
fn without(groups: Vec<Kept>, faults: Vec<Fault>, problems: &mut Vec<Problem>) -> Vec<Kept> {
    let mut of_groups: HashMap<usize, Vec<Fault>> = HashMap::new();
    for fault in faults {
        if let Some(at) = fault.group {
            of_groups.entry(at).or_default().push(fault);
        }
    }
    let mut left = Vec::new();
    for (at, mut kept) in groups.into_iter().enumerate() {
        let Some(faults) = of_groups.remove(&at) else {
            left.push(kept);
            continue;
        };
        let (of_rules, of_group): (Vec<Fault>, Vec<Fault>) = faults.into_iter().partition(|fault| fault.rule.is_some());
        if !of_group.is_empty() {
            for fault in of_group {
                let path = format!("groups[{}]{}", kept.at, fault.path);
                problems.push(problem(format!("{}: {}", kept.title(), fault.message)).path(&path));
            }
            continue;
        }
        let mut unfit = HashSet::new();
        for fault in of_rules {
            let rule_at = fault.rule.unwrap_or_default();
            unfit.insert(rule_at);
            let reason = without_place(&fault.message, &kept.group, rule_at, &kept.group["rules"][rule_at]);
            problems.push(kept.rule_problem(rule_at, &fault.path, reason));
        }
        if let Some(Value::Array(rules)) = kept.group.get_mut("rules") {
            let (mut rule_at, mut stood_at) = (0.., 0..);
            rules.retain(|_| rule_at.next().is_none_or(|at| !unfit.contains(&at)));
            kept.rules_at.retain(|_| stood_at.next().is_none_or(|at| !unfit.contains(&at)));
            if !rules.is_empty() {
                left.push(kept);
            }
        }
    }
    left
}

/// `reason` without the place it begins with: the problem has that already.
fn without_place<'a>(reason: &'a str, group: &Value, rule_at: usize, rule: &Value) -> &'a str {
    let group = group["name"].as_str().unwrap_or_default();
    let rule = rule_name(rule).unwrap_or_default();
    let place = format!("group {}, rule {}, {}: ", quote(group), rule_at + 1, quote(rule));
    reason.strip_prefix(&place).unwrap_or(reason)
}

/// The group with its rules bound to their topologies, less those that cannot be; `None` if it had rules and none is left.
fn bound_group(
    at: usize,
    group: &Value,
    bytes_left: &mut usize,
    problems: &mut Vec<Problem>,
) -> Result<Option<Kept>, String> {
    let Value::Object(fields) = group else {
        return Err(format!("group is {}, not an object", type_name(group)));
    };
    let rules = match fields.get("rules") {
        None | Some(Value::Null) => return Ok(Some(Kept { group: group.clone(), at, rules_at: Vec::new() })),
        Some(Value::Array(rules)) => rules,
        Some(other) => return Err(format!("rules is {}, not a list", type_name(other))),
    };
    let (mut bound, mut rules_at) = (Vec::with_capacity(rules.len()), Vec::with_capacity(rules.len()));
    for (rule_at, rule) in rules.iter().enumerate() {
        match bound_rule(rule, bytes_left) {
            Ok(rule) => {
                bound.push(rule);
                rules_at.push(rule_at);
            }
            Err((path, reason)) => problems.push(rule_problem((at, group), (rule_at, rule), &path, &reason)),
        }
    }
    if bound.is_empty() && !rules.is_empty() {
        return Ok(None);
    }
    let with_rules = |(key, value): (&String, &Value)| {
        let is_rules = key == "rules";
        (key.clone(), if is_rules { Value::Array(std::mem::take(&mut bound)) } else { value.clone() })
    };
    let group = fields.iter().map(with_rules).collect();
    Ok(Some(Kept { group, at, rules_at }))
}

/// The rule, with the matchers of its topology in every selector if its labels name one.
///
/// An expression that cannot be parsed stays as it is, for the check to say why.
/// What keeps it from being bound comes with the path inside the rule.
pub(super) fn bound_rule(rule: &Value, bytes_left: &mut usize) -> Result<Value, (String, String)> {
    let Value::Object(fields) = rule else {
        return Err((String::new(), format!("rule is {}, not an object", type_name(rule))));
    };
    let mut fields = fields.clone();
    let topology = topology_of(rule).map_err(|error| {
        // In labels the parts have longer names.
        let label = |part: &str| if part.starts_with("juju_") { part.to_owned() } else { format!("juju_{part}") };
        let path = error.key().map_or_else(String::new, |part| format!(".{}", label(part)));
        (format!(".labels{path}"), format!("labels: {}", label(&error.to_string())))
    })?;
    if let (Some(topology), Some(Value::String(text))) = (topology, fields.get_mut("expr")) {
        *text = without_token(text);
        if let Ok(mut expr) = syntax::parse(text, &ParseOptions::default()) {
            let matchers = injection::matchers(&topology);
            let matcher_bytes: usize = matchers.iter().map(|matcher| matcher.to_string().len() + 1).sum();
            let bytes = text.len() + matcher_bytes * syntax::selectors(&expr).len();
            *bytes_left = bytes_left.checked_sub(bytes).ok_or_else(|| {
                (String::new(), format!("the expressions of this relation grow to more than {BOUND_BYTES_MAX} bytes"))
            })?;
            syntax::add_matchers(&mut expr, &matchers, Injection::SkipIfPresent);
            *text = expr.to_string();
        }
    }
    Ok(Value::Object(fields))
}

/// Whether the labels of `rule` name an application that it is bound to.
pub(super) fn names_topology(rule: &Value) -> bool {
    topology_of(rule).is_ok_and(|topology| topology.is_some())
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

fn rule_name(rule: &Value) -> Option<&str> {
    ["alert", "record"].into_iter().find_map(|key| rule.get(key)?.as_str())
}

fn group_title(at: usize, group: &Value) -> String {
    match group.get("name").and_then(Value::as_str) {
        Some(text) if !text.is_empty() => format!("group {}", name(text)),
        _ => format!("group {}", at + 1),
    }
}

/// What is wrong with a rule of a group, each with its position in the databag. `path` leads on from the rule.
fn rule_problem(group: (usize, &Value), rule: (usize, &Value), path: &str, reason: &str) -> Problem {
    let ((group_at, group), (at, rule)) = (group, rule);
    let rule_name = rule_name(rule).map(|text| format!(", {}", name(text))).unwrap_or_default();
    let problem = problem(format!("{}, rule {}{rule_name}: {reason}", group_title(group_at, group), at + 1))
        .path(&format!("groups[{group_at}].rules[{at}]{path}"));
    match rule.get("expr").and_then(Value::as_str) {
        Some(expr) if expr.contains(TOKEN) => problem.hint(TOKEN_HINT),
        _ => problem,
    }
}

/// A peer's name for something, quoted and cut.
fn name(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

fn problem(message: String) -> Problem {
    Problem::new(message).key(ALERT_RULES)
}
