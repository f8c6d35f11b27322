//! What is odd about rules that are right.

use serde::{Deserialize, Serialize};

use super::BagPlace;

/// All rules of all relations that were looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LintReport {
    /// In the order of their relations.
    pub rules: Vec<LintedRule>,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LintedRule {
    /// As `group/name`.
    pub name: String,
    /// The metric that it records; none for an alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<String>,
    /// The relation, as `endpoint:id`.
    pub relation: String,
    /// Where its expression stands.
    pub place: BagPlace,
    /// A selector of all series of the application that it speaks of; none if it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// What keeps it, or a part of it, from ever giving anything.
    pub findings: Vec<LintFinding>,
    /// What it reads; whether that is there is for those to ask who can.
    pub selectors: Vec<LintSelector>,
}

/// Something that keeps a rule, or a part of it, from ever giving anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintFinding {
    /// What is wrong.
    pub message: String,
    /// The part at fault as published.
    pub before: String,
    /// The part at fault as it is evaluated.
    pub after: String,
    /// Whether the matchers that were put in brought it.
    pub injected: bool,
    /// Whether the rule as a whole never gives anything.
    pub whole: bool,
}

/// A selector before and after matchers were put in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintSelector {
    /// The metric; none if it names none by equality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// As published.
    pub before: String,
    /// As evaluated.
    pub after: String,
}
