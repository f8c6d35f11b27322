//! Groups and rules at one moment, as people and the API see them.

use std::sync::Arc;
use std::time::Duration;

use relatum_config::rules::{Rule, RuleGroup};

use crate::alert::{ActiveAlert, AlertState};
use crate::group::GroupSource;

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
    /// What it is made of.
    pub source: GroupSource,
    /// When it was evaluated last, milliseconds since 1970; `None` before the first time.
    pub evaluated_at_ms: Option<i64>,
    /// How long that took.
    pub took: Duration,
    /// Its rules, in order.
    pub rules: Vec<RuleView>,
}

/// A rule at one moment.
#[derive(Debug, Clone)]
pub struct RuleView {
    pub(crate) source: Arc<RuleGroup>,
    pub(crate) at: usize,
    /// Whether it works.
    pub health: RuleHealth,
    /// Why the last evaluation failed.
    pub last_error: Option<String>,
    /// When it was evaluated last.
    pub evaluated_at_ms: Option<i64>,
    /// How long that took.
    pub took: Duration,
    /// What only an alerting rule has; `None` for a recording rule.
    pub alerting: Option<RuleAlerts>,
}

impl RuleView {
    /// What its file says.
    pub fn rule(&self) -> &Rule {
        &self.source.rules[self.at]
    }
}

/// The alerts of an alerting rule.
#[derive(Debug, Clone)]
pub struct RuleAlerts {
    /// The state of its most severe alert.
    pub state: AlertState,
    /// Its alerts that are pending or firing.
    pub alerts: Vec<ActiveAlert>,
}
