//! The mean of histograms, which adds up as long as nothing overflows, and goes on one by one when something does.

use super::{Accumulator, Combined, FloatHistogram, Incompatible, divide};
use crate::functions::sum::Sum;

/// A mean of histograms.
#[derive(Debug, Clone)]
pub(crate) struct HistogramMean {
    // The sum, or the mean once `is_incremental`.
    sum: Accumulator<Sum>,
    count: f64,
    is_incremental: bool,
}

impl HistogramMean {
    /// The mean of one.
    pub(crate) fn of(histogram: &FloatHistogram) -> Self {
        HistogramMean { sum: Accumulator::of(histogram), count: 1.0, is_incremental: false }
    }

    /// Takes in one more.
    pub(crate) fn add(&mut self, histogram: &FloatHistogram) -> Result<Combined, Incompatible> {
        self.count += 1.0;
        let count = self.count;
        if !self.is_incremental {
            let mut sum = self.sum.clone();
            let combined = sum.add(histogram, 1.0)?;
            if !sum.overflows() {
                self.sum = sum;
                return Ok(combined);
            }
            self.is_incremental = true;
            self.sum.map(|cell| super::accumulator::Cell::over(cell, count - 1.0));
        }
        self.sum.map(|cell| super::accumulator::Cell::times(cell, (count - 1.0) / count));
        let mut part = histogram.clone();
        divide(&mut part, count);
        self.sum.add(&part, 1.0)
    }

    /// The mean.
    pub(crate) fn finish(&self) -> FloatHistogram {
        if self.is_incremental {
            return self.sum.finish();
        }
        let mut mean = self.sum.clone();
        mean.map(|cell| super::accumulator::Cell::over(cell, self.count));
        mean.finish()
    }
}
