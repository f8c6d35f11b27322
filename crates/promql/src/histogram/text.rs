//! A histogram as text, for `count_values`.

use std::fmt::Write as _;

use super::FloatHistogram;
use crate::annotation::go_float;

/// Count, sum and all buckets that are not empty, as Prometheus writes them.
pub(crate) fn to_text(histogram: &FloatHistogram) -> String {
    let mut text = format!("{{count:{}, sum:{}", go_float(histogram.count), go_float(histogram.sum));
    for bucket in histogram.buckets() {
        let _ = write!(
            text,
            ", {}{},{}{}:{}",
            if bucket.lower_is_included { '[' } else { '(' },
            go_float(bucket.lower),
            go_float(bucket.upper),
            if bucket.upper_is_included { ']' } else { ')' },
            go_float(bucket.count)
        );
    }
    text.push('}');
    text
}
