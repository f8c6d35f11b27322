//! A histogram as text, for `count_values`.

use std::fmt::Write as _;

use relatum_model::text::format_value_short;

use super::FloatHistogram;

/// Count, sum and all buckets that are not empty, as Prometheus writes them.
pub(crate) fn to_text(histogram: &FloatHistogram) -> String {
    let mut text =
        format!("{{count:{}, sum:{}", format_value_short(histogram.count), format_value_short(histogram.sum));
    for bucket in histogram.buckets() {
        let _ = write!(
            text,
            ", {}{},{}{}:{}",
            if bucket.lower_is_included { '[' } else { '(' },
            format_value_short(bucket.lower),
            format_value_short(bucket.upper),
            if bucket.upper_is_included { ']' } else { ')' },
            format_value_short(bucket.count)
        );
    }
    text.push('}');
    text
}
