//! A change that is only tried, and what it would do.

use serde::{Deserialize, Serialize};

use super::{
    ChangeConfiguration, HistoryChange, Problem, Relate, RemoveApplications, RemoveOffer, RemoveRelation, RemoveUnits,
    RollBack,
};

/// `--dry-run`: which request is to be tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rehearse {
    /// `relate`.
    Relate(Box<Relate>),
    /// `remove-relation`.
    RemoveRelation(RemoveRelation),
    /// `remove-unit`.
    RemoveUnit(RemoveUnits),
    /// `remove-application`.
    RemoveApplication(RemoveApplications),
    /// `remove-offer`.
    RemoveOffer(RemoveOffer),
    /// `rollback`.
    RollBack(RollBack),
    /// `config`.
    Config(ChangeConfiguration),
}

/// What would be otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// What would be written: applications, units, relations, databags and options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<HistoryChange>,
    /// Targets, as `relation job address`.
    pub targets: Difference,
    /// Rules, as `relation group/rule`.
    pub rules: Difference,
    /// What would be wrong, and left out, that is not wrong now.
    pub quarantined: Vec<Problem>,
    /// What is wrong now and would not be.
    pub solved: Vec<Problem>,
    /// Rendered files, sorted by path.
    pub files: Vec<FileDifference>,
}

/// Names of things that would come, be otherwise, or go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What would be new.
    pub added: Vec<String>,
    /// What would be otherwise.
    pub changed: Vec<String>,
    /// What would be gone.
    pub removed: Vec<String>,
}

/// A rendered file that would be otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDifference {
    /// Below the directory of rendered files.
    pub path: String,
    /// What it says now; none when it would be new. Secrets read `<secret>` unless asked for.
    pub before: Option<String>,
    /// What it would say; none when it would be gone.
    pub after: Option<String>,
}
