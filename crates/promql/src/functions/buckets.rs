//! Quantiles and fractions of classic histograms.

use crate::annotation::Repair;

/// A cumulative bucket: how many observations are not above the bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) bound: f64,
    pub(crate) count: f64,
}

// Counts that differ by less are taken for equal: sums of many rates differ by rounding alone.
const TOLERANCE: f64 = 1e-12;

/// The quantile `q`, linear inside a bucket, and what of the buckets had to be repaired for it. The buckets are sorted by bound.
///
/// NaN without observations or without a bucket for all of them. The lowest bucket starts at zero unless its bound is negative.
pub(crate) fn quantile(q: f64, buckets: &mut Vec<Bucket>, at_ms: i64) -> (f64, Option<Repair>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    if !has_total(buckets) {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let repair = repair(buckets, at_ms);
    let last = buckets.len() - 1;
    let total = buckets[last].count;
    if last == 0 || total == 0.0 {
        return (f64::NAN, repair);
    }
    let rank = q * total;
    // The first bucket but the last whose count reaches the rank; NaN reaches nothing.
    let at = buckets[..last].partition_point(|bucket| !matches!(bucket.count.partial_cmp(&rank), Some(o) if o.is_ge()));
    let bucket = buckets[at];
    let value = if at == last {
        buckets[last - 1].bound
    } else if at == 0 && bucket.bound <= 0.0 {
        bucket.bound
    } else {
        let below = if at == 0 { Bucket { bound: 0.0, count: 0.0 } } else { buckets[at - 1] };
        below.bound + (bucket.bound - below.bound) * ((rank - below.count) / (bucket.count - below.count))
    };
    (value, repair)
}

/// The part of the observations between two bounds, linear inside a bucket. The buckets are sorted by bound.
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !has_total(buckets) {
        return f64::NAN;
    }
    coalesce(buckets);
    let total = buckets[buckets.len() - 1].count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// How many observations are below `value`.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut below = Bucket { bound: if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 }, count: 0.0 };
    for bucket in buckets {
        if below.bound >= value {
            return below.count.min(total);
        }
        if bucket.bound > value {
            let rank = if below.bound == f64::NEG_INFINITY {
                // Nothing can be said about the inside of a bucket without a start.
                bucket.count
            } else {
                below.count + (bucket.count - below.count) * (value - below.bound) / (bucket.bound - below.bound)
            };
            return if rank > total { total } else { rank };
        }
        below = *bucket;
    }
    total
}

fn has_total(buckets: &[Bucket]) -> bool {
    buckets.last().is_some_and(|bucket| bucket.bound == f64::INFINITY)
}

/// Makes one bucket of those with the same bound.
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|later, earlier| {
        let is_same = later.bound == earlier.bound;
        if is_same {
            earlier.count += later.count;
        }
        is_same
    });
}

/// Lets no count be smaller than the one before; says so unless it was a matter of rounding.
fn repair(buckets: &mut [Bucket], at_ms: i64) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count == previous {
            continue;
        }
        if is_almost_equal(previous, bucket.count) {
            bucket.count = previous;
        } else if bucket.count < previous {
            let none =
                Repair { t_ms: (at_ms, at_ms), bounds: (f64::INFINITY, f64::NEG_INFINITY), diff_max: 0.0, count: 1 };
            let found = repair.get_or_insert(none);
            found.bounds = (found.bounds.0.min(bucket.bound), found.bounds.1.max(bucket.bound));
            found.diff_max = found.diff_max.max(previous - bucket.count);
            bucket.count = previous;
        } else {
            previous = bucket.count;
        }
    }
    repair
}

fn is_almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < TOLERANCE * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    #[track_caller]
    fn check(q: f64, pairs: &[(f64, f64)], expected: f64, is_repaired: bool) {
        let (value, repair) = quantile(q, &mut buckets(pairs), 0);
        assert!(value == expected || (value.is_nan() && expected.is_nan()), "{value} is not {expected}");
        assert_eq!(repair.is_some(), is_repaired);
    }

    #[test]
    fn quantiles() {
        const INF: f64 = f64::INFINITY;
        check(0.5, &[(1.0, 10.0), (2.0, 20.0), (INF, 20.0)], 1.0, false);
        check(0.75, &[(1.0, 10.0), (2.0, 20.0), (INF, 20.0)], 1.5, false);
        check(0.99, &[(1.0, 10.0), (INF, 20.0)], 1.0, false);
        // The lowest bucket starts at zero, or is itself the answer.
        check(0.25, &[(1.0, 10.0), (INF, 20.0)], 0.5, false);
        check(0.25, &[(-1.0, 10.0), (INF, 20.0)], -1.0, false);
        check(0.5, &[(1.0, 10.0), (2.0, 20.0)], f64::NAN, false);
        check(0.5, &[(1.0, 0.0), (INF, 0.0)], f64::NAN, false);
        check(0.5, &[(1.0, 10.0), (2.0, 5.0), (INF, 20.0)], 1.0, true);
        // Only rounding.
        check(0.5, &[(1.0, 10.0), (2.0, 10.0 - 1e-13), (INF, 20.0)], 1.0, false);
        check(2.0, &[(INF, 1.0)], INF, false);
    }

    #[test]
    fn fractions() {
        let of =
            |lower, upper| fraction(lower, upper, &mut buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)]));
        assert_eq!(of(0.0, 1.0), 0.25);
        assert_eq!(of(0.5, 1.5), 0.25);
        assert_eq!(of(f64::NEG_INFINITY, f64::INFINITY), 1.0);
        assert_eq!(of(2.0, 1.0), 0.0);
        assert!(of(f64::NAN, 1.0).is_nan());
    }
}
