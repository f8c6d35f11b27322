//! Reading rule files.

use std::collections::HashSet;
use std::sync::Arc;

use relatum_model::labels::METRIC_NAME;
use relatum_model::relabel::NameScheme;
use relatum_model::text::{is_legacy_metric_name, quote};
use relatum_promql::syntax::{self, ParseOptions};

use super::{Rule, RuleExpr, RuleFile, RuleGroup, RuleKind};
use crate::Problem;
use crate::shared::Newest;
use crate::template::Template;
use crate::yaml::{self, Cursor, Findings, Node, Section};

static LABELS: Newest<(String, String)> = Newest::new();
static ANNOTATIONS: Newest<(String, String)> = Newest::new();

/// Which PromQL and which names a rule file may use.
#[derive(Debug, Clone, Default)]
pub struct RuleOptions {
    /// The features of PromQL.
    pub syntax: ParseOptions,
    /// The names of metrics and labels.
    pub names: NameScheme,
}

impl RuleFile {
    /// Reads a rule file by the rules of Prometheus without feature flags. An empty text has no groups.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        RuleFile::parse_with(text, &RuleOptions::default())
    }

    /// Reads a rule file.
    pub fn parse_with(text: &str, options: &RuleOptions) -> Result<Self, Vec<Problem>> {
        let (root, more) = yaml::parse(text).map_err(|problem| vec![problem])?;
        let mut file = RuleFile::read(root.as_ref(), options)?;
        if more {
            let warning = "multiple documents in one rule file are not supported, only the first is processed";
            file.warnings.push(warning.to_owned());
        }
        Ok(file)
    }

    /// The same as [`RuleFile::parse`] for a file of these groups that is not written yet. `None` unless all is right with it: reading
    /// its text tells what is wrong.
    pub fn of_groups(groups: &[&serde_json::Value]) -> Option<Self> {
        let root = yaml::tree_of_list("groups", groups.iter().copied())?;
        RuleFile::read(Some(&root), &RuleOptions::default()).ok()
    }

    fn read(root: Option<&Node>, options: &RuleOptions) -> Result<Self, Vec<Problem>> {
        let findings = Findings::default();
        let mut file = RuleFile::default();
        if let Some(mut section) = root.and_then(|root| Cursor::new(root, &findings).section()) {
            let mut seen = HashSet::new();
            for item in section.take("groups").map(Cursor::items).unwrap_or_default() {
                file.groups.extend(RuleGroup::read(item, &mut seen, options).map(Arc::new));
            }
            section.finish();
        }
        let found = findings.finish(root);
        if found.problems.is_empty() { Ok(file) } else { Err(found.problems) }
    }
}

impl RuleGroup {
    fn read(cursor: Cursor<'_>, seen: &mut HashSet<String>, options: &RuleOptions) -> Option<Self> {
        let Some(mut section) = cursor.section() else {
            if cursor.is_null() {
                cursor.invalid("Groupname must not be empty");
            }
            return None;
        };
        let name = section.take("name").and_then(Cursor::string).unwrap_or_default();
        if name.is_empty() {
            cursor.invalid("Groupname must not be empty");
        }
        if !seen.insert(name.clone()) {
            cursor.invalid(format!("groupname: \"{name}\" is repeated in the same file"));
        }
        let mut duration = |key| section.take(key).filter(|cursor| !cursor.is_null()).and_then(Cursor::duration);
        let interval = duration("interval").filter(|interval| !interval.is_zero());
        let query_offset = duration("query_offset");
        let labels = section.take("labels").map(|labels| read_labels(labels, "", options.names)).unwrap_or_default();
        let labels = pairs(labels);
        let rules = section.take("rules").map(Cursor::items).unwrap_or_default();
        let rules = rules
            .into_iter()
            .enumerate()
            .filter_map(|(at, rule)| RuleReader { group: &name, labels: &labels, number: at + 1, options }.read(rule));
        let mut rules: Vec<Rule> = rules.collect();
        rules.shrink_to_fit();
        // Prometheus reads a negative limit as none.
        let limit = section.take("limit").and_then(Cursor::signed).unwrap_or(0);
        let group = RuleGroup {
            rules,
            interval,
            query_offset,
            limit: usize::try_from(limit).unwrap_or(0),
            labels,
            name: name.clone(),
        };
        section.finish();
        Some(group)
    }
}

/// The labels of a group or rule; `whose` begins the messages.
fn read_labels<'a>(cursor: Cursor<'a>, whose: &str, names: NameScheme) -> Vec<Entry<'a>> {
    let mut labels = Vec::new();
    for (name, key, value) in cursor.entries() {
        if !names.allows_label(&name) || name == METRIC_NAME {
            key.invalid(format!("{whose}invalid label name: {name}"));
        }
        labels.extend(value.string().map(|text| (name, text, value)));
    }
    labels
}

/// Reads one rule; knows how messages name it.
struct RuleReader<'a> {
    group: &'a str,
    // Of all rules of the group.
    labels: &'a [(String, String)],
    number: usize,
    options: &'a RuleOptions,
}

impl RuleReader<'_> {
    fn read(&self, cursor: Cursor<'_>) -> Option<Rule> {
        let mut section = match cursor.section() {
            Some(section) => section,
            None if cursor.is_null() => {
                cursor.invalid(format!("{}one of 'record' or 'alert' must be set", self.whose("")));
                return None;
            }
            None => return None,
        };
        let record_place = section.take("record");
        let record = record_place.and_then(Cursor::non_empty);
        let alert = section.take("alert").and_then(Cursor::non_empty);
        let whose = self.whose(alert.as_deref().or(record.as_deref()).unwrap_or(""));
        match (&record, &alert) {
            (Some(_), Some(_)) => cursor.invalid(format!("{whose}only one of 'record' and 'alert' must be set")),
            (None, None) => cursor.invalid(format!("{whose}one of 'record' or 'alert' must be set")),
            _ => {}
        }
        let expr = self.read_expr(&mut section, &whose);
        let labels =
            section.take("labels").map(|labels| read_labels(labels, &whose, self.options.names)).unwrap_or_default();
        let (annotations_place, for_place, keep_place) =
            (section.take("annotations"), section.take("for"), section.take("keep_firing_for"));
        let hold_for = for_place.and_then(Cursor::duration).unwrap_or_default();
        let keep_firing_for = keep_place.and_then(Cursor::duration).unwrap_or_default();
        let annotations = annotations_place.map(|place| self.read_annotations(place, &whose)).unwrap_or_default();
        section.finish();

        if let (Some(place), Some(name)) = (record_place, &record) {
            let forbidden = [
                ("annotations", annotations_place, !annotations.is_empty()),
                ("for", for_place, !hold_for.is_zero()),
                ("keep_firing_for", keep_place, !keep_firing_for.is_zero()),
            ];
            for (key, place, _) in forbidden.into_iter().filter(|(_, _, is_set)| *is_set) {
                let place = place.unwrap_or(cursor);
                place.invalid(format!("{whose}invalid field '{key}' in recording rule"));
            }
            if self.options.names == NameScheme::Legacy && !is_legacy_metric_name(name) {
                place.invalid(format!("{whose}invalid recording rule name: {name}"));
            }
            // Any text may be a name, but this one was meant to be an expression.
            if name.contains(['{', '}']) {
                place.invalid(format!(
                    "{whose}braces present in the recording rule name; should it be in expr?: {name}"
                ));
            }
        }
        if alert.is_some() {
            check_templates(&labels, "label", &whose);
            check_templates(&annotations, "annotation", &whose);
        }
        let expr = expr?;
        let kind = match (alert, record) {
            (Some(name), _) => {
                RuleKind::Alert { name, hold_for, keep_firing_for, annotations: ANNOTATIONS.share(pairs(annotations)) }
            }
            (None, Some(name)) => RuleKind::Record { name },
            (None, None) => return None,
        };
        Some(Rule { kind, expr, labels: LABELS.share(self.with_inherited(pairs(labels))), line: cursor.line() })
    }

    /// The labels of a rule that has `own` labels, sorted by name.
    fn with_inherited(&self, mut own: Vec<(String, String)>) -> Vec<(String, String)> {
        let is_set = |name: &str| own.iter().any(|(own, _)| own == name);
        let inherited: Vec<_> = self.labels.iter().filter(|(name, _)| !is_set(name)).cloned().collect();
        own.extend(inherited);
        own.sort();
        own
    }

    /// The words before every message about the rule `name`.
    fn whose(&self, name: &str) -> String {
        format!("group {}, rule {}, {}: ", quote(self.group), self.number, quote(name))
    }

    fn read_expr(&self, section: &mut Section<'_>, whose: &str) -> Option<RuleExpr> {
        let place = section.take("expr");
        let Some(text) = place.and_then(Cursor::non_empty) else {
            place.unwrap_or(section.cursor()).invalid(format!("{whose}field 'expr' must be set in rule"));
            return None;
        };
        let options = self.options.syntax;
        match syntax::parse(&text, &options).and_then(|expr| RuleExpr::new(&expr, options)) {
            Ok(expr) => Some(expr),
            Err(error) => {
                place.unwrap_or(section.cursor()).invalid(format!("{whose}could not parse expression: {error}"));
                None
            }
        }
    }

    fn read_annotations<'a>(&self, cursor: Cursor<'a>, whose: &str) -> Vec<Entry<'a>> {
        let mut annotations = Vec::new();
        for (name, key, value) in cursor.entries() {
            if !self.options.names.allows_label(&name) {
                key.invalid(format!("{whose}invalid annotation name: {name}"));
            }
            annotations.extend(value.string().map(|text| (name, text, value)));
        }
        annotations
    }
}

/// Parses the templates of an alert; `what` says what they are.
fn check_templates(entries: &[Entry<'_>], what: &str, whose: &str) {
    for (name, value, place) in entries {
        let Err(error) = Template::parse(value) else { continue };
        let message = format!("{whose}{what} {}: template: line {}: {error}", quote(name), error.line);
        place.invalid(message);
    }
}

/// A name, its value and the place of the value.
type Entry<'a> = (String, String, Cursor<'a>);

fn pairs(entries: Vec<Entry<'_>>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = entries.into_iter().map(|(name, value, _)| (name, value)).collect();
    pairs.sort();
    // Collected in the place of larger entries.
    pairs.shrink_to_fit();
    pairs
}
