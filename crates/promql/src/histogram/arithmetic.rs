//! Operators between two histograms, or a histogram and a number.

use relatum_model::histogram::{Buckets, CounterReset};

use super::{Accumulator, Combined, FloatHistogram, Incompatible};

/// The sum of two histograms, without empty buckets.
pub(crate) fn add(left: &FloatHistogram, right: &FloatHistogram) -> Result<(FloatHistogram, Combined), Incompatible> {
    combine(left, right, 1.0)
}

/// The difference of two histograms, without empty buckets. The hint is that of a sum.
pub(crate) fn subtract(
    left: &FloatHistogram,
    right: &FloatHistogram,
) -> Result<(FloatHistogram, Combined), Incompatible> {
    combine(left, right, -1.0)
}

fn combine(
    left: &FloatHistogram,
    right: &FloatHistogram,
    sign: f64,
) -> Result<(FloatHistogram, Combined), Incompatible> {
    let mut sum: Accumulator<f64> = Accumulator::of(left);
    let combined = sum.add(right, sign)?;
    Ok((sum.finish(), combined))
}

/// Multiplies all counts and the sum. What was turned around is no counter any more.
pub(crate) fn scale(histogram: &mut FloatHistogram, factor: f64) {
    map(histogram, |value| value * factor);
    if factor < 0.0 {
        histogram.counter_reset = CounterReset::Gauge;
    }
}

/// Divides all counts and the sum. Division by zero leaves no buckets.
pub(crate) fn divide(histogram: &mut FloatHistogram, divisor: f64) {
    map(histogram, |value| value / divisor);
    if divisor == 0.0 {
        histogram.positive = Buckets::default();
        histogram.negative = Buckets::default();
    } else if divisor < 0.0 {
        histogram.counter_reset = CounterReset::Gauge;
    }
}

fn map(histogram: &mut FloatHistogram, f: impl Fn(f64) -> f64) {
    for value in [&mut histogram.zero_count, &mut histogram.count, &mut histogram.sum] {
        *value = f(*value);
    }
    for value in histogram.positive.counts.iter_mut().chain(&mut histogram.negative.counts) {
        *value = f(*value);
    }
}

/// Whether two histograms say the same, to the bit. What is known of those before them does not count.
pub(crate) fn is_equal(left: &FloatHistogram, right: &FloatHistogram) -> bool {
    let bits = |(index, count): (i32, f64)| (index, count.to_bits());
    let is_same = |left: &Buckets<f64>, right: &Buckets<f64>| left.iter().map(bits).eq(right.iter().map(bits));
    left.schema == right.schema
        && left.zero_threshold == right.zero_threshold
        && left.custom_bounds == right.custom_bounds
        && [(left.count, right.count), (left.sum, right.sum), (left.zero_count, right.zero_count)]
            .iter()
            .all(|(left, right)| left.to_bits() == right.to_bits())
        && is_same(&left.positive, &right.positive)
        && is_same(&left.negative, &right.negative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notation::parse_histogram;

    #[track_caller]
    fn check(left: &str, right: &str, sum: Option<&str>, difference: Option<&str>) {
        let of = |text: &str| parse_histogram(text).expect("the test is written in the notation").0;
        let shown = |result: Result<(FloatHistogram, Combined), Incompatible>| {
            result.ok().map(|(histogram, _)| crate::histogram::to_text(&histogram))
        };
        let expected = |text: Option<&str>| text.map(|text| crate::histogram::to_text(&of(text)));
        assert_eq!(shown(add(&of(left), &of(right))), expected(sum), "{left} + {right}");
        assert_eq!(shown(subtract(&of(left), &of(right))), expected(difference), "{left} - {right}");
    }

    #[test]
    fn sums_and_differences() {
        check(
            "count:6 sum:1 buckets:[1 2 3]",
            "count:4 sum:2 offset:1 buckets:[1 0 0 3]",
            Some("count:10 sum:3 buckets:[1 3 3 0 3]"),
            Some("count:2 sum:-1 buckets:[1 1 3 0 -3]"),
        );
        // The coarser of two schemas.
        check(
            "schema:1 count:4 sum:0 offset:1 buckets:[1 1 2]",
            "schema:0 count:1 sum:0 offset:1 buckets:[1]",
            Some("schema:0 count:5 sum:0 offset:1 buckets:[3 2]"),
            Some("schema:0 count:3 sum:0 offset:1 buckets:[1 2]"),
        );
        // The zero bucket reaches into a bucket and takes it.
        check(
            "count:3 z_bucket:1 z_bucket_w:0.75 offset:1 buckets:[2]",
            "count:3 z_bucket:0 z_bucket_w:0.001 buckets:[1 2]",
            Some("count:6 z_bucket:2 z_bucket_w:1 offset:1 buckets:[4]"),
            Some("count:0 z_bucket:0 z_bucket_w:1 offset:1 buckets:[0]"),
        );
        // Only the bounds that both have.
        check(
            "schema:-53 count:6 custom_values:[1 2 3] buckets:[1 2 2 1]",
            "schema:-53 count:2 custom_values:[2 4] buckets:[1 1]",
            Some("schema:-53 count:8 custom_values:[2] buckets:[4 4]"),
            Some("schema:-53 count:4 custom_values:[2] buckets:[2 2]"),
        );
        check("count:1 buckets:[1]", "schema:-53 count:1 custom_values:[2] buckets:[1]", None, None);
    }
}
