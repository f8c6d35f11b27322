//! What a pass would make of a world that is not there: the plain functions in the middle of the pipeline, and nothing else.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ROUNDS_MAX;
use super::check::check;
use super::desire::{Desired, Memory, RelationKey, desire};
use super::observe::Observed;
use super::publish::foresee;
use super::render::Renderer;
use crate::control::{Difference, FileDifference, Problem, Rehearsal};
use crate::packed::PackedText;
use crate::workload::{Files, Workload, differing};

/// What would be in effect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forecast {
    /// The rendered files.
    pub files: Files,
    /// All that would be wrong.
    pub problems: Vec<Problem>,
    /// What is scraped and how, by name.
    targets: BTreeMap<String, Vec<Value>>,
    /// What is evaluated, by name.
    rules: BTreeMap<String, Vec<Value>>,
}

/// Runs the pure part of passes until nothing is left to publish, as what we publish may be read by ourselves.
pub fn forecast(observed: &Observed, workload: &dyn Workload) -> Forecast {
    let mut memory = Memory::default();
    let mut desired = desire(observed, &mut memory);
    let mut observed = Cow::Borrowed(observed);
    for _ in 1..ROUNDS_MAX {
        if !foresee(&mut observed.to_mut().world, &desired.bags) {
            break;
        }
        desired = desire(&observed, &mut memory);
    }
    let mut rendered = Renderer::default().render(&desired, &observed.overrides, workload.dialect());
    let checked = check(&observed.current, &mut rendered, &desired, workload);
    let (targets, rules) = (targets(&desired), rules(&desired));
    let mut problems = desired.problems;
    problems.extend(rendered.problems);
    problems.extend(checked.problems);
    problems.sort();
    problems.dedup();
    Forecast { files: checked.wanted, problems, targets, rules }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn name((endpoint, id): &RelationKey) -> String {
    format!("{endpoint}:{id}")
}

fn targets(desired: &Desired) -> BTreeMap<String, Vec<Value>> {
    let mut targets: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let of_relations =
        desired.scrapes.iter().flat_map(|(key, jobs)| jobs.values().into_iter().map(move |job| (name(key), job)));
    let own = desired.own_jobs.iter().map(|job| ("prometheus".to_owned(), job.clone()));
    for (owner, job) in own.chain(of_relations) {
        let mut rest = job.clone();
        rest.as_object_mut().map(|rest| rest.remove("static_configs"));
        for group in list(&job, "static_configs") {
            for target in list(group, "targets").iter().filter_map(Value::as_str) {
                let job_name = job["job_name"].as_str().unwrap_or_default();
                let how = json!({"job": rest, "labels": group["labels"]});
                targets.entry(format!("{owner} {job_name} {target}")).or_default().push(how);
            }
        }
    }
    targets
}

fn rules(desired: &Desired) -> BTreeMap<String, Vec<Value>> {
    let mut rules: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for file in desired.rules.values() {
        for group in &file.groups() {
            for rule in list(group, "rules") {
                let named = rule["alert"].as_str().or(rule["record"].as_str()).unwrap_or_default();
                let name =
                    format!("{} {}/{named}", name(&file.ends.relation), group["name"].as_str().unwrap_or_default());
                rules.entry(name).or_default().push(json!({"rule": rule, "interval": group["interval"]}));
            }
        }
    }
    rules
}

/// What is otherwise in `after`.
pub fn compare(before: &Forecast, after: &Forecast) -> Rehearsal {
    let only_in = |a: &Forecast, b: &Forecast| -> Vec<Problem> {
        a.problems.iter().filter(|problem| !b.problems.contains(problem)).cloned().collect()
    };
    Rehearsal {
        changes: Vec::new(),
        targets: difference(&before.targets, &after.targets),
        rules: difference(&before.rules, &after.rules),
        quarantined: only_in(after, before),
        solved: only_in(before, after),
        files: files(&before.files, &after.files),
    }
}

fn difference<T: PartialEq>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Difference {
    let is_changed = |(name, value): &(&String, &T)| before.get(*name).is_some_and(|known| known != *value);
    Difference {
        added: after.keys().filter(|name| !before.contains_key(*name)).cloned().collect(),
        changed: after.iter().filter(is_changed).map(|(name, _)| name.clone()).collect(),
        removed: before.keys().filter(|name| !after.contains_key(*name)).cloned().collect(),
    }
}

/// The files that are otherwise in `after`.
pub fn files(before: &Files, after: &Files) -> Vec<FileDifference> {
    let paths: Vec<String> = differing(before, after).map(str::to_owned).collect();
    let text = |files: &Files, path: &str| files.get(path).map(PackedText::read);
    let file = |path: String| FileDifference { before: text(before, &path), after: text(after, &path), path };
    paths.into_iter().map(file).collect()
}
