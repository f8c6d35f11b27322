//! The formats in which processes expose their metrics.
//!
//! [`parse`] walks over a body without allocating: each sample carries its series as it is written there, which a scraper uses
//! as the key of its cache, and [`labels_of`] makes the label set of a series that is new. What is accepted is what
//! Prometheus accepts, in the text format as in OpenMetrics 1.0; the many rules of OpenMetrics about the order and the names
//! of metrics are checked only in the format [`Format::OpenMetricsStrict`], because Prometheus does not check them either.
//!
//! [`client`] reads a body family by family, for [`lint`]. The format without text is in [`protobuf`]. [`MetricFamily`] is what a module of ours hands over to be exposed;
//! [`write_text`], [`write_open_metrics`] and [`protobuf::write_protobuf`] write families.

pub mod client;
mod created;
mod cursor;
mod family;
mod layout;
pub mod lint;
mod open_metrics;
pub mod protobuf;
mod series;
mod strict;
mod text;

use thiserror::Error;

use cursor::Cursor;
pub use family::{
    FamilySample, MetricDescription, MetricFamily, MetricKind, OPEN_METRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE,
    write_open_metrics, write_text,
};
pub use layout::{Layout, Placed};
pub use series::{SeriesError, help_text, labels_of};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, 0.0.4 and 1.0.
    Text,
    /// OpenMetrics 1.0, as leniently as Prometheus reads it.
    OpenMetrics,
    /// OpenMetrics 1.0 to the letter: for those who want to know whether what they expose is right.
    OpenMetricsStrict,
}

impl Format {
    /// The format in which to read a response of this `Content-Type`; `None` for a type that is none of them.
    pub fn from_content_type(content_type: &str) -> Option<Format> {
        let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match media_type.as_str() {
            "text/plain" => Some(Format::Text),
            "application/openmetrics-text" => Some(Format::OpenMetrics),
            _ => None,
        }
    }
}

/// One line, or what a format has in place of one. All texts are as they stand in the body, escapes included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    /// What the metric `name` measures.
    Type {
        /// The family.
        name: &'a str,
        /// What it measures.
        kind: MetricKind,
    },
    /// What the metric `name` is, for people.
    Help {
        /// The family.
        name: &'a str,
        /// The sentence; [`help_text`] resolves its escapes.
        text: &'a str,
    },
    /// The unit of the metric `name`; OpenMetrics only.
    Unit {
        /// The family.
        name: &'a str,
        /// The unit; may be empty.
        unit: &'a str,
    },
    /// A comment that says nothing to a machine, from its `#` on.
    Comment(&'a str),
    /// A sample.
    Sample(ParsedSample<'a>),
}

/// A sample as the body has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParsedSample<'a> {
    /// The series as it is written, `name{label="value"}`; see [`labels_of`].
    pub series: &'a str,
    /// The kind that the nearest `TYPE` line before the sample names, of whatever metric.
    pub kind: MetricKind,
    /// Milliseconds since 1970, if the body gives a time.
    pub t_ms: Option<i64>,
    /// When counting began, in milliseconds since 1970, if the body says so and [`Entries::with_created_times`] or the format
    /// hands it out.
    pub created_ms: Option<i64>,
    /// The value; every NaN is the ordinary one, so a body cannot forge a staleness marker.
    pub value: f64,
    /// The exemplar; not in the text format.
    pub exemplar: Option<Exemplar<'a>>,
}

/// An example of what was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar<'a> {
    /// The labels as they are written, `{trace_id="1"}`; see [`labels_of`].
    pub labels: &'a str,
    /// The value.
    pub value: f64,
    /// Milliseconds since 1970, if the body gives a time.
    pub t_ms: Option<i64>,
}

/// Why a body is not in the format; the reason is worded as Prometheus words it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Starts to read `body`. Fails at once only if it is not UTF-8.
pub fn parse(body: &[u8], format: Format) -> Result<Entries<'_>, ParseError> {
    match std::str::from_utf8(body) {
        Ok(text) => {
            let rules = (format == Format::OpenMetricsStrict).then(Box::default);
            Ok(Entries {
                cursor: Cursor::new(text),
                format,
                kind: MetricKind::Unknown,
                rules,
                created: None,
                is_done: false,
            })
        }
        Err(error) => {
            let line = 1 + body[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            Err(ParseError { line, reason: "invalid UTF-8".to_owned() })
        }
    }
}

/// The entries of a body, in order; nothing follows the first error.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    cursor: Cursor<'a>,
    format: Format,
    kind: MetricKind,
    rules: Option<Box<strict::Rules<'a>>>,
    created: Option<created::CreatedTimes>,
    is_done: bool,
}

impl Entries<'_> {
    /// Gives counters, histograms and summaries of OpenMetrics the time at which counting began, and leaves the series out in
    /// which the body has it.
    #[must_use]
    pub fn with_created_times(mut self) -> Self {
        self.created = (self.format == Format::OpenMetrics).then(Default::default);
        self
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            let mut read = self.read();
            self.is_done = !matches!(read, Ok(Some(_)));
            if let (Some(created), Ok(Some(Entry::Sample(sample)))) = (&mut self.created, &mut read)
                && !created.fill(sample, &self.cursor)
            {
                continue;
            }
            return read.transpose();
        }
        None
    }
}

impl<'a> Entries<'a> {
    fn read(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let read = match self.format {
            Format::Text => text::next(&mut self.cursor, self.kind),
            Format::OpenMetrics | Format::OpenMetricsStrict => {
                open_metrics::next(&mut self.cursor, self.kind, self.format)
            }
        };
        let entry = read.map_err(|fault| self.cursor.error(&fault))?;
        if let Some(rules) = &mut self.rules {
            let checked = match &entry {
                Some(entry) => rules.check(entry, self.cursor.start),
                None => rules.end(),
            };
            checked.map_err(|violation| ParseError {
                line: self.cursor.line_of(violation.at),
                reason: violation.reason,
            })?;
        }
        if let Some(Entry::Type { kind, .. }) = entry {
            self.kind = kind;
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes what was read of `body`, one entry a line, or the error.
    fn shown(body: &str, format: Format) -> String {
        let mut lines = Vec::new();
        for entry in parse(body.as_bytes(), format).expect("a str is UTF-8") {
            lines.push(match entry {
                Ok(Entry::Type { name, kind }) => format!("type {name} {}", kind.as_str()),
                Ok(Entry::Help { name, text }) => format!("help {name} {}", help_text(text)),
                Ok(Entry::Unit { name, unit }) => format!("unit {name} {unit}"),
                Ok(Entry::Comment(text)) => format!("comment {text}"),
                Ok(Entry::Sample(sample)) => {
                    let labels =
                        labels_of(sample.series, sample.kind).map_or_else(|e| e.to_string(), |l| l.to_string());
                    let mut line = format!("{labels} = {}", sample.value);
                    if let Some(t_ms) = sample.t_ms {
                        line += &format!(" @ {t_ms}");
                    }
                    if let Some(exemplar) = sample.exemplar {
                        let labels = labels_of(exemplar.labels, MetricKind::Unknown).expect("an exemplar has labels");
                        line += &format!(" # {labels} {} {:?}", exemplar.value, exemplar.t_ms);
                    }
                    line
                }
                Err(error) => error.to_string(),
            });
        }
        lines.join("\n")
    }

    #[track_caller]
    fn check(format: Format, body: &str, expected: &str) {
        assert_eq!(shown(body, format), expected, "body {body:?}");
    }

    #[test]
    fn text_is_read_as_leniently_as_prometheus_does() {
        let check = |body: &str, expected: &str| check(Format::Text, body, expected);
        check("", "");
        check("a 1", "a = 1");
        check("\n \t\na 1\n\n  b\t2 3\n", "a = 1\nb = 2 @ 3");
        check("# HELP a b c\\nd\\\\\n# TYPE a counter\n", "help a b c\nd\\\ntype a counter");
        check("#\tTYPE \ta untyped\n", "type a unknown");
        check(
            "# HELP a\n#HELP a b\n# TYPE\n# HELPa b\n# x",
            "help a \ncomment #HELP a b\ncomment # TYPE\ncomment # HELPa b\ncomment # x",
        );
        check(
            "# TYPE \"a.b\" gauge\n{\"a.b\"} 1\n{\"a.b\",c=\"d\"} 2\n",
            "type a.b gauge\n{\"a.b\"} = 1\n{\"a.b\", c=\"d\"} = 2",
        );
        check(
            "a{} 1\na{b=\"c\",} 2\na { b = \"c\" , \"d.e\"=\"f\"}3 4 \n",
            "a = 1\na{b=\"c\"} = 2\na{b=\"c\", \"d.e\"=\"f\"} = 3 @ 4",
        );
        // Exposers exist that forget a comma, or the blank in front of a value.
        check("a{b=\"c\" d=\"e\"} 1\na+1\n", "a{b=\"c\", d=\"e\"} = 1\na = 1");
        check("a{b=\"\\\\\\\"\\n\\x\"} 1", r#"a{b="\\\"\n\\x"} = 1"#);
        check("a{b=\"x\ny\"} 1", "a{b=\"x\\ny\"} = 1");
        check("a{b=\"\"} NaN\nb -Inf\nc +inf\nd 1e5\ne .5", "a = NaN\nb = -inf\nc = inf\nd = 100000\ne = 0.5");
        check("a{b=\"1\",b=\"2\"} 1", "label name \"b\" is not unique: invalid sample = 1");
        check("{\"a\",__name__=\"b\"} 1", "label name \"__name__\" is not unique: invalid sample = 1");
        // Bounds are written one way, so that series do not change when an exposer does.
        check(
            "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"1e6\"} 2\na_bucket{le=\"x\"} 2",
            "type a histogram\na_bucket{le=\"1.0\"} = 1\na_bucket{le=\"1e+06\"} = 2\na_bucket{le=\"x\"} = 2",
        );
        check("# TYPE a summary\na{quantile=\"0\",le=\"1\"} 1", "type a summary\na{le=\"1\", quantile=\"0.0\"} = 1");
    }

    #[test]
    fn text_errors_name_line_and_reason() {
        let check = |body: &str, expected: &str| check(Format::Text, body, expected);
        check("a 1\nb\nc 1", "a = 1\nline 2: expected value after metric, got \"\\n\" while parsing: \"b\\n\"");
        check("a{b='c'} 1", "line 1: expected label value, got \"'\" while parsing: \"a{b='\"");
        check("a{b=\"c} 1", "line 1: expected label value, got \"\\\"\" while parsing: \"a{b=\\\"\"");
        check("a{b} 1", "line 1: expected equal, got \"}\" while parsing: \"a{b}\"");
        check("a{,} 1", "line 1: expected label name, got \",\" while parsing: \"a{,\"");
        check("a{b=\"c\",,} 1", "line 1: expected label name, got \",\" while parsing: \"a{b=\\\"c\\\",,\"");
        check("a{\"b\"} 1", "line 1: metric name already set while parsing: \"a{\\\"b\\\"\"");
        check("{a=\"b\"} 1", "line 1: metric name not set while parsing: \"{a=\\\"b\\\"}\"");
        check("\u{e9} 1", "line 1: expected a valid start token, got \"é\" while parsing: \"é\"");
        check("a 1 b", "line 1: expected timestamp or new record, got \"b\" while parsing: \"a 1 b\"");
        check("a 1 2 3", "line 1: expected next entry after timestamp, got \"3\" while parsing: \"a 1 2 3\"");
        check("a 1 -2", "line 1: expected timestamp or new record, got \"-\" while parsing: \"a 1 -\"");
        check(
            "a 1 99999999999999999999",
            "line 1: timestamp is out of range while parsing: \"a 1 99999999999999999999\"",
        );
        check("a 0x1p3", "line 1: unsupported character in float while parsing: \"a 0x1p3\"");
        check("a x", "line 1: strconv.ParseFloat: parsing \"x\": invalid syntax while parsing: \"a x\"");
        check(
            "a 1e999",
            "line 1: strconv.ParseFloat: parsing \"1e999\": value out of range while parsing: \"a 1e999\"",
        );
        check("a -nan", "line 1: strconv.ParseFloat: parsing \"-nan\": invalid syntax while parsing: \"a -nan\"");
        check("# TYPE a info\n", "line 1: invalid metric type \"info\"");
        check("# HELP 1\n", "line 1: expected metric name after HELP, got \"1\" while parsing: \"# HELP 1\"");
        let error = parse(b"a 1\n# \xff", Format::Text).unwrap_err();
        assert_eq!(error.to_string(), "line 2: invalid UTF-8");
    }

    #[test]
    fn open_metrics_is_read_as_prometheus_does() {
        let check = |body: &str, expected: &str| check(Format::OpenMetrics, body, expected);
        check("# EOF", "");
        check(
            "# TYPE a_s counter\n# UNIT a_s s\n# HELP a_s b \\\"c\n# EOF\n",
            "type a_s counter\nunit a_s s\nhelp a_s b \"c",
        );
        check("a_total{b=\"c\"} 1 1.5\n# EOF\n", "a_total{b=\"c\"} = 1 @ 1500");
        check(
            "a 1 # {b=\"c\"} 2\na 1 1.0015 # {} 2 3\n# EOF",
            "a = 1 # {b=\"c\"} 2 None\na = 1 @ 1001 # {} 2 Some(3000)",
        );
        check("{\"a.b\",c=\"d\"} 1\n# EOF", "{\"a.b\", c=\"d\"} = 1");
        check("# TYPE a stateset\n# TYPE b info\n# EOF", "type a stateset\ntype b info");
        check("a 1\n", "a = 1\nline 2: data does not end with # EOF");
        check("a 1", "line 1: data does not end with # EOF");
        check("# EOF\n\n", "line 1: unexpected data after # EOF");
        check("a  1\n# EOF", "line 1: expected value after metric, got \" \" while parsing: \"a  \"");
        check(
            "a{b=\"c\" d=\"e\"} 1\n# EOF",
            "line 1: expected comma or brace close, got \" \" while parsing: \"a{b=\\\"c\\\" \"",
        );
        check("a 1 Inf\n# EOF", "line 1: invalid timestamp while parsing: \"a 1 Inf\"");
        check("a 1 # {\"b\"} 2\n# EOF", "line 1: expected label name, got \"}\" while parsing: \"a 1 # {\\\"b\\\"}\"");
        check("# comment\n# EOF", "line 1: expected a valid start token, got \"c\" while parsing: \"# c\"");
        check("# UNIT a s\n# EOF", "line 1: unit \"s\" not a suffix of metric \"a\"");
    }

    #[test]
    fn strict_reading_names_line_and_reason() {
        let check = |lines: &[&str], expected: &str| {
            let body = lines.join("\n") + "\n# EOF\n";
            let failure = parse(body.as_bytes(), Format::OpenMetricsStrict).unwrap().find_map(Result::err);
            assert_eq!(failure.map_or(String::new(), |error| error.to_string()), expected, "body {body:?}");
            // Prometheus takes it all.
            let lenient = parse(body.as_bytes(), Format::OpenMetrics).unwrap().find_map(Result::err);
            assert_eq!(lenient, None, "body {body:?}");
        };
        check(&["# TYPE a counter", "a_total 1", "# TYPE b gauge", "b 1 1", "b 2 1.0001", "b 3 2"], "");
        check(&["# TYPE a info", "a_info{b=\"1\"} 1 2", "a_info{b=\"2\"} 1"], "");
        check(&["a 1", "b 1", "# TYPE c gauge", "a 2"], "line 4: metric \"a\" clashes with an earlier one over \"a\"");
        check(
            &["# TYPE a_total gauge", "a_total 1", "# TYPE a counter", "# HELP a b"],
            "line 3: metric \"a\" clashes with an earlier one over \"a_total\"",
        );
        check(&["# TYPE a gauge", "# TYPE a gauge"], "line 2: metric \"a\" has more than one TYPE");
        check(&["# TYPE a gauge", "a 1", "# HELP a b"], "line 3: metadata of metric \"a\" stands behind its samples");
        check(&["# HELP a b\r"], "line 1: line ends with a carriage return");
        check(&["# TYPE a_s info", "# UNIT a_s s"], "line 1: info \"a_s\" must not have a unit");
        check(&["_a 1"], "line 1: metric name \"_a\" is reserved");
        check(&["a{__b=\"c\"} 1"], "line 1: label name \"__b\" is reserved");
        check(&["a{b=\"c\",} 1"], "line 1: expected label name, got \"}\" while parsing: \"a{b=\\\"c\\\",}\"");
        check(&["{\"a.b\"} 1"], "line 1: expected label name, got \"\\\"\" while parsing: \"{\\\"\"");
        check(&["a{b=\"1\",b=\"1\"} 1"], "line 1: label name \"b\" is not unique: invalid sample");
        check(&["a 1", "a 1"], "line 2: series \"a\" is repeated");
        check(&["a 1 2", "a 1 1"], "line 2: time goes backwards");
        check(&["a 1 2", "a 1"], "line 2: only some samples of the same labels have a time");
        check(
            &["a{b=\"1\"} 1", "a{b=\"2\"} 1", "a{b=\"1\"} 1 5"],
            "line 3: samples of \"a{b=\\\"1\\\"}\" do not stand together",
        );
        check(&["# TYPE a counter", "a_created 1", "b 1"], "line 2: no _total in metric \"a\"");
        check(&["# TYPE a counter", "a_total NaN"], "line 2: _total must not be negative or NaN");
        check(&["# TYPE a summary", "a_count 1.5"], "line 2: _count must be a whole number");
        check(&["# TYPE a summary", "a_sum{quantile=\"1\"} 1"], "line 2: _sum must not have a label \"quantile\"");
        check(&["# TYPE a stateset", "a{b=\"c\"} 1"], "line 2: state needs a label \"a\"");
        check(&["# TYPE a gauge", "a 1 # {} 1"], "line 2: \"a\" must not have an exemplar");
        let histogram = |rest: &[&'static str], expected: &str| {
            check(&[&["# TYPE a histogram"], rest].concat(), expected);
        };
        histogram(&["a_bucket{le=\"1\"} 1 # {} 0.5", "a_bucket{le=\"+Inf\"} 1", "a_count 1", "a_sum 2"], "");
        histogram(&["a_bucket{le=\"1\"} 1 # {} 2"], "line 2: exemplar does not lie in its bucket");
        histogram(&["a_bucket{le=\"inf\"} 1"], "line 2: bucket needs a label \"le\" with its bound");
        histogram(&["a_bucket{le=\"1\"} 1", "b 1"], "line 2: no bucket with the bound +Inf in metric \"a\"");
        histogram(&["a_bucket{le=\"2\"} 1", "a_bucket{le=\"1\"} 1"], "line 3: buckets of \"a\" are not in order");
        histogram(&["a_bucket{le=\"2\"} 1", "a_bucket{le=\"3\"} 0"], "line 3: buckets of \"a\" do not add up");
        histogram(&["a_bucket{le=\"+Inf\"} 1", "a_sum 1"], "line 3: _sum without _count in metric \"a\"");
        // The point ends where the time changes, so the earlier one is to blame.
        histogram(
            &["a_bucket{le=\"+Inf\"} 1 1", "a_count 1 1", "a_bucket{le=\"+Inf\"} 1 2"],
            "line 3: _count without _sum in metric \"a\"",
        );
    }

    #[test]
    fn created_times_of_open_metrics() {
        let body = "# TYPE a counter\na_total{b=\"1\"} 1\na_created{b=\"1\"} 1.5\na_total{b=\"2\"} 1\n\
            # TYPE h histogram\nh_bucket{b=\"1\",le=\"+Inf\"} 1\nh_count{b=\"1\"} 1\nh_created{b=\"1\"} 2\n\
            # TYPE s summary\ns_created 3\ns_sum 1\ns{quantile=\"1\"} 1\n\
            # TYPE g_created gauge\ng_created 4\n# TYPE c counter\nc_total 1\nd 1\nc_created 5\n# EOF\n";
        let shown: Vec<String> = parse(body.as_bytes(), Format::OpenMetrics)
            .unwrap()
            .with_created_times()
            .filter_map(|entry| match entry.unwrap() {
                Entry::Sample(sample) => Some(format!("{} {:?}", sample.series, sample.created_ms)),
                _ => None,
            })
            .collect();
        let expected = [
            "a_total{b=\"1\"} Some(1500)",
            "a_total{b=\"2\"} None",
            "h_bucket{b=\"1\",le=\"+Inf\"} Some(2000)",
            "h_count{b=\"1\"} Some(2000)",
            "s_sum Some(3000)",
            "s{quantile=\"1\"} Some(3000)",
            "g_created None",
            // What does not stand together is not looked for.
            "c_total None",
            "d None",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn content_types() {
        for (content_type, format) in [
            ("text/plain; version=0.0.4", Some(Format::Text)),
            ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", Some(Format::OpenMetrics)),
            ("text/html", None),
            ("", None),
        ] {
            assert_eq!(Format::from_content_type(content_type), format, "{content_type:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "[ \n\t#a{}=\",\\\\1.eé]{0,40}") {
            for format in [Format::Text, Format::OpenMetrics, Format::OpenMetricsStrict] {
                for body in [bytes.as_slice(), text.as_bytes()] {
                    for entry in parse(body, format).into_iter().flatten() {
                        if let Ok(Entry::Sample(sample)) = entry {
                            let made = labels_of(sample.series, sample.kind);
                            prop_assert!(!matches!(made, Err(SeriesError::NotASeries(_))), "{sample:?}");
                        }
                    }
                }
            }
            let _ = labels_of(&text, MetricKind::Histogram);
            let _ = client::read_families(&bytes);
            let _ = client::read_families(format!("# TYPE a histogram\n{text}\n").as_bytes());
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z.\u{e9}\"\\\\]{1,4}", label in "[a-z.\\\\\n]{1,3}", value in "\\PC{0,6}|[\\\\\n\"]{1,4}", number: f64) {
            let family = MetricFamily::new(MetricKind::Gauge, name.as_str(), value.as_str()).with(&[(label.as_str(), value.as_str())], number);
            let text = write_text(&[family]);
            let samples: Vec<_> = parse(text.as_bytes(), Format::Text).unwrap().map(Result::unwrap)
                .filter_map(|entry| if let Entry::Sample(sample) = entry { Some(sample) } else { None }).collect();
            prop_assert_eq!(samples.len(), 1);
            prop_assert!(samples[0].value == number || (number.is_nan() && samples[0].value.is_nan()));
            let expected = crate::Labels::from_pairs([("__name__", name.as_str()), (label.as_str(), value.as_str())]);
            prop_assert_eq!(labels_of(samples[0].series, samples[0].kind).unwrap(), expected);
        }
    }
}
