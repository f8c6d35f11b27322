//! Series in memory that rules can append to while they are evaluated.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relatum_model::storage::{
    Append, AppendError, Appender, Cancel, Hints, Reader, Refused, Scope, Select, SelectError, SeriesRef, SeriesSet,
    TimeRange,
};
use relatum_model::{Labels, Matcher, Sample, Series};
use relatum_promql::memory::Memory;

/// Holds what a test loads and what its rules record.
///
/// A view shares the memory. A commit copies it only while a view is still open, which rules never do: they append after they
/// have asked.
#[derive(Debug, Default)]
pub(super) struct Store {
    memory: Mutex<Arc<Memory>>,
}

impl Store {
    // Nothing panics while it holds the lock, so what a poisoned one guards is whole.
    fn lock(&self) -> MutexGuard<'_, Arc<Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Select for Store {
    fn open(&self, scope: &Scope, range: TimeRange) -> Result<Box<dyn Reader + '_>, SelectError> {
        Ok(Box::new(View { memory: self.lock().clone(), scope: scope.clone(), range }))
    }
}

struct View {
    memory: Arc<Memory>,
    scope: Scope,
    range: TimeRange,
}

impl View {
    fn open(&self) -> Result<Box<dyn Reader + '_>, SelectError> {
        self.memory.open(&self.scope, self.range)
    }
}

impl Reader for View {
    fn series<'a>(
        &'a self,
        matchers: &[Matcher],
        hints: &Hints,
        cancel: &Cancel,
    ) -> Result<SeriesSet<'a>, SelectError> {
        let series: Vec<Result<Series, SelectError>> = self.open()?.series(matchers, hints, cancel)?.collect();
        Ok(Box::new(series.into_iter()))
    }

    fn label_sets(&self, matchers: &[Matcher], cancel: &Cancel) -> Result<Vec<Labels>, SelectError> {
        self.open()?.label_sets(matchers, cancel)
    }

    fn label_names(&self, matchers: &[Matcher], cancel: &Cancel) -> Result<Vec<String>, SelectError> {
        self.open()?.label_names(matchers, cancel)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], cancel: &Cancel) -> Result<Vec<String>, SelectError> {
        self.open()?.label_values(name, matchers, cancel)
    }
}

impl Append for Store {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch { store: self, samples: Vec::new() })
    }
}

struct Batch<'a> {
    store: &'a Store,
    samples: Vec<(Labels, Sample)>,
}

impl Appender for Batch<'_> {
    fn append(&mut self, _: SeriesRef, labels: &Labels, t_ms: i64, value: f64) -> Result<SeriesRef, Refused> {
        match self.store.lock().newest(labels) {
            Some(newest) if newest.t_ms > t_ms => return Err(Refused::OutOfOrder),
            Some(newest) if newest.t_ms == t_ms && newest.value.to_bits() != value.to_bits() => {
                return Err(Refused::DuplicateTimestamp);
            }
            _ => {}
        }
        self.samples.push((labels.clone(), Sample { t_ms, value }));
        Ok(SeriesRef::NONE)
    }

    fn commit(self: Box<Self>) -> Result<(), AppendError> {
        let mut memory = self.store.lock();
        let memory = Arc::make_mut(&mut memory);
        for (labels, sample) in &self.samples {
            memory.add(labels, sample.t_ms, sample.value);
        }
        Ok(())
    }

    fn rollback(self: Box<Self>) {}
}
