//! The format written and read back, damaged in every way.

use proptest::prelude::*;

use super::*;
use crate::exposition::{Entry, Format, MetricFamily, MetricKind, labels_of, parse, write_text};
use crate::histogram::{Histogram, NativeHistogram};
use crate::labels::Labels;
use crate::protobuf::push_varint;

const ALL: HistogramParts = HistogramParts { native: true, classic_of_native: true };

/// Everything in a body, one entry a line, or the error.
fn shown(body: &[u8], parts: HistogramParts) -> String {
    let mut lines = Vec::new();
    let mut entries = Entries::new(body, parts);
    loop {
        lines.push(match entries.next_entry() {
            Ok(None) => break,
            Ok(Some(Item::Entry(Entry::Type { name, kind }))) => format!("type {name} {}", kind.as_str()),
            Ok(Some(Item::Entry(Entry::Help { name, text }))) => format!("help {name} {text}"),
            Ok(Some(Item::Entry(Entry::Unit { name, unit }))) => format!("unit {name} {unit}"),
            Ok(Some(Item::Entry(Entry::Comment(text)))) => format!("comment {text}"),
            Ok(Some(Item::Entry(Entry::Sample(sample)))) => {
                let labels = labels_of(sample.series, sample.kind).map_or_else(|e| e.to_string(), |l| l.to_string());
                let mut line = format!("{labels} = {}", sample.value);
                let times = [("@", sample.t_ms), ("since", sample.created_ms)];
                for (word, t_ms) in times {
                    line += &t_ms.map_or(String::new(), |t_ms| format!(" {word} {t_ms}"));
                }
                if let Some(exemplar) = sample.exemplar {
                    line += &format!(" # {} {} {:?}", exemplar.labels, exemplar.value, exemplar.t_ms);
                }
                line
            }
            Ok(Some(Item::Histogram(sample))) => {
                let labels = labels_of(sample.series, sample.kind).map_or_else(|e| e.to_string(), |l| l.to_string());
                let float = sample.histogram.to_float();
                let buckets: Vec<_> =
                    float.buckets().map(|b| format!("({},{}]:{}", b.lower, b.upper, b.count)).collect();
                let exemplars: Vec<_> =
                    sample.exemplars().map(|e| format!(" # {} {} {:?}", e.label_set(), e.value, e.t_ms)).collect();
                format!(
                    "{labels} = {{count {} sum {} {:?} {}}}{}",
                    float.count,
                    float.sum,
                    float.counter_reset,
                    buckets.join(" "),
                    exemplars.concat()
                )
            }
            Err(error) => {
                lines.push(error.to_string());
                break;
            }
        });
    }
    lines.join("\n")
}

#[track_caller]
fn check(family: &FamilyWriter, expected: &str) {
    let mut body = Vec::new();
    family.finish(&mut body);
    assert_eq!(shown(&body, ALL), expected);
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

fn native() -> Histogram<u64> {
    let mut histogram = Histogram { zero_threshold: 0.5, zero_count: 1, count: 7, sum: 9.5, ..Histogram::default() };
    for (last, index, count) in [(None, 1, 2), (Some(1), 2, 1), (Some(2), 4, 3)] {
        histogram.positive.push(last, index, count);
    }
    histogram
}

#[test]
fn what_is_written_is_read() {
    let exemplar = |value: f64, t_ms| WrittenExemplar { labels: labels(&[("id", "x")]), value, t_ms };
    let times = WrittenTimes { t_ms: Some(-5), created_ms: Some(-1) };
    check(
        FamilyWriter::new("a_s", "What a is.", "s", MetricKind::Counter)
            .number(&labels(&[("b", "c\"\n")]), 1.5, times, Some(&exemplar(0.5, None)))
            .number(&Labels::empty(), f64::INFINITY, WrittenTimes::default(), None),
        "help a_s What a is.\nunit a_s s\ntype a_s counter\n\
         a_s{b=\"c\\\"\\n\"} = 1.5 @ -5 since -1 # {id=\"x\"} 0.5 None\na_s = inf",
    );
    check(
        FamilyWriter::new("a.b", "", "", MetricKind::Summary).summary(
            &labels(&[("c.d", "é")]),
            &[(0.5, 1.0), (1.0, f64::NAN)],
            3.0,
            2,
            WrittenTimes::default(),
        ),
        "help a.b \ntype a.b summary\n{\"a.b_count\", \"c.d\"=\"é\"} = 2\n{\"a.b_sum\", \"c.d\"=\"é\"} = 3\n\
         {\"a.b\", \"c.d\"=\"é\", quantile=\"0.5\"} = 1\n{\"a.b\", \"c.d\"=\"é\", quantile=\"1.0\"} = NaN",
    );
    let classic = Classic { count: 3, sum: 4.0, buckets: vec![(0.1, 1), (1.0, 2)] };
    let mut family = FamilyWriter::new("h", "", "", MetricKind::Histogram);
    family.histogram(&Labels::empty(), Some(&classic), None, WrittenTimes::default(), &[]);
    // The bucket without bound is made from the count.
    let classic_text =
        "h_count = 3\nh_sum = 4\nh_bucket{le=\"0.1\"} = 1\nh_bucket{le=\"1.0\"} = 2\nh_bucket{le=\"+Inf\"} = 3";
    check(&family, &format!("help h \ntype h histogram\n{classic_text}"));

    let mut family = FamilyWriter::new("h", "", "", MetricKind::GaugeHistogram);
    let value = NativeHistogram::Integer(native());
    let exemplars = [exemplar(1.0, Some(5)), exemplar(2.0, None)];
    family.histogram(&Labels::empty(), None, Some(&value), WrittenTimes::default(), &exemplars);
    let float = NativeHistogram::Float(native().to_float());
    family.histogram(&labels(&[("a", "b")]), Some(&classic), Some(&float), WrittenTimes::default(), &[]);
    let buckets = "{count 7 sum 9.5 Gauge (-0.5,0.5]:1 (1,2]:2 (2,4]:1 (8,16]:3}";
    check(
        &family,
        &format!(
            "help h \ntype h gaugehistogram\nh = {buckets} # {{id=\"x\"}} 1 Some(5)\nh{{a=\"b\"}} = {buckets}\n\
             h_count{{a=\"b\"}} = 7\nh_sum{{a=\"b\"}} = 9.5\nh_bucket{{a=\"b\", le=\"0.1\"}} = 1\n\
             h_bucket{{a=\"b\", le=\"1.0\"}} = 2\nh_bucket{{a=\"b\", le=\"+Inf\"}} = 7"
        ),
    );
    // Without observations it is native all the same.
    let mut family = FamilyWriter::new("h", "", "", MetricKind::Histogram);
    let empty = NativeHistogram::Integer(Histogram::default());
    family.histogram(&Labels::empty(), None, Some(&empty), WrittenTimes::default(), &[]);
    check(&family, "help h \ntype h histogram\nh = {count 0 sum 0 Unknown }");
}

#[test]
fn our_own_families_say_the_same_in_both_formats() {
    let mut latency = MetricFamily::new(MetricKind::Histogram, "latency_seconds", "How long.");
    latency.push_histogram(&labels(&[("path", "/")]), &[(0.1, 2), (1.0, 3)], 4.5, 5);
    latency.push_histogram(&labels(&[("path", "/a")]), &[(0.1, 0)], 0.0, 0);
    let families = [
        MetricFamily::counter("reads_total", "Reads.", 1e6),
        MetricFamily::new(MetricKind::Gauge, "temp", "Degrees.").with(&[("room", "a\"b\\c\nd"), ("x.y", "é")], -0.5),
        latency,
    ];
    let text = write_text(&families);
    let mut from_text: Vec<String> = parse(text.as_bytes(), Format::Text)
        .unwrap()
        .filter_map(|entry| match entry.unwrap() {
            Entry::Sample(sample) => {
                Some(format!("{} = {}", labels_of(sample.series, sample.kind).unwrap(), sample.value))
            }
            _ => None,
        })
        .collect();
    let body = write_protobuf(&families);
    let mut from_protobuf: Vec<String> = shown(&body, ALL)
        .lines()
        .filter(|line| !line.starts_with("help") && !line.starts_with("type"))
        .map(str::to_owned)
        .collect();
    from_text.sort();
    from_protobuf.sort();
    assert_eq!(from_protobuf, from_text);
}

#[test]
fn damaged_bodies() {
    let check = |body: &[u8], expected: &str| assert_eq!(shown(body, ALL), expected, "body {body:?}");
    check(b"", "");
    check(b"\x05\x0a", "byte 1: message ends early");
    // A gigabyte is declared, and five bytes are there.
    check(b"\x80\x80\x80\x80\x04\x0a\x01a\x22\x00", "byte 5: message ends early");
    check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0a", "byte 10: message ends early");
    check(b"\x0a\x0a\x80\x80\x80\x80\x04\x61\x22\x00\x00", "byte 7: message ends early");
    check(b"\x02\x22\x00", "byte 1: invalid metric name: ");
    check(b"\x05\x0a\x01\xff\x22\x00", "byte 3: invalid UTF-8");
    check(b"\x07\x0a\x01a\x18\x06\x22\x00", "byte 6: unknown metric type 6");
    check(b"\x07\x0a\x01a\x22\x02\x0a\x00", "help a \ntype a counter\nbyte 8: label name is empty");
    // A family without metrics is none.
    check(b"\x03\x0a\x01a", "");

    let unfit = |change: fn(&mut Histogram<u64>)| {
        let mut histogram = native();
        change(&mut histogram);
        let mut family = FamilyWriter::new("h", "", "", MetricKind::Histogram);
        let value = NativeHistogram::Integer(histogram);
        family.histogram(&Labels::empty(), None, Some(&value), WrittenTimes::default(), &[]);
        let mut body = Vec::new();
        family.finish(&mut body);
        let shown = shown(&body, ALL);
        shown.rsplit_once(": histogram").map_or(shown.clone(), |(_, reason)| reason.to_owned())
    };
    assert_eq!(
        unfit(|h| h.positive.spans[1].length = u32::MAX),
        " \"h\": positive side: spans require 4294967297 buckets, have 3"
    );
    assert_eq!(unfit(|h| h.negative.counts.push(1)), " \"h\": negative side: spans require 0 buckets, have 1");
    assert_eq!(unfit(|h| h.positive.counts[1] = u64::MAX), " has a bucket whose observation count is negative");
}

proptest! {
    #[test]
    fn histograms_come_back(
        schema in -4i32..=8,
        positive in prop::collection::btree_map(-2000i32..2000, 1u64..1 << 40, 0..20),
        negative in prop::collection::btree_map(any::<i32>(), 1u64..1 << 40, 0..5),
        zero_count in any::<u32>(),
        sum in any::<f64>(),
        is_float in any::<bool>(),
        gzero in prop::sample::select(vec![0.0, 1e-128, 0.5]),
    ) {
        let mut histogram = Histogram { schema, zero_count: zero_count.into(), zero_threshold: gzero, sum, ..Histogram::default() };
        for (buckets, counts) in [(&mut histogram.positive, &positive), (&mut histogram.negative, &negative)] {
            let mut last = None;
            for (index, count) in counts {
                buckets.push(last, *index, *count);
                last = Some(*index);
            }
        }
        histogram.count = positive.values().chain(negative.values()).sum::<u64>() + u64::from(zero_count);
        // A float histogram without observations cannot be told from an integer one.
        let value = if is_float && histogram.count > 0 {
            NativeHistogram::Float(histogram.to_float())
        } else {
            NativeHistogram::Integer(histogram)
        };
        let mut family = FamilyWriter::new("h", "", "", MetricKind::Histogram);
        family.histogram(&Labels::empty(), None, Some(&value), WrittenTimes::default(), &[]);
        let mut body = Vec::new();
        family.finish(&mut body);
        let mut entries = Entries::new(&body, ALL);
        for _ in 0..2 {
            prop_assert!(matches!(entries.next_entry(), Ok(Some(Item::Entry(_)))));
        }
        match entries.next_entry() {
            Ok(Some(Item::Histogram(read))) => prop_assert_eq!(read.histogram, &value),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn bytes_never_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..20, Just(0x22), Just(0x3a), Just(0x62)], 0..80),
        cut in 0usize..400,
        flips in prop::collection::vec((0usize..400, any::<u8>()), 0..4),
    ) {
        let _ = shown(&bytes, ALL);
        let mut message = Vec::new();
        push_varint(&mut message, bytes.len() as u64);
        message.extend(&bytes);
        let _ = shown(&message, ALL);
        // A good body with a little damage comes farther than noise.
        let mut body = Vec::new();
        let classic = Classic { count: 3, sum: 4.0, buckets: vec![(0.1, 1), (1.0, 2)] };
        let exemplar = WrittenExemplar { labels: labels(&[("id", "x")]), value: 1.0, t_ms: Some(1) };
        let times = WrittenTimes { t_ms: Some(1), created_ms: Some(2) };
        let mut family = FamilyWriter::new("h", "h", "s", MetricKind::Histogram);
        family.histogram(&labels(&[("a", "b")]), Some(&classic), Some(&NativeHistogram::Integer(native())), times, &[exemplar]);
        family.histogram(&labels(&[("a", "c")]), None, Some(&NativeHistogram::Float(native().to_float())), times, &[]);
        family.finish(&mut body);
        for (at, byte) in flips {
            if let Some(place) = body.get_mut(at) {
                *place ^= byte;
            }
        }
        let _ = shown(&body, ALL);
        body.truncate(cut);
        let _ = shown(&body, ALL);
    }
}
