//! Reading a block through a map of its file.
//!
//! Opening looks at both ends of the file only, so that a store with many blocks opens at once; the sections of the index are
//! checked when the first query comes, a column whenever it is decoded. Whatever is wrong ends in [`Damage`]: the bytes may
//! change under us after they were checked, so nothing relies on the checksum to stay in bounds.

use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use relatum_model::storage::TimeRange;
use relatum_model::{Labels, Matcher};
use tracing::error;

use crate::fs::{Fs, MappedFile};
use crate::texts::Wanted;

use super::bytes::Cursor;
use super::deleted::Deleted;
use super::layout::{BadBlock, Damage, Footer, SectionKind, Summary as BlockSummary, checksum, is_block};
use super::postings::{self, List, Postings, Values};
use super::salvage;
use super::symbols::Symbols;
use super::walk::{SeriesWalk, WantedSymbols};
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
    pub(super) fn column(&self, offset: u64, length: u64) -> Result<&[u8], Damage> {
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
    pub(super) block: &'b Block,
    pub(super) symbols: Symbols<'b>,
    pub(super) postings: Postings<'b>,
    times: &'b [u8],
    pub(super) series: &'b [u8],
    pub(super) series_table: &'b [u8],
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
    pub(super) times: u32,
    pub(crate) offset: u64,
    pub(super) length: u64,
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
        Ok(WantedSymbols::of(name))
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
        SeriesWalk::new(*self)
    }

    /// A walk over all series from the first one on, which asks nothing where they begin.
    pub(crate) fn walk_through(&self) -> SeriesWalk<'b> {
        SeriesWalk::through(*self)
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

    /// Where the times in place `number` of the table are, how long their column is and how many they are, the first and the last.
    pub(super) fn times_entry(&self, number: u32) -> Result<(u64, u64, usize, i64, i64), Damage> {
        let mut cursor = Cursor::at(self.times, number as usize * TIMES_ENTRY_BYTES)?;
        let (offset, length, count) = (cursor.u64()?, cursor.u32()?, cursor.u32()?);
        Ok((offset, u64::from(length), count as usize, cursor.u64()? as i64, cursor.u64()? as i64))
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
