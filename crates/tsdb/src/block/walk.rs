//! Walking over the series of a block, in the order of their labels.

use hashbrown::HashSet;
use relatum_model::labels::RunningLabels;

use super::bytes::Cursor;
use super::layout::Damage;
use super::reader::{BlockSeries, ChunkPlace, Index};
use super::writer::GROUP_SERIES;

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

impl<'b> SeriesWalk<'b> {
    /// A walk that stands nowhere yet.
    pub(super) fn new(index: Index<'b>) -> Self {
        SeriesWalk {
            index,
            next: 0,
            cursor: Cursor::new(&[]),
            labels: Vec::new(),
            shown: Vec::new(),
            texts: RunningLabels::default(),
            columns_end: 0,
            only_forward: false,
        }
    }

    /// A walk from the first series on, which asks nothing where series begin.
    pub(super) fn through(index: Index<'b>) -> Self {
        SeriesWalk { cursor: Cursor::new(index.series), only_forward: true, ..SeriesWalk::new(index) }
    }

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

/// The symbols of wanted texts that were met so far: most series have what another one had before, and its text is not looked up again.
pub(crate) struct WantedSymbols {
    // The name whose values are wanted; `None` if it is the names.
    name: Option<u32>,
    taken: HashSet<u32, foldhash::fast::FixedState>,
}

impl WantedSymbols {
    /// None met yet. `name` is the symbol of the label whose values are wanted; `None` if it is the names of labels.
    pub(super) fn of(name: Option<u32>) -> Self {
        WantedSymbols { name, taken: HashSet::default() }
    }

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
