//! A batch of samples between its first append and its commit.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet, HashTable};
use relatum_model::exemplar::Exemplar;
use relatum_model::exposition::MetricKind;
use relatum_model::storage::{AppendError, Appender, ExemplarRefused, KnownSample, Refused, SeriesRef};
use relatum_model::{Labels, NativeHistogram, Sample};

use crate::core::Core;
use crate::durable::Writing;
use crate::head::reference_of;
use crate::histogram::{Encoded, HISTOGRAM_BYTES_MAX};
use crate::series::{MemSeries, Phase};
use crate::stored::Stored;
use crate::wal::record::LABELS_BYTES_MAX;

/// So many series are fetched before they are looked at, as waiting for one takes as long as working on several.
const SERIES_AHEAD: usize = 8;

/// The appender of a store.
pub(crate) struct Batch<'s> {
    store: &'s Core,
    // What was applied when the batch began. Series that a later commit touched are looked at again before ours.
    base_commit: u64,
    // How often series had been removed by then.
    base_removals: u64,
    newest_allowed_ms: i64,
    oldest_allowed_ms: i64,
    window_ms: i64,
    pending: Vec<Pending>,
    tips: Tips,
    // The values of series that got a late sample in this batch, by number and time.
    moments: HashMap<(u64, i64), u64, FixedState>,
    // The numbers of those series.
    indexed: HashSet<u64, FixedState>,
    // What blocks hold of the series that was looked up last.
    stored: Stored,
    exemplars: Vec<PendingExemplar>,
    // Until it is handed on.
    writing: Option<Writing<'s>>,
}

/// An exemplar that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct PendingExemplar {
    pub(crate) series: Arc<MemSeries>,
    pub(crate) exemplar: Exemplar,
}

/// What a batch commits.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    pub(crate) samples: Vec<Pending>,
    pub(crate) exemplars: Vec<PendingExemplar>,
}

/// A sample that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) series: Arc<MemSeries>,
    pub(crate) t_ms: i64,
    /// The value's bits; of a native histogram, its fingerprint.
    pub(crate) bits: u64,
    // In a box: few are histograms, and whatever is moved for every sample counts.
    pub(crate) histogram: Option<Box<Encoded>>,
    /// When a float began to count; 0 if that is not known.
    pub(crate) start_ms: i64,
    // The sample of the same series that was accepted before this one, and the newest one of those up to this one.
    previous: u32,
    newest: u32,
    is_fresh: bool,
}

impl Pending {
    /// Whether it is the first sample of its series in the batch.
    pub(crate) fn is_first(&self) -> bool {
        self.previous == NONE
    }

    /// Whether it is the first sample of a series that neither the log nor a reader knows.
    pub(crate) fn begins_series(&self) -> bool {
        self.is_fresh && self.is_first()
    }
}

/// The last sample of each series in a batch, by its place. There is one for each sample of nearly all batches, and it is looked for
/// in no order, so all that it tells is in the sample itself.
pub(crate) type Tips = HashTable<u32>;

/// What stands for no sample.
const NONE: u32 = u32::MAX;

impl<'s> Batch<'s> {
    pub(crate) fn new(store: &'s Core) -> Self {
        let options = store.options();
        let (pending, tips) = store.spare.take(store.batch_samples());
        let newest_allowed_ms = options.clock.now_ms().saturating_add(crate::options::millis(options.future_limit));
        Batch {
            store,
            base_commit: store.applied(),
            base_removals: store.head().removals(),
            // Behind each sample there is a moment up to which the head can be cut.
            newest_allowed_ms: newest_allowed_ms.min(i64::MAX - 1),
            oldest_allowed_ms: store.cutoff_ms(),
            window_ms: store.window_ms(),
            pending,
            tips,
            moments: HashMap::default(),
            indexed: HashSet::default(),
            stored: Stored::default(),
            exemplars: Vec::new(),
            writing: Some(store.durable.begin()),
        }
    }

    fn append_one(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        bits: u64,
        start_ms: i64,
        histogram: Option<Box<Encoded>>,
    ) -> Result<SeriesRef, Refused> {
        if t_ms > self.newest_allowed_ms {
            return Err(Refused::TooFarInFuture);
        }
        if t_ms < self.oldest_allowed_ms {
            return Err(Refused::TooOld);
        }
        let series = match self.store.head().find(cached, labels) {
            Some(series) => series,
            None => {
                check_labels(labels)?;
                self.store.find_or_make(labels)
            }
        };
        let reference = reference_of(&series);
        self.accept(series, t_ms, (bits, start_ms), histogram)?;
        Ok(reference)
    }

    /// Takes the sample into the batch unless it is a repetition, which changes nothing.
    fn accept(
        &mut self,
        series: Arc<MemSeries>,
        t_ms: i64,
        (bits, start_ms): (u64, i64),
        histogram: Option<Box<Encoded>>,
    ) -> Result<(), Refused> {
        let same = |stored: u64| if stored == bits { Ok(()) } else { Err(Refused::DuplicateTimestamp) };
        let tip = self.tip(&series);
        let newest_here = tip.map(|tip| {
            let newest = &self.pending[self.pending[tip as usize].newest as usize];
            (newest.t_ms, newest.bits)
        });
        let cut_end_ms = self.store.cut_end_ms();
        let mut state = series.state();
        if t_ms < cut_end_ms && state.is_unsure() && tip.is_none() {
            // The head does not know the series, but a block may. Read without the lock.
            drop(state);
            let in_block = self.store.blocks.newest_of(&series.labels);
            state = series.state();
            state.found_in_blocks(in_block);
        }
        let newest = match (state.newest(), newest_here) {
            (Some(stored), Some(here)) if here.0 > stored.0 => Some(here),
            (None, here) => here,
            (stored, _) => stored,
        };
        if let Some((newest_ms, newest_bits)) = newest {
            if t_ms == newest_ms {
                return same(newest_bits);
            }
            if t_ms < newest_ms {
                if self.window_ms == 0 {
                    return Err(Refused::OutOfOrder);
                }
                if t_ms < newest_ms.saturating_sub(self.window_ms) {
                    return Err(Refused::TooOld);
                }
                if let Some(stored) = state.value_at(t_ms) {
                    return same(stored);
                }
                if t_ms < cut_end_ms
                    && let Some(stored) = self.stored.value_at(&self.store.blocks, &series.labels, t_ms)
                {
                    return same(stored);
                }
                self.index_moments(series.id, tip);
                if let Some(stored) = self.moments.get(&(series.id, t_ms)) {
                    return same(*stored);
                }
            }
        }
        // Should another batch define the series before this one does, this is looked at again; see `readmit`.
        let is_fresh = state.phase == Phase::Fresh;
        state.expect_push();
        drop(state);
        self.push(tip, Pending { series, t_ms, bits, histogram, start_ms, previous: NONE, newest: NONE, is_fresh });
        Ok(())
    }

    /// The place of the last sample of a series in this batch.
    fn tip(&self, series: &Arc<MemSeries>) -> Option<u32> {
        self.tips.find(hash_of(series), |at| Arc::ptr_eq(&self.pending[*at as usize].series, series)).copied()
    }

    /// Adds a sample behind `tip`, which is the last one of its series.
    fn push(&mut self, tip: Option<u32>, mut sample: Pending) {
        let at = u32::try_from(self.pending.len()).ok().filter(|at| *at != NONE);
        let at = at.expect("a batch of four thousand million samples does not fit into memory");
        let hash = hash_of(&sample.series);
        match tip {
            None => {
                let pending = &self.pending;
                self.tips.insert_unique(hash, at, |at| hash_of(&pending[*at as usize].series));
                sample.newest = at;
            }
            Some(tip) => {
                if let Some(known) = self.tips.find_mut(hash, |known| *known == tip) {
                    *known = at;
                }
                let newest = self.pending[tip as usize].newest;
                let is_newer = sample.t_ms > self.pending[newest as usize].t_ms;
                (sample.previous, sample.newest) = (tip, if is_newer { at } else { newest });
                if self.indexed.contains(&sample.series.id) {
                    self.moments.insert((sample.series.id, sample.t_ms), sample.bits);
                }
            }
        }
        self.pending.push(sample);
    }

    /// Makes the samples of one series in this batch findable by time; `tip` is the last one.
    fn index_moments(&mut self, id: u64, tip: Option<u32>) {
        let Some(tip) = tip.filter(|_| self.indexed.insert(id)) else { return };
        let mut at = tip;
        while let Some(pending) = self.pending.get(at as usize) {
            self.moments.insert((id, pending.t_ms), pending.bits);
            at = pending.previous;
        }
    }

    /// Looks at all samples again if a commit since the batch began touched one of their series, or retention took one away.
    /// The caller keeps other commits out. Whoever was first wins; what lost is counted and left out.
    fn readmit(&mut self) {
        if self.store.applied() == self.base_commit && self.store.head().removals() == self.base_removals {
            return;
        }
        let moved = |pending: &Pending| {
            let state = pending.series.state();
            state.phase == Phase::Detached || state.last_commit() > self.base_commit
        };
        if !self.pending.iter().any(moved) {
            return;
        }
        let before = std::mem::take(&mut self.pending);
        self.tips.clear();
        self.moments.clear();
        self.indexed.clear();
        for pending in before {
            let detached = pending.series.state().phase == Phase::Detached;
            let series = if detached { self.store.find_or_make(&pending.series.labels) } else { pending.series };
            if let Err(reason) = self.accept(series, pending.t_ms, (pending.bits, pending.start_ms), pending.histogram)
            {
                self.store.counters().refused(&reason);
            }
        }
    }
}

impl Appender for Batch<'_> {
    fn append(&mut self, cached: SeriesRef, labels: &Labels, t_ms: i64, value: f64) -> Result<SeriesRef, Refused> {
        self.append_started(cached, labels, t_ms, 0, value)
    }

    fn append_known(&mut self, samples: &[KnownSample]) -> usize {
        // Behind the last cut a block may have to be read, for which nobody shall wait who needs the slots.
        let oldest_here_ms = self.store.cut_end_ms().max(self.oldest_allowed_ms);
        let is_wanted = |known: &KnownSample| (oldest_here_ms..=self.newest_allowed_ms).contains(&known.sample.t_ms);
        let n_wanted = samples.iter().take_while(|known| is_wanted(known)).count();
        let samples = &samples[..n_wanted];
        if samples.is_empty() {
            return 0;
        }
        let slots = self.store.head().slots();
        samples.iter().take(SERIES_AHEAD).for_each(|known| slots.expect(known.series));
        for (at, known) in samples.iter().enumerate() {
            if let Some(later) = samples.get(at + SERIES_AHEAD) {
                slots.expect(later.series);
            }
            let KnownSample { series, start_ms, sample: Sample { t_ms, value } } = *known;
            let Some(series) = slots.get(series) else { return at };
            if self.accept(Arc::clone(series), t_ms, (value.to_bits(), start_ms), None).is_err() {
                return at;
            }
        }
        samples.len()
    }

    fn labels(&self, cached: SeriesRef) -> Option<Labels> {
        self.store.head().labels(cached)
    }

    fn append_started(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        start_ms: i64,
        value: f64,
    ) -> Result<SeriesRef, Refused> {
        self.append_one(cached, labels, t_ms, value.to_bits(), start_ms, None)
            .inspect_err(|reason| self.store.counters().refused(reason))
    }

    fn append_histogram(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        start_ms: i64,
        histogram: &Arc<NativeHistogram>,
    ) -> Result<SeriesRef, Refused> {
        let encoded = Encoded::new(start_ms, histogram);
        let taken = if encoded.bytes().len() > HISTOGRAM_BYTES_MAX {
            Err(Refused::NativeHistogram)
        } else {
            self.append_one(cached, labels, t_ms, encoded.fingerprint(), 0, Some(Box::new(encoded)))
        };
        taken.inspect_err(|reason| self.store.counters().refused(reason))
    }

    fn append_exemplar(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        exemplar: Exemplar,
    ) -> Result<bool, ExemplarRefused> {
        if !self.store.exemplars.are_wanted() {
            return Ok(false);
        }
        let series = self.store.head().find(cached, labels).ok_or(ExemplarRefused::NoSeries)?;
        // Few series of a batch have any, and those that have follow their sample.
        let before = self.exemplars.iter().rev().find(|pending| pending.series.id == series.id);
        if self.store.exemplars.check(labels, &exemplar, before.map(|pending| &pending.exemplar))? {
            self.exemplars.push(PendingExemplar { series, exemplar });
        }
        Ok(true)
    }

    fn describe(&mut self, metric: &str, kind: MetricKind, help: &str, unit: &str) {
        self.store.metadata.describe(metric, kind, help, unit);
    }

    fn commit(mut self: Box<Self>) -> Result<(), AppendError> {
        let store = self.store;
        let Some(writing) = self.writing.take() else { return Ok(()) };
        store.commit(writing, || {
            self.readmit();
            let mut exemplars = std::mem::take(&mut self.exemplars);
            let begun = |series: &Arc<MemSeries>| self.tip(series).is_some() || series.state().phase == Phase::Listed;
            // Those whose series got no sample after all have nothing to belong to.
            exemplars.retain(|pending| begun(&pending.series));
            Admitted { samples: std::mem::take(&mut self.pending), exemplars }
        })
    }

    fn rollback(self: Box<Self>) {}
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.store.spare.keep_tips(std::mem::take(&mut self.tips));
        self.store.spare.keep_pending(std::mem::take(&mut self.pending));
    }
}

fn hash_of(series: &MemSeries) -> u64 {
    FixedState::default().hash_one(series.id)
}

/// Whether `labels` can name a series. `Labels` itself makes sure of order, single names and non-empty values.
fn check_labels(labels: &Labels) -> Result<(), Refused> {
    if labels.is_empty() {
        return Err(Refused::InvalidLabels("empty label set".to_owned()));
    }
    if labels.encoded().len() > LABELS_BYTES_MAX {
        let bytes = labels.encoded().len();
        return Err(Refused::InvalidLabels(format!("{bytes} bytes, at most {LABELS_BYTES_MAX} are taken")));
    }
    if labels.iter().next().is_some_and(|(name, _)| name.is_empty()) {
        return Err(Refused::InvalidLabels("empty label name".to_owned()));
    }
    Ok(())
}
