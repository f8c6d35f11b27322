//! Where the observations of a histogram lie: quantiles, fractions, variance.
//!
//! Inside an exponential bucket observations are taken to be spread evenly on a logarithmic scale, inside the zero bucket and
//! custom buckets on a linear one.

use relatum_model::histogram::Bucket;

use super::FloatHistogram;
use crate::functions::sum::Sum;

/// What is odd about a quantile or fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuantileNote {
    /// The quantile is among observations that are NaN.
    IsNan,
    /// Observations that are NaN count as larger than all others.
    IsSkewed,
}

/// The zero bucket of a histogram with buckets on one side only ends at zero on the other.
fn on_its_side(histogram: &FloatHistogram, mut bucket: Bucket<f64>) -> Bucket<f64> {
    match (histogram.negative.counts.is_empty(), histogram.positive.counts.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
    bucket
}

/// How much of a bucket's width lies below `value`, which is inside.
pub(super) fn part_below(bucket: &Bucket<f64>, value: f64, is_linear: bool) -> f64 {
    if is_linear {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (lower, upper, at) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), value.abs().log2());
    if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
}

/// The value below which the part `q` of the observations lies.
pub(crate) fn quantile(q: f64, histogram: &FloatHistogram) -> (f64, Option<QuantileNote>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    let has_nan = histogram.sum.is_nan();
    // Whatever is NaN is in no bucket, so only counting from below is right then.
    let is_upwards = has_nan || q < 0.5;
    let all: Vec<Bucket<f64>> = histogram.buckets_beside_zero().collect();
    let mut order: Box<dyn Iterator<Item = &Bucket<f64>>> =
        if is_upwards { Box::new(all.iter()) } else { Box::new(all.iter().rev()) };
    let mut rank = if is_upwards { q * histogram.count } else { (1.0 - q) * histogram.count };
    let none = Bucket { lower: 0.0, upper: 0.0, lower_is_included: false, upper_is_included: false, count: 0.0 };
    let (mut bucket, mut count) = (none, 0.0);
    for next in order.by_ref() {
        bucket = *next;
        count += bucket.count;
        if count >= rank {
            break;
        }
    }
    if !histogram.has_custom_bounds() {
        if bucket.lower < 0.0 && bucket.upper > 0.0 {
            bucket = on_its_side(histogram, bucket);
        }
    } else if bucket.lower == f64::NEG_INFINITY {
        if bucket.upper <= 0.0 {
            return (bucket.upper, None);
        }
        bucket.lower = 0.0;
    } else if bucket.upper == f64::INFINITY {
        return (bucket.lower, None);
    }
    // Sums of counts may come out larger than the count, by rounding.
    if count > histogram.count {
        count = histogram.count;
    }
    if count < rank {
        return if has_nan { (f64::NAN, Some(QuantileNote::IsNan)) } else { (bucket.upper, None) };
    }
    rank = if is_upwards { rank - (count - bucket.count) } else { count - rank };
    let mut note = None;
    let in_bucket = bucket.count;
    let mut last_count = in_bucket;
    if has_nan {
        for rest in order {
            count += rest.count;
            last_count = rest.count;
            // As in Prometheus, what is behind the bucket takes its place.
            bucket = *rest;
        }
        if count < histogram.count {
            note = Some(QuantileNote::IsSkewed);
        }
    }
    let part = rank / last_count;
    let (lower, upper) = (bucket.lower, bucket.upper);
    if histogram.has_custom_bounds() || (lower <= 0.0 && upper >= 0.0) {
        return (lower + (upper - lower) * part, note);
    }
    let (log_lower, log_upper) = (lower.abs().log2(), upper.abs().log2());
    let value = if lower > 0.0 {
        (log_lower + (log_upper - log_lower) * part).exp2()
    } else {
        -(log_upper + (log_lower - log_upper) * (1.0 - part)).exp2()
    };
    (value, note)
}

/// The part of the observations that lies between two values.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, Option<QuantileNote>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let all: Vec<Bucket<f64>> = histogram.buckets_beside_zero().collect();
    let in_buckets: f64 = all.iter().map(|bucket| bucket.count).sum();
    // Observations that are NaN lie between no two values.
    let (count, note) = if histogram.sum.is_nan() {
        (in_buckets, (in_buckets < histogram.count).then_some(QuantileNote::IsSkewed))
    } else {
        (histogram.count, None)
    };
    let rank_of = |value: f64| {
        let mut rank = 0.0;
        for bucket in &all {
            let is_zero_bucket = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            let bucket = if is_zero_bucket { on_its_side(histogram, *bucket) } else { *bucket };
            if bucket.lower >= value {
                return rank;
            }
            if bucket.upper > value {
                let is_linear = histogram.has_custom_bounds() || is_zero_bucket;
                if is_linear && bucket.lower == f64::NEG_INFINITY {
                    // Nothing can be said about the inside of a bucket without a start.
                    return bucket.count;
                }
                return rank + bucket.count * part_below(&bucket, value, is_linear);
            }
            rank += bucket.count;
        }
        count
    };
    let rank_within = |value: f64| {
        let rank = rank_of(value);
        if rank > count { count } else { rank }
    };
    ((rank_within(upper) - rank_within(lower)) / histogram.count, note)
}

/// The population variance, with every observation in the middle of its bucket.
pub(crate) fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut variance = Sum::default();
    for bucket in histogram.buckets_beside_zero() {
        let middle = if histogram.has_custom_bounds() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = middle - mean;
        variance = variance.plus(bucket.count * delta * delta);
    }
    (variance.value + variance.lost) / histogram.count
}
