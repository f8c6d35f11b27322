//! What scraping counts about itself.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::intervals::Intervals;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of all targets together.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) intervals: Intervals,
    pub(crate) scrapes: Counter,
    pub(crate) failed_scrapes: Counter,
    pub(crate) exceeded_body_size_limit: Counter,
    pub(crate) exceeded_sample_limit: Counter,
    pub(crate) exceeded_label_limits: Counter,
    pub(crate) exceeded_target_limit: Counter,
    pub(crate) out_of_order: Counter,
    pub(crate) duplicate: Counter,
    pub(crate) out_of_bounds: Counter,
    pub(crate) forced_flushes: Counter,
    pub(crate) skipped_ticks: Counter,
    pub(crate) pools: Counter,
    pub(crate) pool_reloads: Counter,
    /// How often the targets of a job were brought to what they should be.
    pub(crate) syncs: Counter,
    /// Targets that were left out when that was done.
    pub(crate) refused_targets: Counter,
    /// Targets that turned out to be where their job may not go, and run.
    pub(crate) denied: AtomicI64,
}
