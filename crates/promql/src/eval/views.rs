//! The open views of the store that a query reads from.

use std::sync::Arc;

use relatum_model::storage::{Reader, Scope, Select, SelectError, TimeRange};

/// Opens views of the store as they are needed, and shares them between selectors that look at the same time.
///
/// Selectors that share a view see the same commits, so `x - x` is zero whatever is written meanwhile.
pub(crate) struct Views<'a> {
    source: &'a dyn Select,
    scope: &'a Scope,
    open: Vec<(TimeRange, Arc<dyn Reader + 'a>)>,
}

impl<'a> Views<'a> {
    pub(crate) fn new(source: &'a dyn Select, scope: &'a Scope) -> Self {
        Views { source, scope, open: Vec::new() }
    }

    /// A view that covers `range`.
    pub(crate) fn covering(&mut self, range: TimeRange) -> Result<Arc<dyn Reader + 'a>, SelectError> {
        for (open, reader) in &self.open {
            // A view gives all its samples, so one that covers much more costs more than it saves.
            if open.min_ms <= range.min_ms && open.max_ms >= range.max_ms && length(*open) <= 2 * length(range) {
                return Ok(reader.clone());
            }
        }
        let reader: Arc<dyn Reader + 'a> = Arc::from(self.source.open(self.scope, range)?);
        self.open.push((range, reader.clone()));
        Ok(reader)
    }
}

fn length(range: TimeRange) -> i128 {
    i128::from(range.max_ms) - i128::from(range.min_ms)
}
