//! The results that are kept, up to a number of bytes and of entries: what was not used for long goes.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use relatum_model::Series;
use relatum_model::storage::Moment;

/// More queries than this have no results here, however small: looking for the oldest looks at all.
pub(super) const ENTRIES_MAX: usize = 1 << 16;
/// What a key and its entry take up in the map, which is at least half full once it is large, with its byte of control.
const SLOT_BYTES: usize = 2 * (size_of::<(Key, Entry)>() + 1);
/// The two counts before what an `Arc` points to.
const COUNTS_BYTES: usize = 2 * size_of::<usize>();

#[derive(Debug, Default)]
pub(super) struct Kept {
    entries: HashMap<Key, Entry, RandomState>,
    bytes: usize,
    // Counts lookups and insertions, to tell what was not used for long.
    clock: u64,
}

/// All that a result depends on but samples and steps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) scope: Box<str>,
    pub(super) query: Box<str>,
    pub(super) step_ms: i64,
    // Where the steps lie between two multiples of their distance.
    pub(super) phase_ms: i64,
    pub(super) lookback_ms: u128,
    pub(super) subquery_step_ms: u128,
    pub(super) start_timestamps: bool,
}

#[derive(Debug)]
struct Entry {
    // Disjoint, in no order.
    extents: Vec<Arc<Extent>>,
    bytes: usize,
    used: u64,
}

/// Results at all steps from `first_ms` to `last_ms`.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    // What the store showed.
    pub(super) moment: Moment,
    // Sorted by labels.
    pub(super) series: Arc<[Series]>,
}

impl Key {
    /// What an entry of it takes up without extents, about.
    pub(super) fn bytes(&self) -> usize {
        SLOT_BYTES + self.scope.len() + self.query.len()
    }
}

impl Extent {
    /// What it takes up, about, and what points to it.
    pub(super) fn bytes(&self) -> usize {
        let of_series = |series: &Series| {
            size_of::<Series>() + series.labels.encoded().len() + 16 * series.samples.timestamps.len()
        };
        let own = size_of::<Arc<Extent>>() + size_of::<Extent>() + 2 * COUNTS_BYTES;
        own + self.series.iter().map(of_series).sum::<usize>()
    }
}

impl Kept {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What there is of a query, which counts as used.
    pub(super) fn extents(&mut self, key: &Key) -> Vec<Arc<Extent>> {
        self.clock += 1;
        let Some(entry) = self.entries.get_mut(key) else { return Vec::new() };
        entry.used = self.clock;
        entry.extents.clone()
    }

    /// Keeps these instead of what there was of a query, and no more than `bytes_max` bytes of all.
    pub(super) fn put(&mut self, key: Key, extents: Vec<Arc<Extent>>, bytes_max: usize) {
        self.clock += 1;
        let before = if extents.is_empty() {
            self.entries.remove(&key)
        } else {
            let bytes = key.bytes() + extents.iter().map(|extent| extent.bytes()).sum::<usize>();
            self.bytes += bytes;
            self.entries.insert(key, Entry { extents, bytes, used: self.clock })
        };
        self.bytes -= before.map_or(0, |entry| entry.bytes);
        if self.bytes > bytes_max || self.entries.len() > ENTRIES_MAX {
            self.evict(bytes_max / 8 * 7, ENTRIES_MAX / 8 * 7);
        }
    }

    /// Drops what was not used for longest until no more than this is left: more than is needed, so that it is needed seldom.
    fn evict(&mut self, bytes_left: usize, entries_left: usize) {
        let mut uses: Vec<(u64, usize)> = self.entries.values().map(|entry| (entry.used, entry.bytes)).collect();
        uses.sort_unstable();
        let (mut bytes, mut entries, mut last) = (self.bytes, self.entries.len(), 0);
        for (used, of_one) in uses {
            if bytes <= bytes_left && entries <= entries_left {
                break;
            }
            (bytes, entries, last) = (bytes - of_one, entries - 1, used);
        }
        self.entries.retain(|_, entry| entry.used > last);
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key {
            scope: Box::default(),
            query: n.to_string().into(),
            step_ms: 1,
            phase_ms: 0,
            lookback_ms: 0,
            subquery_step_ms: 0,
            start_timestamps: false,
        }
    }

    #[track_caller]
    fn check(n: usize, bytes_max: usize, expected: std::ops::RangeInclusive<usize>) {
        let extent = Arc::new(Extent { first_ms: 0, last_ms: 1, moment: Moment::default(), series: Arc::default() });
        let mut kept = Kept::default();
        for at in 0..n {
            kept.put(key(at), vec![Arc::clone(&extent)], bytes_max);
            assert!(kept.bytes <= bytes_max && kept.entries.len() <= ENTRIES_MAX, "after {at}");
            assert_eq!(kept.extents(&key(0)).len(), 1, "what is used stays, after {at}");
        }
        assert!(expected.contains(&kept.entries.len()), "{} entries", kept.entries.len());
        assert_eq!(kept.bytes, kept.entries.values().map(|entry| entry.bytes).sum::<usize>());
        assert_eq!(kept.extents(&key(n - 1)).len(), 1, "the newest is there");
        let was_evicted = kept.entries.len() < n;
        assert_eq!(kept.extents(&key(1)).is_empty(), was_evicted);
        let bytes = kept.bytes;
        kept.put(key(0), vec![Arc::clone(&extent)], bytes_max);
        assert_eq!(kept.bytes, bytes, "the same again");
        kept.put(key(0), Vec::new(), bytes_max);
        assert_eq!(kept.bytes, bytes - key(0).bytes() - extent.bytes());
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        check(10, usize::MAX, 10..=10);
        check(ENTRIES_MAX, usize::MAX, ENTRIES_MAX..=ENTRIES_MAX);
        check(ENTRIES_MAX + 1, usize::MAX, ENTRIES_MAX / 8 * 7..=ENTRIES_MAX / 8 * 7);
        // An entry without a series takes more than its key, its extent and their places alone.
        check(10_000, 1 << 20, 1..=(1 << 20) / (2 * size_of::<Key>() + size_of::<Extent>()));
    }
}
