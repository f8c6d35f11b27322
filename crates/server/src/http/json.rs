//! Query results as JSON, written straight into bytes: no tree in between.

use relatum_model::histogram::Bucket;
use relatum_model::{Histogram, Labels, NativeHistogram, Samples, Series};
use relatum_promql::{Value, VectorSample};

/// Writes a result piece by piece, so that a large one need not be in memory a second time.
#[derive(Debug)]
pub(crate) struct ResultWriter {
    value: Value,
    is_begun: bool,
    /// Which element of a vector or matrix comes next.
    element: usize,
    /// What of a series of a matrix.
    part: Part,
}

/// What comes next of a series.
#[derive(Debug, Clone, Copy)]
enum Part {
    Labels,
    Floats(usize),
    Histograms(usize),
    End,
}

/// Floats are written so many at a time before a look at how much there is.
const FLOATS_AT_ONCE: usize = 256;

impl ResultWriter {
    /// Begins with `{"resultType":…,"result":…}`.
    pub(crate) fn new(value: Value) -> Self {
        ResultWriter { value, is_begun: false, element: 0, part: Part::Labels }
    }

    /// Goes on until `out` has `n_bytes` or a little more; `true` once all is there but for the brace at the end.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, n_bytes: usize) -> bool {
        if !std::mem::replace(&mut self.is_begun, true) {
            let kind = match self.value {
                Value::Scalar { .. } => "scalar",
                Value::String { .. } => "string",
                Value::Vector(_) => "vector",
                Value::Matrix(_) => "matrix",
            };
            out.extend_from_slice(format!("{{\"resultType\":\"{kind}\",\"result\":[").as_bytes());
        }
        match &self.value {
            Value::Scalar { t_ms, value } => {
                seconds(out, *t_ms);
                out.push(b',');
                quoted(out, *value);
            }
            Value::String { t_ms, text } => {
                seconds(out, *t_ms);
                out.push(b',');
                string(out, text);
            }
            Value::Vector(samples) => {
                for sample in &samples[self.element..] {
                    if out.len() >= n_bytes {
                        return false;
                    }
                    separate(out, self.element);
                    vector_sample(out, sample);
                    self.element += 1;
                }
            }
            Value::Matrix(series) => {
                while let Some(one) = series.get(self.element) {
                    if out.len() >= n_bytes {
                        return false;
                    }
                    (self.element, self.part) = series_part(out, one, self.element, self.part);
                }
            }
        }
        out.push(b']');
        true
    }
}

/// Adds one part of the series that is the `element`th; what comes then.
fn series_part(out: &mut Vec<u8>, series: &Series, element: usize, part: Part) -> (usize, Part) {
    let Samples { values, histograms, .. } = &series.samples;
    let next = match part {
        Part::Labels => {
            separate(out, element);
            metric(out, &series.labels);
            if !values.is_empty() || histograms.is_empty() {
                out.extend_from_slice(b",\"values\":[");
                Part::Floats(0)
            } else {
                out.extend_from_slice(b",\"histograms\":[");
                Part::Histograms(0)
            }
        }
        Part::Floats(from) => {
            let to = (from + FLOATS_AT_ONCE).min(values.len());
            for (at, (t_ms, value)) in series.samples.timestamps[from..to].iter().zip(&values[from..to]).enumerate() {
                separate(out, from + at);
                point(out, *t_ms, *value);
            }
            if to < values.len() {
                Part::Floats(to)
            } else if histograms.is_empty() {
                out.push(b']');
                Part::End
            } else {
                out.extend_from_slice(b"],\"histograms\":[");
                Part::Histograms(0)
            }
        }
        Part::Histograms(at) => match histograms.get(at) {
            Some(sample) => {
                separate(out, at);
                match &*sample.histogram {
                    NativeHistogram::Float(histogram) => histogram_point(out, sample.t_ms, histogram),
                    NativeHistogram::Integer(histogram) => histogram_point(out, sample.t_ms, &histogram.to_float()),
                }
                Part::Histograms(at + 1)
            }
            None => {
                out.push(b']');
                Part::End
            }
        },
        Part::End => {
            out.push(b'}');
            return (element + 1, Part::Labels);
        }
    };
    (element, next)
}

/// An array of label sets, which is written piece by piece.
pub(crate) struct LabelSetsWriter {
    sets: Vec<Labels>,
    is_begun: bool,
    next: usize,
}

impl LabelSetsWriter {
    pub(crate) fn new(sets: Vec<Labels>) -> Self {
        LabelSetsWriter { sets, is_begun: false, next: 0 }
    }

    /// Goes on until `out` has `n_bytes` or a little more; `true` once all is there.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, n_bytes: usize) -> bool {
        if !std::mem::replace(&mut self.is_begun, true) {
            out.push(b'[');
        }
        for labels in &self.sets[self.next..] {
            if out.len() >= n_bytes {
                return false;
            }
            separate(out, self.next);
            object(out, labels);
            self.next += 1;
        }
        out.push(b']');
        true
    }
}

fn vector_sample(out: &mut Vec<u8>, sample: &VectorSample) {
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
}

/// A comma before all but the first.
fn separate(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.push(b',');
    }
}

fn metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(b"{\"metric\":");
    object(out, labels);
}

/// A label set as an object, in the set's order.
fn object(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (at, (name, value)) in labels.iter().enumerate() {
        separate(out, at);
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.push(b'}');
}

fn point(out: &mut Vec<u8>, t_ms: i64, value: f64) {
    out.push(b'[');
    seconds(out, t_ms);
    out.push(b',');
    quoted(out, value);
    out.push(b']');
}

/// A time and a histogram: its count, its sum, and of each bucket that is not empty whether its bounds are inside, its bounds and
/// its count.
fn histogram_point(out: &mut Vec<u8>, t_ms: i64, histogram: &Histogram<f64>) {
    out.push(b'[');
    seconds(out, t_ms);
    out.extend_from_slice(b",{\"count\":");
    quoted(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    quoted(out, histogram.sum);
    let buckets: Vec<Bucket<f64>> = histogram.buckets_beside_zero().collect();
    if !buckets.is_empty() {
        out.extend_from_slice(b",\"buckets\":");
        out.push(b'[');
        for (at, bucket) in buckets.iter().enumerate() {
            separate(out, at);
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
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}

fn quoted(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    number(out, value);
    out.push(b'"');
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
    // Nearly all texts are written as they are. All bytes are looked at, many at once.
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        serde_json::to_writer(out, text).expect("writing to memory does not fail");
        return;
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use relatum_model::HistogramSample;
    use relatum_model::histogram::{Buckets, Span};

    use super::*;

    /// `value` in pieces of `n_bytes`.
    fn pieces(value: Value, n_bytes: usize) -> Vec<Vec<u8>> {
        let (mut writer, mut pieces) = (ResultWriter::new(value), Vec::new());
        loop {
            let mut piece = Vec::new();
            let is_all = writer.fill(&mut piece, n_bytes);
            pieces.push(piece);
            if is_all {
                return pieces;
            }
        }
    }

    /// Whatever the size of the pieces.
    #[track_caller]
    fn check(value: Value, expected: &str) {
        for n_bytes in [1, 7, 30, 1 << 20] {
            let whole = pieces(value.clone(), n_bytes).concat();
            assert_eq!(String::from_utf8(whole).unwrap() + "}", expected, "pieces of {n_bytes} bytes");
        }
    }

    #[test]
    fn pieces_have_a_bound() {
        let samples = |n: i64| Samples::of_floats((0..n).map(|n| n * 1000).collect(), vec![0.5; n as usize]);
        let series = |n: i64| Series { labels: Labels::from_pairs([("n", n.to_string())]), samples: samples(n) };
        let value = Value::Matrix([0, 1, 255, 256, 257, 20_000].map(series).to_vec());
        let whole = pieces(value.clone(), usize::MAX);
        assert_eq!(whole.len(), 1);
        let some = pieces(value, 4000);
        assert!(some.len() > 30 && some.iter().all(|piece| piece.len() < 4000 + FLOATS_AT_ONCE * 20), "{}", some.len());
        assert_eq!(some.concat(), whole.concat());
    }

    #[test]
    fn texts_are_written_as_json_has_them() {
        let specials = (0..=0x9fu8).map(|code| format!("{}a", char::from(code)));
        let texts = ["", "a", "0123456789abcdef0123456789abcde\\", "\u{2028}", "日本"].map(str::to_owned);
        for text in specials.chain(texts) {
            let mut out = Vec::new();
            string(&mut out, &text);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }
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
    fn sets_of_labels() {
        let labels = |n: usize| Labels::from_pairs([("__name__", "up".to_owned()), ("n", format!("\"{n}"))]);
        for n_sets in [0, 1, 2, 100] {
            let sets: Vec<Labels> = (0..n_sets).map(labels).collect();
            let expected: Vec<String> = (0..n_sets).map(|n| format!(r#"{{"__name__":"up","n":"\"{n}"}}"#)).collect();
            for n_bytes in [1, 100, 1 << 20] {
                let mut writer = LabelSetsWriter::new(sets.clone());
                let mut all = Vec::new();
                loop {
                    let mut piece = Vec::new();
                    let is_all = writer.fill(&mut piece, n_bytes);
                    assert!(piece.len() <= n_bytes + 40, "{}", piece.len());
                    all.append(&mut piece);
                    if is_all {
                        break;
                    }
                }
                assert_eq!(String::from_utf8(all).unwrap(), format!("[{}]", expected.join(",")));
            }
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
