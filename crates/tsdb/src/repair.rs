//! Repairing a store: what is damaged is written anew without the damage, and the damaged file is kept under another name. What was
//! set aside when the store was opened is brought back as far as it can be read.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use relatum_model::storage::{AppendError, TimeRange};
use relatum_model::{Labels, Samples};
use tracing::info;

use crate::block::Block;
use crate::block::chunks::ChunkReader;
use crate::block::layout::Damage;
use crate::block::reader::{Index, OpenBlockError};
use crate::block::writer::{BlockWriter, file_name};
use crate::blocks::{SALVAGED, set_aside_name};
use crate::core::Core;
use crate::inspect;

/// What became of a damaged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The damaged file.
    pub file: String,
    /// The name under which it stays.
    pub kept_as: String,
    /// What was wrong with it.
    pub reason: String,
    /// The file that holds what could be read of it, if anything could.
    pub replaced_by: Option<String>,
    /// How many samples could be read.
    pub samples_kept: u64,
    /// How many chunks of samples could not.
    pub chunks_lost: u64,
    /// Whether it is not known how many samples went with it.
    pub is_uncertain: bool,
}

impl Core {
    /// Writes the blocks that are damaged anew, and the log if `log_is_damaged`.
    pub(crate) fn repair(&self, log_is_damaged: bool) -> Result<Vec<Repair>, AppendError> {
        let _alone = self.compacting();
        let mut repairs = Vec::new();
        for block in self.blocks.list().iter() {
            let Some(reason) = first_damage(block) else { continue };
            let repaired = self.repair_block(block, reason);
            repairs.push(repaired.map_err(|source| AppendError::Write { what: file_name(block.number), source })?);
        }
        for number in self.set_aside()? {
            let repaired = self.repair_set_aside(number);
            repairs.extend(repaired.map_err(|source| AppendError::Write { what: file_name(number), source })?);
        }
        if log_is_damaged {
            // It holds what lives and nothing that is damaged; the files it replaces go.
            self.checkpoint()?;
        }
        Ok(repairs)
    }

    fn set_aside(&self) -> Result<Vec<u64>, AppendError> {
        let failed = |source| AppendError::Write { what: self.blocks.dir().display().to_string(), source };
        self.blocks.set_aside().map_err(failed)
    }

    /// Brings back what can be read of a block that could not be opened; `None` if an earlier repair did.
    fn repair_set_aside(&self, number: u64) -> io::Result<Option<Repair>> {
        let file = set_aside_name(number);
        let (block, reason) = match self.blocks.open_set_aside(number) {
            Ok((block, Some(damage))) => (block, damage.to_string()),
            // What a repair replaced stays damaged inside. The rest was set aside for something that is no more.
            Ok((block, None)) if first_damage(&block).is_some() => return Ok(None),
            Ok((block, None)) => (block, "it was set aside and is whole".to_owned()),
            Err(OpenBlockError::Read(error)) => return Err(error),
            Err(bad) => {
                let (kept_as, reason) = (file.clone(), inspect::reason_of(&bad));
                let (replaced_by, samples_kept, chunks_lost, is_uncertain) = (None, 0, 0, true);
                return Ok(Some(Repair {
                    file,
                    kept_as,
                    reason,
                    replaced_by,
                    samples_kept,
                    chunks_lost,
                    is_uncertain,
                }));
            }
        };
        let (mut repair, new) = self.salvage_block(&block, reason)?;
        // Without damage inside, all that is missing was deleted.
        if new.is_empty() && (repair.is_uncertain || repair.chunks_lost > 0) {
            repair.kept_as.clone_from(&file);
            repair.file = file;
            return Ok(Some(repair));
        }
        new.iter().for_each(|block| self.see_newest_ms(block.summary.max_ms));
        let replaced = self.blocks.replace(&[], new, None);
        self.readers.changed(block.summary.min_ms);
        replaced?;
        // Whoever dies before does it once more: what two blocks have is seen once.
        self.blocks.salvaged(number)?;
        repair.file = file;
        info!(block = %repair.file, samples = repair.samples_kept, "brought a block back that was set aside");
        Ok(Some(repair))
    }

    fn repair_block(&self, block: &Arc<Block>, reason: Damage) -> io::Result<Repair> {
        let (mut repair, new) = self.salvage_block(block, reason.to_string())?;
        if new.is_empty() {
            repair.kept_as = set_aside_name(block.number);
        }
        // Before it goes: whoever dies in between repairs it once more.
        self.blocks.keep_damaged(block.number, &repair.kept_as)?;
        let replaced = self.blocks.replace(&[block.number], new, None);
        // What was left out because of what is beside it is seen again.
        self.readers.changed(block.summary.min_ms);
        replaced?;
        info!(block = %repair.file, reason = %repair.reason, samples = repair.samples_kept, "repaired a block");
        Ok(repair)
    }

    /// Writes what can be read of a block into a new one, if anything can.
    fn salvage_block(&self, block: &Block, reason: String) -> io::Result<(Repair, Vec<Arc<Block>>)> {
        let file = file_name(block.number);
        let mut repair = Repair {
            kept_as: format!("{file}{SALVAGED}"),
            file,
            reason,
            replaced_by: None,
            samples_kept: 0,
            chunks_lost: 0,
            is_uncertain: false,
        };
        let number = self.blocks.take_number();
        let written = match block.index_for_salvage() {
            Ok(index) => {
                self.salvage(block, index, number, &mut repair).inspect_err(|_| self.blocks.discard(number))?
            }
            Err(_) => {
                repair.is_uncertain = true;
                false
            }
        };
        let new = if written { vec![self.blocks.open_written(number)?] } else { Vec::new() };
        repair.replaced_by = written.then(|| file_name(number));
        if !written {
            self.blocks.discard(number);
        }
        Ok((repair, new))
    }

    /// Writes what can be read of a block into block `number`; whether there was anything.
    fn salvage(&self, block: &Block, index: Index<'_>, number: u64, repair: &mut Repair) -> io::Result<bool> {
        let symbols: BTreeSet<&str> = index.symbols().filter_map(Result::ok).collect();
        let level = (block.summary.level, block.summary.commit);
        let mut writer = BlockWriter::create(&*self.options().fs, self.blocks.dir(), number, level, symbols)?;
        let (mut walk, mut reader, deleted) = (index.walk_through(), ChunkReader::new(index), block.deleted());
        let mut before: Option<Labels> = None;
        for at in 0..index.n_series() {
            let Ok(series) = walk.series(at) else {
                // Each series tells only what differs from the one before it.
                repair.is_uncertain = true;
                break;
            };
            if before.as_ref().is_some_and(|before| *before >= series.labels) {
                repair.is_uncertain = true;
                continue;
            }
            let mut samples = Samples::default();
            for chunk in &series.chunks {
                let mut more = Samples::default();
                match reader.push(chunk, TimeRange::ALL, deleted.of(series.number), &mut more) {
                    Ok(()) => samples = crate::snapshot::merge(samples, more),
                    Err(_) => repair.chunks_lost += 1,
                }
            }
            let bits: Vec<u64> = samples.values.iter().map(|value| value.to_bits()).collect();
            writer.started_samples(&samples.timestamps, &bits, &samples.starts)?;
            writer.histograms(&samples.histograms)?;
            writer.end_series(&series.labels);
            repair.samples_kept += samples.len() as u64;
            before = Some(series.labels);
        }
        Ok(writer.finish()?.series > 0)
    }
}

/// The first thing that is wrong with a block; reads all of it.
pub(crate) fn first_damage(block: &Block) -> Option<Damage> {
    let read = || -> Result<(), Damage> {
        let index = block.index()?;
        let (mut walk, mut reader) = (index.walk(), ChunkReader::new(index));
        for number in 0..index.n_series() {
            for chunk in &walk.series(number)?.chunks {
                reader.push(chunk, TimeRange::ALL, &[], &mut Samples::default())?;
            }
        }
        Ok(())
    };
    read().err()
}
