//! One series in memory: its chunks, its late samples and what of them which reader may see.

use std::sync::{Mutex, MutexGuard, PoisonError};

use relatum_model::storage::TimeRange;
use relatum_model::{Labels, Samples};

use crate::chunk::{CHUNK_SAMPLES_MAX, Chunk, OpenChunk, pack};

/// How many late samples a series collects before they are sorted into its chunks.
const LATE_SAMPLES_MAX: usize = 64;

/// A series of the head. Labels and numbers never change; the rest is behind a lock of its own.
#[derive(Debug)]
pub(crate) struct MemSeries {
    pub(crate) labels: Labels,
    /// The number under which the log knows the series; never given to another one.
    pub(crate) id: u64,
    /// The place in the index; given to another series when this one is gone.
    pub(crate) slot: u32,
    state: Mutex<State>,
}

impl MemSeries {
    pub(crate) fn new(labels: Labels, id: u64, slot: u32) -> Self {
        MemSeries { labels, id, slot, state: Mutex::new(State::default()) }
    }

    /// The changing part. A panic while it was held cannot have left it half changed in a way that matters more than the
    /// panic itself, so that is not passed on.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a series has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Made by a batch that is not committed: no reader and no log knows it.
    #[default]
    Fresh,
    /// Defined in the log and listed in the index.
    Listed,
    /// Taken out by retention; whoever still holds it must look its labels up again.
    Detached,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    // Sorted by time and disjoint, all before `open`.
    closed: Vec<Chunk>,
    open: OpenChunk,
    // Samples that came behind a newer one of the series, sorted by time.
    late: Vec<LateSample>,
    newest: Option<(i64, u64)>,
    versions: Versions,
    last_commit: u64,
}

#[derive(Debug, Clone, Copy)]
struct LateSample {
    t_ms: i64,
    bits: u64,
    commit: u64,
}

/// Where the samples of recent commits begin.
///
/// In-order samples only ever get newer, so a reader of an older commit sees exactly those before the first sample of the
/// first commit it must not see. Only commits that an open reader must not see are remembered, and the last one.
#[derive(Debug, Default)]
struct Versions {
    last: Version,
    older: Vec<Version>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Version {
    commit: u64,
    first_ms: i64,
}

impl Versions {
    fn begin(&mut self, commit: u64, first_ms: i64, oldest_reader: u64) {
        if self.last.commit == commit {
            return;
        }
        if self.last.commit > oldest_reader {
            self.older.push(self.last);
        }
        if !self.older.is_empty() {
            self.older.retain(|version| version.commit > oldest_reader);
        }
        self.last = Version { commit, first_ms };
    }

    /// The first moment a reader of `commit` must not see.
    fn bound_ms(&self, commit: u64) -> Option<i64> {
        self.older.iter().chain([&self.last]).find(|version| version.commit > commit).map(|version| version.first_ms)
    }
}

impl State {
    /// The newest sample, as time and value's bits.
    pub(crate) fn newest(&self) -> Option<(i64, u64)> {
        self.newest
    }

    /// The last commit that added a sample.
    pub(crate) fn last_commit(&self) -> u64 {
        self.last_commit
    }

    /// Whether there is no sample at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.count() == 0 && self.late.is_empty()
    }

    /// How many samples there are.
    pub(crate) fn samples(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|chunk| u64::from(chunk.count())).sum();
        closed + u64::from(self.open.count()) + self.late.len() as u64
    }

    /// The time of the oldest sample.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        let chunk = self.closed.first().map(|chunk| chunk.min_ms);
        let chunk = chunk.or_else(|| self.open.last().map(|_| self.open.min_ms()));
        let late = self.late.first().map(|sample| sample.t_ms);
        match (chunk, late) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Adds a sample that `commit` brings. Readers of `oldest_reader` and later ones may be open.
    ///
    /// Returns `false`, and changes nothing, if a sample for that moment is there already.
    pub(crate) fn push(&mut self, commit: u64, t_ms: i64, bits: u64, oldest_reader: u64) -> bool {
        if self.newest.is_none_or(|(newest_ms, _)| t_ms > newest_ms) {
            self.versions.begin(commit, t_ms, oldest_reader);
            if self.open.count() >= CHUNK_SAMPLES_MAX {
                self.closed.extend(self.open.finish());
            }
            self.open.push(t_ms, bits);
            self.newest = Some((t_ms, bits));
            self.last_commit = commit;
            return true;
        }
        if self.value_at(t_ms).is_some() {
            return false;
        }
        let at = self.late.partition_point(|sample| sample.t_ms < t_ms);
        self.late.insert(at, LateSample { t_ms, bits, commit });
        self.last_commit = commit;
        if self.late.len() >= LATE_SAMPLES_MAX {
            self.settle(oldest_reader);
        }
        true
    }

    /// The bits of the value stored for exactly `t_ms`.
    pub(crate) fn value_at(&self, t_ms: i64) -> Option<u64> {
        if let Some((newest_ms, bits)) = self.newest
            && newest_ms == t_ms
        {
            return Some(bits);
        }
        if let Ok(at) = self.late.binary_search_by_key(&t_ms, |sample| sample.t_ms) {
            return Some(self.late[at].bits);
        }
        let find =
            |chunk: &Chunk| chunk.iter().find(|(t, _)| *t >= t_ms).filter(|(t, _)| *t == t_ms).map(|(_, bits)| bits);
        if self.open.last().is_some_and(|(last_ms, _)| (self.open.min_ms()..=last_ms).contains(&t_ms)) {
            return find(&self.open.snapshot());
        }
        let at = self.closed.partition_point(|chunk| chunk.max_ms < t_ms);
        self.closed.get(at).filter(|chunk| chunk.min_ms <= t_ms).and_then(find)
    }

    /// Sorts the late samples that every reader sees into the chunks.
    fn settle(&mut self, oldest_reader: u64) {
        let (settled, kept): (Vec<_>, Vec<_>) = self.late.drain(..).partition(|sample| sample.commit <= oldest_reader);
        self.late = kept;
        let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return };
        let (first_ms, last_ms) = (first.t_ms, last.t_ms);
        let from = self.closed.partition_point(|chunk| chunk.max_ms < first_ms);
        let to = self.closed.partition_point(|chunk| chunk.min_ms <= last_ms).max(from);
        let reopen = self.open.count() > 0 && last_ms >= self.open.min_ms();
        let open = reopen.then(|| std::mem::take(&mut self.open).snapshot());
        let to = if reopen { self.closed.len() } else { to };
        let mut old = self.closed[from..to].iter().chain(&open).flat_map(Chunk::iter).peekable();
        let mut new = settled.iter().map(|sample| (sample.t_ms, sample.bits)).peekable();
        let merged = std::iter::from_fn(|| match (old.peek(), new.peek()) {
            (Some(a), Some(b)) if a.0 <= b.0 => old.next(),
            (_, Some(_)) => new.next(),
            (_, None) => old.next(),
        });
        let (mut chunks, mut rest) = pack(merged);
        if reopen {
            self.open = rest;
        } else {
            chunks.extend(rest.finish());
        }
        self.closed.splice(from..to, chunks);
    }

    /// Drops what is wholly before `cutoff_ms`; samples that share a chunk with a newer one stay.
    pub(crate) fn truncate(&mut self, cutoff_ms: i64) {
        let gone = self.closed.partition_point(|chunk| chunk.max_ms < cutoff_ms);
        self.closed.drain(..gone);
        self.closed.shrink_to_fit();
        let gone = self.late.partition_point(|sample| sample.t_ms < cutoff_ms);
        self.late.drain(..gone);
        if self.open.last().is_some_and(|(last_ms, _)| last_ms < cutoff_ms) {
            self.open = OpenChunk::default();
        }
    }

    /// The part of `range` in which a reader of `commit` sees everything; `None` if there is none.
    ///
    /// A late sample is older than an in-order one of its own or an earlier commit, so this holds for it as well.
    fn visible(&self, range: TimeRange, commit: u64) -> Option<TimeRange> {
        let max_ms = match self.versions.bound_ms(commit) {
            Some(bound_ms) => range.max_ms.min(bound_ms.checked_sub(1)?),
            None => range.max_ms,
        };
        Some(TimeRange { min_ms: range.min_ms, max_ms }).filter(|range| !range.is_empty())
    }

    /// The closed chunks that reach into `range`.
    fn closed_in(&self, range: TimeRange) -> &[Chunk] {
        let from = self.closed.partition_point(|chunk| chunk.max_ms < range.min_ms);
        let to = self.closed.partition_point(|chunk| chunk.min_ms <= range.max_ms);
        self.closed.get(from..to).unwrap_or(&[])
    }

    fn open_reaches(&self, range: TimeRange) -> bool {
        self.open.last().is_some_and(|(last_ms, _)| last_ms >= range.min_ms) && self.open.min_ms() <= range.max_ms
    }

    /// Whether a reader of `commit` sees a sample inside `range`.
    pub(crate) fn has_samples(&self, range: TimeRange, commit: u64) -> bool {
        let Some(range) = self.visible(range, commit) else { return false };
        // Most ranges hold the end of a chunk, which answers without decoding.
        let reaches = |chunk: &Chunk| {
            range.contains(chunk.min_ms)
                || range.contains(chunk.max_ms)
                || chunk.iter().any(|(t_ms, _)| range.contains(t_ms))
        };
        self.closed_in(range).iter().any(reaches)
            || self.open_reaches(range)
                && (range.contains(self.open.min_ms())
                    || self.open.last().is_some_and(|(last_ms, _)| range.contains(last_ms))
                    || reaches(&self.open.snapshot()))
            || self.late.iter().any(|sample| sample.commit <= commit && range.contains(sample.t_ms))
    }

    /// What a reader of `commit` sees inside `range`, ready to be decoded without the lock.
    pub(crate) fn snapshot(&self, range: TimeRange, commit: u64) -> Snapshot {
        let Some(range) = self.visible(range, commit) else {
            return Snapshot { range, chunks: Vec::new(), late: Vec::new() };
        };
        let mut chunks = self.closed_in(range).to_vec();
        if self.open_reaches(range) {
            chunks.push(self.open.snapshot());
        }
        let late = self.late.iter().filter(|sample| sample.commit <= commit && range.contains(sample.t_ms));
        Snapshot { range, chunks, late: late.map(|sample| (sample.t_ms, sample.bits)).collect() }
    }
}

/// The samples of one series that one reader sees.
pub(crate) struct Snapshot {
    range: TimeRange,
    chunks: Vec<Chunk>,
    late: Vec<(i64, u64)>,
}

impl Snapshot {
    /// The samples, oldest first.
    pub(crate) fn decode(&self) -> Samples {
        let n = self.chunks.iter().map(|chunk| chunk.count() as usize).sum::<usize>() + self.late.len();
        let mut samples = Samples { timestamps: Vec::with_capacity(n), values: Vec::with_capacity(n) };
        let mut late = self.late.iter().copied().peekable();
        for (t_ms, bits) in self.chunks.iter().flat_map(Chunk::iter) {
            if t_ms < self.range.min_ms {
                continue;
            }
            if t_ms > self.range.max_ms {
                break;
            }
            while let Some((late_ms, late_bits)) = late.next_if(|(late_ms, _)| *late_ms < t_ms) {
                samples.push(late_ms, f64::from_bits(late_bits));
            }
            samples.push(t_ms, f64::from_bits(bits));
        }
        for (late_ms, late_bits) in late {
            samples.push(late_ms, f64::from_bits(late_bits));
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(state: &State, commit: u64, expected: &[i64]) {
        assert_eq!(state.snapshot(TimeRange::ALL, commit).decode().timestamps, expected, "commit {commit}");
        assert_eq!(state.has_samples(TimeRange::ALL, commit), !expected.is_empty());
    }

    #[test]
    fn a_reader_sees_its_own_commit() {
        let mut state = State::default();
        for (commit, t_ms) in [(1, 10), (2, 20), (2, 30), (3, 15), (4, 40)] {
            assert!(state.push(commit, t_ms, 0, 0));
        }
        check(&state, 0, &[]);
        check(&state, 1, &[10]);
        check(&state, 2, &[10, 20, 30]);
        check(&state, 3, &[10, 15, 20, 30]);
        check(&state, 4, &[10, 15, 20, 30, 40]);
        assert!(!state.push(5, 15, 1, 0), "the moment is taken");
    }

    #[test]
    fn late_samples_settle_between_the_others() {
        let mut state = State::default();
        let even: Vec<i64> = (0..1000).map(|i| i * 2).collect();
        for t_ms in &even {
            state.push(1, *t_ms, *t_ms as u64, 1);
        }
        // Late ones in an awkward order, before, inside and behind the closed chunks; a reader of commit 1 stays open.
        for i in 0..999 {
            state.push(2, (i * 7 % 999) * 2 + 1, 1, 1);
        }
        assert_eq!(state.late.len(), 999, "none may settle while commit 1 is read");
        check(&state, 1, &even);
        state.push(3, -5, 7, 2);
        assert_eq!(state.late.len(), 1, "only the one of the newest commit is left");
        let all: Vec<i64> = [-5].into_iter().chain(0..1999).collect();
        check(&state, 3, &all);
        check(&state, 2, &all[1..]);
        state.truncate(500);
        assert_eq!(state.oldest_ms().map(|t| t <= 500 && t > 500 - 2 * i64::from(CHUNK_SAMPLES_MAX)), Some(true));
    }
}
