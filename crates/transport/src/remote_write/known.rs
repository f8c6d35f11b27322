//! Which series the bytes of labels stand for: nearly all that a sender sends it sent a moment ago.
//! That is so of remote write 1.0; in 2.0 labels are numbers of a table that each request has anew.
//!
//! Only a hash of the bytes is kept, and the store's short name for the series. Whoever finds one compares the store's labels with
//! the bytes, so a hash that two have in common, or a name that stands for another series by now, costs time and no more.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::{fast, quality};
use relatum_model::storage::SeriesRef;

const SHARDS: usize = 64;
/// How many series are known; when a shard is full it begins anew.
pub(super) const KNOWN_MAX: usize = 4 << 20;

/// The series of earlier requests.
#[derive(Debug)]
pub(super) struct Known {
    hasher: quality::RandomState,
    // Requests come at once.
    shards: [Mutex<HashMap<u64, SeriesRef, fast::FixedState>>; SHARDS],
}

impl Default for Known {
    fn default() -> Self {
        Known { hasher: quality::RandomState::default(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Known {
    pub(super) fn hash(&self, labels: &[u8]) -> u64 {
        self.hasher.hash_one(labels)
    }

    /// What the labels with this hash most likely stand for; [`SeriesRef::NONE`] if they are new.
    pub(super) fn find(&self, hash: u64) -> SeriesRef {
        let shard = self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(&hash).copied().unwrap_or(SeriesRef::NONE)
    }

    pub(super) fn insert(&self, hash: u64, series: SeriesRef) {
        let mut shard = self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= KNOWN_MAX / SHARDS && !shard.contains_key(&hash) {
            shard.clear();
        }
        shard.insert(hash, series);
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}
