//! What blocks hold of a series, for samples that may be there already.
//!
//! Who sends again what was taken before tends to send the samples of a series one after the other, and to read a chunk takes as long as
//! to take thousands of samples: so what was read for one is kept for the next one.

use std::sync::Arc;

use relatum_model::Labels;

use crate::block::Block;
use crate::block::chunks::ChunkReader;
use crate::block::layout::Damage;
use crate::block::reader::BlockSeries;
use crate::blocks::{BlockList, Blocks};

/// What was read of the series that was asked for last.
#[derive(Default)]
pub(crate) struct Stored(Option<OfSeries>);

struct OfSeries {
    labels: Labels,
    // The blocks there were: when others came or some went, all is read anew.
    list: BlockList,
    of_blocks: Vec<OfBlock>,
}

/// One block that was looked at.
struct OfBlock {
    number: u64,
    // Nothing where the series is not in the block.
    series: Option<BlockSeries>,
    chunks: Vec<DecodedChunk>,
}

struct DecodedChunk {
    offset: u64,
    times: Arc<[i64]>,
    bits: Vec<u64>,
}

impl Stored {
    /// The bits of the value that a series has in `blocks` at exactly `t_ms`. What is damaged is passed over.
    pub(crate) fn value_at(&mut self, blocks: &Blocks, labels: &Labels, t_ms: i64) -> Option<u64> {
        let list = blocks.list();
        let of_series = match &mut self.0 {
            Some(known) if known.labels == *labels && Arc::ptr_eq(&known.list, &list) => known,
            other => other.insert(OfSeries { labels: labels.clone(), list, of_blocks: Vec::new() }),
        };
        of_series.value_at(t_ms)
    }
}

impl OfSeries {
    fn value_at(&mut self, t_ms: i64) -> Option<u64> {
        let list = Arc::clone(&self.list);
        let mut holding = list.iter().filter(|block| (block.summary.min_ms..=block.summary.max_ms).contains(&t_ms));
        holding.find_map(|block| {
            self.value_in(block, t_ms).unwrap_or_else(|damage| {
                block.report(damage);
                None
            })
        })
    }

    fn value_in(&mut self, block: &Block, t_ms: i64) -> Result<Option<u64>, Damage> {
        let at = match self.of_blocks.iter().position(|known| known.number == block.number) {
            Some(at) => at,
            None => {
                let series = block.index()?.find(&self.labels)?;
                self.of_blocks.push(OfBlock { number: block.number, series, chunks: Vec::new() });
                self.of_blocks.len() - 1
            }
        };
        let OfBlock { series: Some(series), chunks, .. } = &mut self.of_blocks[at] else { return Ok(None) };
        if block.deleted().of(series.number).iter().any(|span| span.contains(t_ms)) {
            return Ok(None);
        }
        for place in series.chunks.iter().filter(|place| (place.min_ms..=place.max_ms).contains(&t_ms)) {
            let at = match chunks.iter().position(|known| known.offset == place.offset) {
                Some(at) => at,
                None => {
                    let mut reader = ChunkReader::new(block.index()?);
                    let (times, bits) = (reader.times(place)?, reader.bits(place)?);
                    chunks.push(DecodedChunk { offset: place.offset, times, bits });
                    chunks.len() - 1
                }
            };
            let DecodedChunk { times, bits, .. } = &chunks[at];
            if let Ok(at) = times.binary_search(&t_ms) {
                return Ok(bits.get(at).copied());
            }
        }
        Ok(None)
    }
}
