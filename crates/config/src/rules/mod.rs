//! Rule files: groups of recording and alerting rules, checked as `promtool check rules` does.
//!
//! A message begins with the group, the number and the name of its rule, as Prometheus writes it. Expressions come out
//! parsed; templates in labels and annotations are parsed to check them and kept as text.

use std::time::Duration;

use relatum_promql::syntax::Expr;

/// A rule file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuleFile {
    /// Its groups; their names differ.
    pub groups: Vec<RuleGroup>,
    /// What Prometheus would only warn of.
    pub warnings: Vec<String>,
}

/// Rules that are evaluated one after the other, at the same moment.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleGroup {
    /// Its name; not empty.
    pub name: String,
    /// How often it is evaluated; `None` is the global `evaluation_interval`.
    pub interval: Option<Duration>,
    /// How far in the past it is evaluated; `None` is the global `rule_query_offset`.
    pub query_offset: Option<Duration>,
    /// The most series or alerts a rule may make; none for 0 and less.
    pub limit: i64,
    /// Labels of all its rules; a rule's own win.
    pub labels: Vec<(String, String)>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it does with its result.
    pub kind: RuleKind,
    /// What it evaluates.
    pub expr: Expr,
    /// The same as it stands in the file.
    pub expr_text: String,
    /// Labels that are added to the result; templates for an alert.
    pub labels: Vec<(String, String)>,
    /// The line it begins on.
    pub line: u64,
}

/// What a rule does with its result.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleKind {
    /// Every series of the result is an alert.
    Alert {
        /// The label `alertname`.
        name: String,
        /// How long it must hold before the alert fires.
        hold_for: Duration,
        /// How long the alert fires on after it holds no more.
        keep_firing_for: Duration,
        /// Texts for people; templates.
        annotations: Vec<(String, String)>,
    },
    /// Every series of the result is stored.
    Record {
        /// The name it is stored under.
        name: String,
    },
}

impl Rule {
    /// The alert's name, or that of the recorded metric.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Alert { name, .. } | RuleKind::Record { name } => name,
        }
    }
}
