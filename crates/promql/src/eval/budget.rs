//! What bounds a query while it runs: its time, its caller's patience and the samples it may hold.

use std::time::{Duration, Instant};

use relatum_model::storage::Cancel;

use crate::error::QueryError;

/// The limits of one query and how far it is.
#[derive(Debug)]
pub(crate) struct Budget {
    samples: usize,
    // Those that stay whatever is settled.
    kept: usize,
    peak: usize,
    samples_max: usize,
    watch: Watch,
}

/// The end of a query's time, and the switch that stops it.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    deadline: Option<Instant>,
    cancel: Cancel,
}

impl Watch {
    /// Whether to go on.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.cancel.is_cancelled() {
            return Err(QueryError::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(QueryError::Timeout),
            _ => Ok(()),
        }
    }
}

impl Budget {
    /// A budget that starts to run now. A timeout of zero is none.
    pub(crate) fn new(samples_max: usize, timeout: Duration, cancel: Cancel) -> Self {
        // A timeout too long for the clock is as good as none.
        let deadline = if timeout.is_zero() { None } else { Instant::now().checked_add(timeout) };
        Budget { samples: 0, kept: 0, peak: 0, samples_max, watch: Watch { deadline, cancel } }
    }

    /// Counts samples that are about to be held.
    pub(crate) fn charge(&mut self, samples: usize) -> Result<(), QueryError> {
        self.samples = self.samples.saturating_add(samples);
        let held = self.samples.saturating_add(self.kept);
        self.peak = self.peak.max(held);
        if held > self.samples_max { Err(QueryError::TooManySamples) } else { Ok(()) }
    }

    /// Counts samples that are held no more.
    pub(crate) fn release(&mut self, samples: usize) {
        self.samples = self.samples.saturating_sub(samples);
    }

    /// The most samples that were held at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// How many samples are held, but for those that are kept.
    pub(crate) fn held(&self) -> usize {
        self.samples
    }

    /// Says that exactly so many samples are held: what a node of the tree holds when it is done is known best by itself.
    pub(crate) fn settle(&mut self, samples: usize) -> Result<(), QueryError> {
        self.samples = samples;
        self.charge(0)
    }

    /// Counts samples that are held until somebody lets them go, whatever is settled in between. There is to be room for them.
    pub(crate) fn keep(&mut self, samples: usize) {
        self.kept = self.kept.saturating_add(samples);
        self.peak = self.peak.max(self.samples.saturating_add(self.kept));
    }

    /// Counts samples that are kept no more.
    pub(crate) fn let_go(&mut self, samples: usize) {
        self.kept = self.kept.saturating_sub(samples);
    }

    /// How many samples more may be held.
    pub(crate) fn room(&self) -> usize {
        self.samples_max.saturating_sub(self.samples).saturating_sub(self.kept)
    }

    /// Whether to go on. Cheap enough for every series, too dear for every sample.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        self.watch.check()
    }

    /// What other threads of the query look at.
    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The switch that stops the query, to hand on to the store.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.watch.cancel
    }
}
