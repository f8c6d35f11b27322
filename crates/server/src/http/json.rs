//! Query results as JSON, written straight into bytes: no tree in between.

use relatum_model::{Labels, Samples};
use relatum_promql::Value;

/// Writes `{"resultType":…,"result":…}`.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let kind = match value {
        Value::Scalar { .. } => "scalar",
        Value::String { .. } => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    out.extend_from_slice(format!("{{\"resultType\":\"{kind}\",\"result\":").as_bytes());
    match value {
        Value::Scalar { t_ms, value } => point(&mut out, *t_ms, *value),
        Value::String { t_ms, text } => {
            out.push(b'[');
            seconds(&mut out, *t_ms);
            out.push(b',');
            string(&mut out, text);
            out.push(b']');
        }
        Value::Vector(samples) => array(&mut out, samples, |out, sample| {
            metric(out, &sample.labels);
            out.extend_from_slice(b",\"value\":");
            point(out, sample.t_ms, sample.value);
            out.push(b'}');
        }),
        Value::Matrix(series) => array(&mut out, series, |out, series| {
            metric(out, &series.labels);
            out.extend_from_slice(b",\"values\":");
            points(out, &series.samples);
            out.push(b'}');
        }),
    }
    out.push(b'}');
    out
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
    } else {
        out.extend_from_slice(relatum_model::text::format_value(value).as_bytes());
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use relatum_model::Series;
    use relatum_promql::VectorSample;

    use super::*;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        assert_eq!(String::from_utf8(encode(&value)).unwrap(), expected);
    }

    #[test]
    fn shapes() {
        check(Value::Scalar { t_ms: 1500, value: 2.0 }, r#"{"resultType":"scalar","result":[1.5,"2"]}"#);
        check(Value::String { t_ms: -1, text: "a\"".into() }, r#"{"resultType":"string","result":[-0.001,"a\""]}"#);
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        check(
            Value::Vector(vec![VectorSample { labels: labels.clone(), t_ms: 1000, value: f64::INFINITY }]),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1,"+Inf"]}]}"#,
        );
        let samples = Samples::of_floats(vec![0, 10_010], vec![-0.0, 0.25]);
        check(
            Value::Matrix(vec![Series { labels: Labels::empty(), samples }]),
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"-0"],[10.01,"0.25"]]}]}"#,
        );
    }
}
