//! Deleting samples, and copying the whole store.

use std::io;
use std::path::Path;
use std::sync::Arc;

use relatum_model::Matcher;
use relatum_model::storage::{AppendError, TimeRange};
use tracing::info;

use crate::block::Block;
use crate::block::deleted::Deleted;
use crate::block::layout::Damage;
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
            let summary = block.summary;
            if summary.max_ms < range.min_ms || summary.min_ms > range.max_ms {
                continue;
            }
            match mark_deleted(block, matchers, range) {
                Ok((_, 0)) => {}
                Ok((deleted, n)) => {
                    let written = deleted.write(&*self.options().fs, self.blocks.dir(), block.number);
                    written.map_err(|source| failure(self.blocks.dir(), source))?;
                    block.set_deleted(deleted);
                    n_series += n;
                }
                Err(damage) => block.report(damage),
            }
        }
        Ok(n_series)
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

/// What is deleted from a block with this, and how many series that adds something to.
fn mark_deleted(block: &Arc<Block>, matchers: &[Matcher], range: TimeRange) -> Result<(Deleted, usize), Damage> {
    let index = block.index()?;
    let numbers = index.select(matchers.iter())?;
    let mut deleted = Deleted::clone(&block.deleted());
    numbers.iter().for_each(|number| deleted.insert(*number, range));
    Ok((deleted, numbers.len()))
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
