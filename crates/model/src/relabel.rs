//! Relabelling: small steps that rewrite or drop a label set, as in Prometheus' configuration.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use md5::{Digest as _, Md5};

use crate::labels::{Labels, LabelsBuilder};
use crate::regex::AnchoredRegex;
use crate::text::{is_legacy_label_name, quote, to_lower, to_upper};

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Action {
    /// Sets the target label to the filled replacement if the expression matches.
    #[default]
    Replace,
    /// Drops the set unless the expression matches.
    Keep,
    /// Drops the set if the expression matches.
    Drop,
    /// Drops the set unless the joined source labels equal the target label.
    KeepEqual,
    /// Drops the set if the joined source labels equal the target label.
    DropEqual,
    /// Sets the target label to a hash of the source labels modulo `modulus`.
    HashMod,
    /// Copies each label whose name matches to the name that the replacement gives.
    LabelMap,
    /// Removes each label whose name matches.
    LabelDrop,
    /// Removes each label whose name does not match.
    LabelKeep,
    /// Sets the target label to the joined source labels in lower case.
    Lowercase,
    /// Sets the target label to the joined source labels in upper case.
    Uppercase,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 11] = [
        Action::Replace,
        Action::Keep,
        Action::Drop,
        Action::KeepEqual,
        Action::DropEqual,
        Action::HashMod,
        Action::LabelMap,
        Action::LabelDrop,
        Action::LabelKeep,
        Action::Lowercase,
        Action::Uppercase,
    ];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Replace => "replace",
            Action::Keep => "keep",
            Action::Drop => "drop",
            Action::KeepEqual => "keepequal",
            Action::DropEqual => "dropequal",
            Action::HashMod => "hashmod",
            Action::LabelMap => "labelmap",
            Action::LabelDrop => "labeldrop",
            Action::LabelKeep => "labelkeep",
            Action::Lowercase => "lowercase",
            Action::Uppercase => "uppercase",
        }
    }

    fn sets_target(self) -> bool {
        !matches!(self, Action::Keep | Action::Drop | Action::LabelMap | Action::LabelDrop | Action::LabelKeep)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads the word in any case; the error is Prometheus' text.
impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        let action = Action::ALL.into_iter().find(|action| action.as_str() == lower);
        action.ok_or_else(|| format!("unknown relabel action {}", quote(text)))
    }
}

/// Which names a label may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NameScheme {
    /// Any text that is not empty.
    #[default]
    Utf8,
    /// `[a-zA-Z_][a-zA-Z0-9_]*`.
    Legacy,
}

impl NameScheme {
    /// Whether `name` may name a label.
    pub fn allows_label(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy_label_name(name),
        }
    }
}

/// One step. [`RelabelConfig::default`] has Prometheus' defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelConfig {
    /// The labels whose values are joined to the text that is looked at.
    pub source_labels: Vec<String>,
    /// What stands between the joined values; `;` by default.
    pub separator: String,
    /// What the text, or for `label…` actions each label's name, must match; `(.*)` by default.
    pub regex: AnchoredRegex,
    /// The modulus for `hashmod`; 0 if not given.
    pub modulus: u64,
    /// The label that is set; empty if not given. May refer to groups of the expression for `replace`.
    pub target_label: String,
    /// The new value, with references to groups; `$1` by default.
    pub replacement: String,
    /// What the step does.
    pub action: Action,
    /// Which names the target label may have.
    pub names: NameScheme,
}

static EVERYTHING: LazyLock<AnchoredRegex> =
    LazyLock::new(|| AnchoredRegex::new("(.*)").expect("the default expression is valid"));

impl Default for RelabelConfig {
    fn default() -> Self {
        RelabelConfig {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: EVERYTHING.clone(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::Replace,
            names: NameScheme::Utf8,
        }
    }
}

impl RelabelConfig {
    /// Checks what Prometheus checks when it loads a configuration; the error is its text.
    pub fn validate(&self) -> Result<(), String> {
        let action = self.action;
        if action == Action::HashMod && self.modulus == 0 {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        if action.sets_target() && self.target_label.is_empty() {
            return Err(format!("relabel configuration for {action} action requires 'target_label' value"));
        }
        let target_is_valid = match action {
            Action::Replace if self.target_label.contains('$') => self.is_name_template(&self.target_label),
            action if action.sets_target() => self.names.allows_label(&self.target_label),
            _ => true,
        };
        if !target_is_valid {
            return Err(format!("{} is invalid 'target_label' for {action} action", quote(&self.target_label)));
        }
        let default = RelabelConfig::default();
        let only_target =
            matches!(action, Action::Lowercase | Action::Uppercase | Action::KeepEqual | Action::DropEqual);
        if only_target && self.replacement != default.replacement {
            return Err(format!("'replacement' can not be set for {action} action"));
        }
        if action == Action::LabelMap && !self.is_name_template(&self.replacement) {
            return Err(format!("{} is invalid 'replacement' for {action} action", quote(&self.replacement)));
        }
        let plain = self.modulus == default.modulus
            && self.separator == default.separator
            && self.replacement == default.replacement;
        if matches!(action, Action::KeepEqual | Action::DropEqual) && !(plain && self.regex == default.regex) {
            return Err(format!(
                "{action} action requires only 'source_labels' and `target_label`, and no other fields"
            ));
        }
        let is_plain_filter = plain && self.source_labels.is_empty() && self.target_label.is_empty();
        if matches!(action, Action::LabelDrop | Action::LabelKeep) && !is_plain_filter {
            return Err(format!("{action} action requires only 'regex', and no other fields"));
        }
        Ok(())
    }

    /// Whether `text` is a label's name once its references to groups are filled.
    fn is_name_template(&self, text: &str) -> bool {
        match self.names {
            NameScheme::Utf8 => !text.is_empty(),
            NameScheme::Legacy => is_legacy_name_template(text),
        }
    }

    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let joined = self.joined_sources(labels);
        match self.action {
            Action::Keep => return self.regex.is_match(&joined),
            Action::Drop => return !self.regex.is_match(&joined),
            Action::KeepEqual => return labels.get(&self.target_label) == joined,
            Action::DropEqual => return labels.get(&self.target_label) != joined,
            Action::Replace => self.replace(&joined, labels),
            Action::Lowercase => {
                labels.set(self.target_label.as_str(), to_lower(&joined));
            }
            Action::Uppercase => {
                labels.set(self.target_label.as_str(), to_upper(&joined));
            }
            Action::HashMod => {
                labels.set(self.target_label.as_str(), self.hash(&joined).to_string());
            }
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => {
                labels.retain(|name, _| !self.regex.is_match(name));
            }
            Action::LabelKeep => {
                labels.retain(|name, _| self.regex.is_match(name));
            }
        }
        true
    }

    fn joined_sources(&self, labels: &LabelsBuilder) -> String {
        let mut joined = String::new();
        for (at, name) in self.source_labels.iter().enumerate() {
            if at > 0 {
                joined.push_str(&self.separator);
            }
            joined.push_str(labels.get(name));
        }
        joined
    }

    fn replace(&self, joined: &str, labels: &mut LabelsBuilder) {
        let Some(groups) = self.regex.captures(joined) else { return };
        let target = groups.expand(&self.target_label);
        if self.names.allows_label(&target) {
            labels.set(target, groups.expand(&self.replacement));
        }
    }

    /// The last eight bytes of the MD5 sum, as Prometheus has always done, so that shards stay where they are.
    fn hash(&self, joined: &str) -> u64 {
        let digest: [u8; 16] = Md5::digest(joined.as_bytes()).into();
        let (_, last) = digest.split_at(8);
        let number = u64::from_be_bytes(last.try_into().expect("half of sixteen bytes is eight"));
        // `validate` refuses a modulus of 0.
        number.checked_rem(self.modulus).unwrap_or(0)
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        // All names are mapped as they were before the first copy.
        let copies: Vec<(String, String)> = labels
            .iter()
            .filter_map(|(name, value)| Some((self.regex.replace(name, &self.replacement)?, value.to_owned())))
            .filter(|(name, _)| !name.is_empty())
            .collect();
        for (name, value) in copies {
            labels.set(name, value);
        }
    }
}

/// Applies `steps` in order. `false` means that the set is dropped, and later steps were not applied.
pub fn apply(steps: &[RelabelConfig], labels: &mut LabelsBuilder) -> bool {
    steps.iter().all(|step| step.apply(labels))
}

/// What one step did.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced<'a> {
    /// The step.
    pub step: &'a RelabelConfig,
    /// The labels after it; none if the set is dropped.
    pub labels: Labels,
    /// Whether the set is still there after it.
    pub kept: bool,
}

/// Applies `steps` in order, as [`apply`] does, and tells what each of them did, for people who look for the one that is wrong.
/// Steps behind the one that drops the set are listed, too.
pub fn trace<'a>(steps: &'a [RelabelConfig], labels: &mut LabelsBuilder) -> Vec<Traced<'a>> {
    let mut kept = true;
    let traced = steps.iter().map(|step| {
        kept = kept && step.apply(labels);
        Traced { step, labels: if kept { labels.build() } else { Labels::empty() }, kept }
    });
    traced.collect()
}

/// Letters and underscores, references to groups, and digits anywhere but at the start.
fn is_legacy_name_template(text: &str) -> bool {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_first = rest.len() == text.len();
        rest = match c {
            'a'..='z' | 'A'..='Z' | '_' => &rest[1..],
            '0'..='9' if !is_first => &rest[1..],
            '$' => match reference(&rest[1..]) {
                Some(after) => after,
                None => return false,
            },
            _ => return false,
        };
    }
    !text.is_empty()
}

fn reference(text: &str) -> Option<&str> {
    let body = text.strip_prefix('{');
    let name = body.unwrap_or(text);
    let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
    match (end, body) {
        (0, _) => None,
        (_, Some(_)) => name[end..].strip_prefix('}'),
        (_, None) => Some(&name[end..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(action: Action, sources: &[&str], regex: &str, target: &str, replacement: &str) -> RelabelConfig {
        RelabelConfig {
            source_labels: sources.iter().map(|name| (*name).to_owned()).collect(),
            regex: AnchoredRegex::new(regex).unwrap(),
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            modulus: if action == Action::HashMod { 1000 } else { 0 },
            action,
            ..RelabelConfig::default()
        }
    }

    /// `expected` is the set afterwards, or `None` if it is dropped. Every set starts as `{a="foo", b="bar", c="Baz"}`.
    #[track_caller]
    fn check(steps: &[RelabelConfig], expected: Option<&str>) {
        let mut labels = Labels::from_pairs([("a", "foo"), ("b", "bar"), ("c", "Baz")]).to_builder();
        let kept = apply(steps, &mut labels);
        let after = kept.then(|| labels.build().to_string());
        assert_eq!(after.as_deref(), expected);
    }

    #[test]
    fn traces_tell_what_every_step_did() {
        let steps = [
            step(Action::Replace, &["a"], "(.*)", "d", "$1"),
            step(Action::LabelDrop, &[], "[abc]", "", "$1"),
            step(Action::Drop, &["d"], "foo", "", "$1"),
            step(Action::Replace, &["d"], "(.*)", "e", "$1"),
        ];
        let mut labels = Labels::from_pairs([("a", "foo"), ("b", "bar")]).to_builder();
        let traced: Vec<_> = trace(&steps, &mut labels).iter().map(|t| (t.labels.to_string(), t.kept)).collect();
        let expected = [(r#"{a="foo", b="bar", d="foo"}"#, true), (r#"{d="foo"}"#, true), ("{}", false), ("{}", false)];
        assert_eq!(traced, expected.map(|(labels, kept)| (labels.to_owned(), kept)));
    }

    #[test]
    fn actions() {
        use Action::*;
        check(&[], Some(r#"{a="foo", b="bar", c="Baz"}"#));
        check(
            &[step(Replace, &["a"], "f(.*)", "d", "ch${1}-ch$1")],
            Some(r#"{a="foo", b="bar", c="Baz", d="choo-choo"}"#),
        );
        check(
            &[step(Replace, &["a", "b"], "f(.*);(.*)r", "a", "b${1}${2}m")],
            Some(r#"{a="boobam", b="bar", c="Baz"}"#),
        );
        // Anchored: `o` is only a part of the value.
        check(&[step(Replace, &["a"], "o", "a", "x")], Some(r#"{a="foo", b="bar", c="Baz"}"#));
        // An empty result removes the label, and so does a group that does not exist: `$1x` asks for a group named `1x`.
        check(&[step(Replace, &["a"], "(.*)", "a", "$1x")], Some(r#"{b="bar", c="Baz"}"#));
        check(&[step(Replace, &["a"], "(.*)", "a", "$$1")], Some(r#"{a="$1", b="bar", c="Baz"}"#));
        check(
            &[step(Replace, &["a"], "(?P<n>.)(.*)", "x_${n}", "${2}")],
            Some(r#"{a="foo", b="bar", c="Baz", x_f="oo"}"#),
        );
        // The target is no name when its group is empty: nothing happens.
        check(&[step(Replace, &["zz"], "(.*)", "${1}", "x")], Some(r#"{a="foo", b="bar", c="Baz"}"#));
        check(&[step(Replace, &[], "(.*)", "d", "fixed")], Some(r#"{a="foo", b="bar", c="Baz", d="fixed"}"#));
        check(&[step(Keep, &["a"], "f.*", "", "$1")], Some(r#"{a="foo", b="bar", c="Baz"}"#));
        check(&[step(Keep, &["a"], "o.*", "", "$1")], None);
        check(&[step(Drop, &["a"], ".*o", "", "$1")], None);
        check(&[step(Drop, &["zz"], "", "", "$1")], None);
        check(&[step(KeepEqual, &["a"], "(.*)", "b", "$1")], None);
        check(&[step(KeepEqual, &["zz"], "(.*)", "yy", "$1")], Some(r#"{a="foo", b="bar", c="Baz"}"#));
        check(&[step(DropEqual, &["a"], "(.*)", "a", "$1")], None);
        check(&[step(Lowercase, &["c"], "(.*)", "c", "$1")], Some(r#"{a="foo", b="bar", c="baz"}"#));
        check(&[step(Uppercase, &["c", "a"], "(.*)", "d", "$1")], Some(r#"{a="foo", b="bar", c="Baz", d="BAZ;FOO"}"#));
        // The numbers are Prometheus' own, so that a sharded scrape keeps its targets.
        check(&[step(HashMod, &["c"], "(.*)", "d", "$1")], Some(r#"{a="foo", b="bar", c="Baz", d="940"}"#));
        check(&[step(HashMod, &["a"], "(.*)", "d", "$1")], Some(r#"{a="foo", b="bar", c="Baz", d="696"}"#));
        check(
            &[step(LabelMap, &[], "([ab])", "", "x_$1")],
            Some(r#"{a="foo", b="bar", c="Baz", x_a="foo", x_b="bar"}"#),
        );
        // Every name is looked at once, copies are not copied again.
        check(
            &[step(LabelMap, &[], "(.)", "", "a$1")],
            Some(r#"{a="foo", aa="foo", ab="bar", ac="Baz", b="bar", c="Baz"}"#),
        );
        check(&[step(LabelDrop, &[], "[ab]", "", "$1")], Some(r#"{c="Baz"}"#));
        check(&[step(LabelKeep, &[], "[ab]", "", "$1")], Some(r#"{a="foo", b="bar"}"#));
        // Steps after a drop are not applied, steps before it are.
        check(
            &[step(Replace, &["a"], "(.*)", "b", "$1"), step(KeepEqual, &["a"], "(.*)", "b", "$1")],
            Some(r#"{a="foo", b="foo", c="Baz"}"#),
        );
    }

    #[track_caller]
    fn check_validate(step: &RelabelConfig, expected: Result<(), &str>) {
        assert_eq!(step.validate(), expected.map_err(str::to_owned));
    }

    #[test]
    fn validation() {
        use Action::*;
        let legacy = |step: RelabelConfig| RelabelConfig { names: NameScheme::Legacy, ..step };
        check_validate(&step(Replace, &["a"], "(.*)", "b", "$1"), Ok(()));
        check_validate(
            &step(Replace, &["a"], "(.*)", "", "$1"),
            Err("relabel configuration for replace action requires 'target_label' value"),
        );
        let no_modulus = RelabelConfig { modulus: 0, ..step(HashMod, &["a"], "(.*)", "b", "$1") };
        check_validate(&no_modulus, Err("relabel configuration for hashmod requires non-zero modulus"));
        check_validate(&step(Replace, &["a"], "(.*)", "a-b", "$1"), Ok(()));
        check_validate(
            &legacy(step(Replace, &["a"], "(.*)", "a-b", "$1")),
            Err("\"a-b\" is invalid 'target_label' for replace action"),
        );
        check_validate(&legacy(step(Replace, &["a"], "(.*)", "a_${1}_$2", "$1")), Ok(()));
        check_validate(
            &legacy(step(Replace, &["a"], "(.*)", "0${1}", "$1")),
            Err("\"0${1}\" is invalid 'target_label' for replace action"),
        );
        check_validate(
            &legacy(step(LabelMap, &[], "(.*)", "", "x-$1")),
            Err("\"x-$1\" is invalid 'replacement' for labelmap action"),
        );
        check_validate(
            &step(Lowercase, &["a"], "(.*)", "b", "$2"),
            Err("'replacement' can not be set for lowercase action"),
        );
        check_validate(
            &step(KeepEqual, &["a"], "x", "b", "$1"),
            Err("keepequal action requires only 'source_labels' and `target_label`, and no other fields"),
        );
        check_validate(
            &step(LabelDrop, &["a"], "x", "", "$1"),
            Err("labeldrop action requires only 'regex', and no other fields"),
        );
        assert_eq!("HashMod".parse(), Ok(HashMod));
        assert_eq!("no".parse::<Action>(), Err("unknown relabel action \"no\"".to_owned()));
    }
}
