//! Deleting samples, and copying the whole store.

use std::io;
use std::path::Path;

use relatum_model::Matcher;
use relatum_model::storage::{AppendError, TimeRange};
use tracing::info;

use crate::block::Block;
use crate::block::deleted::Deleted;
use crate::block::reader::OpenBlockError;
use crate::blocks::Blocks;
use crate::core::Core;

impl Core {
    /// Deletes the samples inside `range` of all series that satisfy all of `matchers`.
    ///
    /// The head is cut first, so that only blocks have deleted samples.
    pub(crate) fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), AppendError> {
        self.cut_all()?;
        let _alone = self.compacting();
        let marked = self.mark_blocks(matchers, range);
        // Some may be marked even if not all could be.
        if !matches!(marked, Ok(0)) {
            self.readers.changed(range.min_ms);
        }
        let n_series = marked?;
        info!(series = n_series, "deleted samples");
        Ok(())
    }

    /// Marks the samples as deleted in every block; returns in how many series of blocks.
    fn mark_blocks(&self, matchers: &[Matcher], range: TimeRange) -> Result<usize, AppendError> {
        let mut n_series = 0;
        for block in self.blocks.list().iter() {
            match self.mark_block(block, matchers, range) {
                Ok(n) => n_series += n,
                Err(source) => return Err(failure(self.blocks.dir(), source)),
            }
        }
        self.mark_set_aside(matchers, range).map_err(|source| failure(self.blocks.dir(), source))?;
        Ok(n_series)
    }

    /// Marks the samples in blocks that were set aside: a repair brings back what can be read of them.
    fn mark_set_aside(&self, matchers: &[Matcher], range: TimeRange) -> io::Result<()> {
        for number in self.blocks.set_aside()? {
            match self.blocks.open_set_aside(number) {
                Ok((block, _)) => drop(self.mark_block(&block, matchers, range)?),
                Err(OpenBlockError::Read(error)) => return Err(error),
                // Of what is not even known to be a block nothing comes back.
                Err(OpenBlockError::Bad(_)) => {}
            }
        }
        Ok(())
    }

    /// Marks the samples as deleted in one block; returns in how many of its series.
    fn mark_block(&self, block: &Block, matchers: &[Matcher], range: TimeRange) -> io::Result<usize> {
        let summary = block.summary;
        if summary.max_ms < range.min_ms || summary.min_ms > range.max_ms {
            return Ok(0);
        }
        let numbers = block.index().and_then(|index| index.select(matchers.iter()));
        // What cannot be read now may be there again after a repair.
        let numbers = numbers.or_else(|damage| {
            block.report(damage);
            block.select_for_salvage(matchers)
        });
        let numbers = numbers.unwrap_or_default();
        if !numbers.is_empty() {
            let mut deleted = Deleted::clone(&block.deleted());
            numbers.iter().for_each(|number| deleted.insert(*number, range));
            deleted.write(&*self.options().fs, self.blocks.dir(), block.number)?;
            block.set_deleted(deleted);
        }
        Ok(numbers.len())
    }

    /// Copies everything committed so far into `dir`, which must not be there or be empty, as a store of its own.
    pub(crate) fn snapshot(&self, dir: &Path) -> Result<(), AppendError> {
        self.cut_all()?;
        let _alone = self.compacting();
        let fs = &self.options().fs;
        let target = dir.join("blocks");
        fs.create_dir(&target).map_err(|source| failure(dir, source))?;
        let copied = self.blocks.copy_to(&target);
        copied.map_err(|source| failure(&target, source))?;
        self.metadata.copy_to(&**fs, dir).map_err(|source| failure(dir, source))
    }
}

fn failure(path: &Path, source: io::Error) -> AppendError {
    AppendError::Write { what: path.display().to_string(), source }
}

impl Blocks {
    /// Copies all files that count into `target`.
    fn copy_to(&self, target: &Path) -> io::Result<()> {
        let list = self.list();
        for block in list.iter() {
            self.copy_file(&crate::block::writer::file_name(block.number), target)?;
            let deleted = block.deleted();
            if !deleted.is_empty() {
                deleted.write(self.fs(), target, block.number)?;
            }
        }
        self.write_snapshot_catalog(target, &list)
    }
}
