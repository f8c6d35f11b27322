//! Series in memory that rules can append to while they are evaluated.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relatum_model::storage::{
    Append, AppendError, Appender, Cancel, Hints, Reader, Refused, Scope, Select, SelectError, SeriesRef, SeriesSet,
    TimeRange,
};
use relatum_model::{HistogramSample, Labels, Matcher, NativeHistogram, Sample, Series};
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

    fn label_sets(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<Labels>, SelectError> {
        self.open()?.label_sets(matchers, limit, cancel)
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<String>, SelectError> {
        self.open()?.label_names(matchers, limit, cancel)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<String>, SelectError> {
        self.open()?.label_values(name, matchers, limit, cancel)
    }
}

impl Append for Store {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch { store: self, samples: Vec::new(), histograms: Vec::new() })
    }
}

struct Batch<'a> {
    store: &'a Store,
    samples: Vec<(Labels, Sample)>,
    histograms: Vec<(Labels, HistogramSample)>,
}

impl Batch<'_> {
    /// Whether a sample of time `t_ms` comes behind all others; where one of that time is there, whether it is the same.
    fn check(
        &self,
        labels: &Labels,
        t_ms: i64,
        is_same: impl FnOnce(Option<Sample>, Option<&HistogramSample>) -> bool,
    ) -> Result<(), Refused> {
        let memory = self.store.lock();
        let (float, histogram) = (memory.newest(labels), memory.newest_histogram(labels));
        match float.map(|sample| sample.t_ms).max(histogram.map(|sample| sample.t_ms)) {
            Some(newest_ms) if newest_ms > t_ms => Err(Refused::OutOfOrder),
            Some(newest_ms) if newest_ms == t_ms => {
                let at = |sample_ms: i64| sample_ms == t_ms;
                let same = is_same(float.filter(|f| at(f.t_ms)), histogram.filter(|h| at(h.t_ms)));
                if same { Ok(()) } else { Err(Refused::DuplicateTimestamp) }
            }
            _ => Ok(()),
        }
    }
}

impl Appender for Batch<'_> {
    fn append(&mut self, _: SeriesRef, labels: &Labels, t_ms: i64, value: f64) -> Result<SeriesRef, Refused> {
        self.check(labels, t_ms, |float, _| float.is_some_and(|float| float.value.to_bits() == value.to_bits()))?;
        self.samples.push((labels.clone(), Sample { t_ms, value }));
        Ok(SeriesRef::NONE)
    }

    fn append_histogram(
        &mut self,
        _: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        start_ms: i64,
        histogram: &Arc<NativeHistogram>,
    ) -> Result<SeriesRef, Refused> {
        self.check(labels, t_ms, |_, same| same.is_some_and(|same| same.histogram == *histogram))?;
        self.histograms.push((labels.clone(), HistogramSample { t_ms, start_ms, histogram: Arc::clone(histogram) }));
        Ok(SeriesRef::NONE)
    }

    fn commit(self: Box<Self>) -> Result<(), AppendError> {
        let mut memory = self.store.lock();
        let memory = Arc::make_mut(&mut memory);
        for (labels, sample) in &self.samples {
            memory.add(labels, sample.t_ms, sample.value);
        }
        for (labels, sample) in &self.histograms {
            memory.add_histogram(labels, sample.t_ms, sample.start_ms, sample.histogram.to_float());
        }
        Ok(())
    }

    fn rollback(self: Box<Self>) {}
}
