//! Samples: a time in milliseconds since 1970 and a value.

use crate::labels::Labels;

/// The bits of the NaN that marks the end of a series ("stale"); Prometheus' own choice, part of the remote-write format.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that marks a series as gone from this moment on.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker. An ordinary NaN is not.
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

/// The samples of one series as two columns of equal length, oldest first, times strictly increasing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// The values, staleness markers included.
    pub values: Vec<f64>,
}

impl Samples {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Adds one sample at the end.
    pub fn push(&mut self, t_ms: i64, value: f64) {
        self.timestamps.push(t_ms);
        self.values.push(value);
    }

    /// The samples one by one.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Sample> + '_ {
        self.timestamps.iter().zip(&self.values).map(|(&t_ms, &value)| Sample { t_ms, value })
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
