//! How far the reading of the log has come while a store is opened, for those who wait.

use std::sync::atomic::{AtomicU64, Ordering};

/// Which segments of the log are read when a store is opened, and which one is being read. Shared with [`crate::Options::replaying`].
#[derive(Debug, Default)]
pub struct Replaying {
    first: AtomicU64,
    last: AtomicU64,
    current: AtomicU64,
}

/// [`Replaying`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayState {
    /// The first segment that is read.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// The one that is being read; the last one from the end on.
    pub current: u64,
}

impl Replaying {
    /// How it stands. All are 0 before it is known what there is to read, and if there is nothing.
    pub fn state(&self) -> ReplayState {
        let of = |segment: &AtomicU64| segment.load(Ordering::Relaxed);
        ReplayState { first: of(&self.first), last: of(&self.last), current: of(&self.current) }
    }

    pub(crate) fn begin(&self, first: u64, last: u64) {
        self.first.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.reach(first);
    }

    pub(crate) fn reach(&self, segment: u64) {
        self.current.store(segment, Ordering::Relaxed);
    }
}
