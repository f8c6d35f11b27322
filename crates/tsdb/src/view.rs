//! A consistent view of the store for one query: the blocks of one moment and what of the head belongs to them.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use relatum_model::labels::RunningLabels;
use relatum_model::storage::{Cancel, Hints, Moment, Parts, Reader, Scope, SelectError, SeriesSet, TimeRange};
use relatum_model::windows::Glimpse;
use relatum_model::{HistogramSample, Labels, Matcher, Samples, Series};

use crate::block::Block;
use crate::block::chunks::ChunkReader;
use crate::block::deleted::Deleted;
use crate::block::glimpse::Seen;
use crate::block::reader::{ChunkPlace, Index};
use crate::block::walk::SeriesWalk;
use crate::core::Core;
use crate::hints::Before;
use crate::ordered::{Ordered, Place, Run};
use crate::parts::{ViewParts, part_series, worth_while};
use crate::ranks::Ranks;
use crate::readers::Ticket;
use crate::series::MemSeries;
use crate::snapshot::merge;
use crate::texts::{Gathered, Wanted};

/// How many series are looked at between two looks at the switch that cancels.
const SERIES_BETWEEN_CHECKS: usize = 64;

/// What one reader sees; see `relatum_model::storage::Select::open`.
pub(crate) struct View<'s> {
    store: &'s Core,
    ticket: Ticket,
    range: TimeRange,
    // Whether the range takes in all that is in the head.
    whole_head: bool,
    // The blocks that reach into the range, by time.
    blocks: Vec<Arc<Block>>,
    scope: Scope,
    // Whether nothing is to be made ready first.
    at_hand: bool,
}

impl<'s> View<'s> {
    /// Opens a view. If it is of what is `at_hand`, a reading for which something has to be made ready first ends as if it was cancelled.
    pub(crate) fn open(store: &'s Core, scope: &Scope, range: TimeRange, at_hand: bool) -> Self {
        let cutoff_ms = store.cutoff_ms();
        let whole_head = range.min_ms <= store.oldest_ms().max(cutoff_ms) && range.max_ms >= store.newest_ms();
        let ticket = store.readers.open(range.min_ms.max(cutoff_ms));
        // Looked at again, because before the ticket was there a truncation may have gone further than the first look.
        let range = TimeRange { min_ms: range.min_ms.max(store.cutoff_ms()), max_ms: range.max_ms };
        // After the ticket: what a cut takes out of the head from now on is there for this reader, or in a block it sees.
        let reaches =
            |block: &&Arc<Block>| block.summary.max_ms >= range.min_ms && block.summary.min_ms <= range.max_ms;
        let blocks = store.blocks.list().iter().filter(reaches).cloned().collect();
        View { store, ticket, range, whole_head, blocks, scope: scope.clone(), at_hand }
    }

    /// The series of the head that satisfy `matchers` and the scope, by rank; some may have no sample in the view.
    fn in_head(&self, matchers: &[Matcher]) -> Result<(Arc<Ranks>, Vec<u32>), SelectError> {
        let all = self.scope.matchers().iter().chain(matchers);
        // What is not at hand is left to somebody with more time.
        self.store.head().index().select(all, self.at_hand).ok_or(SelectError::Cancelled)
    }

    /// Goes on only if `is_ready` holds, or if there is time to make it so.
    fn want(&self, is_ready: impl FnOnce() -> bool) -> Result<(), SelectError> {
        if self.at_hand && !is_ready() { Err(SelectError::Cancelled) } else { Ok(()) }
    }

    /// What is selected in each block that has any of it. A block that is damaged is left out.
    fn selected_blocks(&self, matchers: &[Matcher]) -> Result<Vec<Selected<'_>>, SelectError> {
        let mut all = Vec::new();
        for block in &self.blocks {
            self.want(|| block.is_checked())?;
            let found = block.index().and_then(|index| {
                let numbers = index.select(self.scope.matchers().iter().chain(matchers))?;
                Ok((index, numbers))
            });
            match found {
                Ok((_, numbers)) if numbers.is_empty() => {}
                Ok((index, numbers)) => all.push(Selected { block, index, deleted: block.deleted(), numbers }),
                Err(damage) => block.report(damage),
            }
        }
        Ok(all)
    }

    /// Calls `each` for the series of the head that `matchers` select and that have a sample in the view, in the order of their labels,
    /// until it breaks.
    fn visit_head(
        &self,
        matchers: &[Matcher],
        cancel: &Cancel,
        mut each: impl FnMut(&Labels) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        let (ranks, found) = self.in_head(matchers)?;
        for (i, series) in found.iter().map(|rank| ranks.series(*rank)).enumerate() {
            if i % SERIES_BETWEEN_CHECKS == 0 && cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            if series.state().has_samples(self.range, self.ticket.commit) && each(&series.labels).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// What the reader sees of the series at which the first of `walks` stand, and which is in the head if it is given; or its newest
    /// sample `newest_in` a range, if nobody needs more. These walks move on.
    fn samples(
        &self,
        of_head: Option<&MemSeries>,
        walks: &mut [BlockWalk<'_>],
        newest_in: Option<TimeRange>,
    ) -> Samples {
        let mut walks = walks.iter_mut().filter(|walk| walk.is_first);
        if let Some(range) = newest_in
            && let Some(series) = of_head
            && let Some(newest) = series.state().newest_float(range, self.ticket.commit)
        {
            walks.for_each(BlockWalk::advance);
            return newest;
        }
        let (mut samples, mut before) = (Samples::default(), Before::default());
        for walk in &mut walks {
            walk.push_samples(self.range, &mut samples);
            before.found(walk.take_before());
        }
        if let Some(series) = of_head {
            // Decoded without the lock, so that a long series does not hold up its writer.
            let snapshot = series.state().snapshot(self.range, self.ticket.commit);
            samples = merge(samples, snapshot.decode());
            before.found(snapshot.before());
        }
        before.tell(&mut samples);
        samples
    }

    /// Collects texts of labels of visible series, the first `limit` of them. Where all series are of interest, indexes tell them, each with
    /// series that have it; elsewhere they are in the labels of one series after the other. The first of all are among the first of the
    /// head and of each block.
    fn texts(
        &self,
        wanted: Wanted<'_>,
        matchers: &[Matcher],
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<String>, SelectError> {
        if !(matchers.is_empty() && self.scope.matchers().is_empty()) {
            let mut gathered = Gathered::first(limit);
            self.visit_head(matchers, cancel, |labels| {
                wanted.of_labels(labels, &mut gathered);
                ControlFlow::Continue(())
            })?;
            for selected in self.selected_blocks(matchers)? {
                selected.gather(wanted, self.range, cancel, &mut gathered)?;
            }
            return Ok(gathered.in_order().collect());
        }
        let mut texts = Ordered::first(limit);
        for block in &self.blocks {
            self.want(|| block.is_checked() && block.knows_bounds(self.range))?;
            let found = block.index().and_then(|index| {
                let is_whole = block.deleted().is_empty();
                if is_whole && index.all_reach(self.range)? {
                    return wanted.of_block(&index, &mut texts, |_| true);
                }
                // A series has many labels, and is looked at once.
                let mut unseen = vec![false; index.n_series() as usize];
                let mut walk = BlockWalk::of(block, index);
                let is_visible = |number: u32| {
                    if is_whole && index.reaches(number, self.range) == Ok(true) {
                        return true;
                    }
                    let is_unseen = &mut unseen[number as usize];
                    *is_unseen = *is_unseen || cancel.is_cancelled() || !walk.sees(number, self.range);
                    !*is_unseen
                };
                wanted.of_block(&index, &mut texts, is_visible)
            });
            if let Err(damage) = found {
                block.report(damage);
            }
            if cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
        }
        // Nearly always the first series that has a text is visible; samples are looked at without the lock of the index.
        let is_visible = |series: &Arc<MemSeries>| series.state().has_samples(self.range, self.ticket.commit);
        let unsure = {
            let index = self.store.head().index();
            let sees_all = self.whole_head && index.newest_commit() <= self.ticket.commit;
            wanted.of_head(&index, sees_all, &mut texts)
        };
        let mut missing = Vec::new();
        texts.walk(|run| {
            for (i, (text, first)) in unsure.into_iter().enumerate() {
                if i % SERIES_BETWEEN_CHECKS == 0 && cancel.is_cancelled() {
                    return Err(SelectError::Cancelled);
                }
                if is_visible(&first) {
                    run.offer(text);
                } else {
                    missing.push(text);
                }
            }
            Ok(())
        })?;
        let others = if missing.is_empty() { Vec::new() } else { wanted.having(&self.store.head().index(), &missing) };
        let mut gathered = Gathered::first(limit);
        for (i, series) in others.iter().enumerate() {
            if i % SERIES_BETWEEN_CHECKS == 0 && cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            if is_visible(series) {
                wanted.of_labels(&series.labels, &mut gathered);
            }
        }
        texts.walk(|run| {
            for text in gathered.in_order() {
                run.offer(text);
            }
        });
        Ok(texts.in_order())
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        self.store.readers.close(self.ticket);
    }
}

/// The series of one block that are selected, by their numbers, which are in the order of their labels.
pub(crate) struct Selected<'v> {
    block: &'v Arc<Block>,
    index: Index<'v>,
    deleted: Arc<Deleted>,
    pub(crate) numbers: Vec<u32>,
}

impl<'v> Selected<'v> {
    /// A walk over those at `places` among them.
    pub(crate) fn walk(&self, places: Range<usize>) -> BlockWalk<'v> {
        let mut walk = BlockWalk {
            block: self.block,
            walk: self.index.walk(),
            reader: ChunkReader::new(self.index),
            deleted: Arc::clone(&self.deleted),
            numbers: Vec::from(&self.numbers[places]).into_iter(),
            current: None,
            is_first: false,
            chunks: Vec::new(),
        };
        walk.advance();
        walk
    }

    /// A walk over all of them.
    fn walk_all(&self) -> BlockWalk<'v> {
        self.walk(0..self.numbers.len())
    }

    /// Adds the labels of those that have a sample inside `range` to `sets`, beside which they are walked.
    fn label_sets(&self, range: TimeRange, cancel: &Cancel, sets: &mut Run<'_, Labels>) -> Result<(), SelectError> {
        let mut walk = self.walk_all();
        for i in 0..self.numbers.len() {
            if i % SERIES_BETWEEN_CHECKS == 0 && cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            // Behind damage there is nothing.
            if walk.current.is_none() {
                break;
            }
            let place = sets.place(|found| walk.running().order_to(found).reverse());
            if place == Place::Beyond {
                break;
            }
            if place == Place::Missing && walk.has_samples(range) {
                sets.add(walk.running().to_labels());
            }
            walk.advance();
        }
        Ok(())
    }

    /// Adds the wanted texts of those that have a sample inside `range` to `gathered`, each looked up once.
    fn gather(
        &self,
        wanted: Wanted<'_>,
        range: TimeRange,
        cancel: &Cancel,
        gathered: &mut Gathered,
    ) -> Result<(), SelectError> {
        let mut symbols = match self.index.wanted_symbols(wanted) {
            Ok(symbols) => symbols,
            Err(damage) => {
                self.block.report(damage);
                return Ok(());
            }
        };
        let mut walk = BlockWalk::of(self.block, self.index);
        for (i, number) in self.numbers.iter().enumerate() {
            if i % SERIES_BETWEEN_CHECKS == 0 && cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            // Over damage a series has no samples.
            if walk.sees(*number, range)
                && let Err(damage) = symbols.take(&walk.walk, |text| gathered.add(text))
            {
                self.block.report(damage);
            }
        }
        Ok(())
    }

    /// How many samples each of them has inside `range`, about.
    pub(crate) fn samples_each(&self, range: TimeRange) -> f64 {
        let of_block = self.block.summary;
        let width = |min_ms: i64, max_ms: i64| max_ms as f64 - min_ms as f64 + 1.0;
        let inside = width(range.min_ms.max(of_block.min_ms), range.max_ms.min(of_block.max_ms));
        let share = (inside / width(of_block.min_ms, of_block.max_ms)).clamp(0.0, 1.0);
        share * of_block.samples as f64 / of_block.series.max(1) as f64
    }

    /// The labels of the one at `place`.
    pub(crate) fn labels(&self, place: usize) -> Option<Labels> {
        let mut walk = self.index.walk();
        self.go_to(&mut walk, place).then(|| walk.labels().to_labels())
    }

    /// How many of them have labels before `labels`, which is most likely at `guess`. What cannot be read is behind.
    pub(crate) fn before(&self, labels: &Labels, guess: usize) -> usize {
        let mut walk = self.index.walk();
        if guess < self.numbers.len() && self.go_to(&mut walk, guess) && walk.labels().are(labels) {
            return guess;
        }
        let (mut low, mut high) = (0, self.numbers.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.go_to(&mut walk, middle) && walk.labels() < labels {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether the labels of the one at `place` could be read.
    fn go_to(&self, walk: &mut SeriesWalk<'v>, place: usize) -> bool {
        let gone = walk.go_to(self.numbers[place], &mut Vec::new());
        gone.inspect_err(|damage| self.block.report(*damage)).is_ok()
    }
}

/// The first of the labels that the head and blocks stand at, which each walk then knows whether it stands at; `None` at the end of all.
pub(crate) fn first_labels(of_head: Option<&Labels>, walks: &mut [BlockWalk<'_>]) -> Option<Labels> {
    let mut first: Option<usize> = None;
    for at in 0..walks.len() {
        let (before, walk) = walks.split_at_mut(at);
        let walk = &mut walk[0];
        walk.is_first = false;
        if walk.current.is_none() {
            continue;
        }
        // Most often all stand at the same series.
        let (is_same, is_before) = match (first, of_head) {
            (Some(first), _) => {
                let first = before[first].running();
                (walk.running() == first, walk.running() < first)
            }
            (None, Some(of_head)) => {
                let is_same = walk.is_at(of_head);
                (is_same, !is_same && walk.running() < of_head)
            }
            (None, None) => (false, true),
        };
        walk.is_first = is_same || is_before;
        if is_before {
            before.iter_mut().for_each(|walk| walk.is_first = false);
            first = Some(at);
        }
    }
    first.map_or_else(|| of_head.cloned(), |first| walks[first].labels())
}

/// A walk over the selected series of one block, in the order of their labels.
pub(crate) struct BlockWalk<'v> {
    block: &'v Arc<Block>,
    walk: SeriesWalk<'v>,
    reader: ChunkReader<'v>,
    deleted: Arc<Deleted>,
    numbers: std::vec::IntoIter<u32>,
    // The number of the series it stands at.
    current: Option<u32>,
    // Whether that was found to be the first of all.
    pub(crate) is_first: bool,
    chunks: Vec<ChunkPlace>,
}

impl<'v> BlockWalk<'v> {
    /// A walk that goes nowhere by itself; see [`BlockWalk::sees`].
    fn of(block: &'v Arc<Block>, index: Index<'v>) -> Self {
        let (walk, reader) = (index.walk(), ChunkReader::new(index));
        let (deleted, numbers) = (block.deleted(), Vec::new().into_iter());
        let (current, is_first, chunks) = (None, false, Vec::new());
        BlockWalk { block, walk, reader, deleted, numbers, current, is_first, chunks }
    }

    /// Whether series `number` has a sample inside `range`. Over damage it has none.
    fn sees(&mut self, number: u32, range: TimeRange) -> bool {
        let gone = self.walk.go_to_chunks(number, &mut self.chunks);
        self.current = gone.inspect_err(|damage| self.block.report(*damage)).is_ok().then_some(number);
        self.has_samples(range)
    }

    /// Goes to the next series; over damage, to the end.
    pub(crate) fn advance(&mut self) {
        self.current = self.numbers.next().filter(|number| {
            let gone = self.walk.go_to(*number, &mut self.chunks);
            gone.inspect_err(|damage| self.block.report(*damage)).is_ok()
        });
    }

    /// The labels of the current series; `None` at the end.
    pub(crate) fn labels(&self) -> Option<Labels> {
        self.current.map(|_| self.running().to_labels())
    }

    /// Whether the current series is that of `labels`.
    pub(crate) fn is_at(&self, labels: &Labels) -> bool {
        self.current.is_some() && self.running().are(labels)
    }

    fn running(&self) -> &RunningLabels {
        self.walk.labels()
    }

    /// The chunks of the current series that reach into `range`.
    pub(crate) fn reaching(&self, range: TimeRange) -> impl Iterator<Item = &ChunkPlace> {
        self.chunks.iter().filter(move |chunk| self.current.is_some() && chunk.reaches(range))
    }

    /// Takes the samples of the current series inside `range` and goes to the next one. A chunk that is damaged is left out.
    pub(crate) fn take_samples(&mut self, range: TimeRange) -> Samples {
        let mut samples = Samples::default();
        self.push_samples(range, &mut samples);
        samples
    }

    /// Adds them to `samples` of the same series; of two for one moment the one that is there counts.
    pub(crate) fn push_samples(&mut self, range: TimeRange, samples: &mut Samples) {
        let is_behind = samples.histograms.is_empty()
            && samples
                .timestamps
                .last()
                .is_none_or(|last_ms| self.reaching(range).all(|chunk| chunk.min_ms > *last_ms));
        if !is_behind {
            let before = std::mem::take(samples);
            *samples = merge(before, self.take_samples(range));
            return;
        }
        self.reader.take_before();
        if let Some(number) = self.current {
            let deleted = self.deleted.of(number);
            let n = self.reaching(range).map(|chunk| chunk.count).sum();
            samples.timestamps.reserve(n);
            samples.values.reserve(n);
            for chunk in self.chunks.iter().filter(|chunk| chunk.reaches(range)) {
                if let Err(damage) = self.reader.push(chunk, range, deleted, samples) {
                    self.block.report(damage);
                }
            }
        }
        self.advance();
    }

    /// The histogram before those that were added last, if it was on the way.
    pub(crate) fn take_before(&mut self) -> Option<HistogramSample> {
        self.reader.take_before()
    }

    /// Adds the newest sample of `chunk` of the current series inside `range` to `samples`, which has none, and stays there. `false` if it
    /// is no plain float, or if some are deleted.
    pub(crate) fn push_newest(&mut self, chunk: &ChunkPlace, range: TimeRange, samples: &mut Samples) -> bool {
        if self.current.is_none_or(|number| !self.deleted.of(number).is_empty()) {
            return false;
        }
        let pushed = self.reader.push_newest(chunk, range, samples);
        // What is damaged is met again by those who read all of it, and told then.
        pushed.unwrap_or(false)
    }

    /// Adds those samples of the current series inside `range` to `seen` that `glimpse` asks for, and stays there. `false` if it cannot be
    /// told which these are without reading all of them.
    pub(crate) fn push_seen(&mut self, range: TimeRange, glimpse: &Glimpse, seen: &mut Seen<'_>) -> bool {
        let Some(number) = self.current else { return true };
        if !self.deleted.of(number).is_empty() {
            return false;
        }
        for chunk in self.chunks.iter().filter(|chunk| chunk.reaches(range)) {
            if seen.last_ms().is_some_and(|last_ms| chunk.min_ms <= last_ms) {
                return false;
            }
            match self.reader.push_seen(chunk, range, glimpse, seen) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(damage) => self.block.report(damage),
            }
        }
        true
    }

    fn has_samples(&mut self, range: TimeRange) -> bool {
        let Some(number) = self.current else { return false };
        let deleted = self.deleted.of(number);
        self.chunks.iter().filter(|chunk| chunk.reaches(range)).any(|chunk| {
            if deleted.is_empty() && (range.contains(chunk.min_ms) || range.contains(chunk.max_ms)) {
                return true;
            }
            let is_there = |t_ms: &i64| range.contains(*t_ms) && !deleted.iter().any(|span| span.contains(*t_ms));
            match self.reader.times(chunk) {
                Ok(times) => times.iter().any(is_there),
                Err(damage) => {
                    self.block.report(damage);
                    false
                }
            }
        })
    }
}

impl Reader for View<'_> {
    fn moment(&self) -> Moment {
        self.ticket.moment
    }

    fn changed_since(&self, before: Moment) -> i64 {
        self.store.readers.changed_since(before)
    }

    fn series<'a>(
        &'a self,
        matchers: &[Matcher],
        hints: &Hints,
        cancel: &Cancel,
    ) -> Result<SeriesSet<'a>, SelectError> {
        if cancel.is_cancelled() {
            return Err(SelectError::Cancelled);
        }
        let limit = if hints.limit == 0 { usize::MAX } else { hints.limit };
        let newest_in = hints.newest_in.map(|range| range.and(self.range));
        let cancel = cancel.clone();
        let mut cancelled = false;
        let (ranks, found) = self.in_head(matchers)?;
        let mut in_head = found.into_iter().map(move |rank| Arc::clone(ranks.series(rank))).peekable();
        let mut walks: Vec<BlockWalk<'_>> = self.selected_blocks(matchers)?.iter().map(Selected::walk_all).collect();
        let all = std::iter::from_fn(move || {
            loop {
                if cancelled {
                    return None;
                }
                let labels = first_labels(in_head.peek().map(|series| &series.labels), &mut walks)?;
                if cancel.is_cancelled() {
                    cancelled = true;
                    return Some(Err(SelectError::Cancelled));
                }
                let of_head = in_head.next_if(|series| series.labels == labels);
                let samples = self.samples(of_head.as_deref(), &mut walks, newest_in);
                if !samples.is_empty() {
                    return Some(Ok(Series { labels, samples }));
                }
            }
        });
        Ok(Box::new(all.take(limit)))
    }

    fn parts<'a>(
        &'a self,
        matchers: &[Matcher],
        hints: &Hints,
        cancel: &Cancel,
    ) -> Result<Option<Box<dyn Parts + 'a>>, SelectError> {
        if cancel.is_cancelled() {
            return Err(SelectError::Cancelled);
        }
        let (ranks, found) = self.in_head(matchers)?;
        let blocks = self.selected_blocks(matchers)?;
        let (range, commit) = (self.range, self.ticket.commit);
        let newest_in = hints.newest_in.map(|newest| newest.and(range));
        let glimpse = worth_while(hints.glimpse, &blocks, range);
        let (part_series, cancel) = (part_series(&blocks, range, glimpse.as_ref()), cancel.clone());
        Ok(Some(Box::new(ViewParts { ranks, found, blocks, range, commit, newest_in, glimpse, cancel, part_series })))
    }

    fn label_sets(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<Labels>, SelectError> {
        let mut sets = Ordered::first(limit);
        sets.walk(|run| {
            self.visit_head(matchers, cancel, |labels| match run.offer(labels.clone()) {
                Place::Beyond => ControlFlow::Break(()),
                Place::There | Place::Missing => ControlFlow::Continue(()),
            })
        })?;
        for selected in self.selected_blocks(matchers)? {
            sets.walk(|run| selected.label_sets(self.range, cancel, run))?;
        }
        Ok(sets.in_order())
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<String>, SelectError> {
        self.texts(Wanted::Names, matchers, limit, cancel)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<String>, SelectError> {
        self.texts(Wanted::ValuesOf(name), matchers, limit, cancel)
    }
}
