//! Rules: the group and the place in it, the token, the matchers that were put in, and which tier they come from.

use std::collections::BTreeMap;

use relatum_relations::Relation;
use relatum_relations::alert_rules::group_name;
use relatum_relations::prometheus_remote_write::tiers::Manifest;
use relatum_relations::prometheus_scrape::ALERT_RULES;
use relatum_relations::prometheus_scrape::trace::{RuleOrigin, bound_expression, rule_origins};
use relatum_relations::topology::Topology;
use serde_json::Value;

use super::question::Question;
use super::{Scene, since};
use crate::control::{ExplainedLabel, ExplainedStep, Explanation};
use crate::pipeline::desire::RelationKey;
use crate::templates::Template;

/// The rules that `question` is about: first those that run, then those that do not.
pub(super) fn found(question: &Question, scene: &Scene<'_>) -> Vec<Explanation> {
    let mut found = Vec::new();
    for (file, content) in &scene.trace.desired.rules {
        let (key, groups) = (&content.ends.relation, &content.groups());
        let Some((_, relation)) = scene.trace.relations.get(key) else { continue };
        let path = format!("rules/{file}");
        let mut origins: Option<Vec<Vec<RuleOrigin>>> = None;
        for (group_at, group) in groups.iter().enumerate() {
            for (rule_at, rule) in rules_of(group).iter().enumerate() {
                if !is_about(question, key, relation, group, rule, &path) {
                    continue;
                }
                let origins = origins.get_or_insert_with(|| kept(relation, groups));
                let origin = origins.get(group_at).and_then(|rules| rules.get(rule_at)).copied();
                let mut explanation = running(scene, key, relation, group, rule, origin);
                explanation.rendered =
                    Some(scene.rendered(&path, Template::Rules, "groups", |spans| spans.rule(group_at, rule_at)));
                found.push(explanation);
            }
        }
    }
    for (key, (_, relation)) in &scene.trace.relations {
        found.extend(left_out(question, scene, key, relation));
    }
    found
}

pub(super) fn rules_of(group: &Value) -> &[Value] {
    group["rules"].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn name_of(rule: &Value) -> &str {
    rule["alert"].as_str().or(rule["record"].as_str()).unwrap_or_default()
}

pub(super) fn title(group: &Value, rule: &Value) -> String {
    format!("{}/{}", group["name"].as_str().unwrap_or_default(), name_of(rule))
}

fn is_about(
    question: &Question,
    (endpoint, id): &RelationKey,
    relation: &Relation,
    group: &Value,
    rule: &Value,
    path: &str,
) -> bool {
    let (title, key) = (title(group, rule), format!("{endpoint}:{id}"));
    let names =
        [name_of(rule), &title, group["name"].as_str().unwrap_or_default(), &key, relation.remote.application.as_str()];
    if let Question::Name(text) = question
        && is_by_original_group(text, relation, group, rule)
    {
        return true;
    }
    question.is_about(&names, &[], |label| rule["labels"][label].as_str().map(str::to_owned), path)
}

/// Whether `text` is `GROUP` or `GROUP/RULE` with the name that the group had in its file, or in the tier it was handed on from.
fn is_by_original_group(text: &str, relation: &Relation, group: &Value, rule: &Value) -> bool {
    let Some(full) = group["name"].as_str() else { return false };
    let is_it = |original: &str| {
        let manifest = || Manifest::read(relation).0?.groups.get(full).map(|told| told.group.clone());
        let label = |name: &str| rule["labels"][name].as_str().unwrap_or_default();
        let topology = Topology::new(label("juju_model"), label("juju_model_uuid"), label("juju_application"));
        topology.is_ok_and(|topology| group_name(&topology.identifier(), original) == full)
            || manifest().as_deref() == Some(original)
    };
    match text.rsplit_once('/') {
        Some((original, name)) => name == name_of(rule) && is_it(original),
        None => is_it(text),
    }
}

/// Where the rules of the groups that are left stood in the databag. Groups go as a whole when another tier handed them on before,
/// so those that are left are found in the order in which all were read.
pub(super) fn kept(relation: &Relation, groups: &[Value]) -> Vec<Vec<RuleOrigin>> {
    let mut origins = rule_origins(relation).into_iter();
    let published = published(relation);
    let name = |origin: &[RuleOrigin]| origin.first().map(|first| published["groups"][first.group]["name"].clone());
    let mut found = Vec::new();
    for group in groups {
        let is_it = |origin: &Vec<RuleOrigin>| {
            name(origin).as_ref() == Some(&group["name"]) && origin.len() == rules_of(group).len()
        };
        found.push(origins.find(is_it).unwrap_or_default());
    }
    found
}

pub(super) fn published(relation: &Relation) -> Value {
    let text = relation.remote.app_bag.get(ALERT_RULES).map_or("", String::as_str);
    serde_json::from_str(text).unwrap_or_default()
}

fn running(
    scene: &Scene<'_>,
    key: &RelationKey,
    relation: &Relation,
    group: &Value,
    rule: &Value,
    origin: Option<RuleOrigin>,
) -> Explanation {
    let mut explanation = scene.begin("rule", title(group, rule), Some(key));
    explanation.labels = labels(rule, origin);
    let Some(origin) = origin else { return explanation };
    let path = format!("groups[{}].rules[{}]", origin.group, origin.rule);
    explanation.sources.push(scene.source(relation, None, ALERT_RULES, &path));
    explanation.sources.push(scene.source(relation, None, ALERT_RULES, &format!("{path}.expr")));
    let published = published(relation);
    explanation.steps = steps(since::at(&published, &path).unwrap_or(&Value::Null));
    if let (Some(manifest), _) = Manifest::read(relation)
        && let Some(told) = manifest.groups.get(group["name"].as_str().unwrap_or_default())
    {
        let tier = manifest.tiers.iter().find(|tier| tier.tier == told.tier);
        explanation.steps.push(ExplainedStep {
            what: "handed on".to_owned(),
            field: "group".to_owned(),
            before: Some(told.group.clone()),
            after: group["name"].as_str().map(str::to_owned),
            why: format!(
                "it was defined by {} of {}",
                told.relation,
                tier.map_or(told.tier.as_str(), |tier| tier.model.as_str())
            ),
        });
    }
    explanation
}

fn labels(rule: &Value, origin: Option<RuleOrigin>) -> BTreeMap<String, ExplainedLabel> {
    let from = |name: &str| match origin {
        Some(RuleOrigin { group, rule }) => format!("{ALERT_RULES}.groups[{group}].rules[{rule}].labels.{name}"),
        None => String::new(),
    };
    let labels = rule["labels"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    labels.map(|(name, value)| (name.clone(), ExplainedLabel { value: text(value), from: from(name) })).collect()
}

/// What becomes of the expression of a published rule.
fn steps(rule: &Value) -> Vec<ExplainedStep> {
    let bound = bound_expression(rule);
    let mut steps = Vec::new();
    let mut step = |what: &str, before: &str, after: &str, why: &str| {
        steps.push(ExplainedStep {
            what: what.to_owned(),
            field: "expr".to_owned(),
            before: Some(before.to_owned()),
            after: Some(after.to_owned()),
            why: why.to_owned(),
        });
    };
    let before = bound.without_token.as_deref().unwrap_or(&bound.published);
    if bound.without_token.is_some() {
        step("token stripped", &bound.published, before, "%%juju_topology%% only says where matchers go");
    }
    match (&bound.canonical, &bound.bound) {
        (Some(canonical), Some(after)) => {
            step("injected", canonical, after, "each selector is bound to the application that the rule's labels name");
        }
        (Some(canonical), None) if canonical != before => {
            step("printed", before, canonical, "expressions are written in Prometheus' own notation");
        }
        _ => {}
    }
    steps
}

/// Rules that do not run: what the checks left out.
fn left_out(question: &Question, scene: &Scene<'_>, key: &RelationKey, relation: &Relation) -> Vec<Explanation> {
    let mut found = Vec::new();
    let mut published_rules = None;
    for problem in scene.problems(relation, ALERT_RULES) {
        let published = published_rules.get_or_insert_with(|| published(relation));
        // The path leads on into the rule; whole groups have no rule in it.
        let path = problem.path.clone().unwrap_or_default();
        let group_path = path.split_inclusive(']').next().unwrap_or_default();
        let Some(group) = since::at(published, group_path).filter(|_| group_path.starts_with("groups[")) else {
            continue;
        };
        let rest = path[group_path.len()..].strip_prefix(".rules[").and_then(|rest| rest.split_once(']'));
        let rules: Vec<(String, &Value)> =
            match rest.and_then(|(at, _)| Some((at, group["rules"].get(at.parse::<usize>().ok()?)?))) {
                Some((at, rule)) => vec![(format!("{group_path}.rules[{at}]"), rule)],
                None => rules_of(group)
                    .iter()
                    .enumerate()
                    .map(|(at, rule)| (format!("{group_path}.rules[{at}]"), rule))
                    .collect(),
            };
        for (path, rule) in rules {
            if !is_about(question, key, relation, group, rule, "") {
                continue;
            }
            let mut explanation = scene.begin("rule", title(group, rule), Some(key));
            explanation.runs = false;
            explanation.sources.push(scene.source(relation, None, ALERT_RULES, &path));
            explanation.sources.push(scene.source(relation, None, ALERT_RULES, &format!("{path}.expr")));
            explanation.steps = steps(rule);
            explanation.problem = Some(problem.clone());
            found.push(explanation);
        }
    }
    found
}
