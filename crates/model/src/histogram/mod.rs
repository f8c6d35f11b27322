//! Native histograms: samples that count observations in many buckets at once.
//!
//! A [`Histogram`] keeps for each bucket how many observations fell into it, not how many up to it and not by how much it
//! differs from its neighbour: that is what calculations need, and the differences of wire and disk formats belong to those.
//! Counts are whole numbers as processes expose them, or floats as rules and `rate` make them; both are one type with a
//! parameter, and [`NativeHistogram`] is whichever it is.

mod bounds;
mod buckets;
mod sequence;

use std::sync::Arc;

use thiserror::Error;

pub use bounds::upper_bound;
pub use buckets::{Bucket, Buckets, Span};
pub use sequence::Hinting;

use crate::sample::is_stale;

/// The schema of histograms whose buckets have bounds of their own.
pub const CUSTOM_SCHEMA: i32 = -53;
/// The coarsest exponential schema: each bound is 65,536 times the one before.
pub const SCHEMA_MIN: i32 = -4;
/// The finest exponential schema: 256 buckets for each power of two.
pub const SCHEMA_MAX: i32 = 8;

/// What is known about the histogram before this one in the same series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CounterReset {
    /// Nothing: who needs it must compare.
    #[default]
    Unknown,
    /// Counting began anew between the two.
    Reset,
    /// Counting went on.
    NotReset,
    /// The histogram goes up and down, so there is nothing to reset.
    Gauge,
}

/// A number of observations: `u64` or `f64`.
pub trait Count: Copy + PartialEq + PartialOrd + Default + private::Sealed {
    /// The sum; the largest number if it does not fit.
    #[must_use]
    fn plus(self, other: Self) -> Self;

    /// The number as a float.
    fn to_f64(self) -> f64;
}

mod private {
    /// No other type can be a count: what is stored knows these two.
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for f64 {}
}

impl Count for u64 {
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Count for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn to_f64(self) -> f64 {
        self
    }
}

/// One histogram. It may hold anything a peer sends; [`Histogram::validate`] tells whether it makes sense.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram<C> {
    /// How bounds follow from indexes: between [`SCHEMA_MIN`] and [`SCHEMA_MAX`], or [`CUSTOM_SCHEMA`].
    pub schema: i32,
    /// What is known about the histogram before.
    pub counter_reset: CounterReset,
    /// The zero bucket holds what is at most this far from zero.
    pub zero_threshold: f64,
    /// How many observations the zero bucket has.
    pub zero_count: C,
    /// How many observations there were in all, those that are NaN included, which no bucket has.
    pub count: C,
    /// The sum of all observations; the staleness marker if the series ended.
    pub sum: f64,
    /// The buckets above zero, or those with custom bounds.
    pub positive: Buckets<C>,
    /// The buckets below zero, indexes counted away from zero.
    pub negative: Buckets<C>,
    /// The upper bounds of custom buckets, without the infinite one; shared, because the samples of a series have the same.
    pub custom_bounds: Arc<[f64]>,
}

/// A histogram of either kind.
#[derive(Debug, Clone, PartialEq)]
pub enum NativeHistogram {
    /// With whole counts, as processes expose it.
    Integer(Histogram<u64>),
    /// With counts that were calculated.
    Float(Histogram<f64>),
}

/// Why a histogram makes no sense. The texts are Prometheus'.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HistogramError {
    /// There is no such schema.
    #[error(
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema {0}"
    )]
    Schema(i32),
    /// There are more or fewer counts than the spans have buckets.
    #[error(
        "{side}: spans need {needed} buckets, have {given} buckets: histogram spans specify different number of buckets than provided"
    )]
    Spans {
        /// Which buckets.
        side: Side,
        /// How many the spans have.
        needed: u64,
        /// How many counts there are.
        given: usize,
    },
    /// A span reaches back into the one before.
    #[error("{side}: span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    Offset {
        /// Which buckets.
        side: Side,
        /// The number of the span, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// A bucket's index is no 32-bit number, so no format could hold it.
    #[error("{0}: histogram has a bucket whose index is out of range")]
    Index(Side),
    /// A bucket has less than no observations.
    #[error(
        "{side}: bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is negative"
    )]
    Negative {
        /// Which buckets.
        side: Side,
        /// The number of the bucket, from 1.
        number: usize,
        /// What it has.
        count: f64,
    },
    /// The zero bucket has less than no observations.
    #[error("zero bucket has observation count of {0}: histogram has a bucket whose observation count is negative")]
    NegativeZero(f64),
    /// There are less than no observations in all.
    #[error("observation count is  {0}: histogram's observation count is negative")]
    NegativeCount(f64),
    /// The buckets have more observations than there were.
    #[error(
        "{found} observations found in buckets, but the Count field is {count}: histogram's observation count should be at least the number of observations found in the buckets"
    )]
    CountTooSmall {
        /// What the buckets have.
        found: u128,
        /// What there were.
        count: u64,
    },
    /// The buckets have another number of observations than there were.
    #[error(
        "{found} observations found in buckets, but the Count field is {count}: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    Count {
        /// What the buckets have.
        found: u128,
        /// What there were.
        count: u64,
    },
    /// A custom bound is NaN.
    #[error("custom buckets: histogram custom bounds must not be NaN")]
    NanBound,
    /// The custom bounds do not grow.
    #[error(
        "custom buckets: previous bound is {previous:.6} and current is {current:.6}: histogram custom bounds must be in strictly increasing order"
    )]
    BoundOrder {
        /// The bound before.
        previous: f64,
        /// The one that is not larger.
        current: f64,
    },
    /// The last custom bound is infinite.
    #[error("custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite")]
    InfiniteBound,
    /// There are buckets behind the last custom bound.
    #[error(
        "custom buckets: only {bounds} custom bounds defined which is insufficient to cover total span length of {length}: histogram custom bounds are too few"
    )]
    TooFewBounds {
        /// How many bounds there are.
        bounds: usize,
        /// How many buckets the spans reach over.
        length: u64,
    },
    /// A histogram with custom bounds has what those cannot have.
    #[error("custom buckets: must {0}")]
    Custom(&'static str),
    /// A histogram without custom buckets has bounds for them.
    #[error("histogram with exponential schema must not have custom bounds")]
    UnwantedBounds,
    /// A histogram can only be made coarser, and not one with custom bounds.
    #[error("cannot reduce resolution from schema {from} to {to}")]
    Resolution {
        /// The schema it has.
        from: i32,
        /// The one that was asked for.
        to: i32,
    },
}

/// The buckets above or below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Above.
    Positive,
    /// Below.
    Negative,
    /// Those with custom bounds.
    Custom,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Side::Positive => "positive side",
            Side::Negative => "negative side",
            Side::Custom => "custom buckets",
        })
    }
}

impl<C: Count> Histogram<C> {
    /// How much memory its buckets take, their bounds included, though others may hold those, too.
    pub(crate) fn memory_bytes(&self) -> usize {
        let spans = self.positive.spans.len() + self.negative.spans.len();
        let numbers = self.positive.counts.len() + self.negative.counts.len() + self.custom_bounds.len();
        spans * size_of::<Span>() + numbers * size_of::<C>()
    }

    /// Whether this is a staleness marker and no histogram.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// Whether the buckets have bounds of their own.
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// All buckets that are not empty, smallest bounds first, the zero bucket among them.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket<C>> + '_ {
        let below = self.negative.iter_back().map(|(index, count)| Bucket {
            lower: -upper_bound(self.schema, index, &[]),
            upper: -upper_bound(self.schema, index.saturating_sub(1), &[]),
            lower_is_included: true,
            upper_is_included: false,
            count,
        });
        let zero = Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_is_included: true,
            upper_is_included: true,
            count: self.zero_count,
        };
        let above = self.positive.iter().map(|(index, count)| Bucket {
            lower: upper_bound(self.schema, index.saturating_sub(1), &self.custom_bounds),
            upper: upper_bound(self.schema, index, &self.custom_bounds),
            // The first custom bucket goes down to minus infinity, which is in it.
            lower_is_included: self.has_custom_bounds() && index == 0,
            upper_is_included: true,
            count,
        });
        // With bounds of its own there is none, whatever a product made of its count.
        let zero = (!self.has_custom_bounds()).then_some(zero);
        below.chain(zero).chain(above).filter(|bucket| bucket.count != C::default())
    }

    /// Removes empty buckets and joins spans without a gap. What the histogram says stays the same.
    pub fn compact(&mut self) {
        self.positive.compact();
        self.negative.compact();
    }

    /// The same histogram with float counts.
    pub fn to_float(&self) -> Histogram<f64> {
        Histogram {
            schema: self.schema,
            counter_reset: self.counter_reset,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count.to_f64(),
            count: self.count.to_f64(),
            sum: self.sum,
            positive: self.positive.to_float(),
            negative: self.negative.to_float(),
            custom_bounds: Arc::clone(&self.custom_bounds),
        }
    }

    /// Makes the buckets as coarse as those of `schema`, each of which is several of the finer ones together.
    pub fn reduce_resolution(&mut self, schema: i32) -> Result<(), HistogramError> {
        let is_known = |schema: i32| (SCHEMA_MIN..=SCHEMA_MAX).contains(&schema);
        if !is_known(self.schema) || !is_known(schema) || schema > self.schema {
            return Err(HistogramError::Resolution { from: self.schema, to: schema });
        }
        let steps = self.schema.abs_diff(schema);
        self.positive.merge(steps);
        self.negative.merge(steps);
        self.schema = schema;
        Ok(())
    }

    fn validate_buckets(&self) -> Result<(), HistogramError> {
        if self.has_custom_bounds() {
            self.validate_bounds()?;
            self.positive.validate(Side::Custom)?;
            let length = self.positive.spans.iter().map(|span| u64::from(span.length) + span.offset as u64).sum();
            if (self.custom_bounds.len() as u64).saturating_add(1) < length {
                return Err(HistogramError::TooFewBounds { bounds: self.custom_bounds.len(), length });
            }
            for (is_wrong, rule) in [
                (self.zero_count != C::default(), "have zero count of 0"),
                (self.zero_threshold != 0.0, "have zero threshold of 0"),
                (!self.negative.spans.is_empty(), "not have negative spans"),
                (!self.negative.counts.is_empty(), "not have negative buckets"),
            ] {
                if is_wrong {
                    return Err(HistogramError::Custom(rule));
                }
            }
            return Ok(());
        }
        if !(SCHEMA_MIN..=SCHEMA_MAX).contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema));
        }
        self.positive.validate(Side::Positive)?;
        self.negative.validate(Side::Negative)?;
        if self.custom_bounds.is_empty() { Ok(()) } else { Err(HistogramError::UnwantedBounds) }
    }

    fn validate_bounds(&self) -> Result<(), HistogramError> {
        let mut previous = f64::NEG_INFINITY;
        for (at, &current) in self.custom_bounds.iter().enumerate() {
            if current.is_nan() {
                return Err(HistogramError::NanBound);
            }
            if at > 0 && current <= previous {
                return Err(HistogramError::BoundOrder { previous, current });
            }
            previous = current;
        }
        if previous == f64::INFINITY { Err(HistogramError::InfiniteBound) } else { Ok(()) }
    }
}

impl Histogram<u64> {
    /// Whether the histogram makes sense: spans, bounds and counts fit together.
    pub fn validate(&self) -> Result<(), HistogramError> {
        self.validate_buckets()?;
        let counts = self.positive.counts.iter().chain(&self.negative.counts).chain([&self.zero_count]);
        let found: u128 = counts.map(|count| u128::from(*count)).sum();
        match found.cmp(&u128::from(self.count)) {
            std::cmp::Ordering::Greater if self.sum.is_nan() => {
                Err(HistogramError::CountTooSmall { found, count: self.count })
            }
            std::cmp::Ordering::Equal => Ok(()),
            // Observations that are NaN are in no bucket.
            _ if self.sum.is_nan() => Ok(()),
            _ => Err(HistogramError::Count { found, count: self.count }),
        }
    }
}

impl Histogram<f64> {
    /// As [`Histogram::buckets`], but none reaches into the zero bucket, and a zero bucket with less than nothing is left out: so
    /// Prometheus looks at them.
    pub fn buckets_beside_zero(&self) -> impl Iterator<Item = Bucket<f64>> + '_ {
        let zero = self.zero_threshold;
        self.buckets()
            .filter(|bucket| {
                let is_zero_bucket = bucket.lower_is_included && bucket.upper_is_included && !self.has_custom_bounds();
                !is_zero_bucket || bucket.count > 0.0
            })
            .map(move |mut bucket| {
                if bucket.upper < 0.0 && bucket.upper > -zero {
                    bucket.upper = -zero;
                } else if bucket.lower > 0.0 && bucket.lower < zero {
                    bucket.lower = zero;
                }
                bucket
            })
    }

    /// Whether the histogram makes sense: spans and bounds fit together and nothing is negative. Rounding may have taken the
    /// counts apart, so their sum is not looked at.
    pub fn validate(&self) -> Result<(), HistogramError> {
        self.validate_buckets()?;
        for (side, buckets) in [(Side::Negative, &self.negative), (Side::Positive, &self.positive)] {
            if let Some(at) = buckets.counts.iter().position(|count| *count < 0.0) {
                return Err(HistogramError::Negative { side, number: at + 1, count: buckets.counts[at] });
            }
        }
        if self.zero_count < 0.0 {
            return Err(HistogramError::NegativeZero(self.zero_count));
        }
        if self.count < 0.0 { Err(HistogramError::NegativeCount(self.count)) } else { Ok(()) }
    }
}

impl NativeHistogram {
    /// Whether the histogram makes sense.
    pub fn validate(&self) -> Result<(), HistogramError> {
        match self {
            NativeHistogram::Integer(histogram) => histogram.validate(),
            NativeHistogram::Float(histogram) => histogram.validate(),
        }
    }

    /// The histogram with float counts.
    pub fn to_float(&self) -> Histogram<f64> {
        match self {
            NativeHistogram::Integer(histogram) => histogram.to_float(),
            NativeHistogram::Float(histogram) => histogram.clone(),
        }
    }

    /// Whether this is a staleness marker and no histogram.
    pub fn is_stale(&self) -> bool {
        match self {
            NativeHistogram::Integer(histogram) => histogram.is_stale(),
            NativeHistogram::Float(histogram) => histogram.is_stale(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Histogram<u64> {
        Histogram {
            schema: 1,
            zero_threshold: 0.001,
            zero_count: 2,
            count: 12,
            sum: 18.4,
            positive: Buckets {
                spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
                counts: vec![2, 1, 3],
            },
            negative: Buckets { spans: vec![Span { offset: 1, length: 2 }], counts: vec![0, 4] },
            ..Histogram::default()
        }
    }

    #[test]
    fn buckets_from_the_smallest_on() {
        let shown: Vec<String> = example()
            .buckets()
            .map(|b| {
                let (open, close) =
                    (if b.lower_is_included { '[' } else { '(' }, if b.upper_is_included { ']' } else { ')' });
                format!("{open}{:.3},{:.3}{close}:{}", b.lower, b.upper, b.count)
            })
            .collect();
        let expected = "[-2.000,-1.414):4 [-0.001,0.001]:2 (0.707,1.000]:2 (1.000,1.414]:1 (2.000,2.828]:3";
        assert_eq!(shown.join(" "), expected);
        let custom = Histogram {
            schema: CUSTOM_SCHEMA,
            custom_bounds: Arc::from([5.0, 10.0]),
            positive: Buckets { spans: vec![Span { offset: 0, length: 3 }], counts: vec![1.0, 0.0, 2.5] },
            ..Histogram::default()
        };
        let bounds: Vec<_> = custom.buckets().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(bounds, [(f64::NEG_INFINITY, 5.0, 1.0), (10.0, f64::INFINITY, 2.5)]);
    }

    #[test]
    fn what_makes_no_sense() {
        type Change = fn(&mut Histogram<u64>);
        let rows: &[(Change, &str)] = &[
            (|_| {}, ""),
            (
                |h| h.schema = 9,
                "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema 9",
            ),
            (
                |h| h.count = 13,
                "12 observations found in buckets, but the Count field is 13: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)",
            ),
            (|h| (h.count, h.sum) = (13, f64::NAN), ""),
            (
                |h| (h.count, h.sum) = (11, f64::NAN),
                "12 observations found in buckets, but the Count field is 11: histogram's observation count should be at least the number of observations found in the buckets",
            ),
            // Far too many to add up in 64 bits.
            (
                |h| h.positive.counts = vec![u64::MAX, u64::MAX, 2],
                "36893488147419103238 observations found in buckets, but the Count field is 12: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)",
            ),
            (
                |h| h.negative.counts.truncate(1),
                "negative side: spans need 2 buckets, have 1 buckets: histogram spans specify different number of buckets than provided",
            ),
            (
                |h| h.positive.spans[0].length = u32::MAX,
                "positive side: spans need 4294967296 buckets, have 3 buckets: histogram spans specify different number of buckets than provided",
            ),
            (
                |h| h.positive.spans[1].offset = -1,
                "positive side: span number 2 with offset -1: histogram has a span whose offset is negative",
            ),
            (
                |h| (h.positive.spans[0].offset, h.positive.spans[1].offset) = (i32::MAX - 2, i32::MAX),
                "positive side: histogram has a bucket whose index is out of range",
            ),
            (|h| h.custom_bounds = Arc::from([1.0]), "histogram with exponential schema must not have custom bounds"),
            (
                |h| h.schema = CUSTOM_SCHEMA,
                "custom buckets: only 0 custom bounds defined which is insufficient to cover total span length of 4: histogram custom bounds are too few",
            ),
            (
                |h| (h.schema, h.custom_bounds) = (CUSTOM_SCHEMA, Arc::from([1.0, 2.0, 3.0])),
                "custom buckets: must have zero count of 0",
            ),
            (
                |h| (h.schema, h.custom_bounds) = (CUSTOM_SCHEMA, Arc::from([1.0, 1.0])),
                "custom buckets: previous bound is 1.000000 and current is 1.000000: histogram custom bounds must be in strictly increasing order",
            ),
            (
                |h| (h.schema, h.custom_bounds) = (CUSTOM_SCHEMA, Arc::from([f64::NAN])),
                "custom buckets: histogram custom bounds must not be NaN",
            ),
            (
                |h| (h.schema, h.custom_bounds) = (CUSTOM_SCHEMA, Arc::from([f64::INFINITY])),
                "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
            ),
        ];
        for (change, expected) in rows {
            let mut histogram = example();
            change(&mut histogram);
            assert_eq!(histogram.validate().map_or_else(|error| error.to_string(), |()| String::new()), *expected);
        }
        let mut float = example().to_float();
        assert_eq!(float.validate(), Ok(()));
        float.negative.counts[1] = -0.5;
        assert_eq!(
            float.validate().unwrap_err().to_string(),
            "negative side: bucket number 2 has observation count of -0.5: histogram has a bucket whose observation count is negative"
        );
    }

    #[test]
    fn coarser_buckets() {
        let mut histogram = example();
        histogram.reduce_resolution(0).unwrap();
        let bounds: Vec<_> = histogram.buckets().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(bounds, [(-2.0, -1.0, 4), (-0.001, 0.001, 2), (0.5, 1.0, 2), (1.0, 2.0, 1), (2.0, 4.0, 3)]);
        assert_eq!(
            histogram.reduce_resolution(1).unwrap_err().to_string(),
            "cannot reduce resolution from schema 0 to 1"
        );
    }

    proptest! {
        #[test]
        fn compact_and_coarser_keep_every_count(
            spans in prop::collection::vec((-3i32..50, 0u32..4), 0..6),
            counts in prop::collection::vec(0u64..3, 0..20),
            steps in 0i32..8,
        ) {
            let needed: u32 = spans.iter().map(|span| span.1).sum();
            let counts: Vec<u64> = counts.iter().cycle().copied().chain([1]).take(needed as usize).collect();
            prop_assume!(counts.len() == needed as usize);
            let spans = spans.iter().enumerate().map(|(at, &(offset, length))| {
                Span { offset: if at == 0 { offset } else { offset.abs() }, length }
            }).collect();
            let mut histogram: Histogram<u64> = Histogram {
                schema: 4,
                count: counts.iter().sum(),
                positive: Buckets { spans, counts },
                ..Histogram::default()
            };
            prop_assert_eq!(histogram.validate(), Ok(()));
            let all: Vec<_> = histogram.buckets().collect();
            histogram.compact();
            prop_assert_eq!(histogram.validate(), Ok(()));
            prop_assert_eq!(&histogram.buckets().collect::<Vec<_>>(), &all);
            prop_assert!(histogram.positive.spans.iter().skip(1).all(|span| span.offset > 0 && span.length > 0));
            histogram.reduce_resolution(4 - steps).unwrap();
            prop_assert_eq!(histogram.validate(), Ok(()));
            for bucket in histogram.buckets() {
                let inside: u64 = all.iter().filter(|b| b.lower >= bucket.lower && b.upper <= bucket.upper).map(|b| b.count).sum();
                prop_assert_eq!(inside, bucket.count);
            }
        }

        #[test]
        fn nothing_panics(
            schema in -60i32..60,
            spans in prop::collection::vec((any::<i32>(), any::<u32>()), 0..4),
            counts in prop::collection::vec(any::<u64>(), 0..9),
        ) {
            let spans: Vec<Span> = spans.into_iter().map(|(offset, length)| Span { offset, length }).collect();
            let buckets = Buckets { spans, counts };
            let mut histogram = Histogram { schema, positive: buckets.clone(), negative: buckets, ..Histogram::default() };
            let _ = histogram.validate();
            let _ = histogram.buckets().count();
            let _ = histogram.to_float().validate();
            let _ = histogram.reduce_resolution(schema - 1);
            histogram.compact();
        }
    }
}
