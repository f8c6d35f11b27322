//! What bounds a query while it runs: its time, its caller's patience, the samples it may hold and the memory it may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use relatum_model::storage::Cancel;

use crate::error::QueryError;

/// A sample is a time and a value; so is a slot of a column, with the room that columns grow into.
const SAMPLE_BYTES: usize = 16;

/// So many samples are looked at between two looks at the watch: a few milliseconds' worth where they are only added.
const WORK_BETWEEN_LOOKS: usize = 1 << 20;

/// What something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// As many samples as its values are.
    pub(crate) samples: usize,
    /// About as many bytes: labels and what stands around values count, too.
    pub(crate) bytes: usize,
}

impl Cost {
    /// This and more.
    #[must_use]
    pub(crate) fn plus(self, more: Cost) -> Cost {
        Cost { samples: self.samples.saturating_add(more.samples), bytes: self.bytes.saturating_add(more.bytes) }
    }

    /// This and more bytes that are no samples.
    #[must_use]
    pub(crate) fn with_bytes(self, bytes: usize) -> Cost {
        self.plus(Cost { samples: 0, bytes })
    }

    fn minus(self, less: Cost) -> Cost {
        Cost { samples: self.samples.saturating_sub(less.samples), bytes: self.bytes.saturating_sub(less.bytes) }
    }

    fn max(self, other: Cost) -> Cost {
        Cost { samples: self.samples.max(other.samples), bytes: self.bytes.max(other.bytes) }
    }
}

impl From<usize> for Cost {
    /// Of so many samples and nothing else.
    fn from(samples: usize) -> Self {
        Cost { samples, bytes: samples.saturating_mul(SAMPLE_BYTES) }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(all: I) -> Self {
        all.fold(Cost::default(), Cost::plus)
    }
}

/// The limits of one query and how far it is.
#[derive(Debug)]
pub(crate) struct Budget {
    held: Cost,
    // What stays whatever is settled.
    kept: Cost,
    peak: Cost,
    limits: Limits,
    pace: Pace,
}

/// How much a query may hold at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) samples: usize,
    pub(crate) bytes: usize,
}

impl Limits {
    /// Whether so much may be held.
    pub(crate) fn admit(self, held: Cost) -> Result<(), QueryError> {
        if held.samples > self.samples {
            return Err(QueryError::TooManySamples);
        }
        if held.bytes > self.bytes { Err(QueryError::TooMuchMemory { bytes_max: self.bytes }) } else { Ok(()) }
    }
}

/// How many series a query read so far, on all of its threads, and how many it may read.
#[derive(Debug)]
struct SeriesRead {
    n: AtomicUsize,
    max: usize,
}

/// The end of a query's time, the switch that stops it, and what it read.
#[derive(Debug, Clone)]
struct Watch {
    deadline: Option<Instant>,
    cancel: Cancel,
    series: Arc<SeriesRead>,
}

impl Watch {
    /// Whether to go on.
    fn check(&self) -> Result<(), QueryError> {
        if self.cancel.is_cancelled() {
            return Err(QueryError::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(QueryError::Timeout),
            _ => Ok(()),
        }
    }
}

/// Looks at a watch once in so much work. Between two looks it costs no more than to count, so what is done may be small.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    watch: Watch,
    left: usize,
}

impl Pace {
    fn new(watch: Watch) -> Self {
        Pace { watch, left: WORK_BETWEEN_LOOKS }
    }

    /// Nothing ever stops this one.
    #[cfg(test)]
    pub(crate) fn endless() -> Self {
        let series = Arc::new(SeriesRead { n: AtomicUsize::new(0), max: usize::MAX });
        Pace::new(Watch { deadline: None, cancel: Cancel::new(), series })
    }

    /// Whether to go on.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        self.watch.check()
    }

    /// Counts series that were read; an error if these are too many.
    pub(crate) fn read_series(&self, n: usize) -> Result<(), QueryError> {
        let SeriesRead { n: n_read, max } = &*self.watch.series;
        // Without a limit threads need not meet here.
        if *max == usize::MAX || n_read.fetch_add(n, Ordering::Relaxed).saturating_add(n) <= *max {
            Ok(())
        } else {
            Err(QueryError::TooManySeries { series_max: *max })
        }
    }

    /// Counts work that is about to be done, in samples that are looked at; an error if it is not to be done any more.
    #[inline]
    pub(crate) fn step(&mut self, work: usize) -> Result<(), QueryError> {
        match self.left.checked_sub(work) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.look(),
        }
    }

    #[cold]
    fn look(&mut self) -> Result<(), QueryError> {
        self.left = WORK_BETWEEN_LOOKS;
        self.watch.check()
    }
}

impl Budget {
    /// A budget that starts to run now, of a query that may read so many series. A timeout of zero is none.
    pub(crate) fn new(limits: Limits, series_max: usize, timeout: Duration, cancel: Cancel) -> Self {
        // A timeout too long for the clock is as good as none.
        let deadline = if timeout.is_zero() { None } else { Instant::now().checked_add(timeout) };
        let series = Arc::new(SeriesRead { n: AtomicUsize::new(0), max: series_max });
        let (held, kept, peak) = Default::default();
        Budget { held, kept, peak, limits, pace: Pace::new(Watch { deadline, cancel, series }) }
    }

    /// A budget of the same size, of which nothing is spent but the time.
    pub(crate) fn anew(&self) -> Self {
        let Watch { deadline, cancel, series } = self.pace.watch.clone();
        let series = Arc::new(SeriesRead { n: AtomicUsize::new(0), max: series.max });
        let (held, kept, peak) = Default::default();
        Budget { held, kept, peak, limits: self.limits, pace: Pace::new(Watch { deadline, cancel, series }) }
    }

    /// Counts what is about to be held.
    pub(crate) fn charge(&mut self, cost: impl Into<Cost>) -> Result<(), QueryError> {
        self.held = self.held.plus(cost.into());
        let held = self.held.plus(self.kept);
        self.peak = self.peak.max(held);
        self.limits.admit(held)
    }

    /// Counts what is held no more.
    pub(crate) fn release(&mut self, cost: impl Into<Cost>) {
        self.held = self.held.minus(cost.into());
    }

    /// The most that was held at once.
    pub(crate) fn peak(&self) -> Cost {
        self.peak
    }

    /// What is held, but for what is kept.
    pub(crate) fn held(&self) -> Cost {
        self.held
    }

    /// Says that exactly so much is held: what a node of the tree holds when it is done is known best by itself.
    pub(crate) fn settle(&mut self, held: Cost) -> Result<(), QueryError> {
        self.held = held;
        self.charge(Cost::default())
    }

    /// Counts what is held until somebody lets it go, whatever is settled in between. `false` if there is no room for it.
    pub(crate) fn keep(&mut self, cost: Cost) -> bool {
        let kept = self.kept.plus(cost);
        let held = self.held.plus(kept);
        let has_room = self.limits.admit(held).is_ok();
        if has_room {
            (self.kept, self.peak) = (kept, self.peak.max(held));
        }
        has_room
    }

    /// Begins anew with nothing that is held or was, or was read; the time goes on.
    pub(crate) fn start_again(&mut self) {
        self.pace.watch.series.n.store(0, Ordering::Relaxed);
        (self.held, self.kept, self.peak) = Default::default();
    }

    /// Counts what is kept no more.
    pub(crate) fn let_go(&mut self, cost: Cost) {
        self.kept = self.kept.minus(cost);
    }

    /// How much more may be held.
    pub(crate) fn room(&self) -> Limits {
        let held = self.held.plus(self.kept);
        Limits {
            samples: self.limits.samples.saturating_sub(held.samples),
            bytes: self.limits.bytes.saturating_sub(held.bytes),
        }
    }

    /// Whether to go on. Cheap enough for every series, too dear for every sample.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        self.pace.check()
    }

    /// Counts work as [`Pace::step`] does. Cheap enough for everything but a single sample.
    #[inline]
    pub(crate) fn step(&mut self, work: usize) -> Result<(), QueryError> {
        self.pace.step(work)
    }

    /// Counts series as [`Pace::read_series`] does.
    pub(crate) fn read_series(&self, n: usize) -> Result<(), QueryError> {
        self.pace.read_series(n)
    }

    /// The pace of another thread of the query, or of work that goes on while this is in use.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.pace.watch.clone())
    }

    /// The switch that stops the query, to hand on to the store.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.pace.watch.cancel
    }
}
