//! Exemplars: examples of what a series counted, mostly the trace of one request.

use crate::labels::Labels;

/// The labels of an exemplar have at most so many characters in all; OpenMetrics' bound.
pub const EXEMPLAR_CHARS_MAX: usize = 128;

/// An example of what was counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// What leads to it, for instance `trace_id`; may be empty.
    pub labels: Labels,
    /// What was counted or measured.
    pub value: f64,
    /// When, in milliseconds since 1970.
    pub t_ms: i64,
}

impl Exemplar {
    /// Whether both are the same, bit by bit.
    pub fn is_same(&self, other: &Exemplar) -> bool {
        self.t_ms == other.t_ms && self.value.to_bits() == other.value.to_bits() && self.labels == other.labels
    }
}
