//! Decoding the chunks of one series of the head after the other, in memory that is used again.

use std::sync::Arc;

use relatum_model::Samples;
use relatum_model::storage::TimeRange;

use crate::block::decoder::{IntegerDecoder, ValueDecoder};

/// Of how many columns the times are kept: the chunks of a few targets, as series that stand together often are of several.
const TIMES_KEPT: usize = 8;

/// Decodes chunks. The series of a target share the column of their times, which is decoded once.
#[derive(Default)]
pub(crate) struct ChunkDecoder {
    // What was used last stands first.
    times: Vec<Times>,
    integers: IntegerDecoder,
    values: ValueDecoder,
}

/// A column of times and what is in it. While the column is held here no other one has its address.
struct Times {
    column: Arc<[u8]>,
    times: Vec<i64>,
}

impl ChunkDecoder {
    /// Adds those of `n` samples inside `range` to `samples`.
    pub(super) fn push(
        &mut self,
        (times, values): (&Arc<[u8]>, &[u8]),
        n: usize,
        range: TimeRange,
        samples: &mut Samples,
    ) {
        match self.times.iter().position(|known| Arc::ptr_eq(&known.column, times)) {
            Some(0) => {}
            Some(at) => self.times[..=at].rotate_right(1),
            None => {
                // The oldest gives its memory to the newest.
                let oldest = if self.times.len() < TIMES_KEPT { None } else { self.times.pop() };
                let mut decoded = oldest.map_or_else(Vec::new, |oldest| oldest.times);
                // They were written here and never left memory.
                if self.integers.read(times, n, n, &mut decoded).is_err() {
                    return;
                }
                self.times.insert(0, Times { column: Arc::clone(times), times: decoded });
            }
        }
        let times = self.times[0].times.as_slice();
        let from = times.partition_point(|t_ms| *t_ms < range.min_ms);
        let to = times.partition_point(|t_ms| *t_ms <= range.max_ms).max(from);
        if self.values.push(values, n, from..to, &mut samples.values).is_ok() {
            samples.timestamps.extend_from_slice(&times[from..to]);
        }
    }
}
