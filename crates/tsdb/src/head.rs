//! Finding and making series: by their labels, by the short reference a caller kept, and by slot.
//!
//! Lookup is spread over shards so that two writers rarely meet at one lock; the index is locked for writing only when a
//! series comes or goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use relatum_model::Labels;
use relatum_model::storage::SeriesRef;
use std::hash::BuildHasher;

use crate::index::{Index, reserve_little};
use crate::series::{MemSeries, Phase};
use crate::system::expect_use_of;

const SHARDS: usize = 32;

/// So many series are fetched ahead when all are looked at.
const SERIES_AHEAD: usize = 8;

/// So many series are looked at before those who wait for a lock have their turn: a new series does, and all who come behind it.
const SERIES_AT_ONCE: usize = 256;

type Shard = HashTable<Arc<MemSeries>>;
type SlotShard = Vec<Option<Arc<MemSeries>>>;

/// All series in memory.
#[derive(Debug)]
pub(crate) struct Head {
    by_labels: Box<[Mutex<Shard>]>,
    // Slot s is element s / SHARDS of shard s % SHARDS.
    by_slot: Box<[RwLock<SlotShard>]>,
    free: Mutex<FreeSlots>,
    index: RwLock<Index>,
    next_id: AtomicU64,
    removals: AtomicU64,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct FreeSlots {
    next: u32,
    returned: Vec<u32>,
}

impl Head {
    pub(crate) fn new() -> Self {
        Head {
            by_labels: (0..SHARDS).map(|_| Mutex::default()).collect(),
            by_slot: (0..SHARDS).map(|_| RwLock::default()).collect(),
            free: Mutex::default(),
            index: RwLock::default(),
            next_id: AtomicU64::new(1),
            removals: AtomicU64::new(0),
            hasher: RandomState::default(),
        }
    }

    /// The series of `labels`, if there is one; `cached` saves the search when it still fits.
    pub(crate) fn find(&self, cached: SeriesRef, labels: &Labels) -> Option<Arc<MemSeries>> {
        if let Some((slot, id)) = place_of(cached) {
            let slots = self.by_slot[slot as usize % SHARDS].read().unwrap_or_else(PoisonError::into_inner);
            if let Some(Some(series)) = slots.get(slot as usize / SHARDS)
                && series.id as u32 == id
                && series.labels == *labels
            {
                // Who comes again tends to come in the same order.
                if let Some(Some(later)) = slots.get(slot as usize / SHARDS + 1) {
                    expect_use_of(&**later);
                }
                return Some(Arc::clone(series));
            }
        }
        let (hash, shard) = self.shard(labels);
        shard.find(hash, |series| series.labels == *labels).cloned()
    }

    /// The labels of the series that `cached` stands for now.
    pub(crate) fn labels(&self, cached: SeriesRef) -> Option<Labels> {
        let (slot, id) = place_of(cached)?;
        let slots = self.by_slot[slot as usize % SHARDS].read().unwrap_or_else(PoisonError::into_inner);
        let series = slots.get(slot as usize / SHARDS)?.as_ref().filter(|series| series.id as u32 == id)?;
        Some(series.labels.clone())
    }

    /// All slots, so that many series can be found one after the other. None comes or goes meanwhile.
    pub(crate) fn slots(&self) -> Slots<'_> {
        let guards = self.by_slot.iter().map(|slots| slots.read().unwrap_or_else(PoisonError::into_inner));
        Slots(guards.collect())
    }

    /// The series of `labels`, made if there is none.
    pub(crate) fn find_or_make(&self, labels: &Labels) -> Arc<MemSeries> {
        let (hash, mut shard) = self.shard(labels);
        if let Some(series) = shard.find(hash, |series| series.labels == *labels) {
            return Arc::clone(series);
        }
        let series =
            Arc::new(MemSeries::new(labels.clone(), self.next_id.fetch_add(1, Ordering::Relaxed), self.take_slot()));
        self.insert(&mut shard, hash, &series);
        series
    }

    /// The series of `labels`, which the log knows as `id`; whether it had to be made.
    ///
    /// A series that retention removed and that came back has two numbers in an old log; it keeps the first.
    pub(crate) fn restore(&self, id: u64, labels: Labels) -> (Arc<MemSeries>, bool) {
        self.next_id.fetch_max(id + 1, Ordering::Relaxed);
        let (hash, mut shard) = self.shard(&labels);
        if let Some(series) = shard.find(hash, |series| series.labels == labels) {
            return (Arc::clone(series), false);
        }
        let series = Arc::new(MemSeries::new(labels, id, self.take_slot()));
        self.insert(&mut shard, hash, &series);
        (series, true)
    }

    /// Makes room for `n_series`, and gives out no number for a series below `next_id`.
    pub(crate) fn reserve(&self, n_series: usize, next_id: u64) {
        self.next_id.fetch_max(next_id, Ordering::Relaxed);
        for shard in &self.by_labels {
            // Hashes spread them, and never quite evenly.
            let room = n_series / SHARDS + n_series / SHARDS / 16;
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.reserve(room, |series| self.hasher.hash_one(series.labels.encoded()));
        }
    }

    /// Makes a series known by its labels, and nothing else; `false` if there is one already. See [`Head::fill`].
    pub(crate) fn admit(&self, series: &Arc<MemSeries>) -> bool {
        self.next_id.fetch_max(series.id.saturating_add(1), Ordering::Relaxed);
        let (hash, mut shard) = self.shard(&series.labels);
        if shard.find(hash, |other| other.labels == series.labels).is_some() {
            return false;
        }
        shard.insert_unique(hash, Arc::clone(series), |series| self.hasher.hash_one(series.labels.encoded()));
        true
    }

    /// Puts all series that were admitted, and no others, into their slots, which are their places in `series`.
    pub(crate) fn fill(&self, series: Vec<Arc<MemSeries>>) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).next = series.len() as u32;
        let mut shards: Vec<SlotShard> =
            (0..SHARDS).map(|_| Vec::with_capacity(series.len().div_ceil(SHARDS))).collect();
        for (slot, series) in series.into_iter().enumerate() {
            shards[slot % SHARDS].push(Some(series));
        }
        for (slots, filled) in self.by_slot.iter().zip(shards) {
            *slots.write().unwrap_or_else(PoisonError::into_inner) = filled;
        }
    }

    /// Calls `each` for all series, those without a committed sample included. A few of them cannot be removed meanwhile.
    pub(crate) fn visit(&self, mut each: impl FnMut(&Arc<MemSeries>)) {
        for slots in &self.by_slot {
            let mut next = 0;
            loop {
                let slots = slots.read().unwrap_or_else(PoisonError::into_inner);
                let end = slots.len().min(next + SERIES_AT_ONCE);
                for at in next..end {
                    if let Some(Some(later)) = slots.get(at + SERIES_AHEAD) {
                        expect_use_of(&**later);
                    }
                    slots[at].iter().for_each(&mut each);
                }
                if end == slots.len() {
                    break;
                }
                next = end;
            }
        }
    }

    /// A number for a series that is named in the log and not listed.
    pub(crate) fn take_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The number that the next new series gets, or a later one.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed)
    }

    fn insert(&self, shard: &mut Shard, hash: u64, series: &Arc<MemSeries>) {
        shard.insert_unique(hash, Arc::clone(series), |series| self.hasher.hash_one(series.labels.encoded()));
        let at = series.slot as usize;
        let mut slots = self.by_slot[at % SHARDS].write().unwrap_or_else(PoisonError::into_inner);
        while slots.len() <= at / SHARDS {
            reserve_little(&mut slots);
            slots.push(None);
        }
        slots[at / SHARDS] = Some(Arc::clone(series));
    }

    /// Takes `gone` out of everything, so that their labels make new series from now on.
    ///
    /// The caller keeps commits out and has checked that none of them holds a sample.
    pub(crate) fn remove(&self, gone: &[Arc<MemSeries>]) {
        let listed: Vec<_> = gone.iter().filter(|series| series.state().phase == Phase::Listed).cloned().collect();
        if !listed.is_empty() {
            self.index_mut(|index| index.remove(&listed));
        }
        for series in gone {
            series.state().phase = Phase::Detached;
            let (hash, mut shard) = self.shard(&series.labels);
            if let Ok(entry) = shard.find_entry(hash, |other| Arc::ptr_eq(other, series)) {
                entry.remove();
            }
            let at = series.slot as usize;
            let mut slots = self.by_slot[at % SHARDS].write().unwrap_or_else(PoisonError::into_inner);
            slots[at / SHARDS] = None;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.extend(gone.iter().map(|series| series.slot));
        // Behind the rest: a batch that began before may have found one of them, and looks again.
        self.removals.fetch_add(1, Ordering::Release);
    }

    /// How often series were removed.
    pub(crate) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// All series, those without a committed sample included.
    pub(crate) fn all(&self) -> Vec<Arc<MemSeries>> {
        let mut all = Vec::new();
        for shard in &self.by_labels {
            all.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        }
        all
    }

    /// The index, to read.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index.
    pub(crate) fn index_mut<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn shard(&self, labels: &Labels) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.hasher.hash_one(labels.encoded());
        // The table uses the highest and the lowest bits of the hash itself.
        let shard = &self.by_labels[(hash >> 32) as usize % SHARDS];
        (hash, shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_slot(&self) -> u32 {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.pop().unwrap_or_else(|| {
            let slot = free.next;
            free.next = slot.checked_add(1).expect("four thousand million series do not fit into memory");
            slot
        })
    }
}

/// The slots of a head, locked.
pub(crate) struct Slots<'h>(Box<[RwLockReadGuard<'h, SlotShard>]>);

impl Slots<'_> {
    /// The series that `reference` stands for.
    #[inline]
    pub(crate) fn get(&self, reference: SeriesRef) -> Option<&Arc<MemSeries>> {
        let (slot, id) = place_of(reference)?;
        self.at(slot).filter(|series| series.id as u32 == id)
    }

    /// Says that the series will be asked for soon.
    #[inline]
    pub(crate) fn expect(&self, reference: SeriesRef) {
        if let Some(series) = place_of(reference).and_then(|(slot, _)| self.at(slot)) {
            expect_use_of(&**series);
        }
    }

    #[inline]
    fn at(&self, slot: u32) -> Option<&Arc<MemSeries>> {
        self.0[slot as usize % SHARDS].get(slot as usize / SHARDS)?.as_ref()
    }
}

/// The reference callers keep for a series: its slot, and of its number as much as has room. Slots are used again; until one is
/// used again by a series with the same part of the number, four thousand million others come.
pub(crate) fn reference_of(series: &MemSeries) -> SeriesRef {
    SeriesRef(series.id << 32 | (u64::from(series.slot) + 1))
}

fn place_of(reference: SeriesRef) -> Option<(u32, u32)> {
    Some(((reference.0 as u32).checked_sub(1)?, (reference.0 >> 32) as u32))
}
