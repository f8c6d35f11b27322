//! Where something that runs came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Problem;

/// All that a question is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanations {
    /// Each thing that was found, in the order of its relation.
    pub found: Vec<Explanation>,
    /// How many more there are.
    pub left_out: usize,
}

/// Where one thing came from, and what became of it on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// `target`, `job`, `rule`, `alertmanager` or `remote write`.
    pub kind: String,
    /// The target's address, the job's name, or the rule's as `group/name`.
    pub name: String,
    /// Whether it runs; what does not was left out, and `problem` says why.
    pub runs: bool,
    /// The relation, as `endpoint:id`; none for what nobody related.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// The ends of the relation, as `application:endpoint`: provider, requirer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<(String, String)>,
    /// Where it stands in the databags, the first being what made it.
    pub sources: Vec<BagPlace>,
    /// Where it stands in the rendered files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<RenderedPlace>,
    /// What changed it on the way, in order.
    pub steps: Vec<ExplainedStep>,
    /// The labels it has in the end: those of a target's series, or of a rule's alerts. Where each came from is said behind it.
    pub labels: BTreeMap<String, ExplainedLabel>,
    /// Why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// A place in a databag.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BagPlace {
    /// Whose databag: an application or a unit.
    pub owner: String,
    /// The key.
    pub key: String,
    /// The path inside the JSON; empty for the value as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The line in the value's text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What stands there, if it is short and no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Since when it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// The revision that wrote something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Its number.
    pub revision: u64,
    /// When, milliseconds since 1970; 0 if the revision is not kept any more.
    pub at_ms: i64,
    /// Who asked for it.
    pub author: String,
    /// What was asked for.
    pub description: String,
    /// Whether it may be older: the history does not reach further back.
    #[serde(default)]
    pub or_earlier: bool,
}

/// A place in a rendered file, and in the template that brought it there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedPlace {
    /// The path below the directory of rendered files.
    pub file: String,
    /// The line, from 1; none if it does not stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The template's path: the operator's, or ours in the source tree.
    pub template: String,
    /// The line of the template that brings it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_line: Option<usize>,
}

/// One thing that was changed on the way from the databag to what runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedStep {
    /// `named`, `expanded`, `labelled`, `left out`, `added`, `deduplicated`, `moved`, `relabelled`, `token stripped` or `injected`.
    pub what: String,
    /// Which part of it, as a path in the rendered configuration.
    pub field: String,
    /// Before; none if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// After; none if there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Why.
    pub why: String,
}

/// A label and where its value came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedLabel {
    /// The value.
    pub value: String,
    /// `OWNER KEY.PATH`, or what made it.
    pub from: String,
}
