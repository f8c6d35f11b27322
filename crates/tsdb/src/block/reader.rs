//! Reading a block through a map of its file.
//!
//! Opening looks at both ends of the file only, so that a store with many blocks opens at once; the sections of the index are
//! checked when the first query comes, a column whenever it is decoded. Whatever is wrong ends in [`Damage`]: the bytes may
//! change under us after they were checked, so nothing relies on the checksum to stay in bounds.

use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use hashbrown::HashSet;
use relatum_model::labels::RunningLabels;
use relatum_model::storage::TimeRange;
use relatum_model::windows::Glimpse;
use relatum_model::{HistogramSample, Labels, Matcher, Samples};
use tracing::error;

use crate::fs::{Fs, MappedFile};
use crate::histogram::Encoded;
use crate::starts;
use crate::texts::Wanted;

use super::bytes::Cursor;
use super::decoder::{ValueDecoder, decode_integers, decode_started, has_starts, is_surely_finite, surely_rise};
use super::deleted::Deleted;
use super::glimpse::{Marks, Seen};
use super::histograms::{HISTOGRAMS, decode_histograms};
use super::layout::{BadBlock, Damage, Footer, SectionKind, Summary as BlockSummary, checksum, is_block};
use super::postings::{self, List, Postings, Values};
use super::salvage;
use super::symbols::Symbols;
use super::writer::{GROUP_SERIES, file_name};

const TIMES_ENTRY_BYTES: usize = 32;

/// A block that is open. What it holds never changes.
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) summary: BlockSummary,
    file: MappedFile,
    salt: u32,
    footer: Footer,
    // Whether the sections of the index are as they were written.
    checked: OnceLock<Result<(), Damage>>,
    // The first damage that a reader met.
    damage: OnceLock<Damage>,
    // Found when somebody asks for the first time.
    bounds: OnceLock<Result<Box<[Bounds]>, Damage>>,
    deleted: RwLock<Arc<Deleted>>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("number", &self.number).field("summary", &self.summary).finish_non_exhaustive()
    }
}

/// Why a block was not opened.
#[derive(Debug)]
pub(crate) enum OpenBlockError {
    Read(std::io::Error),
    Bad(BadBlock),
}

impl Block {
    /// Opens block `number` in `dir`.
    pub(crate) fn open(fs: &dyn Fs, dir: &Path, number: u64) -> Result<Block, OpenBlockError> {
        let file = fs.map(&dir.join(file_name(number))).map_err(OpenBlockError::Read)?;
        let (salt, footer) = Footer::decode((*file).as_ref(), number).map_err(OpenBlockError::Bad)?;
        let deleted = Deleted::read(fs, dir, number).map_err(OpenBlockError::Read)?.map_err(OpenBlockError::Bad)?;
        Ok(Block::of(number, file, salt, footer, deleted))
    }

    /// Opens what was block `number` and was set aside at `path`, as far as it can be read, and says what keeps it from being opened as
    /// any other block.
    pub(crate) fn open_set_aside(
        fs: &dyn Fs,
        path: &Path,
        number: u64,
    ) -> Result<(Block, Option<Damage>), OpenBlockError> {
        let file = fs.map(path).map_err(OpenBlockError::Read)?;
        let bytes = (*file).as_ref();
        let salvaged = |damage| match salvage::footer(bytes) {
            Ok((salt, footer)) => Ok((salt, footer, Some(damage))),
            Err(damage) => Err(OpenBlockError::Bad(damage.into())),
        };
        let (salt, footer, damage) = match Footer::decode(bytes, number) {
            Ok((salt, footer)) => (salt, footer, None),
            Err(BadBlock::Damaged(damage)) => salvaged(damage)?,
            // A torn header looks like anything; whole ones are those of another block.
            Err(BadBlock::Foreign) if !is_block(bytes) => salvaged(Damage("its header is not that of a block"))?,
            Err(bad) => return Err(OpenBlockError::Bad(bad)),
        };
        let dir = path.parent().unwrap_or(path);
        let deleted = Deleted::read(fs, dir, number).map_err(OpenBlockError::Read)?.map_err(OpenBlockError::Bad)?;
        Ok((Block::of(number, file, salt, footer, deleted), damage))
    }

    fn of(number: u64, file: MappedFile, salt: u32, footer: Footer, deleted: Deleted) -> Block {
        Block {
            number,
            summary: footer.summary,
            file,
            salt,
            footer,
            checked: OnceLock::new(),
            damage: OnceLock::new(),
            bounds: OnceLock::new(),
            deleted: RwLock::new(Arc::new(deleted)),
        }
    }

    /// How long the file is.
    pub(crate) fn bytes(&self) -> u64 {
        self.data().len() as u64
    }

    /// Bytes of the file that are not samples.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.bytes() - self.footer.sections[SectionKind::Columns as usize].length
    }

    /// Remembers, and tells once, that a reader had to leave out a part of the block.
    pub(crate) fn report(&self, damage: Damage) {
        if self.damage.set(damage).is_ok() {
            error!(block = %file_name(self.number), reason = %damage, "a block is damaged: what cannot be read is left out");
        }
    }

    /// The first damage that a reader met.
    pub(crate) fn damage(&self) -> Option<Damage> {
        self.damage.get().copied()
    }

    /// What was deleted from it.
    pub(crate) fn deleted(&self) -> Arc<Deleted> {
        Arc::clone(&self.deleted.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says what was deleted from it, once that is on disk.
    pub(crate) fn set_deleted(&self, deleted: Deleted) {
        *self.deleted.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(deleted);
    }

    fn data(&self) -> &[u8] {
        (*self.file).as_ref()
    }

    fn section(&self, kind: SectionKind) -> Result<&[u8], Damage> {
        let section = self.footer.sections[kind as usize];
        let end = section.offset.saturating_add(section.length);
        // The footer was checked against the length of the file when it was opened.
        self.data().get(section.offset as usize..end as usize).ok_or(Damage("a section lies behind the end"))
    }

    /// Whether the index was checked.
    pub(crate) fn is_checked(&self) -> bool {
        self.checked.get().is_some()
    }

    /// Whether it is known when series begin and end, as far as that matters for `range`.
    pub(crate) fn knows_bounds(&self, range: TimeRange) -> bool {
        let cuts_one_end = (range.min_ms <= self.summary.min_ms) != (range.max_ms >= self.summary.max_ms);
        !cuts_one_end || self.bounds.get().is_some()
    }

    /// The index, checked.
    pub(crate) fn index(&self) -> Result<Index<'_>, Damage> {
        self.checked.get_or_init(|| self.check_index()).map(|()| ())?;
        Ok(Index {
            block: self,
            symbols: Symbols::decode(self.section(SectionKind::Symbols)?)?,
            postings: Postings::decode(self.section(SectionKind::Postings)?)?,
            times: self.section(SectionKind::Times)?,
            series: self.section(SectionKind::Series)?,
            series_table: self.section(SectionKind::SeriesTable)?,
            n_series: u32::try_from(self.summary.series).map_err(|_| Damage("too many series"))?,
        })
    }

    /// What is needed to read all series one after the other, checked. Nothing can be found in it.
    pub(crate) fn index_for_salvage(&self) -> Result<Index<'_>, Damage> {
        const NO_POSTINGS: &[u8] = &[0; 4];
        self.check(&[SectionKind::Times, SectionKind::Symbols, SectionKind::Series])?;
        Ok(Index {
            block: self,
            symbols: Symbols::decode(self.section(SectionKind::Symbols)?)?,
            postings: Postings::decode(NO_POSTINGS)?,
            times: self.section(SectionKind::Times)?,
            series: self.section(SectionKind::Series)?,
            series_table: &[],
            n_series: u32::try_from(self.summary.series).map_err(|_| Damage("too many series"))?,
        })
    }

    /// The numbers of the series that satisfy all of `matchers`, found without what only helps finding, as far as series can be read.
    pub(crate) fn select_for_salvage(&self, matchers: &[Matcher]) -> Result<Vec<u32>, Damage> {
        let index = self.index_for_salvage()?;
        let mut walk = index.walk_through();
        let readable = (0..index.n_series()).map_while(|at| walk.series(at).ok());
        let wanted = readable.filter(|series| matchers.iter().all(|matcher| matcher.matches_labels(&series.labels)));
        Ok(wanted.map(|series| series.number).collect())
    }

    fn check_index(&self) -> Result<(), Damage> {
        let all = [
            SectionKind::Times,
            SectionKind::Symbols,
            SectionKind::Series,
            SectionKind::SeriesTable,
            SectionKind::Postings,
        ];
        self.check(&all)
    }

    fn check(&self, kinds: &[SectionKind]) -> Result<(), Damage> {
        for (kind, damage) in [
            (SectionKind::Times, Damage("its table of times is damaged")),
            (SectionKind::Symbols, Damage("its symbols are damaged")),
            (SectionKind::Series, Damage("its series are damaged")),
            (SectionKind::SeriesTable, Damage("its table of series is damaged")),
            (SectionKind::Postings, Damage("its postings are damaged")),
        ] {
            if kinds.contains(&kind)
                && checksum(self.salt, self.section(kind)?) != self.footer.sections[kind as usize].checksum
            {
                return Err(damage);
            }
        }
        Ok(())
    }

    /// The bytes of a column, checked.
    fn column(&self, offset: u64, length: u64) -> Result<&[u8], Damage> {
        let end = offset.checked_add(length).ok_or(Damage("a column lies behind the end"))?;
        let bytes = self.data().get(offset as usize..end as usize).ok_or(Damage("a column lies behind the end"))?;
        let mut cursor = Cursor::new(bytes);
        if cursor.u32()? == checksum(self.salt, cursor.rest) {
            Ok(cursor.rest)
        } else {
            Err(Damage("a column of samples is damaged"))
        }
    }
}

/// What finds the samples of a block.
#[derive(Clone, Copy)]
pub(crate) struct Index<'b> {
    block: &'b Block,
    pub(super) symbols: Symbols<'b>,
    pub(super) postings: Postings<'b>,
    times: &'b [u8],
    series: &'b [u8],
    series_table: &'b [u8],
    pub(super) n_series: u32,
}

/// When the series of a group begin and end.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    last_begin_ms: i64,
    first_end_ms: i64,
}

impl Bounds {
    /// Whether every series has its first sample inside `range`, which begins before the block, or else its last one inside `range`, which
    /// ends behind the block.
    fn reach(self, range: TimeRange, has_begin: bool) -> bool {
        if has_begin { self.last_begin_ms <= range.max_ms } else { self.first_end_ms >= range.min_ms }
    }
}

/// A chunk of a series on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkPlace {
    times: u32,
    pub(crate) offset: u64,
    length: u64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) count: usize,
}

impl ChunkPlace {
    /// Whether a sample of it may lie inside `range`.
    pub(crate) fn reaches(&self, range: TimeRange) -> bool {
        self.max_ms >= range.min_ms && self.min_ms <= range.max_ms
    }
}

/// A series of a block: its labels and where its chunks are, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct BlockSeries {
    pub(crate) number: u32,
    pub(crate) labels: Labels,
    pub(crate) chunks: Vec<ChunkPlace>,
}

impl<'b> Index<'b> {
    /// The numbers of the series that satisfy all of `matchers`, ascending, which is the order of their labels.
    pub(crate) fn select<'m>(&self, matchers: impl Iterator<Item = &'m Matcher>) -> Result<Vec<u32>, Damage> {
        postings::select(self, matchers)
    }

    /// How many series there are.
    pub(crate) fn n_series(&self) -> u32 {
        self.n_series
    }

    /// All texts of labels, sorted.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = Result<&'b str, Damage>> + 'b {
        let symbols = self.symbols;
        (0..symbols.len()).map(move |number| symbols.get(number))
    }

    /// Whether every series has a sample inside `range`, its first or its last one.
    pub(crate) fn all_reach(&self, range: TimeRange) -> Result<bool, Damage> {
        let summary = self.block.summary;
        let (has_begin, has_end) = (range.min_ms <= summary.min_ms, range.max_ms >= summary.max_ms);
        if has_begin && has_end {
            return Ok(true);
        }
        if !has_begin && !has_end {
            return Ok(false);
        }
        Ok(self.bounds()?.iter().all(|group| group.reach(range, has_begin)))
    }

    /// Whether series `number` has a sample inside `range` for certain, because all of its group have their first or their last one there.
    pub(crate) fn reaches(&self, number: u32, range: TimeRange) -> Result<bool, Damage> {
        let summary = self.block.summary;
        let (has_begin, has_end) = (range.min_ms <= summary.min_ms, range.max_ms >= summary.max_ms);
        if !has_begin && !has_end {
            // The bounds say nothing of the middle, and to find them is a walk over all series.
            return Ok(false);
        }
        let group = self.bounds()?.get(number as usize / GROUP_SERIES);
        Ok(group.is_some_and(|group| group.reach(range, has_begin)))
    }

    /// When the series of each group begin and end, which is found once.
    fn bounds(&self) -> Result<&'b [Bounds], Damage> {
        self.block.bounds.get_or_init(|| self.find_bounds()).as_deref().map_err(|damage| *damage)
    }

    fn find_bounds(&self) -> Result<Box<[Bounds]>, Damage> {
        let mut groups = Vec::with_capacity((self.n_series as usize).div_ceil(GROUP_SERIES));
        let (mut walk, mut chunks) = (self.walk_through(), Vec::new());
        for number in 0..self.n_series {
            if (number as usize).is_multiple_of(GROUP_SERIES) {
                groups.push(Bounds { last_begin_ms: i64::MIN, first_end_ms: i64::MAX });
            }
            walk.go_to_chunks(number, &mut chunks)?;
            if let (Some(group), Some(first), Some(last)) = (groups.last_mut(), chunks.first(), chunks.last()) {
                group.last_begin_ms = group.last_begin_ms.max(first.min_ms);
                group.first_end_ms = group.first_end_ms.min(last.max_ms);
            }
        }
        Ok(groups.into())
    }

    /// What takes the wanted texts of the series of a walk.
    pub(crate) fn wanted_symbols(&self, wanted: Wanted<'_>) -> Result<WantedSymbols, Damage> {
        let name = match wanted {
            Wanted::Names => None,
            // With a name that there is not, nothing is ever found.
            Wanted::ValuesOf(name) => Some(self.postings.find(self.symbols, name)?.map_or(u32::MAX, |(name, _)| name)),
        };
        Ok(WantedSymbols { name, taken: HashSet::default() })
    }

    /// The names of all labels, sorted, each with its values.
    pub(crate) fn names(&self) -> impl Iterator<Item = Result<(&'b str, Values<'b>), Damage>> + 'b {
        let symbols = self.symbols;
        self.postings.names().map(move |entry| entry.and_then(|(number, values)| Ok((symbols.get(number)?, values))))
    }

    /// The values of the label `name`, sorted, each with the series that have it.
    pub(crate) fn values(
        &self,
        name: &str,
    ) -> Result<impl Iterator<Item = Result<(&'b str, List<'b>), Damage>> + use<'b>, Damage> {
        let found = self.postings.find(self.symbols, name)?;
        let symbols = self.symbols;
        let entries = found.into_iter().flat_map(|(_, values)| values.entries());
        Ok(entries.map(move |entry| entry.and_then(|(number, list)| Ok((symbols.get(number)?, list)))))
    }

    /// A walk over the series, which is fast as long as it goes forward.
    pub(crate) fn walk(&self) -> SeriesWalk<'b> {
        SeriesWalk {
            index: *self,
            next: 0,
            cursor: Cursor::new(&[]),
            labels: Vec::new(),
            shown: Vec::new(),
            texts: RunningLabels::default(),
            columns_end: 0,
            only_forward: false,
        }
    }

    /// A walk over all series from the first one on, which asks nothing where they begin.
    pub(crate) fn walk_through(&self) -> SeriesWalk<'b> {
        SeriesWalk { cursor: Cursor::new(self.series), only_forward: true, ..self.walk() }
    }

    /// The series of these labels.
    pub(crate) fn find(&self, labels: &Labels) -> Result<Option<BlockSeries>, Damage> {
        let mut walk = self.walk();
        // The last group whose first series is not behind `labels`.
        let (mut low, mut high) = (0, (self.series_table.len() / 4) as u32);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if walk.series(middle * GROUP_SERIES as u32)?.labels <= *labels {
                low = middle;
            } else {
                high = middle;
            }
        }
        let from = low * GROUP_SERIES as u32;
        for number in from..self.n_series.min(from + GROUP_SERIES as u32) {
            let series = walk.series(number)?;
            match series.labels.cmp(labels) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(series)),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    fn times_entry(&self, number: u32) -> Result<(u64, u64, usize, i64, i64), Damage> {
        let mut cursor = Cursor::at(self.times, number as usize * TIMES_ENTRY_BYTES)?;
        let (offset, length, count) = (cursor.u64()?, cursor.u32()?, cursor.u32()?);
        Ok((offset, u64::from(length), count as usize, cursor.u64()? as i64, cursor.u64()? as i64))
    }
}

/// The symbols of wanted texts that were met so far: most series have what another one had before, and its text is not looked up again.
pub(crate) struct WantedSymbols {
    // The name whose values are wanted; `None` if it is the names.
    name: Option<u32>,
    taken: HashSet<u32, foldhash::fast::FixedState>,
}

impl WantedSymbols {
    /// Calls `each` for those texts of the series that `walk` stands at which were not met before.
    pub(crate) fn take(&mut self, walk: &SeriesWalk<'_>, mut each: impl FnMut(&str)) -> Result<(), Damage> {
        for &(name, value) in &walk.labels {
            let symbol = match self.name {
                None => name,
                Some(wanted) if wanted == name => value,
                Some(_) => continue,
            };
            if self.taken.insert(symbol) {
                each(walk.index.symbols.get(symbol)?);
            }
        }
        Ok(())
    }
}

/// A walk over the series of a block.
pub(crate) struct SeriesWalk<'b> {
    index: Index<'b>,
    next: u32,
    cursor: Cursor<'b>,
    labels: Vec<(u32, u32)>,
    // The labels that were shown last, and their texts; most of them are those of the next series, too.
    shown: Vec<(u32, u32)>,
    texts: RunningLabels,
    columns_end: u64,
    only_forward: bool,
}

impl SeriesWalk<'_> {
    /// Series `number`.
    pub(crate) fn series(&mut self, number: u32) -> Result<BlockSeries, Damage> {
        let mut chunks = Vec::new();
        self.go_to(number, &mut chunks)?;
        Ok(BlockSeries { number, labels: self.texts.to_labels(), chunks })
    }

    /// The labels of the series it went to last.
    pub(crate) fn labels(&self) -> &RunningLabels {
        &self.texts
    }

    /// Goes to series `number`, whose chunks take the place of what is in `chunks`.
    pub(crate) fn go_to(&mut self, number: u32, chunks: &mut Vec<ChunkPlace>) -> Result<(), Damage> {
        let gone = self.go(number, chunks);
        if gone.is_err() {
            // What was read of a damaged series is nothing to go on from.
            self.next = 0;
        }
        gone
    }

    /// As [`SeriesWalk::go_to`], but does not say what labels the series has.
    pub(crate) fn go_to_chunks(&mut self, number: u32, chunks: &mut Vec<ChunkPlace>) -> Result<(), Damage> {
        let gone = self.go_unnamed(number, chunks);
        if gone.is_err() {
            self.next = 0;
        }
        gone
    }

    fn go_unnamed(&mut self, number: u32, chunks: &mut Vec<ChunkPlace>) -> Result<(), Damage> {
        if number >= self.index.n_series {
            return Err(Damage("there is no such series"));
        }
        let group = number / GROUP_SERIES as u32;
        let within = self.only_forward || self.next > group * GROUP_SERIES as u32 && self.next <= number;
        if !within {
            let at = Cursor::at(self.index.series_table, group as usize * 4)?.u32()?;
            self.cursor = Cursor::at(self.index.series, at as usize)?;
            self.next = group * GROUP_SERIES as u32;
        }
        while self.next < number {
            self.read(None)?;
        }
        chunks.clear();
        self.read(Some(chunks))
    }

    fn go(&mut self, number: u32, chunks: &mut Vec<ChunkPlace>) -> Result<(), Damage> {
        self.go_unnamed(number, chunks)?;
        let (symbols, labels) = (self.index.symbols, &self.labels);
        let is_shown = |at: usize| self.shown.get(at) == Some(&labels[at]);
        let has_names = labels.len() == self.shown.len() && labels.iter().zip(&self.shown).all(|(a, b)| a.0 == b.0);
        let are_set = if has_names {
            self.texts.change_values(|at| if is_shown(at) { Ok(None) } else { symbols.bytes(labels[at].1).map(Some) })
        } else {
            let kept = (0..labels.len()).take_while(|at| is_shown(*at)).count();
            let others = labels[kept..].iter().map(|(name, value)| Ok((symbols.bytes(*name)?, symbols.bytes(*value)?)));
            self.texts.replace(kept, others)
        };
        // With an error there are no texts any more.
        self.shown.clear();
        if !are_set? {
            return Err(Damage("labels are out of order or no text"));
        }
        self.shown.extend_from_slice(labels);
        Ok(())
    }

    /// Reads the next series; its chunks only if they are wanted.
    fn read(&mut self, mut chunks: Option<&mut Vec<ChunkPlace>>) -> Result<(), Damage> {
        // In a place of its own, which the compiler keeps in registers.
        let mut cursor = self.cursor;
        let cursor = &mut cursor;
        if (self.next as usize).is_multiple_of(GROUP_SERIES) {
            self.labels.clear();
            self.columns_end = cursor.varint()?;
        }
        let shared = cursor.varint()? as usize;
        if shared > self.labels.len() {
            return Err(Damage("a series shares labels that are not there"));
        }
        let symbol = |cursor: &mut Cursor<'_>| u32::try_from(cursor.varint()?).map_err(|_| Damage("no such symbol"));
        match cursor.count(1)? {
            // The same names as before.
            0 => {
                for label in &mut self.labels[shared..] {
                    label.1 = symbol(cursor)?;
                }
            }
            n => {
                self.labels.truncate(shared);
                for _ in 1..n {
                    self.labels.push((symbol(cursor)?, symbol(cursor)?));
                }
            }
        }
        let n_chunks = cursor.count(1)?;
        for _ in 0..n_chunks {
            let times = u32::try_from(cursor.varint()?).map_err(|_| Damage("no such times"))?;
            let (gap, length) = (cursor.varint()?, cursor.varint()?);
            let offset = self.columns_end.checked_add(gap).ok_or(Damage("a column lies behind the end"))?;
            self.columns_end = offset.checked_add(length).ok_or(Damage("a column lies behind the end"))?;
            if let Some(chunks) = &mut chunks {
                let (_, _, count, min_ms, max_ms) = self.index.times_entry(times)?;
                chunks.push(ChunkPlace { times, offset, length, min_ms, max_ms, count });
            }
        }
        self.cursor = *cursor;
        self.next += 1;
        Ok(())
    }
}

/// Decodes chunks of one block. Series of a target share their times, so the last times are kept.
pub(crate) struct ChunkReader<'b> {
    index: Index<'b>,
    // By their numbers, the last ones last.
    times: Vec<(u32, Arc<[i64]>)>,
    marks: KeptMarks,
    values: Vec<f64>,
    decoder: ValueDecoder,
    // The last histogram that was passed over on the way to those that were wanted.
    before: Option<HistogramSample>,
}

/// The marks of columns of times, by the numbers of these. Series of a target ask for the same ones in the same order.
#[derive(Default)]
struct KeptMarks {
    all: Vec<(u32, Arc<Marks>)>,
    // Behind the last one that was found.
    next: usize,
}

/// How many of them are kept: those of a year of long blocks.
const MARKS_KEPT: usize = 1024;

impl KeptMarks {
    fn find(&mut self, times: u32) -> Option<Arc<Marks>> {
        let is_it = |(number, _): &(u32, Arc<Marks>)| *number == times;
        let at =
            if self.all.get(self.next).is_some_and(is_it) { self.next } else { self.all.iter().position(is_it)? };
        self.next = at + 1;
        Some(Arc::clone(&self.all[at].1))
    }

    fn keep(&mut self, times: u32, marks: &Arc<Marks>) {
        if self.all.len() >= MARKS_KEPT {
            self.all.clear();
        }
        self.all.push((times, Arc::clone(marks)));
        self.next = self.all.len();
    }
}

/// How many columns of times are kept: a day's worth of long chunks.
const TIMES_KEPT: usize = 16;

impl<'b> ChunkReader<'b> {
    pub(crate) fn new(index: Index<'b>) -> Self {
        ChunkReader {
            index,
            times: Vec::new(),
            marks: KeptMarks::default(),
            values: Vec::new(),
            decoder: ValueDecoder::default(),
            before: None,
        }
    }

    /// The times of a chunk.
    pub(crate) fn times(&mut self, chunk: &ChunkPlace) -> Result<Arc<[i64]>, Damage> {
        if let Some((_, times)) = self.times.iter().rev().find(|(number, _)| *number == chunk.times) {
            return Ok(Arc::clone(times));
        }
        let (offset, length, count, _, _) = self.index.times_entry(chunk.times)?;
        let times: Arc<[i64]> = decode_integers(self.index.block.column(offset, length)?, count)?.into();
        if self.times.len() >= TIMES_KEPT {
            self.times.remove(0);
        }
        self.times.push((chunk.times, Arc::clone(&times)));
        Ok(times)
    }

    /// The last histogram that [`ChunkReader::push`] passed over since this was asked.
    pub(crate) fn take_before(&mut self) -> Option<HistogramSample> {
        self.before.take()
    }

    /// Adds the samples of a chunk that lie inside `range` and outside of the spans in `deleted`.
    pub(crate) fn push(
        &mut self,
        chunk: &ChunkPlace,
        range: TimeRange,
        deleted: &[TimeRange],
        samples: &mut Samples,
    ) -> Result<(), Damage> {
        let times = self.times(chunk)?;
        let column = self.encoded_values(chunk)?;
        if column.first() == Some(&HISTOGRAMS) {
            let histograms = decode_histograms(column, &times)?;
            let is_there = |t_ms: i64| !deleted.iter().any(|span| span.contains(t_ms));
            let passed = histograms.iter().take_while(|sample| sample.t_ms < range.min_ms);
            if let Some(last) = passed.filter(|sample| is_there(sample.t_ms)).last() {
                self.before = Some(last.clone());
            }
            let wanted = histograms.into_iter().filter(|sample| range.contains(sample.t_ms) && is_there(sample.t_ms));
            samples.histograms.extend(wanted);
            return Ok(());
        }
        if times.len() != chunk.count {
            return Err(Damage("a chunk has more times than values"));
        }
        let from = times.partition_point(|t_ms| *t_ms < range.min_ms);
        let to = times.partition_point(|t_ms| *t_ms <= range.max_ms).max(from);
        if deleted.is_empty() && samples.starts.is_empty() && !has_starts(column) {
            // Nearly always: what is wanted of the column goes where it is wanted.
            self.decoder.push(column, chunk.count, from..to, &mut samples.values)?;
            samples.timestamps.extend_from_slice(&times[from..to]);
            return Ok(());
        }
        let (values, chunk_starts) = decode_started(column, chunk.count)?;
        if !deleted.is_empty() {
            for at in (from..to).filter(|at| !deleted.iter().any(|span| span.contains(times[*at]))) {
                let start_ms = chunk_starts.get(at).copied().unwrap_or(0);
                samples.push_started(times[at], start_ms, values[at]);
            }
            return Ok(());
        }
        let chunk_starts = chunk_starts.get(from..to).unwrap_or(&[]);
        starts::extend(samples, &times[from..to], &values[from..to], chunk_starts);
        Ok(())
    }

    /// Adds the newest sample of a chunk that lies inside `range` to `samples`, which has none. `false` if there is none there, or if it is
    /// more than a float; then nothing is added.
    pub(crate) fn push_newest(
        &mut self,
        chunk: &ChunkPlace,
        range: TimeRange,
        samples: &mut Samples,
    ) -> Result<bool, Damage> {
        let column = self.encoded_values(chunk)?;
        if column.first() == Some(&HISTOGRAMS) || has_starts(column) {
            return Ok(false);
        }
        if chunk.max_ms <= range.max_ms && self.decoder.push_last(column, &mut samples.values)? {
            samples.timestamps.push(chunk.max_ms);
            return Ok(true);
        }
        let times = self.times(chunk)?;
        let behind = times.partition_point(|t_ms| *t_ms <= range.max_ms);
        let Some(at) = behind.checked_sub(1).filter(|at| times[*at] >= range.min_ms) else { return Ok(false) };
        self.decoder.pick(column, chunk.count, &[at as u32], &mut samples.values)?;
        samples.timestamps.push(times[at]);
        Ok(true)
    }

    /// Adds the samples of a chunk that lie inside `range` to `seen`, but for some that `glimpse` does not ask for. `false` if it has more
    /// to tell than floats; then nothing is added.
    pub(crate) fn push_seen(
        &mut self,
        chunk: &ChunkPlace,
        range: TimeRange,
        glimpse: &Glimpse,
        seen: &mut Seen<'_>,
    ) -> Result<bool, Damage> {
        let column = self.encoded_values(chunk)?;
        if column.first() == Some(&HISTOGRAMS) || has_starts(column) {
            return Ok(false);
        }
        let marks = self.marks(chunk, range, glimpse)?;
        let may_skip = if glimpse.falls { surely_rise(column)? } else { is_surely_finite(column)? };
        if marks.is_sparse() && may_skip {
            self.values.clear();
            self.decoder.pick(column, chunk.count, marks.places(), &mut self.values)?;
            seen.push_marked(&marks, &self.values);
            return Ok(true);
        }
        let times = self.times(chunk)?;
        if times.len() != chunk.count {
            return Err(Damage("a chunk has more times than values"));
        }
        self.values.clear();
        self.decoder.push(column, chunk.count, marks.inside(), &mut self.values)?;
        seen.push_rising(&marks, &times[marks.inside()], &self.values);
        Ok(true)
    }

    /// What is looked at of a chunk; the same in all series with these times, of which a reader sees one range.
    fn marks(&mut self, chunk: &ChunkPlace, range: TimeRange, glimpse: &Glimpse) -> Result<Arc<Marks>, Damage> {
        if let Some(marks) = self.marks.find(chunk.times) {
            return Ok(marks);
        }
        let marks = Arc::new(Marks::of(&self.times(chunk)?, range, glimpse));
        self.marks.keep(chunk.times, &marks);
        Ok(marks)
    }

    /// The bits of the value in place `at` of a chunk; of a native histogram, its fingerprint.
    pub(crate) fn bits_at(&mut self, chunk: &ChunkPlace, at: usize) -> Result<Option<u64>, Damage> {
        Ok(self.bits(chunk)?.get(at).copied())
    }

    /// The same of all values of a chunk.
    pub(crate) fn bits(&mut self, chunk: &ChunkPlace) -> Result<Vec<u64>, Damage> {
        let column = self.encoded_values(chunk)?;
        if column.first() == Some(&HISTOGRAMS) {
            let histograms = decode_histograms(column, &self.times(chunk)?)?;
            let encoded = histograms.iter().map(|sample| Encoded::new(sample.start_ms, &sample.histogram));
            return Ok(encoded.map(|encoded| encoded.fingerprint()).collect());
        }
        Ok(decode_started(column, chunk.count)?.0.iter().map(|value| value.to_bits()).collect())
    }

    /// The values of a chunk as they are on disk.
    pub(crate) fn encoded_values(&self, chunk: &ChunkPlace) -> Result<&'b [u8], Damage> {
        self.index.block.column(chunk.offset, chunk.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::writer::BlockWriter;
    use crate::fs::Disk;

    #[test]
    fn the_middle_of_a_block_needs_no_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let labels = Labels::from_pairs([("__name__", "m")]);
        let mut writer = BlockWriter::create(&Disk, dir.path(), 3, (1, 9), ["__name__", "m"]).unwrap();
        writer.chunk(&[10, 20, 30], &[1, 2, 3]).unwrap();
        writer.end_series(&labels);
        writer.finish().unwrap();
        let block = Block::open(&Disk, dir.path(), 3).unwrap();
        let index = block.index().unwrap();
        let check = |(min_ms, max_ms), expected: bool, looks: bool| {
            let range = TimeRange { min_ms, max_ms };
            assert_eq!(index.reaches(0, range), Ok(expected), "{range:?}");
            assert_eq!(block.bounds.get().is_some(), looks, "{range:?}");
        };
        // There may be samples, which the bounds cannot tell.
        check((11, 29), false, false);
        check((10, 29), true, true);
        check((11, 30), true, true);
        check((0, 9), false, true);
    }
}
