//! Query results as JSON, written straight into bytes: no tree in between.

use relatum_model::histogram::Bucket;
use relatum_model::{Histogram, Labels, NativeHistogram, Samples};
use relatum_promql::Value;

/// Adds `{"resultType":…,"result":…}`.
pub(crate) fn encode(out: &mut Vec<u8>, value: &Value) {
    let kind = match value {
        Value::Scalar { .. } => "scalar",
        Value::String { .. } => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    out.extend_from_slice(format!("{{\"resultType\":\"{kind}\",\"result\":").as_bytes());
    match value {
        Value::Scalar { t_ms, value } => point(out, *t_ms, *value),
        Value::String { t_ms, text } => {
            out.push(b'[');
            seconds(out, *t_ms);
            out.push(b',');
            string(out, text);
            out.push(b']');
        }
        Value::Vector(samples) => array(out, samples, |out, sample| {
            metric(out, &sample.labels);
            match &sample.histogram {
                Some(value) => {
                    out.extend_from_slice(b",\"histogram\":");
                    histogram_point(out, sample.t_ms, value);
                }
                None => {
                    out.extend_from_slice(b",\"value\":");
                    point(out, sample.t_ms, sample.value);
                }
            }
            out.push(b'}');
        }),
        Value::Matrix(series) => array(out, series, |out, series| {
            metric(out, &series.labels);
            if !series.samples.values.is_empty() || series.samples.histograms.is_empty() {
                out.extend_from_slice(b",\"values\":");
                points(out, &series.samples);
            }
            if !series.samples.histograms.is_empty() {
                out.extend_from_slice(b",\"histograms\":");
                array(out, &series.samples.histograms, |out, sample| match &*sample.histogram {
                    NativeHistogram::Float(histogram) => histogram_point(out, sample.t_ms, histogram),
                    NativeHistogram::Integer(histogram) => histogram_point(out, sample.t_ms, &histogram.to_float()),
                });
            }
            out.push(b'}');
        }),
    }
    out.push(b'}');
}

fn array<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(b"{\"metric\":{");
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.push(b'}');
}

fn points(out: &mut Vec<u8>, samples: &Samples) {
    out.push(b'[');
    for (at, sample) in samples.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        point(out, sample.t_ms, sample.value);
    }
    out.push(b']');
}

fn point(out: &mut Vec<u8>, t_ms: i64, value: f64) {
    out.push(b'[');
    seconds(out, t_ms);
    out.extend_from_slice(b",\"");
    number(out, value);
    out.extend_from_slice(b"\"]");
}

/// A time and a histogram: its count, its sum, and of each bucket that is not empty whether its bounds are inside, its bounds and
/// its count.
fn histogram_point(out: &mut Vec<u8>, t_ms: i64, histogram: &Histogram<f64>) {
    let quoted = |out: &mut Vec<u8>, value: f64| {
        out.push(b'"');
        number(out, value);
        out.push(b'"');
    };
    out.push(b'[');
    seconds(out, t_ms);
    out.extend_from_slice(b",{\"count\":");
    quoted(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    quoted(out, histogram.sum);
    let buckets: Vec<Bucket<f64>> = histogram.buckets_beside_zero().collect();
    if !buckets.is_empty() {
        out.extend_from_slice(b",\"buckets\":");
        array(out, &buckets, |out, bucket| {
            out.extend_from_slice(match (bucket.lower_is_included, bucket.upper_is_included) {
                (false, true) => b"[0,",
                (true, false) => b"[1,",
                (false, false) => b"[2,",
                (true, true) => b"[3,",
            });
            quoted(out, bucket.lower);
            out.push(b',');
            quoted(out, bucket.upper);
            out.push(b',');
            quoted(out, bucket.count);
            out.push(b']');
        });
    }
    out.extend_from_slice(b"}]");
}

/// Milliseconds as seconds with at most three decimals and no exponent.
pub(crate) fn seconds(out: &mut Vec<u8>, t_ms: i64) {
    if t_ms < 0 {
        out.push(b'-');
    }
    let t_ms = t_ms.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(t_ms / 1000).as_bytes());
    let rest = (t_ms % 1000) as u32;
    if rest > 0 {
        let digits = [b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8];
        let used = digits.iter().rposition(|d| *d != b'0').expect("a rest above zero has a digit above zero") + 1;
        out.extend_from_slice(&digits[..used]);
    }
}

fn number(out: &mut Vec<u8>, value: f64) {
    // Most samples are whole numbers of moderate size.
    if value == value.trunc() && value.abs() < 1e15 && !(value == 0.0 && value.is_sign_negative()) {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
        return;
    }
    // The same digits as below, without a text of their own for each sample.
    if (1e-5..1e15).contains(&value.abs()) {
        let mut buffer = zmij::Buffer::new();
        let digits = buffer.format_finite(value).as_bytes();
        if !digits.contains(&b'e') {
            out.extend_from_slice(digits);
            return;
        }
    }
    out.extend_from_slice(relatum_model::text::format_value(value).as_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use relatum_model::histogram::{Buckets, Span};
    use relatum_model::{HistogramSample, Series};
    use relatum_promql::VectorSample;

    use super::*;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        let mut out = Vec::new();
        encode(&mut out, &value);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// The short way must not show.
    #[test]
    fn numbers_are_written_as_everywhere_else() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let check = |value: f64| {
            let mut out = Vec::new();
            number(&mut out, value);
            let (text, other) = (String::from_utf8(out).unwrap(), relatum_model::text::format_value(value));
            assert_eq!(text, other);
        };
        for value in [0.0, -0.0, 0.1, -2.5, 1e-5, 9.9e-6, 1e-6, 1e-7, 123_456.789, 1e15, 1e15 + 0.5, 1e21, f64::MAX] {
            check(value);
        }
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bits = state ^ (state >> 29);
            check(f64::from_bits(bits));
            // Most are of a size that samples have.
            check((bits >> 12) as f64 / 1e6);
            check((bits >> 40) as f64 / 1e9);
        }
    }

    #[test]
    fn shapes() {
        check(Value::Scalar { t_ms: 1500, value: 2.0 }, r#"{"resultType":"scalar","result":[1.5,"2"]}"#);
        check(Value::String { t_ms: -1, text: "a\"".into() }, r#"{"resultType":"string","result":[-0.001,"a\""]}"#);
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        check(
            Value::Vector(vec![VectorSample::of_float(labels.clone(), 1000, f64::INFINITY)]),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1,"+Inf"]}]}"#,
        );
        let samples = Samples::of_floats(vec![0, 10_010], vec![-0.0, 0.25]);
        check(
            Value::Matrix(vec![Series { labels: Labels::empty(), samples }]),
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"-0"],[10.01,"0.25"]]}]}"#,
        );
        let buckets = |offset| Buckets { spans: vec![Span { offset, length: 1 }], counts: vec![1.0] };
        let histogram = Arc::new(Histogram {
            count: 3.5,
            sum: -1.0,
            zero_count: 1.5,
            zero_threshold: 0.25,
            positive: buckets(2),
            negative: buckets(0),
            ..Histogram::default()
        });
        let shown = r#"[2,{"count":"3.5","sum":"-1","buckets":[[1,"-1","-0.5","1"],[3,"-0.25","0.25","1.5"],[0,"2","4","1"]]}]"#;
        let sample = VectorSample {
            histogram: Some(Arc::clone(&histogram)),
            ..VectorSample::of_float(Labels::empty(), 2000, 0.0)
        };
        check(
            Value::Vector(vec![sample]),
            &format!(r#"{{"resultType":"vector","result":[{{"metric":{{}},"histogram":{shown}}}]}}"#),
        );
        let histogram = Arc::new(NativeHistogram::Float(Histogram::clone(&histogram)));
        let histograms = vec![HistogramSample { t_ms: 2000, start_ms: 0, histogram }];
        let samples = Samples { histograms, ..Samples::default() };
        check(
            Value::Matrix(vec![Series { labels: Labels::empty(), samples }]),
            &format!(r#"{{"resultType":"matrix","result":[{{"metric":{{}},"histograms":[{shown}]}}]}}"#),
        );
    }
}
