//! What a broken or hostile peer may send: every reader of this crate refuses it with a place, or reads it, in little time.

use std::time::{Duration, Instant};

use relatum_model::exposition::protobuf::{Entries, FamilyWriter, HistogramParts, Item};
use relatum_model::exposition::{Format, Layout, MetricKind, ParseError, labels_of, parse};
use relatum_model::{remote_write, yaml};

/// Far more than any of these needs, even unoptimised and beside others.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the reader said, or how many samples it read. Fails if it took too long, or gave no place.
#[track_caller]
fn text(name: &str, body: &[u8], format: Format) -> String {
    let start = Instant::now();
    let mut n_samples = 0;
    let outcome = parse(body, format).and_then(|entries| {
        for entry in entries.with_created_times() {
            if let relatum_model::exposition::Entry::Sample(sample) = entry? {
                let _ = labels_of(sample.series, sample.kind);
                n_samples += 1;
            }
        }
        Ok(())
    });
    assert!(start.elapsed() < PATIENCE, "{name}: took {:?}", start.elapsed());
    match outcome {
        Ok(()) => format!("{n_samples} samples"),
        Err(error) => {
            let n_lines = 1 + body.iter().filter(|byte| **byte == b'\n').count();
            assert!((1..=n_lines).contains(&error.line), "{name}: line {} of {n_lines}", error.line);
            // What is quoted of the body is bounded.
            assert!(error.reason.len() < 2000, "{name}: {} bytes of reason", error.reason.len());
            error.to_string()
        }
    }
}

#[test]
fn texts() {
    let parentheses = "(".repeat(100_000);
    let braces = "{".repeat(100_000);
    let half = [b"a 1\nb{c=\"".as_slice(), &[0xe2, 0x98], b"\"} 1\n"].concat();
    // A lone surrogate, as some encoders write it.
    let surrogate = [b"a{b=\"".as_slice(), &[0xed, 0xa0, 0x80], b"\"} 1\n"].concat();
    let many_labels = format!("a{{{}}} 1\n", (0..100_000).map(|n| format!("l{n}=\"v\"")).collect::<Vec<_>>().join(","));
    let long_value = format!("a{{b=\"{}\"}} 1\n", "\\\\".repeat(1 << 20));
    let long_number = format!("a {}\n", "1".repeat(1 << 20));
    let blank_lines = "\n".repeat(1 << 20);
    let type_lines: String = (0..100_000).map(|n| format!("# TYPE a{n} gauge\n")).collect();
    for (name, body, expected) in [
        ("parentheses", parentheses.as_bytes(), "line 1: expected a valid start token, got \"(\" while parsing: \"(\""),
        ("braces", braces.as_bytes(), "line 1: expected label name, got \"{\" while parsing: \"{{\""),
        ("half a character", &half, "line 2: invalid UTF-8"),
        ("half a surrogate", &surrogate, "line 1: invalid UTF-8"),
        ("nothing but NUL", b"\0", "line 1: expected a valid start token, got \"\\x00\" while parsing: \"\\x00\""),
        ("NUL in a label", b"a{b=\"\0\"} 1\n", "1 samples"),
        (
            "NUL behind a value",
            b"a 1\0\n",
            "line 1: strconv.ParseFloat: parsing \"1\\x00\": invalid syntax while parsing: \"a 1\\x00\"",
        ),
        ("no end of a quote", b"a{b=\"c\\", "line 1: expected label value, got \"\\\"\" while parsing: \"a{b=\\\"\""),
        ("many labels", many_labels.as_bytes(), "1 samples"),
        ("a long value", long_value.as_bytes(), "1 samples"),
        ("blank lines", blank_lines.as_bytes(), "0 samples"),
        ("kinds without end", type_lines.as_bytes(), "0 samples"),
    ] {
        assert_eq!(text(name, body, Format::Text), expected, "{name}");
        for format in [Format::OpenMetrics, Format::OpenMetricsStrict] {
            text(name, body, format);
            let mut layout = Layout::new();
            let mut read = || layout.read(body, format, |_| Ok::<(), ParseError>(()));
            assert_eq!(read(), read(), "{name}");
        }
    }
    assert!(text("a long number", long_number.as_bytes(), Format::Text).starts_with("line 1: strconv.ParseFloat: "));
}

/// Looking ahead for created times must not make a body of many groups cost the square of its size.
#[test]
fn looking_ahead_is_bounded() {
    let mut body = "# TYPE a counter\n".to_owned();
    for n in 0..20_000 {
        body += &format!("a_total{{b=\"{n}\"}} 1\n");
    }
    let one_group = format!("# TYPE h histogram\n{}# EOF\n", "h_bucket{le=\"1\"} 1\n".repeat(50_000));
    let in_turns = format!("# TYPE a counter\n{}# EOF\n", "a_total 1\nb_total 1\n".repeat(20_000));
    body += "# EOF\n";
    assert_eq!(text("groups", body.as_bytes(), Format::OpenMetrics), "20000 samples");
    assert_eq!(text("one group", one_group.as_bytes(), Format::OpenMetrics), "50000 samples");
    assert_eq!(text("in turns", in_turns.as_bytes(), Format::OpenMetrics), "40000 samples");
}

#[test]
fn protobuf_lengths_are_not_believed() {
    // A gigabyte is declared at every level: body, family, metric, label.
    let length = [0x80, 0x80, 0x80, 0x80, 0x04];
    let inside = |before: &[u8]| {
        let message = [before, &length, b"x"].concat();
        [&[message.len() as u8], message.as_slice()].concat()
    };
    for body in [
        [length.as_slice(), b"x"].concat(),
        inside(&[0x0a]),
        inside(&[0x0a, 0x01, b'a', 0x22]),
        inside(&[0x0a, 0x01, b'a', 0x22, 0x08, 0x0a]),
    ] {
        let error = read_protobuf(&body).expect_err("a declared length was believed");
        assert!(error.starts_with("byte ") && error.ends_with(": message ends early"), "{error}");
    }
    // The same in a write request, and a bucket span of four billion buckets.
    let request = [&[0x0a], length.as_slice(), b"x"].concat();
    let error =
        remote_write::Decoder::new(&request).next_series().map(|_| ()).expect_err("a declared length was believed");
    assert_eq!(error.to_string(), "cannot decode write request at byte 6: message ends early");
    let span = [0x0a, 0x01, b'h', 0x18, 0x04, 0x22, 0x0a, 0x3a, 0x08, 0x62, 0x06, 0x10, 0xff, 0xff, 0xff, 0xff, 0x0f];
    let body = [&[span.len() as u8], span.as_slice()].concat();
    let error = read_protobuf(&body).expect_err("buckets came from nowhere");
    assert!(error.ends_with("positive side: spans require 4294967295 buckets, have 0"), "{error}");
}

#[test]
fn many_small_families_and_deep_nesting() {
    let mut body = Vec::new();
    for _ in 0..100_000 {
        FamilyWriter::new("a", "", "", MetricKind::Gauge).finish(&mut body);
    }
    let start = Instant::now();
    assert_eq!(read_protobuf(&body), Ok(0));
    // Messages in messages are only walked over as deep as the format has them.
    let nested = (0..50_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        if inner.len() > 100 { inner } else { [&[0x22, inner.len() as u8], inner.as_slice()].concat() }
    });
    let _ = read_protobuf(&[&[nested.len() as u8], nested.as_slice()].concat());
    let error = yaml::from_str::<serde_json::Value>(&"[".repeat(100_000)).expect_err("deep nesting was read");
    assert!(error.line == 1, "{error}");
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
}

fn read_protobuf(body: &[u8]) -> Result<usize, String> {
    let mut entries = Entries::new(body, HistogramParts { native: true, classic_of_native: true });
    let mut n = 0;
    while let Some(item) = entries.next_entry().map_err(|error| error.to_string())? {
        n += usize::from(matches!(item, Item::Histogram(_)) || matches!(item, Item::Entry(_)));
    }
    Ok(n)
}
