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

/// How many series are known; when there are more, the half is forgotten that was not asked for since the other half came.
pub(super) const KNOWN_MAX: usize = 4 << 20;

/// What tells label sets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fingerprint(u64, u64);

/// The series of earlier requests.
#[derive(Debug)]
pub(super) struct Known {
    hashers: [quality::RandomState; 2],
    // Requests come at once, and few bring anything new.
    series: RwLock<Generations>,
    max: usize,
}

impl Default for Known {
    fn default() -> Self {
        Known { hashers: Default::default(), series: RwLock::default(), max: KNOWN_MAX }
    }
}

/// What was asked for lately, and before that. What is asked for again becomes young again.
#[derive(Debug, Default)]
struct Generations {
    young: Found,
    old: Found,
}

impl Generations {
    /// Has `labels` be young; returns what is forgotten for that, to be dropped when nobody waits.
    fn insert(&mut self, labels: Fingerprint, name: SeriesRef, max: usize) -> Option<Found> {
        if let Some(place) = self.young.place(labels) {
            self.young.list[place].1 = name;
            return None;
        }
        let is_full = self.young.list.len() >= (max / 2).max(1);
        let gone = is_full.then(|| std::mem::replace(&mut self.old, std::mem::take(&mut self.young)));
        let Found { list, places } = &mut self.young;
        list.push((labels, name));
        places.insert_unique(labels.0, (list.len() - 1) as u32, |place| list[*place as usize].0.0);
        gone
    }
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
        let mut old = Vec::new();
        let series = self.read();
        let Generations { young, .. } = &*series;
        found.extend(labels.map(|labels| {
            let is_next = young.list.get(*next).is_some_and(|(expected, _)| *expected == labels);
            if let Some(place) = is_next.then_some(*next).or_else(|| young.place(labels)) {
                *next = place + 1;
                return young.list[place].1;
            }
            let Some(place) = series.old.place(labels) else { return SeriesRef::NONE };
            old.push(series.old.list[place]);
            series.old.list[place].1
        }));
        drop(series);
        self.insert_all(&old);
    }

    pub(super) fn insert(&self, labels: Fingerprint, name: SeriesRef) {
        self.insert_all(&[(labels, name)]);
    }

    fn insert_all(&self, some: &[(Fingerprint, SeriesRef)]) {
        if some.is_empty() {
            return;
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Found> =
            some.iter().filter_map(|(labels, name)| series.insert(*labels, *name, self.max)).collect();
        // Much memory takes its time to be given back.
        drop(series);
        drop(gone);
    }

    /// How many are known; those that became young again count twice until the old ones go.
    pub(super) fn len(&self) -> usize {
        let series = self.read();
        series.young.list.len() + series.old.list.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Generations> {
        self.series.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of `series`, which are their numbers, or 0 for those that are not known.
    fn names(known: &Known, series: impl Iterator<Item = u64>, next: &mut usize) -> Vec<u64> {
        let mut found = Vec::new();
        known.find(series.map(|n| known.fingerprint(&n.to_le_bytes())), next, &mut found);
        found.iter().map(|name| name.0).collect()
    }

    #[test]
    fn what_is_not_asked_for_any_more_is_forgotten() {
        let known = Known { max: 8, ..Known::default() };
        let insert = |n: u64| known.insert(known.fingerprint(&n.to_le_bytes()), SeriesRef(n));
        let mut next = 0;
        (1..=4).for_each(insert);
        assert_eq!(names(&known, 1..=5, &mut next), [1, 2, 3, 4, 0]);
        // 1 and 2 come again and again, while others come and go.
        for n in 5..100 {
            insert(n);
            assert_eq!(names(&known, [1, 2, n].into_iter(), &mut next), [1, 2, n]);
            assert!(known.len() <= 8, "{} are known", known.len());
        }
        assert_eq!(names(&known, 3..=90, &mut next), [0; 88]);
        // Another name counts at once.
        known.insert(known.fingerprint(&1u64.to_le_bytes()), SeriesRef(1000));
        assert_eq!(names(&known, 1..=2, &mut next), [1000, 2]);
        assert!(known.read().old.list.capacity() <= 8, "memory is given back");
    }
}
