//! Keeping blocks few and within their bounds: merging small ones, dropping old ones.

use std::sync::Arc;

use relatum_model::storage::AppendError;
use tracing::{info, warn};

use crate::block::Block;
use crate::block::merge::{MergeError, merge};
use crate::core::Core;

/// A span of blocks is three times as long as the one before: few merges, and few blocks.
const GROWTH: i64 = 3;
/// No block is made longer than this, so that retention takes samples away in pieces.
const WIDTH_MAX_MS: i64 = 31 * 24 * 3_600_000;
/// For the same reason, no block is merged any more that takes more than such a part of what retention by size allows: three of
/// them are a tenth.
const BYTES_SHARE: u64 = 30;

/// What a plan needs to know of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    number: u64,
    min_ms: i64,
    max_ms: i64,
    bytes: u64,
}

impl Extent {
    fn of(block: &Arc<Block>) -> Self {
        let summary = block.summary;
        Extent { number: block.number, min_ms: summary.min_ms, max_ms: summary.max_ms, bytes: block.bytes() }
    }
}

/// The next blocks to merge into one, in order; empty when there is nothing to do.
///
/// Spans are aligned: those of a cut, then `base_ms`, then longer ones up to `width_max_ms`. Blocks inside one span that ended before `cut_ms` are
/// merged; of several such spans the shortest, then the oldest.
fn plan_merge(blocks: &[Extent], (cut_width_ms, base_ms): (i64, i64), width_max_ms: i64, cut_ms: i64) -> Vec<u64> {
    let mut width_ms = cut_width_ms;
    while width_ms <= width_max_ms.max(base_ms) {
        let span_of = |block: &Extent| {
            let span = block.min_ms.div_euclid(width_ms);
            let end_ms = (span + 1).saturating_mul(width_ms);
            (span == block.max_ms.div_euclid(width_ms) && end_ms <= cut_ms).then_some(span)
        };
        for block in blocks {
            let Some(span) = span_of(block) else { continue };
            let inside: Vec<u64> =
                blocks.iter().filter(|other| span_of(other) == Some(span)).map(|other| other.number).collect();
            if inside.len() > 1 {
                return inside;
            }
        }
        width_ms = if width_ms < base_ms { base_ms } else { width_ms.saturating_mul(GROWTH) };
    }
    Vec::new()
}

/// The same beside blocks of more than `bytes_max`. They stay as they are, and none is made over them: what is older than a large
/// one goes before it. `blocks` are in the order of their oldest samples.
fn plan_beside_large(
    blocks: &[Extent],
    bytes_max: u64,
    widths_ms: (i64, i64),
    width_max_ms: i64,
    cut_ms: i64,
) -> Vec<u64> {
    let mut plans =
        blocks.split(|block| block.bytes > bytes_max).map(|run| plan_merge(run, widths_ms, width_max_ms, cut_ms));
    plans.find(|plan| !plan.is_empty()).unwrap_or_default()
}

/// The blocks that have to go: those wholly before `cutoff_ms`, and the oldest while all take more than `bytes_max` beside
/// `other_bytes`.
fn plan_drop(blocks: &[Extent], cutoff_ms: i64, bytes_max: u64, other_bytes: u64) -> Vec<u64> {
    let mut by_age: Vec<&Extent> = blocks.iter().collect();
    by_age.sort_by_key(|block| (block.max_ms, block.number));
    let mut bytes = other_bytes + blocks.iter().map(|block| block.bytes).sum::<u64>();
    let goes = |block: &&&Extent| {
        let goes = block.max_ms < cutoff_ms || (bytes_max > 0 && bytes > bytes_max);
        bytes -= block.bytes;
        goes
    };
    by_age.iter().take_while(goes).map(|block| block.number).collect()
}

impl Core {
    /// Drops the blocks that retention by time or size does not allow any more.
    pub(crate) fn drop_blocks(&self) -> Result<(), AppendError> {
        let _alone = self.compacting();
        let extents: Vec<Extent> = self.blocks.list().iter().map(Extent::of).collect();
        let gone = plan_drop(&extents, self.cutoff_ms(), self.retention_bytes(), self.wal_bytes());
        if gone.is_empty() {
            self.blocks.keep_reserve();
            return Ok(());
        }
        self.blocks.replace(&gone, Vec::new(), None).map_err(|source| self.blocks_failure(source))?;
        self.blocks.keep_reserve();
        info!(blocks = gone.len(), "dropped blocks that retention does not keep");
        Ok(())
    }

    /// Merges blocks until there is nothing to merge. One that turns out to be damaged stays as it is from then on.
    pub(crate) fn compact(&self) -> Result<(), AppendError> {
        let _alone = self.compacting();
        let width_max_ms = match self.retention_ms() {
            0 => WIDTH_MAX_MS,
            retention_ms => (retention_ms / 10).min(WIDTH_MAX_MS),
        };
        let bytes_max = match self.retention_bytes() {
            0 => u64::MAX,
            retention_bytes => retention_bytes / BYTES_SHARE,
        };
        loop {
            let list = self.blocks.list();
            let is_whole = |block: &&Arc<Block>| block.damage().is_none();
            let extents: Vec<Extent> = list.iter().filter(is_whole).map(Extent::of).collect();
            let widths_ms = self.options().block_widths_ms();
            let plan = plan_beside_large(&extents, bytes_max, widths_ms, width_max_ms, self.cut_end_ms());
            if plan.is_empty() || !self.rewrite(&plan)? {
                return Ok(());
            }
        }
    }

    /// Writes blocks anew that have deleted samples, without those.
    pub(crate) fn clean_deleted(&self) -> Result<(), AppendError> {
        let _alone = self.compacting();
        for block in self.blocks.list().iter() {
            if !block.deleted().is_empty() && block.damage().is_none() {
                self.rewrite(&[block.number])?;
            }
        }
        Ok(())
    }

    /// Replaces blocks by one with what they hold; `false` if the store is closing.
    fn rewrite(&self, numbers: &[u64]) -> Result<bool, AppendError> {
        let list = self.blocks.list();
        let inputs: Vec<Arc<Block>> = list.iter().filter(|block| numbers.contains(&block.number)).cloned().collect();
        let number = self.blocks.take_number();
        let dir = self.blocks.dir();
        let merged = merge(&*self.options().fs, dir, number, &inputs, || self.is_closing());
        let new = merged.and_then(|any| Ok(if any { vec![self.blocks.open_written(number)?] } else { Vec::new() }));
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                self.blocks.discard(number);
                return match error {
                    MergeError::Write(source) => Err(self.blocks_failure(source)),
                    MergeError::Stopped => Ok(false),
                    MergeError::Damaged(at, damage) => {
                        inputs[at].report(damage);
                        Ok(true)
                    }
                };
            }
        };
        let empty = new.is_empty();
        self.blocks.replace(numbers, new, None).map_err(|source| self.blocks_failure(source))?;
        if empty {
            self.blocks.discard(number);
        }
        self.counters().compactions.add(1);
        info!(blocks = ?numbers, into = number, "merged blocks");
        Ok(true)
    }

    fn blocks_failure(&self, source: std::io::Error) -> AppendError {
        warn!(reason = &source as &dyn std::error::Error, "cannot write blocks");
        AppendError::Write { what: self.blocks.dir().display().to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(spans: &[(i64, i64)]) -> Vec<Extent> {
        let extent = |((min_ms, max_ms), number): (&(i64, i64), u64)| Extent {
            number,
            min_ms: *min_ms,
            max_ms: *max_ms,
            bytes: 10,
        };
        spans.iter().zip(1..).map(extent).collect()
    }

    #[test]
    fn merges() {
        let check = |spans: &[(i64, i64)], cut_ms, expected: &[u64]| {
            assert_eq!(plan_merge(&extents(spans), (10, 10), 100, cut_ms), expected, "{spans:?} cut at {cut_ms}");
        };
        check(&[], 100, &[]);
        check(&[(0, 9), (10, 19)], 20, &[]);
        check(&[(0, 9), (10, 19), (20, 29)], 30, &[1, 2, 3]);
        // The span is not over.
        check(&[(0, 9), (10, 19), (20, 29)], 29, &[]);
        // Nothing was written for a part of it.
        check(&[(0, 9), (20, 29), (30, 39)], 40, &[1, 2]);
        // A late block over an older one, and over one that was merged before.
        check(&[(0, 9), (3, 4), (10, 19)], 20, &[1, 2]);
        check(&[(0, 29), (13, 14), (30, 59), (60, 89)], 90, &[1, 2]);
        check(&[(0, 29), (30, 59), (60, 89)], 90, &[1, 2, 3]);
        // Long enough.
        check(&[(0, 89), (90, 179), (180, 269)], 270, &[]);
        check(&[(-30, -21), (-20, -11), (-10, -1)], 0, &[1, 2, 3]);
        check(&[(i64::MIN, i64::MIN + 1), (i64::MAX - 1, i64::MAX)], i64::MAX, &[]);
    }

    #[test]
    fn merges_cuts_first() {
        let check = |spans: &[(i64, i64)], cut_ms, expected: &[u64]| {
            assert_eq!(plan_merge(&extents(spans), (5, 20), 100, cut_ms), expected, "{spans:?} cut at {cut_ms}");
        };
        check(&[(0, 4), (5, 9), (10, 14)], 15, &[]);
        check(&[(0, 4), (5, 9), (6, 7), (10, 14)], 15, &[2, 3]);
        check(&[(0, 4), (5, 9), (10, 14), (15, 19), (20, 24)], 25, &[1, 2, 3, 4]);
        check(&[(0, 19), (20, 39), (40, 59)], 60, &[1, 2, 3]);
    }

    #[test]
    fn merges_beside_large_ones() {
        let check = |spans: &[(i64, i64)], large: &[usize], expected: &[u64]| {
            let mut blocks = extents(spans);
            large.iter().for_each(|at| blocks[*at].bytes = 31);
            assert_eq!(plan_beside_large(&blocks, 30, (10, 10), 100, 90), expected, "{spans:?}, large {large:?}");
        };
        check(&[(0, 9), (10, 19), (20, 29)], &[], &[1, 2, 3]);
        check(&[(0, 9), (10, 19), (20, 29)], &[0], &[2, 3]);
        check(&[(0, 9), (10, 19), (20, 29)], &[2], &[1, 2]);
        // Not over it.
        check(&[(0, 9), (10, 19), (20, 29)], &[1], &[]);
        check(&[(0, 9), (10, 19), (20, 29), (30, 39), (40, 49)], &[1], &[4, 5]);
        check(&[(0, 9), (10, 19), (20, 29)], &[0, 1, 2], &[]);
    }

    #[test]
    fn drops() {
        let check = |cutoff_ms, bytes_max, other_bytes, expected: &[u64]| {
            let blocks = extents(&[(0, 9), (10, 19), (5, 29)]);
            assert_eq!(plan_drop(&blocks, cutoff_ms, bytes_max, other_bytes), expected);
        };
        check(i64::MIN, 0, 0, &[]);
        check(9, 0, 0, &[]);
        check(10, 0, 0, &[1]);
        check(i64::MAX, 0, 0, &[1, 2, 3]);
        check(i64::MIN, 30, 0, &[]);
        check(i64::MIN, 30, 1, &[1]);
        check(i64::MIN, 1, 0, &[1, 2, 3]);
    }
}
