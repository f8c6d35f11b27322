//! `explain`: where something that runs came from, and what changed it on the way.
//!
//! Nothing is kept for it while passes run. Asked, the plain steps run once more over the world as it is, with the places they
//! read from ([`crate::pipeline::desire::trace`]); positions in rendered files are those of the parser, and since when
//! something is said stands in the history.

mod lint;
mod local;
mod nothing;
mod question;
mod rules;
mod since;
mod spans;
mod targets;
mod urls;

use std::cell::RefCell;
use std::collections::BTreeMap;

use relatum_relations::Relation;
use relatum_relations::place::place_of;
use serde_json::Value;

use crate::control::{BagPlace, Explanation, Explanations, Failure, Problem, RenderedPlace};
use crate::dialect::Layout;
use crate::pipeline::desire::RelationKey;
use crate::pipeline::desire::trace::Trace;
use crate::pipeline::observe::Observed;
use crate::secrets;
use crate::store::Role;
use crate::templates::{Template, Templates};

pub(crate) use question::Question;
pub(crate) use since::{History, Stored};

/// More things than this are not explained at once.
const FOUND_MAX: usize = 200;

/// A longer text is cut.
const VALUE_CHARACTERS_MAX: usize = 300;

/// What there is to explain.
pub(crate) struct Scene<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) observed: &'a Observed,
    pub(crate) layout: Layout,
    pub(crate) history: &'a dyn History,
    templates: Templates,
    spans: RefCell<BTreeMap<String, spans::Spans>>,
}

impl<'a> Scene<'a> {
    /// The scene of one pass.
    pub(crate) fn new(trace: &'a Trace, observed: &'a Observed, layout: Layout, history: &'a dyn History) -> Self {
        let templates = Templates::new(&observed.overrides);
        Scene { trace, observed, layout, history, templates, spans: RefCell::default() }
    }

    /// All that `question` is about; fails when there is nothing, and says what there is instead.
    pub(crate) fn explain(&self, question: &Question) -> Result<Explanations, Failure> {
        let (mut found, mut left_out) = targets::found(question, self);
        found.extend(rules::found(question, self));
        found.extend(urls::found(question, self));
        found.extend(local::found(question, self));
        if let Question::Line { file, line } = question {
            self.refuse_missing(file, *line)?;
            found = nearest(found, file, *line);
        }
        if found.is_empty() {
            return Err(self.nothing(question));
        }
        left_out += found.len().saturating_sub(FOUND_MAX);
        found.truncate(FOUND_MAX);
        for explanation in &mut found {
            self.date(explanation);
        }
        Ok(Explanations { found, left_out })
    }

    /// Refuses lines that are not there.
    fn refuse_missing(&self, file: &str, line: u64) -> Result<(), Failure> {
        let Some(text) = self.observed.current.get(file) else {
            return Err(Failure::failed(format!("there is no rendered file {file}"))
                .hint("`relatum render` prints all of them, each with its name"));
        };
        let n_lines = text.read().lines().count();
        match usize::try_from(line).is_ok_and(|line| (1..=n_lines).contains(&line)) {
            true => Ok(()),
            false => Err(Failure::failed(format!("{file} has no line {line}: its lines are 1 to {n_lines}"))),
        }
    }

    /// What is known of the relation `key`, to begin with.
    fn begin(&self, kind: &str, name: String, key: Option<&RelationKey>) -> Explanation {
        Explanation {
            kind: kind.to_owned(),
            name,
            runs: true,
            relation: key.map(|(endpoint, id)| format!("{endpoint}:{id}")),
            ends: key.and_then(|key| {
                let stored = self.observed.world.relation(key.1)?;
                Some((stored.provider.to_string(), stored.requirer.to_string()))
            }),
            ..Explanation::default()
        }
    }

    /// The place of `path` in the other side's databag: of its application, or of a unit.
    fn source(&self, relation: &Relation, unit: Option<&str>, key: &str, path: &str) -> BagPlace {
        let bag = match unit {
            None => Some(&relation.remote.app_bag),
            Some(unit) => unit.parse().ok().and_then(|unit| relation.remote.units.get(&unit)),
        };
        let text = bag.and_then(|bag| bag.get(key));
        let place = text.filter(|_| !path.is_empty()).map(|text| place_of(text, path));
        BagPlace {
            owner: unit.unwrap_or(&relation.remote.application).to_owned(),
            key: key.to_owned(),
            path: path.to_owned(),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            value: text.and_then(|text| plain(text, key, path)),
            since: None,
        }
    }

    /// The place of the n-th thing in a rendered file.
    fn rendered(
        &self,
        file: &str,
        template: Template,
        field: &str,
        line: impl Fn(&spans::Spans) -> u64,
    ) -> RenderedPlace {
        let (template, template_line) = self.templates.place_of(template, field);
        let line = Some(self.spans(file, line)).filter(|line| *line > 0);
        RenderedPlace { file: file.to_owned(), line, template, template_line }
    }

    /// What `ask` finds in the lines of a rendered file.
    fn spans<R>(&self, file: &str, ask: impl FnOnce(&spans::Spans) -> R) -> R {
        let mut spans = self.spans.borrow_mut();
        if !spans.contains_key(file) {
            let read = self.observed.current.get(file).map(|text| spans::Spans::read(&text.read()));
            spans.insert(file.to_owned(), read.unwrap_or_default());
        }
        ask(&spans[file])
    }

    /// Says of every source since when it says what it does.
    fn date(&self, explanation: &mut Explanation) {
        let Some(key) = explanation.relation.as_deref().and_then(|key| key.rsplit_once(':')) else { return };
        let Ok(id) = key.1.parse() else { return };
        let Some((role, _)) = self.trace.relations.get(&(key.0.to_owned(), id)) else { return };
        for source in &mut explanation.sources {
            source.since = since::since(self.history, &self.observed.world, id, role.other(), source);
        }
    }

    /// What was left out of `relation` under `key`, as far as it has a path.
    fn problems<'s>(&'s self, relation: &'s Relation, key: &'s str) -> impl Iterator<Item = &'s Problem> {
        let name = format!("{}:{}", relation.endpoint, relation.id);
        let is_of = move |problem: &&Problem| {
            problem.relation.as_ref() == Some(&name) && problem.key.as_deref() == Some(key) && problem.path.is_some()
        };
        self.trace.desired.problems.iter().filter(is_of)
    }

    fn on<'s>(&'s self, endpoint: &'s str) -> impl Iterator<Item = (&'s RelationKey, &'s (Role, Relation))> {
        self.trace.relations.iter().filter(move |(key, _)| key.0 == endpoint)
    }
}

/// Of all that stands in `file`, what stands at `line`, or begins last before it.
fn nearest(found: Vec<Explanation>, file: &str, line: u64) -> Vec<Explanation> {
    let line_of = |explanation: &Explanation| {
        explanation.rendered.as_ref().filter(|place| place.file == file).and_then(|place| place.line)
    };
    let best = found.iter().filter_map(line_of).filter(|at| *at <= line).max();
    found.into_iter().filter(|explanation| best.is_some() && line_of(explanation) == best).collect()
}

/// What stands at `path` of `text`, if it is one plain value and no secret.
fn plain(text: &str, key: &str, path: &str) -> Option<String> {
    let name = path.rsplit(['.', ']']).find(|part| !part.is_empty()).unwrap_or(key);
    if secrets::is_secret(key) || secrets::is_secret(name) {
        return None;
    }
    let value = match (serde_json::from_str::<Value>(text), path.is_empty()) {
        // Inside of a structure there may be anything.
        (Ok(value @ (Value::Object(_) | Value::Array(_))), true) => value,
        (_, true) => Value::from(text),
        (Ok(value), false) => since::at(&value, path)?.clone(),
        (Err(_), false) => return None,
    };
    match value {
        Value::Object(_) | Value::Array(_) | Value::Null => None,
        value => Some(short(&value)),
    }
}

/// A value as one short text.
fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
