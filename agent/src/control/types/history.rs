//! What was changed when.

use serde::{Deserialize, Serialize};

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
    /// What was asked for.
    pub description: String,
    /// The rows it touched: what they are of, and their key.
    pub touched: Vec<String>,
}
