//! Samples: a time in milliseconds since 1970 and a value, which is a float or a native histogram.

use std::sync::Arc;

use crate::histogram::NativeHistogram;
use crate::labels::Labels;

/// The bits of the NaN that marks the end of a series ("stale"); Prometheus' own choice, part of the remote-write format.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that marks a series as gone from this moment on.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker. An ordinary NaN is not.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The ordinary NaN as Prometheus stores it; every NaN that is read from text becomes this one.
pub fn normal_nan() -> f64 {
    f64::from_bits(0x7ff8_0000_0000_0001)
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub t_ms: i64,
    /// The value; may be any float, the staleness marker included.
    pub value: f64,
}

/// A native histogram of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since 1970.
    pub t_ms: i64,
    /// When it began to count, in milliseconds since 1970; 0 if that is not known.
    pub start_ms: i64,
    /// The histogram; shared, because it is large and many hold it.
    pub histogram: Arc<NativeHistogram>,
}

impl HistogramSample {
    /// How much memory it takes, about, as if nobody else held any of it.
    pub fn memory_bytes(&self) -> usize {
        let of_buckets = match &*self.histogram {
            NativeHistogram::Integer(histogram) => histogram.memory_bytes(),
            NativeHistogram::Float(histogram) => histogram.memory_bytes(),
        };
        size_of::<Self>() + size_of::<NativeHistogram>() + of_buckets
    }
}

/// The samples of one series, oldest first, times strictly increasing: the floats as columns of equal length, and the native
/// histograms. Few series have histograms, and hardly any have both; so loops over floats need not know of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// The times of the floats, in milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// The floats, staleness markers included.
    pub values: Vec<f64>,
    /// When each of the floats began to count, in milliseconds since 1970, 0 if that is not known; empty if it is known of none.
    pub starts: Vec<i64>,
    /// The native histograms, staleness markers included. None has the time of a float.
    pub histograms: Vec<HistogramSample>,
}

impl Samples {
    /// Samples that are floats, and of which it is not known when they began to count.
    pub fn of_floats(timestamps: Vec<i64>, values: Vec<f64>) -> Self {
        Samples { timestamps, values, ..Samples::default() }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty() && self.histograms.is_empty()
    }

    /// Takes all away and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
    }

    /// Adds one float behind all others. When it began to count is not known.
    #[inline]
    pub fn push(&mut self, t_ms: i64, value: f64) {
        self.timestamps.push(t_ms);
        self.values.push(value);
        if !self.starts.is_empty() {
            self.starts.push(0);
        }
    }

    /// Adds one float behind all others that began to count at `start_ms`, or 0.
    pub fn push_started(&mut self, t_ms: i64, start_ms: i64, value: f64) {
        if start_ms != 0 && self.starts.is_empty() {
            self.starts.resize(self.timestamps.len(), 0);
            self.starts.push(start_ms);
        } else if !self.starts.is_empty() {
            self.starts.push(start_ms);
        }
        self.timestamps.push(t_ms);
        self.values.push(value);
    }

    /// The floats one by one.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Sample> + '_ {
        self.timestamps.iter().zip(&self.values).map(|(&t_ms, &value)| Sample { t_ms, value })
    }

    /// The samples from `min_ms` to `max_ms`, both included; none if the first is behind the second.
    pub fn within(&self, min_ms: i64, max_ms: i64) -> Samples {
        if min_ms > max_ms {
            return Samples::default();
        }
        let floats =
            self.timestamps.partition_point(|t| *t < min_ms)..self.timestamps.partition_point(|t| *t <= max_ms);
        let histograms =
            self.histograms.partition_point(|h| h.t_ms < min_ms)..self.histograms.partition_point(|h| h.t_ms <= max_ms);
        let starts = if self.starts.is_empty() { Vec::new() } else { self.starts[floats.clone()].to_vec() };
        Samples {
            timestamps: self.timestamps[floats.clone()].to_vec(),
            values: self.values[floats].to_vec(),
            starts,
            histograms: self.histograms[histograms].to_vec(),
        }
    }
}

/// A series with its samples in some time range.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// What identifies the series.
    pub labels: Labels,
    /// Its samples, oldest first.
    pub samples: Samples,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_within() {
        let samples = Samples::of_floats(vec![10, 20, 30], vec![1.0, 2.0, 3.0]);
        for (min_ms, max_ms, expected) in [
            (10, 30, &[10, 20, 30][..]),
            (11, 29, &[20]),
            (20, 20, &[20]),
            (21, 29, &[]),
            (31, i64::MAX, &[]),
            // No span at all.
            (30, 10, &[]),
            (i64::MAX, i64::MIN, &[]),
        ] {
            assert_eq!(samples.within(min_ms, max_ms).timestamps, expected, "{min_ms}..={max_ms}");
        }
    }
}
