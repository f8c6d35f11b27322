//! Aggregations over the samples of a range.

use super::quantile::quantile;
use super::sum::{Mean, Sum};

/// The sum.
pub(crate) fn sum(values: &[f64]) -> f64 {
    values.iter().fold(Sum::default(), |sum, value| sum.plus(*value)).total()
}

/// The mean; there is at least one value.
pub(crate) fn avg(values: &[f64]) -> f64 {
    values[1..].iter().fold(Mean::of(values[0]), |mean, value| mean.plus(*value)).total()
}

/// The largest value; NaN only if there is nothing else.
pub(crate) fn max(values: &[f64]) -> f64 {
    extreme(values, |value, best| value > best)
}

/// The smallest value; NaN only if there is nothing else.
pub(crate) fn min(values: &[f64]) -> f64 {
    extreme(values, |value, best| value < best)
}

/// The first of the best values, looked for in several places at once.
#[inline(always)]
fn extreme(values: &[f64], is_better: impl Fn(f64, f64) -> bool + Copy) -> f64 {
    let better = |best: f64, value: f64| if is_better(value, best) { value } else { best };
    let mut found = [values[0]; 4];
    let (fours, rest) = values.as_chunks::<4>();
    for four in fours {
        for (found, value) in found.iter_mut().zip(four) {
            *found = better(*found, *value);
        }
    }
    let found = found.into_iter().chain(rest.iter().copied()).fold(values[0], better);
    // A NaN at the beginning gives way to any number, and of the two zeros the first one counts: nobody above knows which that is.
    if found.is_nan() || found == 0.0 { values[best(values, is_better)] } else { found }
}

/// Where the last of the largest values is.
pub(crate) fn last_max(values: &[f64]) -> usize {
    best(values, |value, best| value >= best)
}

/// Where the last of the smallest values is.
pub(crate) fn last_min(values: &[f64]) -> usize {
    best(values, |value, best| value <= best)
}

fn best(values: &[f64], is_better: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if is_better(*value, values[best]) || values[best].is_nan() {
            best = at;
        }
    }
    best
}

/// The population variance, by Welford's method with compensated sums.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for &value in values {
        count += 1.0;
        let delta = value - (mean.value + mean.lost);
        mean = mean.plus(delta / count);
        squares = squares.plus(delta * (value - (mean.value + mean.lost)));
    }
    (squares.value + squares.lost) / count
}

/// The median distance from the median; NaN if any value is.
pub(crate) fn median_deviation(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    scratch.clear();
    scratch.extend_from_slice(values);
    let median = quantile(0.5, scratch);
    for value in scratch.iter_mut() {
        *value = (*value - median).abs();
    }
    quantile(0.5, scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_gives_way() {
        assert_eq!(max(&[f64::NAN, 1.0, f64::NAN]), 1.0);
        assert_eq!(min(&[f64::NAN, 2.0, 1.0]), 1.0);
        assert!(max(&[f64::NAN]).is_nan());
        assert_eq!(last_max(&[1.0, 3.0, 3.0, 2.0]), 2);
        assert_eq!(last_min(&[1.0, 3.0, 1.0, f64::NAN]), 2);
    }

    proptest::proptest! {
        #[test]
        fn extremes_are_the_first_of_the_best(values in proptest::collection::vec(
            proptest::sample::select(vec![0.0, -0.0, 1.0, 2.5, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]), 1..30,
        )) {
            let first_of_the_best = |is_better: fn(f64, f64) -> bool| values[best(&values, is_better)].to_bits();
            assert_eq!(max(&values).to_bits(), first_of_the_best(|value, best| value > best));
            assert_eq!(min(&values).to_bits(), first_of_the_best(|value, best| value < best));
        }
    }

    #[test]
    fn spread() {
        assert_eq!(variance(&[1.0, 2.0, 3.0, 4.0]), 1.25);
        assert_eq!(median_deviation(&[4.0, 6.0, 2.0, 1.0, 999.0], &mut Vec::new()), 2.0);
    }
}
