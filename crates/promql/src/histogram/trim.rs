//! The operators `</` and `>/`: a histogram without the observations above or below a value.
//!
//! The sum of what is left is estimated from the middles of the buckets, unless nothing was cut off.

use relatum_model::histogram::{Bucket, upper_bound};

use super::FloatHistogram;
use super::distribution::part_below;

/// Keeps what is not above `limit`, or what is not below it.
pub(crate) fn trim(histogram: &FloatHistogram, limit: f64, keeps_lower: bool) -> FloatHistogram {
    let mut trimmed = histogram.clone();
    let is_custom = histogram.has_custom_bounds();
    let (mut count, mut sum) = (0.0, 0.0);
    let mut has_changed = false;
    let mut has = [false; 2];
    for (side, (buckets, counts)) in
        [(&histogram.positive, &mut trimmed.positive.counts), (&histogram.negative, &mut trimmed.negative.counts)]
            .into_iter()
            .enumerate()
    {
        let is_positive = side == 0;
        for (at, (index, in_bucket)) in buckets.iter().enumerate() {
            if in_bucket == 0.0 {
                continue;
            }
            has[side] = true;
            let far = upper_bound(histogram.schema, index, &histogram.custom_bounds);
            let near = upper_bound(histogram.schema, index.saturating_sub(1), &histogram.custom_bounds);
            let (lower, upper) = if is_positive { (near, far) } else { (-far, -near) };
            let bucket = Bucket { lower, upper, lower_is_included: false, upper_is_included: false, count: in_bucket };
            let (kept, middle) = if keeps_lower && upper <= limit || !keeps_lower && lower >= limit {
                (in_bucket, middle_of(lower, upper, is_positive, is_custom))
            } else if keeps_lower && lower < limit || !keeps_lower && upper > limit {
                part_of(&bucket, limit, keeps_lower, is_positive, is_custom)
            } else {
                (0.0, 0.0)
            };
            if kept != in_bucket {
                counts[at] = kept;
                has_changed = true;
            }
            count += kept;
            sum += middle * kept;
        }
    }
    if histogram.zero_count > 0.0 {
        let (kept, middle) = part_of_zero(histogram, limit, has, keeps_lower);
        if kept != histogram.zero_count {
            trimmed.zero_count = kept;
            has_changed = true;
        }
        sum += middle * kept;
        count += kept;
    }
    if has_changed {
        (trimmed.count, trimmed.sum) = (count, sum);
        trimmed.compact();
    }
    trimmed
}

/// How many observations of a bucket stay, and their middle.
fn part_of(bucket: &Bucket<f64>, limit: f64, keeps_lower: bool, is_positive: bool, is_custom: bool) -> (f64, f64) {
    if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
        return part_of_endless(bucket, limit, keeps_lower);
    }
    let below = if limit <= bucket.lower {
        0.0
    } else if limit >= bucket.upper {
        bucket.count
    } else {
        bucket.count * part_below(bucket, limit, is_custom)
    };
    if keeps_lower {
        (below, middle_of(bucket.lower, limit, is_positive, is_custom))
    } else {
        (bucket.count - below, middle_of(limit, bucket.upper, is_positive, is_custom))
    }
}

/// The same of a bucket that has no end on one side, of which little can be said.
fn part_of_endless(bucket: &Bucket<f64>, limit: f64, keeps_lower: bool) -> (f64, f64) {
    let Bucket { lower, upper, count, .. } = *bucket;
    let finite = |value: f64| if value.is_infinite() { 0.0 } else { value };
    if lower == f64::NEG_INFINITY {
        if keeps_lower {
            return if limit >= upper {
                (count, 0.0)
            } else if limit > 0.0 && upper > 0.0 && upper != f64::INFINITY {
                (count * limit / upper, limit / 2.0)
            } else if upper <= 0.0 {
                (count, limit)
            } else {
                (0.0, finite(upper))
            };
        }
        return if limit <= lower {
            (count, 0.0)
        } else if limit >= 0.0 && upper > limit && upper != f64::INFINITY {
            (count * (1.0 - limit / upper), (limit + upper) / 2.0)
        } else {
            (0.0, finite(upper))
        };
    }
    if !keeps_lower && limit >= lower { (count, limit) } else { (0.0, finite(lower)) }
}

/// The same of the zero bucket, which ends at zero on a side without buckets.
fn part_of_zero(histogram: &FloatHistogram, limit: f64, has: [bool; 2], keeps_lower: bool) -> (f64, f64) {
    let [has_positive, has_negative] = has;
    let upper = if has_negative && !has_positive { 0.0 } else { histogram.zero_threshold };
    let lower = if has_positive && !has_negative { 0.0 } else { -histogram.zero_threshold };
    let count = histogram.zero_count;
    let all = (count, (lower + upper) / 2.0);
    let none = (0.0, 0.0);
    if limit <= lower {
        if keeps_lower { none } else { all }
    } else if limit >= upper {
        if keeps_lower { all } else { none }
    } else if keeps_lower {
        (count * ((limit - lower) / (upper - lower)), (lower + limit) / 2.0)
    } else {
        (count * ((upper - limit) / (upper - lower)), (limit + upper) / 2.0)
    }
}

/// The middle between two values: of a side without end it is the other end, or half of it.
fn middle_of(lower: f64, upper: f64, is_positive: bool, is_linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) => {
            if upper > 0.0 {
                upper / 2.0
            } else {
                upper
            }
        }
        (false, true) => lower,
        (false, false) if is_linear => (lower + upper) / 2.0,
        (false, false) => {
            let middle = (lower * upper).abs().sqrt();
            if is_positive { middle } else { -middle }
        }
    }
}
