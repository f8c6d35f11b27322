//! Groups and rules at one moment, as people and the API see them.

use std::time::Duration;

use crate::alert::{ActiveAlert, AlertState};

/// Whether a rule works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleHealth {
    /// It was never evaluated.
    Unknown,
    /// The last evaluation worked.
    Good,
    /// The last evaluation failed.
    Bad,
}

impl RuleHealth {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleHealth::Unknown => "unknown",
            RuleHealth::Good => "ok",
            RuleHealth::Bad => "err",
        }
    }
}

/// A group at one moment, for people and the API.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// The file it comes from.
    pub file: String,
    /// The time between ticks.
    pub interval: Duration,
    /// The limit on series or alerts of each rule; 0 means none.
    pub limit: usize,
    /// When it was evaluated last, milliseconds since 1970; `None` before the first time.
    pub evaluated_at_ms: Option<i64>,
    /// How long that took.
    pub took: Duration,
    /// Its rules, in order.
    pub rules: Vec<RuleView>,
}

impl GroupView {
    /// What the group is known by across reloads: its file and its name.
    pub fn key(&self) -> (String, String) {
        (self.file.clone(), self.name.clone())
    }
}

/// A rule at one moment.
#[derive(Debug, Clone)]
pub struct RuleView {
    /// The alert's name, or the metric recorded into.
    pub name: String,
    /// The expression in canonical form.
    pub query: String,
    /// Labels as written.
    pub labels: Vec<(String, String)>,
    /// Whether it works.
    pub health: RuleHealth,
    /// Why the last evaluation failed.
    pub last_error: Option<String>,
    /// When it was evaluated last.
    pub evaluated_at_ms: Option<i64>,
    /// How long that took.
    pub took: Duration,
    /// What only an alerting rule has; `None` for a recording rule.
    pub alerting: Option<RuleDetails>,
}

/// What an alerting rule has beside what every rule has.
#[derive(Debug, Clone)]
pub struct RuleDetails {
    /// `for`
    pub hold_for: Duration,
    /// `keep_firing_for`
    pub keep_firing_for: Duration,
    /// Annotations as written.
    pub annotations: Vec<(String, String)>,
    /// The state of its most severe alert.
    pub state: AlertState,
    /// Its alerts that are pending or firing.
    pub alerts: Vec<ActiveAlert>,
}
