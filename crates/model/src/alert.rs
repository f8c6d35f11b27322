//! An alert as it travels from the rules to Alertmanager.

use crate::labels::Labels;

/// One alert that fires, or fired and is resolved now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What identifies the alert, `alertname` included.
    pub labels: Labels,
    /// Texts for people; not part of the identity.
    pub annotations: Labels,
    /// When it began to fire, milliseconds since 1970.
    pub starts_at_ms: i64,
    /// Until when it counts as firing unless it is sent again; in the past for a resolved alert.
    pub ends_at_ms: i64,
    /// Where a person finds the expression behind it.
    pub generator_url: String,
}
