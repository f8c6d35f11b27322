//! What a store counts.

use std::sync::atomic::{AtomicU64, Ordering};

use relatum_model::storage::Refused;

use crate::exemplars::ExemplarCounts;

/// How a store stands. Counters begin at zero when it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Series in memory.
    pub series: usize,
    /// Series that came into being, replay included.
    pub series_created: u64,
    /// Series that retention removed.
    pub series_removed: u64,
    /// Samples that were committed.
    pub samples_appended: u64,
    /// Samples in memory, as the last maintenance counted them, and what was committed since.
    pub samples: u64,
    /// Batches that were committed.
    pub commits: u64,
    /// Samples refused because they were older than the newest of their series.
    pub refused_out_of_order: u64,
    /// Samples refused because another value is stored for their moment.
    pub refused_duplicate: u64,
    /// Samples refused because they were older than the window or the retention allows.
    pub refused_too_old: u64,
    /// Samples refused because they were too far in the future.
    pub refused_future: u64,
    /// Samples refused because of their labels.
    pub refused_labels: u64,
    /// Bytes of all files of the log.
    pub wal_bytes: u64,
    /// The number of the segment that is written to.
    pub wal_segment: u64,
    /// Times the log was made durable.
    pub wal_syncs: u64,
    /// Checkpoints that were written.
    pub checkpoints: u64,
    /// Images of the head that were written.
    pub images: u64,
    /// How it stands with exemplars.
    pub exemplars: ExemplarCounts,
    /// What the descriptions of metrics take up in memory.
    pub metadata_bytes: usize,
    /// How much they may.
    pub metadata_bytes_max: usize,
    /// Times the head was cut into blocks.
    pub cuts: u64,
    /// Times blocks were merged or cleaned.
    pub compactions: u64,
    /// Blocks on disk.
    pub blocks: usize,
    /// Bytes of all blocks.
    pub block_bytes: u64,
    /// Samples in all blocks; some may be there more than once until blocks are merged.
    pub block_samples: u64,
    /// Blocks of which a reader had to leave out something.
    pub damaged_blocks: usize,
    /// Bytes of all blocks that are not samples but find them.
    pub block_index_bytes: u64,
    /// The time of the oldest sample, as the last maintenance found it; `None` in an empty store.
    pub min_time_ms: Option<i64>,
    /// The time of the newest sample; `None` in an empty store.
    pub max_time_ms: Option<i64>,
    /// Why the store takes no more writes, if it does not.
    pub poisoned: Option<String>,
    /// Whether the last commit found no room on the disk; the next one tries again.
    pub full: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) series_created: Counter,
    pub(crate) series_removed: Counter,
    pub(crate) samples_appended: Counter,
    pub(crate) samples: Counter,
    pub(crate) commits: Counter,
    pub(crate) wal_syncs: Counter,
    pub(crate) checkpoints: Counter,
    pub(crate) images: Counter,
    pub(crate) cuts: Counter,
    pub(crate) compactions: Counter,
    /// Samples in memory from before the last cut, or a few more.
    pub(crate) late_samples: Counter,
    refused_out_of_order: Counter,
    refused_duplicate: Counter,
    refused_too_old: Counter,
    refused_future: Counter,
    refused_labels: Counter,
    refused_histograms: Counter,
}

impl Counters {
    pub(crate) fn refused(&self, reason: &Refused) {
        match reason {
            Refused::OutOfOrder => &self.refused_out_of_order,
            Refused::DuplicateTimestamp => &self.refused_duplicate,
            Refused::TooOld => &self.refused_too_old,
            Refused::TooFarInFuture => &self.refused_future,
            Refused::InvalidLabels(_) => &self.refused_labels,
            Refused::NativeHistogram => &self.refused_histograms,
        }
        .add(1);
    }

    /// The counters alone; the rest is for the store to fill in.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            series_created: self.series_created.get(),
            series_removed: self.series_removed.get(),
            samples_appended: self.samples_appended.get(),
            samples: self.samples.get(),
            commits: self.commits.get(),
            refused_out_of_order: self.refused_out_of_order.get(),
            refused_duplicate: self.refused_duplicate.get(),
            refused_too_old: self.refused_too_old.get(),
            refused_future: self.refused_future.get(),
            refused_labels: self.refused_labels.get(),
            wal_syncs: self.wal_syncs.get(),
            checkpoints: self.checkpoints.get(),
            images: self.images.get(),
            cuts: self.cuts.get(),
            compactions: self.compactions.get(),
            ..Stats::default()
        }
    }
}
