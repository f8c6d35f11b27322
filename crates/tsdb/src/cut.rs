//! Cutting the head: what is old enough goes into blocks, and out of memory and the log.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use relatum_model::storage::{AppendError, TimeRange};
use tracing::info;

use crate::block::Block;
use crate::block::writer::BlockWriter;
use crate::blocks::catalog::CutMark;
use crate::core::{Core, Split};
use crate::log_files::RETENTION_SHARE;
use crate::series::MemSeries;

/// One cut makes at most so many blocks; samples that are spread wider share blocks of longer spans.
const BLOCKS_MAX: usize = 32;

impl Core {
    /// Up to where the head is to be cut now, if it is.
    ///
    /// A span of a cut is cut a quarter of one after its end, as late samples tend to come soon. Samples that came too
    /// late for their block wait for the next cut, unless there are many. All of it is cut when the log takes too much of what
    /// retention by size allows.
    pub(crate) fn cut_due(&self, late_samples: u64) -> Option<i64> {
        let (oldest_ms, newest_ms) = (self.oldest_ms(), self.newest_likely_ms());
        if oldest_ms == i64::MIN || newest_ms == i64::MIN {
            return None;
        }
        let (width_ms, _) = self.options().block_widths_ms();
        let end_ms = newest_ms.saturating_sub(width_ms / 4).div_euclid(width_ms).saturating_mul(width_ms);
        let cut_ms = self.cut_end_ms();
        if oldest_ms < end_ms && end_ms > cut_ms {
            return Some(end_ms);
        }
        let retention_bytes = self.retention_bytes();
        if retention_bytes > 0 && self.needed_log_bytes() > retention_bytes / RETENTION_SHARE {
            return Some(newest_ms.saturating_add(1));
        }
        (late_samples > self.options().late_samples_max).then_some(cut_ms)
    }

    /// Moves what was committed and is older than `end_ms` into blocks.
    ///
    /// ```text
    /// head, segments ..k-1  --split-->  segments ..k-1, k  --set aside, write blocks, sync-->  leftover files
    ///   --catalog-->  blocks count, a restart skips what they hold  --checkpoint-->  checkpoint k, segments k..
    ///   --readers from before are gone-->  out of memory
    /// ```
    ///
    /// A crash at any arrow loses nothing and shows nothing twice.
    pub(crate) fn cut(&self, end_ms: i64) -> Result<(), AppendError> {
        let alone = self.checkpointing();
        if !self.forget_aside() {
            // Readers of the time before the last cut are still there; the next round cuts.
            return Ok(());
        }
        self.cut_alone(end_ms)?;
        drop(alone);
        self.truncate();
        self.renew_image();
        Ok(())
    }

    /// The same for a caller that keeps checkpoints and other cuts out. What the last cut set aside and some reader still looks
    /// for goes into blocks once more, where it is seen once.
    fn cut_alone(&self, end_ms: i64) -> Result<(), AppendError> {
        *self.aside() = None;
        let split = self.split_log()?;
        let commit = split.ticket.commit;
        let mut moved: Vec<Arc<MemSeries>> = self.head().all();
        moved.retain(|series| series.state().set_aside(end_ms, commit));
        moved.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        let written = self.write_cut(&moved, end_ms, &split);
        if let Err(source) = written {
            self.readers.close(split.ticket);
            // What is set aside is visible, in the log, and part of the next cut.
            return Err(AppendError::Write { what: self.blocks.dir().display().to_string(), source });
        }
        self.set_cut_end_ms(end_ms);
        *self.aside() = Some(self.readers.moment());
        let checkpoint = self.finish_checkpoint(split);
        self.forget_aside();
        checkpoint
    }

    /// Moves everything committed so far into blocks.
    pub(crate) fn cut_all(&self) -> Result<(), AppendError> {
        let alone = self.checkpointing();
        self.forget_aside();
        if self.newest_ms() != i64::MIN {
            self.cut_alone(self.newest_ms().saturating_add(1))?;
        }
        drop(alone);
        self.truncate();
        Ok(())
    }

    /// Takes in a block that was written from elsewhere.
    pub(crate) fn adopt(&self, block: Arc<Block>) -> io::Result<()> {
        let (oldest_ms, newest_ms) = (block.summary.min_ms, block.summary.max_ms);
        let replaced = self.blocks.replace(&[], vec![block], None);
        self.readers.changed(oldest_ms);
        replaced?;
        self.see_newest_ms(newest_ms);
        Ok(())
    }

    fn write_cut(&self, moved: &[Arc<MemSeries>], end_ms: i64, split: &Split) -> io::Result<()> {
        let mut blocks = Vec::new();
        let written = self.spans(moved).into_iter().try_for_each(|span| {
            let number = self.blocks.take_number();
            let block = self.write_block(moved, span, number, split.ticket.commit);
            let block = block.inspect_err(|_| self.blocks.discard(number))?;
            blocks.push(block);
            Ok(())
        });
        if let Err(error) = written {
            blocks.iter().for_each(|block: &Arc<Block>| self.blocks.discard(block.number));
            return Err(error);
        }
        let n = blocks.len();
        let mark = CutMark { segment: split.number, end_ms: end_ms.max(self.cut_end_ms()) };
        self.blocks.replace(&[], blocks, Some(mark))?;
        self.counters().cuts.add(1);
        info!(blocks = n, series = moved.len(), end_ms, "cut the head into blocks");
        Ok(())
    }

    /// The spans of time for which there is something to write.
    fn spans(&self, moved: &[Arc<MemSeries>]) -> Vec<TimeRange> {
        let (mut width_ms, _) = self.options().block_widths_ms();
        loop {
            let mut starts = BTreeSet::new();
            for series in moved {
                let state = series.state();
                for TimeRange { min_ms, max_ms } in state.aside_spans() {
                    if min_ms.div_euclid(width_ms) == max_ms.div_euclid(width_ms) {
                        starts.insert(min_ms.div_euclid(width_ms));
                        continue;
                    }
                    let samples = state.aside(TimeRange { min_ms, max_ms });
                    starts.extend(samples.timestamps.iter().map(|t_ms| t_ms.div_euclid(width_ms)));
                    starts.extend(samples.histograms.iter().map(|sample| sample.t_ms.div_euclid(width_ms)));
                }
                if starts.len() > BLOCKS_MAX {
                    break;
                }
            }
            if starts.len() <= BLOCKS_MAX {
                let span = |start: i64| {
                    let min_ms = start.saturating_mul(width_ms);
                    TimeRange { min_ms, max_ms: min_ms.saturating_add(width_ms - 1) }
                };
                return starts.into_iter().map(span).collect();
            }
            width_ms = width_ms.saturating_mul(3);
        }
    }

    fn write_block(
        &self,
        moved: &[Arc<MemSeries>],
        span: TimeRange,
        number: u64,
        commit: u64,
    ) -> io::Result<Arc<Block>> {
        let inside = |series: &&Arc<MemSeries>| {
            let spans = series.state().aside_spans();
            spans.iter().any(|other| other.max_ms >= span.min_ms && other.min_ms <= span.max_ms)
        };
        let moved: Vec<&Arc<MemSeries>> = moved.iter().filter(inside).collect();
        // One by one: all of them together, each as often as there are series, would take more memory than the series.
        let mut symbols: HashSet<&str, FixedState> = HashSet::default();
        moved.iter().flat_map(|series| &series.labels).for_each(|(name, value)| symbols.extend([name, value]));
        let mut writer = BlockWriter::create(&*self.options().fs, self.blocks.dir(), number, (1, commit), symbols)?;
        let mut bits = Vec::new();
        for series in moved {
            let samples = series.state().aside(span);
            bits.clear();
            bits.extend(samples.values.iter().map(|value| value.to_bits()));
            writer.started_samples(&samples.timestamps, &bits, &samples.starts)?;
            writer.histograms(&samples.histograms)?;
            writer.end_series(&series.labels);
        }
        writer.finish()?;
        self.blocks.open_written(number)
    }

    /// Drops what the last cut set aside, if no reader needs it any more. Returns whether nothing is waiting.
    ///
    /// The caller keeps other cuts out.
    pub(crate) fn forget_aside(&self) -> bool {
        let mut aside = self.aside();
        match *aside {
            Some(moment) if self.readers.all_since(moment) => {
                self.head().all().iter().for_each(|series| series.state().forget_aside());
                *aside = None;
                true
            }
            Some(_) => false,
            None => true,
        }
    }
}
