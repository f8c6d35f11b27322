//! Relabelling rules in a file.

use std::sync::Arc;

use relatum_model::regex::AnchoredRegex;
use relatum_model::relabel::{Action, NameScheme, RelabelConfig};
use relatum_model::text::quote;

use crate::shared::Newest;
use crate::yaml::Cursor;

static NEWEST: Newest<RelabelConfig> = Newest::new();

/// Reads a list of rules; `what` names a rule of this list in the message about one that is null.
pub(super) fn read_list(cursor: Cursor<'_>, what: &str, names: NameScheme) -> Arc<[RelabelConfig]> {
    let mut rules = Vec::new();
    for item in cursor.items() {
        if item.is_null() {
            item.invalid(format!("empty or null {what}"));
        } else if let Some(rule) = read(item, names) {
            rules.push(rule);
        }
    }
    // A thousand jobs of one kind are relabelled the same way.
    NEWEST.share(rules)
}

/// Whether what `rule` does may decide which address is asked, or that none is.
///
/// One that sets a label with another name cannot, and where all rules are such, an address stays what it is.
pub(super) fn may_change_where(rule: &RelabelConfig) -> bool {
    let sets_one_label =
        matches!(rule.action, Action::Replace | Action::HashMod | Action::Lowercase | Action::Uppercase);
    !sets_one_label || rule.target_label == "__address__" || rule.target_label.contains('$')
}

/// Reads one rule. A key of the wrong type makes it `None`, so that the rule as a whole is not blamed as well.
fn read(cursor: Cursor<'_>, names: NameScheme) -> Option<RelabelConfig> {
    let mut section = cursor.section()?;
    let mut rule = RelabelConfig { names, ..RelabelConfig::default() };
    let mut complete = true;
    let mut set = |done: Option<()>| complete &= done.is_some();
    if let Some(labels) = section.take("source_labels") {
        rule.source_labels = labels.items().into_iter().filter_map(label_name).collect();
    }
    if let Some(separator) = section.take("separator") {
        set(separator.string().map(|text| rule.separator = text));
    }
    if let Some(regex) = section.take("regex") {
        set(read_regex(regex, &rule.regex).map(|compiled| rule.regex = compiled));
    }
    if let Some(modulus) = section.take("modulus") {
        set(modulus.unsigned().map(|number| rule.modulus = number));
    }
    if let Some(target) = section.take("target_label") {
        set(target.string().map(|text| rule.target_label = text));
    }
    if let Some(replacement) = section.take("replacement") {
        set(replacement.string().map(|text| rule.replacement = text));
    }
    if let Some(action) = section.take("action") {
        if action.is_null() {
            action.invalid("relabel action cannot be empty");
            set(None);
        } else {
            let parsed =
                action.string().and_then(|text| text.parse().map_err(|message: String| action.invalid(message)).ok());
            set(parsed.map(|parsed| rule.action = parsed));
        }
    }
    section.finish();
    if !complete {
        return None;
    }
    rule.validate().map_err(|message| cursor.invalid(message)).ok()?;
    Some(rule)
}

fn label_name(cursor: Cursor<'_>) -> Option<String> {
    let name = cursor.string()?;
    if name.is_empty() {
        cursor.invalid(format!("{} is not a valid label name", quote(&name)));
        return None;
    }
    Some(name)
}

/// Reads an expression. Many files spell out the default, which need not be compiled for each rule.
fn read_regex(cursor: Cursor<'_>, default: &AnchoredRegex) -> Option<AnchoredRegex> {
    let pattern = cursor.string()?;
    if pattern == default.pattern() {
        return Some(default.clone());
    }
    AnchoredRegex::new(&pattern).map_err(|error| cursor.invalid(error.to_string())).ok()
}
