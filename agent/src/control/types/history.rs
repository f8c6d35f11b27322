//! What was changed when, how two revisions differ, and going back.

use serde::{Deserialize, Serialize};

use super::{FileDifference, Rehearsal};

/// The revisions that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Newest first.
    pub revisions: Vec<HistoryEntry>,
}

/// One revision of the state store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its number.
    pub revision: u64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// `user NAME`, `file NAME`, `model NAME` or `agent`; empty for what was done before this was noted.
    pub author: String,
    /// What was asked for.
    pub description: String,
    /// What it changed.
    pub changes: Vec<HistoryChange>,
    /// How many changes are not listed.
    pub left_out: usize,
}

/// One thing that a revision changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryChange {
    /// What became of it.
    pub kind: HistoryChangeKind,
    /// Such as `relation 3` or `databag of zinc/0 in relation 3`.
    pub object: String,
    /// What there is to say of it: the ends of a relation, the keys of a databag, the values of an option.
    pub detail: String,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryChangeKind {
    /// It is new.
    Added,
    /// It is otherwise.
    Changed,
    /// It is gone.
    Removed,
}

/// `diff`: what is otherwise at another revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionDifference {
    /// From where.
    pub from: u64,
    /// To where.
    pub to: u64,
    /// What was written: applications, options, relations and databags, by name.
    pub state: Vec<FileDifference>,
    /// What comes of it now; files are as today's templates and options of `relatum.yaml` render them.
    #[serde(flatten)]
    pub effect: Rehearsal,
}

/// `rollback`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// What operators wrote becomes as it was right after this revision.
    pub revision: u64,
}

/// What `rollback` did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolledBack {
    /// The revision that going back made; none if all was like that already.
    pub made: Option<HistoryEntry>,
    /// What was left alone and why, a line each.
    pub left: Vec<String>,
}
