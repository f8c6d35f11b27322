//! What a follower gets, while it is read: a commit whose end is missing is taken back.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use relatum_model::exemplar::Exemplar;
use relatum_model::storage::{Position, TailBatch};
use relatum_model::{HistogramSample, Labels, Sample, Samples};

use crate::wal::record::StartRow;

/// Samples, histograms and exemplars so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    samples: Vec<(Labels, Sample)>,
    // As long as the samples, or empty.
    starts_ms: Vec<i64>,
    pub(super) histograms: Vec<(Labels, HistogramSample)>,
    pub(super) exemplars: Vec<(Labels, Exemplar)>,
    /// What was said of samples of this commit that follow, by series and time.
    starting: HashMap<(u64, i64), i64, FixedState>,
}

/// How much there was at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

impl Gathered {
    /// Adds a sample of series `id`.
    pub(super) fn push(&mut self, id: u64, labels: Labels, sample: Sample) {
        let start_ms = if self.starting.is_empty() { None } else { self.starting.remove(&(id, sample.t_ms)) };
        self.push_started(labels, sample, start_ms.unwrap_or(0));
    }

    fn push_started(&mut self, labels: Labels, sample: Sample, start_ms: i64) {
        if start_ms != 0 || !self.starts_ms.is_empty() {
            self.starts_ms.resize(self.samples.len(), 0);
            self.starts_ms.push(start_ms);
        }
        self.samples.push((labels, sample));
    }

    /// Adds all samples of a series.
    pub(super) fn extend(&mut self, labels: &Labels, samples: Samples) {
        let starts = samples.starts.iter().copied().chain(std::iter::repeat(0));
        for (sample, start_ms) in samples.iter().zip(starts) {
            self.push_started(labels.clone(), sample, start_ms);
        }
        self.histograms.extend(samples.histograms.into_iter().map(|sample| (labels.clone(), sample)));
    }

    /// What was said of samples that did not follow is not said of others.
    pub(super) fn begin_commit(&mut self) {
        self.starting.clear();
    }

    /// Says when samples that follow began to count.
    pub(super) fn start(&mut self, rows: &[StartRow]) {
        let known = rows.iter().filter(|row| row.start_ms != 0);
        self.starting.extend(known.map(|row| ((row.id, row.t_ms), row.start_ms)));
    }

    /// Whether there are `max`, and any at all.
    pub(super) fn are(&self, max: usize) -> bool {
        let n = self.samples.len() + self.histograms.len() + self.exemplars.len();
        n >= max.max(1)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { samples: self.samples.len(), histograms: self.histograms.len(), exemplars: self.exemplars.len() }
    }

    /// Takes back what came behind `mark`.
    pub(super) fn truncate(&mut self, mark: Mark) {
        self.forget(mark, self.mark());
    }

    /// Takes back what came between two marks.
    pub(super) fn forget(&mut self, from: Mark, to: Mark) {
        self.samples.drain(from.samples..to.samples);
        if !self.starts_ms.is_empty() {
            // Those behind the last that has one are left out.
            self.starts_ms.resize(self.starts_ms.len().max(to.samples), 0);
            self.starts_ms.drain(from.samples..to.samples);
        }
        self.histograms.drain(from.histograms..to.histograms);
        self.exemplars.drain(from.exemplars..to.exemplars);
    }

    pub(super) fn batch(mut self, next: Position) -> TailBatch {
        if !self.starts_ms.is_empty() {
            self.starts_ms.resize(self.samples.len(), 0);
        }
        TailBatch {
            samples: self.samples,
            starts_ms: self.starts_ms,
            histograms: self.histograms,
            exemplars: self.exemplars,
            next,
        }
    }
}
