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
    values[best(values, |value, best| value > best)]
}

/// The smallest value; NaN only if there is nothing else.
pub(crate) fn min(values: &[f64]) -> f64 {
    values[best(values, |value, best| value < best)]
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

    #[test]
    fn spread() {
        assert_eq!(variance(&[1.0, 2.0, 3.0, 4.0]), 1.25);
        assert_eq!(median_deviation(&[4.0, 6.0, 2.0, 1.0, 999.0], &mut Vec::new()), 2.0);
    }
}
