//! What requests of both messages look like, and what is wrong with damaged ones.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::exemplar::Exemplar;
use crate::exposition::{MetricDescription, MetricKind};
use crate::histogram::{Buckets, CounterReset, Histogram, NativeHistogram, Span};
use crate::labels::Labels;
use crate::protobuf::push_varint;
use crate::sample::{HistogramSample, Sample, Samples};

/// Everything in a body: label sets with samples, then the counts of what is not read.
fn shown(version: Version, body: &[u8]) -> Result<String, DecodeError> {
    let mut out = String::new();
    let mut decoder = Decoder::of(version, body)?;
    while let Some(series) = decoder.next_series()? {
        let labels = series.label_set().map_or_else(|error| error.to_string(), |labels| labels.to_string());
        let samples: Vec<_> = series
            .started_samples()
            .map(|(start_ms, sample)| match start_ms {
                0 => format!("{}@{}", sample.value, sample.t_ms),
                _ => format!("{}@{}..{}", sample.value, start_ms, sample.t_ms),
            })
            .collect();
        assert_eq!(samples.len(), series.n_samples);
        assert_eq!(series.histograms().count(), series.n_histograms);
        out += &format!("{labels} {} x{} h{}; ", samples.join(","), series.n_exemplars, series.n_histograms);
    }
    Ok(format!("{out}m{}", decoder.n_metadata()))
}

#[track_caller]
fn check(body: &[u8], expected: Result<&str, &str>) {
    let shown = shown(Version::V1, body).map_err(|error| error.to_string());
    assert_eq!(shown.as_deref().map_err(String::as_str), expected, "body {body:?}");
}

#[test]
fn requests() {
    check(b"", Ok("m0"));
    check(b"\x0a\x00", Ok("missing metric name (__name__ label)  x0 h0; m0"));
    // A name, a sample without time, metadata, and two fields nobody knows.
    check(
        b"\x0a\x1c\x0a\x0d\x0a\x08__name__\x12\x01a\x12\x09\x09\0\0\0\0\0\0\xf0\x3f\x1a\x00\x1a\x00\x1a\x00\x20\x05\x2d\0\0\0\0",
        Ok("a 1@0 x1 h0; m2"),
    );
    // Unsorted labels and an empty value are put right, repeated ones are not.
    check(
        b"\x0a\x1e\x0a\x06\x0a\x01z\x12\x01y\x0a\x03\x0a\x01e\x0a\x0d\x0a\x08__name__\x12\x01a\x22\x00",
        Ok("a{z=\"y\"}  x0 h1; m0"),
    );
    check(
        b"\x0a\x10\x0a\x06\x0a\x01a\x12\x01y\x0a\x06\x0a\x01a\x12\x01y",
        Ok("label name \"a\" is not unique: invalid sample  x0 h0; m0"),
    );
    check(b"\x0a\x08\x0a\x06\x0a\x01\xff\x12\x01y", Ok("label names and values must be UTF-8  x0 h0; m0"));
    check(b"\x0a\x05\x0a\x03\x12\x01y", Ok("label name \"\" is invalid  x0 h0; m0"));
}

#[test]
fn damaged_requests() {
    check(b"\x0a", Err("cannot decode write request at byte 1: message ends early"));
    check(b"\x0a\x05\x0a", Err("cannot decode write request at byte 2: message ends early"));
    check(b"\x0a\x02\x0a\x05", Err("cannot decode write request at byte 4: message ends early"));
    check(b"\x28\x01\x29\x00", Err("cannot decode write request at byte 3: message ends early"));
    check(
        b"\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        Err("cannot decode write request at byte 10: number is too long"),
    );
    check(
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        Err("cannot decode write request at byte 11: message ends early"),
    );
    check(b"\x28\x01\x0b", Err("cannot decode write request at byte 3: wire type is not valid"));
    check(b"\x00\x01", Err("cannot decode write request at byte 1: field number is not valid"));
    check(b"\x0a\x04\x12\x02\x08\x01", Err("cannot decode write request at byte 6: field has the wrong wire type"));
    let many = b"\x0a\x00".repeat(LABELS_MAX + 1);
    let mut body = b"\x0a".to_vec();
    push_varint(&mut body, many.len() as u64);
    body.extend(many);
    check(&body, Err("cannot decode write request at byte 20006: series has too many labels"));
}

#[track_caller]
fn check_v2(body: &[u8], expected: Result<&str, &str>) {
    let shown = shown(Version::V2, body).map_err(|error| error.to_string());
    assert_eq!(shown.as_deref().map_err(String::as_str), expected, "body {body:?}");
}

#[test]
fn requests_with_symbols() {
    const SYMBOLS: &[u8] = b"\x22\x00\x22\x08__name__\x22\x01a\x22\x01b\x22\x01\xff";
    let with = |series: &[u8]| [&[0x2a, series.len() as u8], series, SYMBOLS].concat();
    check_v2(b"", Ok("m0"));
    // The symbols come last here, and the labels in two fields, one of which ends inside a label. The sample, the exemplar and
    // the metadata of a series without them are not there.
    check_v2(
        &with(
            b"\x0a\x03\x01\x02\x03\x0a\x01\x03\x12\x0d\x09\0\0\0\0\0\0\xf0\x3f\x10\x07\x18\x05\x22\x00\x2a\x02\x08\x01",
        ),
        Ok("a{b=\"b\"} 1@5..7 x1 h0; m1"),
    );
    // Metadata that says nothing.
    check_v2(&with(b"\x0a\x02\x01\x02\x2a\x00"), Ok("a  x0 h0; m0"));
    // The start timestamp of all samples, as drafts had it, counts where the sample has none.
    check_v2(&with(b"\x0a\x02\x01\x02\x12\x02\x10\x07\x30\x03"), Ok("a 0@3..7 x0 h0; m0"));
    check_v2(&with(b"\x0a\x03\x01\x02\x03"), Ok("labels refer to symbols that are not there  x0 h0; m0"));
    check_v2(&with(b"\x0a\x02\x01\x09"), Ok("labels refer to symbols that are not there  x0 h0; m0"));
    check_v2(&with(b"\x0a\x02\x01\x04"), Ok("label names and values must be UTF-8  x0 h0; m0"));
    // A series of 1.0 is nothing that 2.0 knows.
    check_v2(b"\x0a\x00", Ok("m0"));
    check_v2(b"\x22\x05", Err("cannot decode write request at byte 2: message ends early"));
    let many = b"\x22\x00".repeat(SYMBOLS_MAX + 1);
    check_v2(&many, Err("cannot decode write request at byte 4000002: request has too many symbols"));
}

/// The exemplars of the only series of a request.
fn exemplars(version: Version, series: &[u8], symbols: &[u8]) -> Vec<(String, f64, i64)> {
    let field = if version == Version::V1 { 0x0a } else { 0x2a };
    let body = [&[field, series.len() as u8], series, symbols].concat();
    let mut decoder = Decoder::of(version, &body).expect("the symbols can be read");
    let series = decoder.next_series().expect("the series can be read").expect("there is one");
    series.exemplars.iter().map(|found| (found.labels.to_string(), found.value, found.t_ms)).collect()
}

#[test]
fn exemplars_of_both_messages() {
    let expected = vec![("{trace_id=\"x\"}".to_owned(), 1.0, 7)];
    let one = b"\x1a\x1a\x0a\x0d\x0a\x08trace_id\x12\x01x\x11\0\0\0\0\0\0\xf0\x3f\x18\x07";
    assert_eq!(exemplars(Version::V1, one, b""), expected);
    const SYMBOLS: &[u8] = b"\x22\x00\x22\x08trace_id\x22\x01x\x22\x01\xff";
    let one = b"\x22\x0f\x0a\x02\x01\x02\x11\0\0\0\0\0\0\xf0\x3f\x18\x07";
    assert_eq!(exemplars(Version::V2, one, SYMBOLS), expected);
    // Labels that are none: no such symbol, half a label, no UTF-8. And none at all, which is fine.
    for bad in [&b"\x22\x04\x0a\x02\x01\x09"[..], b"\x22\x03\x0a\x01\x01", b"\x22\x04\x0a\x02\x01\x03"] {
        assert_eq!(exemplars(Version::V2, bad, SYMBOLS), [], "{bad:?}");
    }
    assert_eq!(exemplars(Version::V2, b"\x22\x02\x18\x05", SYMBOLS), [("{}".to_owned(), 0.0, 5)]);
}

/// One float and one integer histogram with everything that a message can say.
fn histograms() -> Vec<HistogramSample> {
    let whole = Histogram {
        schema: -2,
        counter_reset: CounterReset::NotReset,
        zero_threshold: 0.001,
        zero_count: 2,
        count: 14,
        sum: -18.4,
        positive: Buckets {
            spans: vec![Span { offset: -3, length: 2 }, Span { offset: 1, length: 1 }],
            counts: vec![2, 1, 3],
        },
        negative: Buckets { spans: vec![Span { offset: 1, length: 2 }], counts: vec![0, 6] },
        ..Histogram::default()
    };
    let custom = Histogram {
        schema: -53,
        counter_reset: CounterReset::Gauge,
        count: 3.5,
        sum: 20.0,
        custom_bounds: Arc::from([5.0, 10.0]),
        positive: Buckets { spans: vec![Span { offset: 0, length: 3 }], counts: vec![1.0, 0.0, 2.5] },
        ..Histogram::default()
    };
    let stale = Histogram { sum: crate::stale_nan(), ..Histogram::<u64>::default() };
    let all = [NativeHistogram::Integer(whole), NativeHistogram::Float(custom), NativeHistogram::Integer(stale)];
    let numbered = all.into_iter().zip(1i64..);
    let sample = |(histogram, n)| HistogramSample { t_ms: n * 10, start_ms: n, histogram: Arc::new(histogram) };
    numbered.map(sample).collect()
}

#[test]
fn histograms_come_back() {
    let labels = Labels::from_pairs([("__name__", "a")]);
    for version in [Version::V1, Version::V2] {
        let mut encoder = Encoder::of(version);
        encoder.push_samples(&labels, &Samples { histograms: histograms(), ..Samples::default() });
        let body = encoder.finish();
        let mut decoder = Decoder::of(version, &body).unwrap();
        let series = decoder.next_series().unwrap().expect("one series was written");
        let read: Vec<HistogramSample> = series.histograms().collect::<Result<_, _>>().unwrap();
        for (read, written) in read.iter().zip(histograms()) {
            let start_ms = if version == Version::V1 { 0 } else { written.start_ms };
            assert_eq!((read.t_ms, read.start_ms), (written.t_ms, start_ms));
            if written.histogram.is_stale() {
                assert!(read.histogram.is_stale());
            } else {
                assert_eq!(read.histogram, written.histogram);
            }
        }
        for end in 0..body.len() {
            let _ = shown(version, &body[..end]);
        }
    }
}

#[test]
fn histograms_that_make_no_sense() {
    #[track_caller]
    fn check(message: &[u8], expected: &str) {
        let mut body = vec![0x0a];
        push_varint(&mut body, message.len() as u64 + 1 + crate::protobuf::varint_size(message.len() as u64) as u64);
        body.push(0x22);
        push_varint(&mut body, message.len() as u64);
        body.extend_from_slice(message);
        let mut decoder = Decoder::new(&body);
        let series = decoder.next_series().unwrap().expect("one series was written");
        let read = series.histograms().next().expect("it has a histogram");
        assert_eq!(read.map(|_| ()).map_err(|fault| fault.to_string()), Err(expected.to_owned()), "{message:?}");
    }
    check(b"\x08", "cannot decode write request at byte 5: message ends early");
    check(b"\x1a\x00", "cannot decode write request at byte 6: field has the wrong wire type");
    check(b"\x20\xff\xff\xff\xff\x7f", "cannot decode write request at byte 10: schema is out of range");
    check(&vec![0x70; (1 << 20) + 1], "cannot decode write request at byte 8: histogram is too large");
    check(
        b"\x20\x12",
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema 9",
    );
    check(
        b"\x62\x02\x02\x02",
        "positive side: spans need 0 buckets, have 2 buckets: histogram spans specify different number of buckets than provided",
    );
    check(
        b"\x5a\x02\x10\x02\x62\x02\x02\x03",
        "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose observation count is negative",
    );
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        pairs in prop::collection::btree_map("\\PC{1,200}", "\\PC{1,200}", 0..5),
        samples in prop::collection::vec((any::<i64>(), any::<f64>()), 0..5),
    ) {
        let mut builder = Labels::from_pairs(pairs).to_builder();
        let labels = builder.set("__name__", "a").build();
        let samples: Vec<Sample> = samples.into_iter().map(|(t_ms, value)| Sample { t_ms, value }).collect();
        let mut encoder = Encoder::new();
        encoder.push(&labels, &samples);
        encoder.push(&labels, &[]);
        let body = encoder.finish();
        let mut decoder = Decoder::new(&body);
        let series = decoder.next_series().unwrap().expect("two series were written");
        prop_assert_eq!(series.label_set().unwrap(), labels);
        let bits = |sample: &Sample| (sample.t_ms, sample.value.to_bits());
        let read: Vec<Sample> = series.samples().collect();
        prop_assert_eq!(read.iter().map(bits).collect::<Vec<_>>(), samples.iter().map(bits).collect::<Vec<_>>());
        prop_assert!(decoder.next_series().unwrap().is_some());
        prop_assert!(decoder.next_series().unwrap().is_none());
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x0a), Just(0x12), 0u8..12], 0..60)) {
        let _ = (shown(Version::V1, &bytes), shown(Version::V2, &bytes));
    }
}

#[test]
fn all_that_is_known_of_a_series() {
    let labels = Labels::from_pairs([("__name__", "m"), ("job", "a")]);
    let exemplars = [("trace_id", "x", 1.5, 7), ("", "", 0.0, 0)].map(|(name, value, number, t_ms)| Exemplar {
        labels: Labels::from_pairs([(name, value)].into_iter().filter(|(name, _)| !name.is_empty())),
        value: number,
        t_ms,
    });
    let meaning = MetricDescription { kind: MetricKind::Counter, help: "job".to_owned(), unit: String::new() };
    let samples = Samples { starts: vec![5, 0], ..Samples::of_floats(vec![10, 20], vec![1.0, 2.0]) };
    let mut sizes = Vec::new();
    for (version, expected) in
        [(Version::V1, "m{job=\"a\"} 1@10,2@20 x2 h0; m0"), (Version::V2, "m{job=\"a\"} 1@5..10,2@20 x2 h0; m1")]
    {
        let mut encoder = Encoder::of(version);
        encoder.push_series(&labels, &samples, &exemplars.each_ref(), Some(&meaning));
        let body = encoder.finish();
        assert_eq!(shown(version, &body).unwrap(), expected);
        let mut decoder = Decoder::of(version, &body).unwrap();
        let series = decoder.next_series().unwrap().unwrap();
        assert!(series.exemplars.iter().zip(&exemplars).all(|(a, b)| a.is_same(b)), "{:?}", series.exemplars);
        sizes.push(series.exemplars.len());
    }
    assert_eq!(sizes, [2, 2]);
}

/// What is seen at a glance of a body is what reading finds. How many series were seen so, of how many.
fn glances(version: Version, body: &[u8]) -> Result<(usize, usize), DecodeError> {
    let mut decoder = Decoder::of(version, body)?;
    let (mut seen, mut n) = (0, 0);
    while let Some(raw) = decoder.next_raw()? {
        let symbols: Vec<Option<usize>> = raw.symbols().collect();
        let texts = |at: &Option<usize>| decoder.symbols().get((*at)?).copied().flatten().map(str::to_owned);
        let texts: Option<Vec<String>> = symbols.iter().map(texts).collect();
        let glance = raw.sample();
        let series = decoder.read(&raw)?;
        if let Some(PlainSample { start_ms, sample, .. }) = glance {
            let read: Vec<_> = series.started_samples().map(|(start, s)| (start, s.t_ms, s.value.to_bits())).collect();
            assert_eq!(read, [(start_ms, sample.t_ms, sample.value.to_bits())], "{version:?} {body:?}");
            assert_eq!((series.n_histograms, series.n_exemplars, series.is_whole()), (0, 0, true), "{body:?}");
        }
        if version == Version::V2 && series.is_whole() && series.label_set().is_ok() {
            let pairs: Vec<&str> = series.labels.iter().flat_map(|(name, value)| [*name, *value]).collect();
            assert_eq!(texts.as_deref().unwrap_or_default(), pairs, "{body:?}");
        }
        seen += usize::from(glance.is_some());
        n += 1;
    }
    Ok((seen, n))
}

#[test]
fn series_at_a_glance() {
    let sets = [("job", "a"), ("job", "b"), ("long", &"x".repeat(300))]
        .map(|(name, value)| Labels::from_pairs([("__name__", "m"), (name, value)]));
    let meaning = MetricDescription { kind: MetricKind::Counter, help: "job".to_owned(), unit: String::new() };
    for version in [Version::V1, Version::V2] {
        let mut encoder = Encoder::of(version);
        for value in [0.0, 2.5, f64::NAN] {
            for labels in &sets {
                encoder.push_series(labels, &Samples::of_floats(vec![1_700_000_000_000], vec![value]), &[], None);
            }
        }
        let started = Samples { starts: vec![5], ..Samples::of_floats(vec![10], vec![1.0]) };
        encoder.push_series(&sets[0], &started, &[], Some(&meaning));
        assert_eq!(glances(version, &encoder.finish()), Ok((10, 10)));
        // More than one sample, none, or something else, is not seen at a glance.
        let mut encoder = Encoder::of(version);
        encoder.push_series(&sets[0], &Samples::of_floats(vec![10, 20], vec![1.0, 2.0]), &[], None);
        encoder.push_series(&sets[0], &Samples { histograms: histograms(), ..Samples::default() }, &[], None);
        encoder.push_series(&sets[0], &Samples::default(), &[], Some(&meaning));
        encoder.push_series(&sets[0], &Samples::of_floats(vec![-1], vec![1.0]), &[], None);
        assert_eq!(glances(version, &encoder.finish()), Ok((0, 4)));
    }
    let labels_of = |version, body: &[u8]| -> Vec<Vec<u8>> {
        let mut decoder = Decoder::of(version, body).unwrap();
        std::iter::from_fn(|| decoder.next_raw().unwrap().map(|raw| raw.labels().to_vec())).collect()
    };
    let mut encoder = Encoder::new();
    for labels in [&sets[0], &sets[1], &sets[2], &sets[0], &Labels::empty()] {
        encoder.push(labels, &[Sample { t_ms: 1, value: 2.0 }]);
    }
    let found = labels_of(Version::V1, &encoder.finish());
    let at = |labels: &Vec<u8>| found.iter().position(|other| other == labels);
    assert_eq!(found.iter().map(at).collect::<Vec<_>>(), [0, 1, 2, 0, 4].map(Some));
    // A label behind the samples belongs to the series as well: those in front are not all.
    let label = |name: &[u8], value: &[u8]| [&[10, name.len() as u8], name, &[18, value.len() as u8], value].concat();
    let first = [&[10, 13][..], &label(b"__name__", b"m")].concat();
    let late = [&[10, 6][..], &label(b"a", b"b")].concat();
    let series = [&first[..], &[18, 0], &late].concat();
    let body = [&[10, series.len() as u8], &series[..]].concat();
    let mut decoder = Decoder::new(&body);
    let raw = decoder.next_raw().unwrap().unwrap();
    assert_eq!((raw.labels(), raw.sample()), (&first[..], None));
    let series = decoder.read(&raw).unwrap();
    assert!(!series.is_whole());
    assert_eq!(series.label_set(), Ok(Labels::from_pairs([("__name__", "m"), ("a", "b")])));
}

proptest! {
    #[test]
    fn a_glance_is_right_whatever_is_written(
        samples in prop::collection::vec((any::<i64>(), any::<f64>(), 0i64..3), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for version in [Version::V1, Version::V2] {
            let mut encoder = Encoder::of(version);
            for (t_ms, value, start_ms) in &samples {
                let labels = Labels::from_pairs([("__name__", "m"), ("job", "a")]);
                let samples = Samples { starts: vec![*start_ms], ..Samples::of_floats(vec![*t_ms], vec![*value]) };
                encoder.push_series(&labels, &samples, &[], None);
            }
            let mut body = encoder.finish();
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            let _ = glances(version, &body);
        }
    }
}

#[test]
fn families_are_told_in_1_0_only() {
    let described =
        |kind, help: &str, unit: &str| MetricDescription { kind, help: help.to_owned(), unit: unit.to_owned() };
    for (version, expected) in [
        (Version::V1, &["a counter \"How many.\" ", "b stateset \"\" s"][..]),
        // There each series says it.
        (Version::V2, &[]),
    ] {
        let mut encoder = Encoder::of(version);
        encoder.push_description("a", &described(MetricKind::Counter, "How many.", ""));
        encoder.push_description("b", &described(MetricKind::StateSet, "", "s"));
        let (body, mut told) = (encoder.finish(), Vec::new());
        descriptions(version, &body, |Description { metric, kind, help, unit }| {
            told.push(format!("{metric} {} {help:?} {unit}", kind.as_str()));
        });
        assert_eq!(told, expected, "{version:?}");
    }
    assert!(MetricKind::ALL.iter().enumerate().all(|(at, kind)| usize::from(kind.number()) == at));
}
