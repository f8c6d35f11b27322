//! Which series the labels of requests stand for: nearly all that a sender sends it sent a moment ago.
//!
//! Only a fingerprint of the labels is kept, and the store's short name for the series: nobody looks at the labels themselves, which
//! lie far away and are most of a request. A fingerprint has 128 bits and a secret of this process in it, so two label sets that
//! share one do not happen, by chance or on purpose. Of 1.0 the fingerprint is that of the labels' bytes; of 2.0, where labels are numbers
//! of a table that each request has anew, it is made of the fingerprints of the texts.

use std::hash::BuildHasher;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use foldhash::quality;
use hashbrown::HashTable;
use relatum_model::storage::SeriesRef;

/// How many series are known; when there are more, all are forgotten.
pub(super) const KNOWN_MAX: usize = 4 << 20;

/// What tells label sets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fingerprint(u64, u64);

/// The series of earlier requests.
#[derive(Debug, Default)]
pub(super) struct Known {
    hashers: [quality::RandomState; 2],
    // Requests come at once, and few bring anything new.
    series: RwLock<Found>,
}

#[derive(Debug, Default)]
struct Found {
    // In the order in which they came first, in which they tend to come again.
    list: Vec<(Fingerprint, SeriesRef)>,
    // Places in the list, by the first half of the fingerprint.
    places: HashTable<u32>,
}

impl Found {
    fn place(&self, labels: Fingerprint) -> Option<usize> {
        let is_it = |place: &u32| self.list[*place as usize].0 == labels;
        self.places.find(labels.0, is_it).map(|place| *place as usize)
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

    /// What each of `labels` stands for, in their order; [`SeriesRef::NONE`] for what is new. `next` is where the one is expected to stand
    /// that comes first, and then the one that would follow.
    pub(super) fn find(&self, labels: impl Iterator<Item = Fingerprint>, next: &mut usize, found: &mut Vec<SeriesRef>) {
        let series = self.read();
        found.extend(labels.map(|labels| {
            let is_next = series.list.get(*next).is_some_and(|(expected, _)| *expected == labels);
            let Some(place) = is_next.then_some(*next).or_else(|| series.place(labels)) else { return SeriesRef::NONE };
            *next = place + 1;
            series.list[place].1
        }));
    }

    pub(super) fn insert(&self, labels: Fingerprint, name: SeriesRef) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let Found { list, places } = &mut *series;
        let is_it = |place: &u32| list[*place as usize].0 == labels;
        if let Some(place) = places.find(labels.0, is_it) {
            list[*place as usize].1 = name;
            return;
        }
        if list.len() >= KNOWN_MAX {
            list.clear();
            places.clear();
        }
        list.push((labels, name));
        places.insert_unique(labels.0, (list.len() - 1) as u32, |place| list[*place as usize].0.0);
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.read().list.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Found> {
        self.series.read().unwrap_or_else(PoisonError::into_inner)
    }
}
