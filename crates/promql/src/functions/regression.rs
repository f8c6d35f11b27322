//! Lines and curves through samples: `deriv`, `predict_linear`, `double_exponential_smoothing`.

use super::sum::Sum;
use crate::eval::{Window, absent};

/// Slope per second, and value at `intercept_ms`, of the line with the least squares through the samples.
pub(crate) fn line(times: &[i64], values: &[f64], intercept_ms: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let zero = Sum::default();
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_x2) = (zero, zero, zero, zero);
    for (t, y) in times.iter().zip(values) {
        let x = t.saturating_sub(intercept_ms) as f64 / 1e3;
        sum_x = sum_x.plus(x);
        sum_y = sum_y.plus(*y);
        sum_xy = sum_xy.plus(x * y);
        sum_x2 = sum_x2.plus(x * x);
    }
    let n = values.len() as f64;
    let of = |sum: Sum| sum.value + sum.lost;
    let (sum_x, sum_y, sum_xy, sum_x2) = (of(sum_x), of(sum_y), of(sum_xy), of(sum_x2));
    let covariance = sum_xy - sum_x * sum_y / n;
    let variance = sum_x2 - sum_x * sum_x / n;
    let slope = covariance / variance;
    (slope, sum_y / n - slope * sum_x / n)
}

/// `deriv`: the slope of the line, which takes two samples.
pub(crate) fn slope(window: &Window<'_>) -> f64 {
    match window.values {
        [_] => absent(),
        // Close to the samples, for the sake of accuracy.
        values => line(window.times, values, window.times[0]).0,
    }
}

/// The level of Holt's linear method at the last of at least two values.
pub(crate) fn double_exponential(values: &[f64], smoothing: f64, trend_factor: f64) -> f64 {
    let (mut previous, mut level) = (0.0, values[0]);
    let mut trend = values[1] - values[0];
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trend_factor * (level - previous) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        (previous, level) = (level, next);
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let (slope, at_zero) = line(&[1000, 2000, 3000], &[3.0, 5.0, 7.0], 0);
        assert!((slope - 2.0).abs() < 1e-12 && (at_zero - 1.0).abs() < 1e-12);
        assert_eq!(line(&[0, 1], &[4.0, 4.0], 0), (0.0, 4.0));
        assert!(line(&[0, 1], &[f64::INFINITY; 2], 0).0.is_nan());
    }

    #[test]
    fn a_straight_line_stays() {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        assert!((double_exponential(&values, 0.3, 0.6) - 9.0).abs() < 1e-12);
    }
}
