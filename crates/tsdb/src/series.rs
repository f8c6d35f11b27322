//! One series in memory: its chunks, its late samples and what of them which reader may see.

mod image;

use std::sync::{Mutex, MutexGuard, PoisonError};

use relatum_model::storage::TimeRange;
use relatum_model::{Labels, Samples};

use crate::chunk::decoder::ChunkDecoder;
use crate::chunk::{CHUNK_SAMPLES_MAX, Chunk, OpenChunk, pack};
use crate::histogram::Encoded;
use crate::snapshot::Snapshot;
use crate::starts::Starts;
use crate::times::RecentTimes;

/// How many late samples a series collects before they are sorted into its chunks.
const LATE_SAMPLES_MAX: usize = 64;

/// How many chunks are decoded while the series is locked: that takes a microsecond or two.
const CHUNKS_UNDER_LOCK_MAX: usize = 4;

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

    /// A series as an image of the head has it.
    pub(crate) fn with_state(labels: Labels, id: u64, slot: u32, state: State) -> Self {
        MemSeries { labels, id, slot, state: Mutex::new(state) }
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

/// There is one for each series, so every byte of it counts: what few series have is behind a pointer.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    // A block may have a newer sample than `newest` tells: only late ones were read back from the log.
    unsure: bool,
    // So many of the closed chunks are set aside, see `Aside`.
    n_aside: u32,
    // Those that are set aside, then the others; either are sorted by time and disjoint, and the others are before `open`.
    chunks: Vec<Chunk>,
    open: OpenChunk,
    version: Version,
    last_commit: u64,
    rare: Option<Box<Rare>>,
}

/// What a series has only now and then.
#[derive(Debug, Default)]
struct Rare {
    // The newest sample, if the open chunk does not know it.
    newest: Option<(i64, u64)>,
    // Samples that came behind a newer one of the series, sorted by time.
    late: Vec<LateSample>,
    // Native histograms, sorted by time.
    histograms: Vec<HeldHistogram>,
    // What a cut is moving into blocks beside chunks.
    aside: Option<Box<Aside>>,
    // Versions before the last one that a reader may still ask for.
    versions: Vec<Version>,
    // When floats began to count.
    starts: Starts,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.newest.is_none()
            && self.late.is_empty()
            && self.histograms.is_empty()
            && self.aside.is_none()
            && self.versions.is_empty()
            && self.starts.is_empty()
    }
}

/// Samples that are on their way into a block: readers that were there before the block still find them here.
///
/// Most are in chunks, which stay where they are and are counted only: that a cut begins takes no memory.
#[derive(Debug, Default)]
struct Aside {
    late: Vec<LateSample>,
    histograms: Vec<HeldHistogram>,
}

/// A native histogram in memory: visible from its commit on.
#[derive(Debug, Clone)]
struct HeldHistogram {
    t_ms: i64,
    commit: u64,
    histogram: Encoded,
}

#[derive(Debug, Clone, Copy)]
struct LateSample {
    t_ms: i64,
    bits: u64,
    commit: u64,
}

/// Where the samples of a recent commit begin.
///
/// In-order samples only ever get newer, so a reader of an older commit sees exactly those before the first sample of the
/// first commit it must not see. Only commits that an open reader must not see are remembered, and the last one.
#[derive(Debug, Clone, Copy, Default)]
struct Version {
    commit: u64,
    first_ms: i64,
}

impl State {
    fn late(&self) -> &[LateSample] {
        self.rare.as_ref().map_or(&[], |rare| &rare.late)
    }

    fn held(&self) -> &[HeldHistogram] {
        self.rare.as_ref().map_or(&[], |rare| &rare.histograms)
    }

    /// The closed chunks that no cut is moving.
    fn closed(&self) -> &[Chunk] {
        &self.chunks[self.n_aside as usize..]
    }

    /// The chunks that a cut is moving.
    fn chunks_aside(&self) -> &[Chunk] {
        &self.chunks[..self.n_aside as usize]
    }

    /// What else it is moving.
    fn put_aside(&self) -> Option<&Aside> {
        self.rare.as_ref().and_then(|rare| rare.aside.as_deref())
    }

    /// Whether a cut is moving anything.
    fn has_aside(&self) -> bool {
        self.n_aside > 0 || self.put_aside().is_some()
    }

    fn starts(&self) -> &Starts {
        const NONE: &Starts = &Starts::none();
        self.rare.as_ref().map_or(NONE, |rare| &rare.starts)
    }

    /// Whether it is known of any float when it began to count.
    pub(crate) fn has_starts(&self) -> bool {
        !self.starts().is_empty()
    }

    /// Says when the float of `t_ms` began to count, which is 0 if that is not known.
    pub(crate) fn set_start(&mut self, t_ms: i64, start_ms: i64) {
        if start_ms != 0 || !self.starts().is_empty() {
            let newest_ms = self.newest().map(|(newest_ms, _)| newest_ms);
            self.rare_mut().starts.set(t_ms, start_ms, newest_ms);
        }
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Gives back what rare things took when they are gone.
    fn shrink(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }

    /// Remembers that the samples of `commit` begin at `first_ms`.
    fn begin_version(&mut self, commit: u64, first_ms: i64, oldest_reader: u64) {
        if self.version.commit == commit {
            return;
        }
        if self.version.commit > oldest_reader {
            let version = self.version;
            self.rare_mut().versions.push(version);
        }
        if let Some(rare) = &mut self.rare
            && !rare.versions.is_empty()
        {
            rare.versions.retain(|version| version.commit > oldest_reader);
            self.shrink();
        }
        self.version = Version { commit, first_ms };
    }

    /// The first moment a reader of `commit` must not see.
    fn bound_ms(&self, commit: u64) -> Option<i64> {
        let older = self.rare.iter().flat_map(|rare| &rare.versions);
        older.chain([&self.version]).find(|version| version.commit > commit).map(|version| version.first_ms)
    }

    /// The newest sample, as time and value's bits.
    pub(crate) fn newest(&self) -> Option<(i64, u64)> {
        self.rare.as_ref().and_then(|rare| rare.newest).or(self.open.newest())
    }

    /// The same, unless the open chunk ends with it.
    fn newest_elsewhere(&self) -> Option<(i64, u64)> {
        self.newest().filter(|newest| self.open.last() != Some(*newest))
    }

    /// Says that this is the newest sample, wherever it is.
    fn set_newest(&mut self, newest: Option<(i64, u64)>) {
        if let Some(newest) = newest
            && self.open.count() == 0
        {
            // Few series are without a sample in memory, but after a cut of everything all are.
            self.open.remember(newest);
        }
        let elsewhere = newest.filter(|_| newest != self.open.newest());
        if elsewhere.is_some() || self.rare.as_ref().is_some_and(|rare| rare.newest.is_some()) {
            self.rare_mut().newest = elsewhere;
            self.shrink();
        }
    }

    /// The newest sample if a reader of `commit` sees it inside `range`, and it is a float; found without decoding anything.
    pub(crate) fn newest_float(&self, range: TimeRange, commit: u64) -> Option<Samples> {
        let mut samples = Samples::default();
        self.push_newest_float(range, commit, &mut samples).then_some(samples)
    }

    /// Adds that sample to `samples`, which has none; `false` if there is none.
    pub(crate) fn push_newest_float(&self, range: TimeRange, commit: u64, samples: &mut Samples) -> bool {
        let Some((t_ms, bits)) = self.open.last() else { return false };
        // A histogram, or a sample that is in a block already, may be newer than what is in the open chunk.
        let is_newest = self.newest_elsewhere().is_none();
        let is_seen = is_newest && self.last_commit <= commit && range.contains(t_ms);
        if is_seen {
            samples.push(t_ms, f64::from_bits(bits));
            self.starts().fill(samples);
        }
        is_seen
    }

    /// Adds what a reader of `commit` sees inside `range` to `samples`, which has none, if that is quickly done under the lock:
    /// the series has nothing but floats that came in order, and the range is no long one. Otherwise returns `false`.
    pub(crate) fn push_floats(
        &self,
        range: TimeRange,
        commit: u64,
        decoder: &mut ChunkDecoder,
        samples: &mut Samples,
    ) -> bool {
        if self.rare.is_some() || self.n_aside > 0 {
            return false;
        }
        let Some(range) = self.visible(range, commit) else { return true };
        let closed = self.closed_in(range);
        if closed.len() > CHUNKS_UNDER_LOCK_MAX {
            return false;
        }
        closed.iter().for_each(|chunk| chunk.push_to(range, decoder, samples));
        if self.open_reaches(range) {
            self.open.push_to(range, samples);
        }
        true
    }

    /// Says that a sample will be added soon.
    #[inline]
    pub(crate) fn expect_push(&self) {
        self.open.expect_push();
    }

    /// The last commit that added a sample.
    pub(crate) fn last_commit(&self) -> u64 {
        self.last_commit
    }

    /// Whether there is no sample at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
            && self.open.count() == 0
            && self.late().is_empty()
            && self.held().is_empty()
            && self.put_aside().is_none()
    }

    /// Whether the newest sample before the last cut has to be looked up in the blocks.
    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure || self.newest().is_none()
    }

    /// Says that a sample was read back for a time before the last cut.
    pub(crate) fn read_back_late(&mut self) {
        self.unsure = true;
    }

    /// Says which is the newest sample in a block, if there is one: later ones are judged by it.
    pub(crate) fn found_in_blocks(&mut self, newest: Option<(i64, u64)>) {
        self.unsure = false;
        if let Some((t_ms, bits)) = newest {
            self.seed(t_ms, bits);
        }
    }

    /// Says that the series has a sample elsewhere: later ones are judged by it.
    pub(crate) fn seed(&mut self, t_ms: i64, bits: u64) {
        if self.newest().is_none_or(|(newest_ms, _)| t_ms > newest_ms) {
            self.set_newest(Some((t_ms, bits)));
        }
    }

    /// How many samples there are before `end_ms`, or a few more.
    pub(crate) fn samples_before(&self, end_ms: i64) -> u64 {
        let closed = self.closed().iter().take_while(|chunk| chunk.max_ms < end_ms);
        let closed: u64 = closed.map(|chunk| u64::from(chunk.count())).sum();
        let open = if self.open.last().is_some_and(|(last_ms, _)| last_ms < end_ms) { self.open.count() } else { 0 };
        let late = self.late().partition_point(|sample| sample.t_ms < end_ms);
        let histograms = self.held().partition_point(|held| held.t_ms < end_ms);
        closed + u64::from(open) + (late + histograms) as u64
    }

    /// How many samples there are.
    pub(crate) fn samples(&self) -> u64 {
        let aside = self.put_aside().map_or(0, |aside| aside.late.len() + aside.histograms.len());
        let late = self.late().len() + self.held().len() + aside;
        self.chunks.iter().map(|chunk| u64::from(chunk.count())).sum::<u64>()
            + u64::from(self.open.count())
            + late as u64
    }

    /// How many chunks there are, that which grows included.
    pub(crate) fn chunks(&self) -> usize {
        self.closed().len() + usize::from(self.open.count() > 0)
    }

    /// The time of the oldest sample that no cut is moving.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        let chunk = self.closed().first().map(|chunk| chunk.min_ms);
        let chunk = chunk.or_else(|| self.open.last().map(|_| self.open.min_ms()));
        let late = self.late().first().map(|sample| sample.t_ms);
        let histogram = self.held().first().map(|held| held.t_ms);
        [chunk, late, histogram].into_iter().flatten().min()
    }

    /// Sets aside what a reader of `commit` sees before `end_ms`, with what an earlier cut that failed left there. Returns
    /// whether there is anything.
    ///
    /// Readers still see it all, until [`State::forget_aside`].
    pub(crate) fn set_aside(&mut self, end_ms: i64, commit: u64) -> bool {
        let before = TimeRange { min_ms: i64::MIN, max_ms: end_ms.saturating_sub(1) };
        // Nothing of it is in order if not even its first moment is visible.
        let max_ms = self.visible(before, commit).map_or(i64::MIN, |range| range.max_ms);
        let newest = self.newest();
        self.set_chunks_aside(max_ms);
        self.set_newest(newest);
        if let Some(rare) = &mut self.rare {
            let mut late: Vec<_> =
                rare.late.extract_if(.., |sample| sample.commit <= commit && sample.t_ms <= max_ms).collect();
            rare.late.shrink_to_fit();
            // Those are seen by their commit alone, so the span that was asked for counts.
            let mut histograms: Vec<_> =
                rare.histograms.extract_if(.., |held| held.commit <= commit && held.t_ms < end_ms).collect();
            rare.histograms.shrink_to_fit();
            if let Some(earlier) = rare.aside.take() {
                late.extend(earlier.late);
                late.sort_unstable_by_key(|sample| sample.t_ms);
                histograms.extend(earlier.histograms);
                histograms.sort_unstable_by_key(|held| held.t_ms);
            }
            if !late.is_empty() || !histograms.is_empty() {
                rare.aside = Some(Box::new(Aside { late, histograms }));
            }
        }
        self.has_aside()
    }

    /// The same with what is in chunks up to `max_ms`.
    fn set_chunks_aside(&mut self, max_ms: i64) {
        let earlier = self.n_aside as usize;
        let mut end = earlier + self.closed().partition_point(|chunk| chunk.max_ms <= max_ms);
        // At most one chunk lies on both sides.
        let split = |samples: &mut dyn Iterator<Item = (i64, u64)>| -> (Vec<_>, Vec<_>) {
            samples.partition(|(t_ms, _)| *t_ms <= max_ms)
        };
        if let Some(chunk) = self.chunks.get(end) {
            if chunk.min_ms <= max_ms {
                let (old, new) = split(&mut chunk.iter());
                let parts = [old, new].into_iter().filter_map(|samples| pack(samples).1.finish());
                self.chunks.splice(end..=end, parts);
                end += 1;
            }
        } else if self.open.last().is_some() && self.open.min_ms() <= max_ms {
            let (old, new) = split(&mut self.open.snapshot().iter());
            self.chunks.reserve_exact(1);
            self.chunks.extend(pack(old).1.finish());
            self.open = pack(new).1;
            end += 1;
        }
        let is_sorted = self.chunks[..end].is_sorted_by(|before, after| before.max_ms < after.min_ms);
        if !is_sorted {
            // Samples that came late while an earlier cut that failed waited; they may lie between the others.
            let mut all: Vec<_> = self.chunks[..end].iter().flat_map(Chunk::iter).collect();
            all.sort_unstable_by_key(|(t_ms, _)| *t_ms);
            let (closed, mut open) = pack(all);
            let repacked: Vec<Chunk> = closed.into_iter().chain(open.finish()).collect();
            let n = repacked.len();
            self.chunks.splice(..end, repacked);
            end = n;
        }
        self.chunks.shrink_to_fit();
        self.n_aside = end as u32;
    }

    /// What is set aside, sorted by time.
    pub(crate) fn aside(&self, range: TimeRange) -> Samples {
        if !self.has_aside() {
            return Samples::default();
        }
        let mut samples = self.snapshot_of_aside(range, u64::MAX).decode();
        self.starts().fill(&mut samples);
        samples
    }

    /// The spans of time in which something is set aside.
    pub(crate) fn aside_spans(&self) -> Vec<TimeRange> {
        let chunks = self.chunks_aside().iter().map(|chunk| TimeRange { min_ms: chunk.min_ms, max_ms: chunk.max_ms });
        let aside = self.put_aside();
        let late = aside.into_iter().flat_map(|aside| &aside.late).map(|sample| sample.t_ms);
        let histograms = aside.into_iter().flat_map(|aside| &aside.histograms).map(|held| held.t_ms);
        chunks.chain(late.chain(histograms).map(|t_ms| TimeRange { min_ms: t_ms, max_ms: t_ms })).collect()
    }

    /// Drops what was set aside: it is in a block, and no reader looks for it here.
    pub(crate) fn forget_aside(&mut self) {
        self.chunks.drain(..self.n_aside as usize);
        self.chunks.shrink_to_fit();
        self.n_aside = 0;
        let oldest_ms = self.oldest_ms();
        if let Some(rare) = &mut self.rare {
            rare.aside = None;
            rare.starts.forget_before(oldest_ms.unwrap_or(i64::MAX));
            self.shrink();
        }
    }

    /// Adds a sample that `commit` brings. Readers of `oldest_reader` and later ones may be open. `recent` are the times of
    /// chunks that others closed.
    ///
    /// Returns `false`, and changes nothing, if a sample for that moment is there already.
    pub(crate) fn push(
        &mut self,
        commit: u64,
        t_ms: i64,
        bits: u64,
        oldest_reader: u64,
        recent: &mut RecentTimes,
    ) -> bool {
        if self.newest().is_none_or(|(newest_ms, _)| t_ms > newest_ms) {
            self.begin_version(commit, t_ms, oldest_reader);
            if self.open.count() >= CHUNK_SAMPLES_MAX {
                // One more and no room in advance: few are ever held.
                self.chunks.reserve_exact(1);
                self.chunks.extend(self.open.finish_full(recent));
            }
            self.open.push(t_ms, bits);
            if self.rare.is_some() {
                self.set_newest(Some((t_ms, bits)));
            }
            self.last_commit = commit;
            return true;
        }
        if self.value_at(t_ms).is_some() {
            return false;
        }
        let late = &mut self.rare_mut().late;
        let at = late.partition_point(|sample| sample.t_ms < t_ms);
        late.insert(at, LateSample { t_ms, bits, commit });
        let many = late.len() >= LATE_SAMPLES_MAX;
        self.last_commit = commit;
        if many {
            self.settle(oldest_reader);
        }
        true
    }

    /// Adds a native histogram that `commit` brings.
    ///
    /// Returns `false`, and changes nothing, if a sample for that moment is there already.
    pub(crate) fn push_histogram(&mut self, commit: u64, t_ms: i64, histogram: Encoded) -> bool {
        let newest = self.newest();
        if newest.is_some_and(|(newest_ms, _)| t_ms <= newest_ms) && self.value_at(t_ms).is_some() {
            return false;
        }
        if newest.is_none_or(|(newest_ms, _)| t_ms > newest_ms) {
            self.set_newest(Some((t_ms, histogram.fingerprint())));
        }
        let held = &mut self.rare_mut().histograms;
        let at = held.partition_point(|held| held.t_ms < t_ms);
        held.insert(at, HeldHistogram { t_ms, commit, histogram });
        self.last_commit = commit;
        true
    }

    /// The bits of the value stored for exactly `t_ms`; for a native histogram, its fingerprint.
    pub(crate) fn value_at(&self, t_ms: i64) -> Option<u64> {
        if let Some((newest_ms, bits)) = self.newest()
            && newest_ms == t_ms
        {
            return Some(bits);
        }
        if let Ok(at) = self.late().binary_search_by_key(&t_ms, |sample| sample.t_ms) {
            return Some(self.late()[at].bits);
        }
        if let Ok(at) = self.held().binary_search_by_key(&t_ms, |held| held.t_ms) {
            return Some(self.held()[at].histogram.fingerprint());
        }
        let find =
            |chunk: &Chunk| chunk.iter().find(|(t, _)| *t >= t_ms).filter(|(t, _)| *t == t_ms).map(|(_, bits)| bits);
        if self.open.last().is_some_and(|(last_ms, _)| (self.open.min_ms()..=last_ms).contains(&t_ms)) {
            return find(&self.open.snapshot());
        }
        let at_in = |chunks: &[Chunk]| {
            let at = chunks.partition_point(|chunk| chunk.max_ms < t_ms);
            chunks.get(at).filter(|chunk| chunk.min_ms <= t_ms).and_then(find)
        };
        at_in(self.closed()).or_else(|| at_in(self.chunks_aside())).or_else(|| {
            let aside = self.put_aside()?;
            let late = || aside.late.iter().find(|sample| sample.t_ms == t_ms).map(|sample| sample.bits);
            let held =
                || aside.histograms.iter().find(|held| held.t_ms == t_ms).map(|held| held.histogram.fingerprint());
            late().or_else(held)
        })
    }

    /// Sorts the late samples that every reader sees into the chunks.
    fn settle(&mut self, oldest_reader: u64) {
        let Some(rare) = &mut self.rare else { return };
        let settled: Vec<_> = rare.late.extract_if(.., |sample| sample.commit <= oldest_reader).collect();
        self.shrink();
        let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return };
        let (first_ms, last_ms) = (first.t_ms, last.t_ms);
        let (aside, closed) = (self.n_aside as usize, self.closed());
        let from = aside + closed.partition_point(|chunk| chunk.max_ms < first_ms);
        let to = (aside + closed.partition_point(|chunk| chunk.min_ms <= last_ms)).max(from);
        let reopen = self.open.count() > 0 && last_ms >= self.open.min_ms();
        let open = reopen.then(|| std::mem::take(&mut self.open).snapshot());
        let to = if reopen { self.chunks.len() } else { to };
        let (mut chunks, mut rest) = {
            let mut old = self.chunks[from..to].iter().chain(&open).flat_map(Chunk::iter).peekable();
            let mut new = settled.iter().map(|sample| (sample.t_ms, sample.bits)).peekable();
            pack(std::iter::from_fn(|| match (old.peek(), new.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => old.next(),
                (_, Some(_)) => new.next(),
                (_, None) => old.next(),
            }))
        };
        if reopen {
            self.open = rest;
        } else {
            chunks.extend(rest.finish());
        }
        self.chunks.splice(from..to, chunks);
    }

    /// Drops what is wholly before `cutoff_ms`; samples that share a chunk with a newer one stay.
    pub(crate) fn truncate(&mut self, cutoff_ms: i64) {
        let (aside, gone) = (self.n_aside as usize, self.closed().partition_point(|chunk| chunk.max_ms < cutoff_ms));
        self.chunks.drain(aside..aside + gone);
        self.chunks.shrink_to_fit();
        let newest = self.newest();
        if self.open.last().is_some_and(|(last_ms, _)| last_ms < cutoff_ms) {
            self.open = OpenChunk::default();
            self.set_newest(newest);
        }
        if let Some(rare) = &mut self.rare {
            let gone = rare.late.partition_point(|sample| sample.t_ms < cutoff_ms);
            rare.late.drain(..gone);
            let gone = rare.histograms.partition_point(|held| held.t_ms < cutoff_ms);
            rare.histograms.drain(..gone);
            rare.starts.forget_before(cutoff_ms);
            self.shrink();
        }
    }

    /// The part of `range` in which a reader of `commit` sees everything; `None` if there is none.
    ///
    /// A late sample is older than an in-order one of its own or an earlier commit, so this holds for it as well.
    fn visible(&self, range: TimeRange, commit: u64) -> Option<TimeRange> {
        let max_ms = match self.bound_ms(commit) {
            Some(bound_ms) => range.max_ms.min(bound_ms.checked_sub(1)?),
            None => range.max_ms,
        };
        Some(TimeRange { min_ms: range.min_ms, max_ms }).filter(|range| !range.is_empty())
    }

    /// The closed chunks that reach into `range`.
    fn closed_in(&self, range: TimeRange) -> &[Chunk] {
        reaching(self.closed(), range)
    }

    fn open_reaches(&self, range: TimeRange) -> bool {
        self.open.last().is_some_and(|(last_ms, _)| last_ms >= range.min_ms) && self.open.min_ms() <= range.max_ms
    }

    /// Whether a reader of `commit` sees a sample inside `range`.
    pub(crate) fn has_samples(&self, range: TimeRange, commit: u64) -> bool {
        let of_aside = self.put_aside().into_iter().flat_map(|aside| &aside.histograms);
        if self.held().iter().chain(of_aside).any(|held| held.is_seen(range, commit)) {
            return true;
        }
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
            || self.late().iter().any(|sample| sample.commit <= commit && range.contains(sample.t_ms))
            || self.has_aside() && !self.snapshot_of_aside(range, commit).decode().is_empty()
    }

    /// What a reader of `commit` sees inside `range`, ready to be decoded without the lock.
    pub(crate) fn snapshot(&self, range: TimeRange, commit: u64) -> Snapshot {
        let mut snapshot = self.snapshot_without_aside(range, commit);
        snapshot.before = held_before(self.held(), range, commit);
        if self.has_aside() {
            let mut of_aside = self.snapshot_of_aside(snapshot.range, commit);
            if let Some(aside) = self.put_aside() {
                of_aside.histograms = held_in(&aside.histograms, range, commit);
                of_aside.before = held_before(&aside.histograms, range, commit);
            }
            snapshot.aside = Some(Box::new(of_aside));
        }
        snapshot
    }

    /// The same of nothing but what a cut is moving into blocks.
    fn snapshot_of_aside(&self, range: TimeRange, commit: u64) -> Snapshot {
        let mut snapshot =
            Snapshot { range, chunks: reaching(self.chunks_aside(), range).to_vec(), ..Snapshot::default() };
        if let Some(aside) = self.put_aside() {
            let late = aside.late.iter().filter(|sample| sample.commit <= commit && range.contains(sample.t_ms));
            snapshot.late = late.map(|sample| (sample.t_ms, sample.bits)).collect();
            snapshot.histograms = held_in(&aside.histograms, range, commit);
        }
        snapshot
    }

    /// The same without what a cut is moving into blocks.
    pub(crate) fn snapshot_without_aside(&self, range: TimeRange, commit: u64) -> Snapshot {
        let histograms = held_in(self.held(), range, commit);
        let Some(range) = self.visible(range, commit) else {
            return Snapshot { range: TimeRange { min_ms: 0, max_ms: -1 }, histograms, ..Snapshot::default() };
        };
        let starts = self.starts().clone();
        let mut chunks = self.closed_in(range).to_vec();
        if self.open_reaches(range) {
            chunks.push(self.open.snapshot());
        }
        let late = self.late().iter().filter(|sample| sample.commit <= commit && range.contains(sample.t_ms));
        let late = late.map(|sample| (sample.t_ms, sample.bits)).collect();
        Snapshot { range, chunks, late, histograms, before: None, starts, aside: None }
    }
}

impl HeldHistogram {
    fn is_seen(&self, range: TimeRange, commit: u64) -> bool {
        self.commit <= commit && range.contains(self.t_ms)
    }
}

/// The histograms that a reader of `commit` sees inside `range`.
fn held_in(histograms: &[HeldHistogram], range: TimeRange, commit: u64) -> Vec<(i64, Encoded)> {
    let seen = histograms.iter().filter(|held| held.is_seen(range, commit));
    seen.map(|held| (held.t_ms, held.histogram.clone())).collect()
}

/// The last histogram before `range` that a reader of `commit` sees.
fn held_before(histograms: &[HeldHistogram], range: TimeRange, commit: u64) -> Option<(i64, Encoded)> {
    let end = histograms.partition_point(|held| held.t_ms < range.min_ms);
    let last = histograms[..end].iter().rfind(|held| held.commit <= commit);
    last.map(|held| (held.t_ms, held.histogram.clone()))
}

/// Those of `chunks`, which are sorted, that reach into `range`.
fn reaching(chunks: &[Chunk], range: TimeRange) -> &[Chunk] {
    let from = chunks.partition_point(|chunk| chunk.max_ms < range.min_ms);
    let to = chunks.partition_point(|chunk| chunk.min_ms <= range.max_ms);
    chunks.get(from..to).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(state: &mut State, commit: u64, t_ms: i64, bits: u64, oldest_reader: u64) -> bool {
        state.push(commit, t_ms, bits, oldest_reader, &mut RecentTimes::default())
    }

    #[test]
    fn what_is_set_aside_is_seen_until_it_is_forgotten() {
        let mut state = State::default();
        for t_ms in 0..300 {
            push(&mut state, 1, t_ms * 2, 1, 1);
        }
        push(&mut state, 2, 101, 7, 1);
        push(&mut state, 3, 900, 1, 1);
        let all: Vec<i64> = (0..=50).map(|i| i * 2).chain([101]).chain((51..300).map(|i| i * 2)).collect();
        // A cut that sees commit 2; a reader of commit 1 stays open and must not see the late sample.
        assert!(state.set_aside(350, 2));
        check(&state, 2, &all);
        let without: Vec<i64> = all.iter().copied().filter(|t| *t != 101).collect();
        check(&state, 1, &without);
        assert_eq!(state.snapshot_without_aside(TimeRange::ALL, 3).decode().timestamps.first(), Some(&350));
        assert_eq!(state.aside(TimeRange::ALL).timestamps, all[..176]);
        assert_eq!((state.value_at(100), state.value_at(101), state.value_at(103)), (Some(1), Some(7), None));
        // The cut failed; late samples came; the next one takes all.
        push(&mut state, 4, 103, 8, 2);
        assert!(state.set_aside(400, 4));
        assert_eq!(state.aside(TimeRange::ALL).len(), 202);
        assert_eq!(state.samples(), 303);
        state.forget_aside();
        assert_eq!((state.oldest_ms(), state.samples()), (Some(400), 101));
        assert!(state.set_aside(10_000, 4));
        state.forget_aside();
        assert!(state.is_empty());
        assert_eq!(state.newest(), Some((900, 1)));
    }

    #[track_caller]
    fn check(state: &State, commit: u64, expected: &[i64]) {
        assert_eq!(state.snapshot(TimeRange::ALL, commit).decode().timestamps, expected, "commit {commit}");
        assert_eq!(state.has_samples(TimeRange::ALL, commit), !expected.is_empty());
    }

    #[test]
    fn a_reader_sees_its_own_commit() {
        let mut state = State::default();
        for (commit, t_ms) in [(1, 10), (2, 20), (2, 30), (3, 15), (4, 40)] {
            assert!(push(&mut state, commit, t_ms, 0, 0));
        }
        check(&state, 0, &[]);
        check(&state, 1, &[10]);
        check(&state, 2, &[10, 20, 30]);
        check(&state, 3, &[10, 15, 20, 30]);
        check(&state, 4, &[10, 15, 20, 30, 40]);
        assert!(!push(&mut state, 5, 15, 1, 0), "the moment is taken");
    }

    #[test]
    fn late_samples_settle_between_the_others() {
        let mut state = State::default();
        let even: Vec<i64> = (0..1000).map(|i| i * 2).collect();
        for t_ms in &even {
            push(&mut state, 1, *t_ms, *t_ms as u64, 1);
        }
        // Late ones in an awkward order, before, inside and behind the closed chunks; a reader of commit 1 stays open.
        for i in 0..999 {
            push(&mut state, 2, (i * 7 % 999) * 2 + 1, 1, 1);
        }
        assert_eq!(state.late().len(), 999, "none may settle while commit 1 is read");
        check(&state, 1, &even);
        push(&mut state, 3, -5, 7, 2);
        assert_eq!(state.late().len(), 1, "only the one of the newest commit is left");
        let all: Vec<i64> = [-5].into_iter().chain(0..1999).collect();
        check(&state, 3, &all);
        check(&state, 2, &all[1..]);
        state.truncate(500);
        assert_eq!(state.oldest_ms().map(|t| t <= 500 && t > 500 - 2 * i64::from(CHUNK_SAMPLES_MAX)), Some(true));
    }
}
