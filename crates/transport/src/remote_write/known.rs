//! Which series the labels of requests stand for: nearly all that a sender sends it sent a moment ago.
//!
//! Only a fingerprint of the labels is kept, and the store's short name for the series: nobody looks at the labels themselves, which
//! lie far away and are most of a request. A fingerprint has 128 bits and a secret of this process in it, so two label sets that
//! share one do not happen, by chance or on purpose. Of 1.0 the fingerprint is that of the labels' bytes; of 2.0, where labels are numbers
//! of a table that each request has anew, it is made of the fingerprints of the texts.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{PoisonError, RwLock};

use foldhash::{fast, quality};
use relatum_model::storage::SeriesRef;

const SHARDS: usize = 16;
/// How many series are known; when a shard is full it begins anew.
pub(super) const KNOWN_MAX: usize = 4 << 20;

/// What tells label sets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fingerprint(u64, u64);

/// By the first half of the fingerprint: the second half, and the series.
type Shard = HashMap<u64, (u64, SeriesRef), fast::FixedState>;

/// The series of earlier requests.
#[derive(Debug)]
pub(super) struct Known {
    hashers: [quality::RandomState; 2],
    // Requests come at once, and few bring anything new.
    shards: [RwLock<Shard>; SHARDS],
}

impl Default for Known {
    fn default() -> Self {
        Known { hashers: Default::default(), shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl Known {
    /// Of the bytes of labels, or of a symbol.
    pub(super) fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        Fingerprint(self.hashers[0].hash_one(bytes), self.hashers[1].hash_one(bytes))
    }

    /// Of symbols one after the other; `None` if one of them is none.
    pub(super) fn joined(&self, symbols: impl Iterator<Item = Option<Fingerprint>>) -> Option<Fingerprint> {
        // Odd numbers without a pattern; the secret is in the symbols.
        const FACTORS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
        let fold = |sum: u64, symbol: u64, factor: u64| {
            let product = u128::from(sum ^ symbol) * u128::from(factor);
            (product as u64) ^ (product >> 64) as u64
        };
        let (mut joined, mut n) = (Fingerprint(FACTORS[1], FACTORS[0]), 0u64);
        for symbol in symbols {
            let symbol = symbol?;
            joined = Fingerprint(
                fold(joined.0.rotate_left(23), symbol.0, FACTORS[0]),
                fold(joined.1.rotate_left(29), symbol.1, FACTORS[1]),
            );
            n += 1;
        }
        Some(Fingerprint(joined.0 ^ n, joined.1))
    }

    /// What each of `labels` stands for, in their order; [`SeriesRef::NONE`] for what is new.
    pub(super) fn find(&self, labels: impl Iterator<Item = Fingerprint>, found: &mut Vec<SeriesRef>) {
        // All at once, as a lock for each would keep the processor from looking at the next while it waits for this one.
        let shards = self.shards.each_ref().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner));
        found.extend(labels.map(|Fingerprint(hash, check)| {
            let known = shards[shard_of(hash)].get(&hash).filter(|(other, _)| *other == check);
            known.map_or(SeriesRef::NONE, |(_, series)| *series)
        }));
    }

    pub(super) fn insert(&self, Fingerprint(hash, check): Fingerprint, series: SeriesRef) {
        let mut shard = self.shards[shard_of(hash)].write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= KNOWN_MAX / SHARDS && !shard.contains_key(&hash) {
            shard.clear();
        }
        shard.insert(hash, (check, series));
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

/// The tables use the lowest and the highest bits themselves.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}
