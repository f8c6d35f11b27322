//! A consistent view of the store for one query.

use std::collections::BTreeSet;
use std::sync::Arc;

use relatum_model::storage::{Cancel, Hints, Reader, Scope, SelectError, SeriesSet, TimeRange};
use relatum_model::{Labels, Matcher, Series};

use crate::core::Core;
use crate::readers::Ticket;
use crate::series::MemSeries;

/// How many series are looked at between two looks at the switch that cancels.
const SERIES_BETWEEN_CHECKS: usize = 64;

/// What one reader sees; see `relatum_model::storage::Select::open`.
pub(crate) struct View<'s> {
    store: &'s Core,
    ticket: Ticket,
    range: TimeRange,
    // Whether the range takes in all there is.
    everything: bool,
    scope: Scope,
}

impl<'s> View<'s> {
    pub(crate) fn open(store: &'s Core, scope: &Scope, range: TimeRange) -> Self {
        let cutoff_ms = store.cutoff_ms();
        let everything = range.min_ms <= store.oldest_ms().max(cutoff_ms) && range.max_ms >= store.newest_ms();
        let ticket = store.readers.open(range.min_ms.max(cutoff_ms));
        // Looked at again, because before the ticket was there a truncation may have gone further than the first look.
        let range = TimeRange { min_ms: range.min_ms.max(store.cutoff_ms()), max_ms: range.max_ms };
        View { store, ticket, range, everything, scope: scope.clone() }
    }

    /// The series that satisfy `matchers` and the scope, in no order; some may have no sample in the view.
    fn matching(&self, matchers: &[Matcher]) -> Vec<Arc<MemSeries>> {
        self.store.head().index().select(self.scope.matchers().iter().chain(matchers))
    }

    /// Calls `each`, in no order, for the series that `matchers` select and that have a sample in the view.
    fn visit(&self, matchers: &[Matcher], cancel: &Cancel, mut each: impl FnMut(&Labels)) -> Result<(), SelectError> {
        for (i, series) in self.matching(matchers).iter().enumerate() {
            if i % SERIES_BETWEEN_CHECKS == 0 && cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            if series.state().has_samples(self.range, self.ticket.commit) {
                each(&series.labels);
            }
        }
        Ok(())
    }

    /// Answers from the index alone, which is right when every listed series is visible.
    fn answer_by_index<T>(&self, matchers: &[Matcher], answer: impl FnOnce(&crate::index::Index) -> T) -> Option<T> {
        if !self.everything || !matchers.is_empty() || !self.scope.matchers().is_empty() {
            return None;
        }
        let index = self.store.head().index();
        (index.newest_commit() <= self.ticket.commit).then(|| answer(&index))
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        self.store.readers.close(self.ticket);
    }
}

impl Reader for View<'_> {
    fn series<'a>(
        &'a self,
        matchers: &[Matcher],
        hints: &Hints,
        cancel: &Cancel,
    ) -> Result<SeriesSet<'a>, SelectError> {
        if cancel.is_cancelled() {
            return Err(SelectError::Cancelled);
        }
        let limit = if hints.limit == 0 { usize::MAX } else { hints.limit };
        let cancel = cancel.clone();
        let mut cancelled = false;
        let mut series = self.matching(matchers);
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        let mut series = series.into_iter();
        let set = std::iter::from_fn(move || {
            loop {
                if cancelled {
                    return None;
                }
                let next = series.next()?;
                if cancel.is_cancelled() {
                    cancelled = true;
                    return Some(Err(SelectError::Cancelled));
                }
                // Decoded without the lock, so that a long series does not hold up its writer.
                let snapshot = next.state().snapshot(self.range, self.ticket.commit);
                let samples = snapshot.decode();
                if !samples.is_empty() {
                    return Some(Ok(Series { labels: next.labels.clone(), samples }));
                }
            }
        });
        Ok(Box::new(set.take(limit)))
    }

    fn label_sets(&self, matchers: &[Matcher], cancel: &Cancel) -> Result<Vec<Labels>, SelectError> {
        let mut sets = Vec::new();
        self.visit(matchers, cancel, |labels| sets.push(labels.clone()))?;
        sets.sort_unstable();
        Ok(sets)
    }

    fn label_names(&self, matchers: &[Matcher], cancel: &Cancel) -> Result<Vec<String>, SelectError> {
        if let Some(names) = self.answer_by_index(matchers, |index| index.names().map(str::to_owned).collect()) {
            return Ok(names);
        }
        let mut names = BTreeSet::new();
        self.visit(matchers, cancel, |labels| {
            for (name, _) in labels {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        })?;
        Ok(names.into_iter().collect())
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], cancel: &Cancel) -> Result<Vec<String>, SelectError> {
        let values = |index: &crate::index::Index| index.values(name).map(|(value, _)| value.to_owned()).collect();
        if let Some(values) = self.answer_by_index(matchers, values) {
            return Ok(values);
        }
        let mut values = BTreeSet::new();
        self.visit(matchers, cancel, |labels| {
            if let Some(value) = labels.get(name).filter(|value| !values.contains(*value)) {
                values.insert(value.to_owned());
            }
        })?;
        Ok(values.into_iter().collect())
    }
}
