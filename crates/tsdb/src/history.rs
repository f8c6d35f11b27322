//! Samples of any age on their way into a store: what an import and a backfill have in common.

use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{Append, AppendError, Appender, Refused, SeriesRef};
use relatum_model::{Labels, NativeHistogram};

use crate::options::Options;
use crate::store::Store;

/// How many samples are committed at once, and after how many they leave memory.
const COMMIT_SAMPLES: usize = 20_000;
const CUT_SAMPLES: u64 = 5_000_000;

impl Options {
    /// Takes samples of any age, the future included, keeps all, and cuts and merges nothing by itself.
    pub fn for_history() -> Self {
        Options {
            retention: Duration::ZERO,
            out_of_order_window: Duration::MAX,
            future_limit: Duration::MAX,
            maintenance_interval: None,
            ..Options::default()
        }
    }
}

/// A row of batches. Samples of a series may come in any order; of two for one moment the first counts.
///
/// Ends with [`History::finish`]; without it, what was not committed is forgotten.
pub struct History<'s> {
    store: &'s Store,
    appender: Option<Box<dyn Appender + 's>>,
    pending: usize,
    since_cut: u64,
}

impl std::fmt::Debug for History<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl<'s> History<'s> {
    /// Begins. The store should have been opened with [`Options::for_history`].
    pub fn new(store: &'s Store) -> Self {
        History { store, appender: None, pending: 0, since_cut: 0 }
    }

    /// Adds a sample; see [`Appender::append`]. The outer result is that of the batch that it completes.
    pub fn append(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        value: f64,
    ) -> Result<Result<SeriesRef, Refused>, AppendError> {
        let taken = self.appender().append(cached, labels, t_ms, value);
        self.count()?;
        Ok(taken)
    }

    /// The same for a native histogram.
    pub fn append_histogram(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        start_ms: i64,
        histogram: &Arc<NativeHistogram>,
    ) -> Result<Result<SeriesRef, Refused>, AppendError> {
        let taken = self.appender().append_histogram(cached, labels, t_ms, start_ms, histogram);
        self.count()?;
        Ok(taken)
    }

    /// Commits what is left and moves everything into blocks.
    pub fn finish(mut self) -> Result<(), AppendError> {
        self.commit()?;
        self.store.cut()?;
        self.store.compact()
    }

    fn appender(&mut self) -> &mut Box<dyn Appender + 's> {
        self.appender.get_or_insert_with(|| self.store.appender())
    }

    fn count(&mut self) -> Result<(), AppendError> {
        self.pending += 1;
        if self.pending >= COMMIT_SAMPLES { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), AppendError> {
        if let Some(appender) = self.appender.take() {
            appender.commit()?;
        }
        self.since_cut += std::mem::take(&mut self.pending) as u64;
        if self.since_cut >= CUT_SAMPLES {
            self.store.cut()?;
            self.since_cut = 0;
        }
        Ok(())
    }
}
