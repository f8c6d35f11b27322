//! A selection from the head in parts, for several threads at once.

use std::ops::ControlFlow;
use std::sync::Arc;

use relatum_model::storage::{Cancel, Parts, SelectError, TimeRange};
use relatum_model::{Labels, Samples};

use crate::ranks::Ranks;

/// How many series a part has: few enough that threads end at the same time, many enough that handing out parts costs nothing.
const PART_SERIES: usize = 128;

/// The series that were found in the head, and what of them a reader sees.
pub(crate) struct HeadParts {
    pub(crate) ranks: Arc<Ranks>,
    pub(crate) found: Vec<u32>,
    pub(crate) range: TimeRange,
    pub(crate) commit: u64,
    pub(crate) newest_only: bool,
    pub(crate) cancel: Cancel,
}

impl Parts for HeadParts {
    fn count(&self) -> usize {
        self.found.len().div_ceil(PART_SERIES)
    }

    fn visit(
        &self,
        part: usize,
        each: &mut dyn FnMut(&Labels, &mut Samples) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        let from = (part * PART_SERIES).min(self.found.len());
        let to = (from + PART_SERIES).min(self.found.len());
        let mut samples = Samples::default();
        for rank in &self.found[from..to] {
            if self.cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            let series = self.ranks.series(*rank);
            samples.clear();
            let state = series.state();
            let is_read = (self.newest_only && state.push_newest_float(self.range, self.commit, &mut samples))
                || state.push_floats(self.range, self.commit, &mut samples);
            if is_read {
                drop(state);
            } else {
                let snapshot = state.snapshot(self.range, self.commit);
                drop(state);
                samples = snapshot.decode();
            }
            if !samples.is_empty() && each(&series.labels, &mut samples).is_break() {
                break;
            }
        }
        Ok(())
    }
}
