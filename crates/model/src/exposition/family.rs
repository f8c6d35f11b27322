//! Metric families of our own, and how they are written.

use std::fmt::Write as _;

use crate::labels::Labels;
use crate::text::{format_value_short, is_legacy_label_name, is_legacy_metric_name};

/// The media type of what [`write_text`] writes.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8";

/// The media type of what [`write_open_metrics`] writes.
pub const OPEN_METRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";

/// What a metric measures; in the text format it decides nothing but how people and tools read it.
///
/// In the order of their numbers in the messages of remote write, and in our files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MetricKind {
    /// Nobody said.
    #[default]
    Unknown,
    /// Only grows, or starts again from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
    /// Counts in buckets that go up and down; OpenMetrics only.
    GaugeHistogram,
    /// Quantiles of a stream.
    Summary,
    /// A constant 1 with a text in its labels; OpenMetrics only.
    Info,
    /// One boolean for each state; OpenMetrics only.
    StateSet,
}

/// What is known of a metric, besides its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricDescription {
    /// What it measures.
    pub kind: MetricKind,
    /// What it is, for people; may be empty.
    pub help: String,
    /// Its unit; may be empty.
    pub unit: String,
}

impl MetricKind {
    /// All kinds, each at the place of its number.
    pub const ALL: [MetricKind; 8] = [
        MetricKind::Unknown,
        MetricKind::Counter,
        MetricKind::Gauge,
        MetricKind::Histogram,
        MetricKind::GaugeHistogram,
        MetricKind::Summary,
        MetricKind::Info,
        MetricKind::StateSet,
    ];

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The word in OpenMetrics and in Prometheus' API.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::GaugeHistogram => "gaugehistogram",
            MetricKind::Summary => "summary",
            MetricKind::Info => "info",
            MetricKind::StateSet => "stateset",
            MetricKind::Unknown => "unknown",
        }
    }

    /// The word in the text format, which knows fewer kinds.
    fn as_text_format(self) -> &'static str {
        match self {
            MetricKind::Info | MetricKind::StateSet => "gauge",
            MetricKind::GaugeHistogram => "histogram",
            MetricKind::Unknown => "untyped",
            kind => kind.as_str(),
        }
    }
}

/// All samples of one metric at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricFamily {
    /// The name all its series begin with.
    pub name: String,
    /// What it is, in one sentence.
    pub help: String,
    /// What it measures.
    pub kind: MetricKind,
    /// The samples, in the order in which they are written.
    pub samples: Vec<FamilySample>,
}

/// One sample of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySample {
    /// What follows the family's name: `""`, `"_bucket"`, `"_sum"` or `"_count"`.
    pub suffix: &'static str,
    /// The labels, without the metric's name.
    pub labels: Labels,
    /// The value now.
    pub value: f64,
}

impl MetricFamily {
    /// A family without samples.
    pub fn new(kind: MetricKind, name: impl Into<String>, help: impl Into<String>) -> Self {
        MetricFamily { name: name.into(), help: help.into(), kind, samples: Vec::new() }
    }

    /// A counter with one series that has no labels.
    pub fn counter(name: impl Into<String>, help: impl Into<String>, value: f64) -> Self {
        MetricFamily::new(MetricKind::Counter, name, help).with(&[], value)
    }

    /// A gauge with one series that has no labels.
    pub fn gauge(name: impl Into<String>, help: impl Into<String>, value: f64) -> Self {
        MetricFamily::new(MetricKind::Gauge, name, help).with(&[], value)
    }

    /// The family with one more sample.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.push(Labels::from_pairs(labels.iter().copied()), value);
        self
    }

    /// Adds a sample.
    pub fn push(&mut self, labels: Labels, value: f64) {
        self.samples.push(FamilySample { suffix: "", labels, value });
    }

    /// Adds the samples of one histogram: `buckets` are upper bounds with the number of observations up to each, smallest
    /// first and without the infinite one, which is `count`.
    pub fn push_histogram(&mut self, labels: &Labels, buckets: &[(f64, u64)], sum: f64, count: u64) {
        for (bound, up_to) in buckets.iter().copied().chain([(f64::INFINITY, count)]) {
            let mut with_bound = labels.to_builder();
            with_bound.set("le", format_bound(bound));
            self.samples.push(FamilySample { suffix: "_bucket", labels: with_bound.build(), value: up_to as f64 });
        }
        self.samples.push(FamilySample { suffix: "_sum", labels: labels.clone(), value: sum });
        self.samples.push(FamilySample { suffix: "_count", labels: labels.clone(), value: count as f64 });
    }
}

/// Writes a bucket's bound or a quantile as OpenMetrics does: a whole number has `.0`.
pub(super) fn format_bound(value: f64) -> String {
    // There is one zero among bounds.
    let text = format_value_short(if value == 0.0 { 0.0 } else { value });
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}

/// Writes families in the text format 0.0.4. A family without samples is left out.
pub fn write_text(families: &[MetricFamily]) -> String {
    let mut out = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        write_family(&mut out, family, &family.name, &help, family.kind.as_text_format())
            .expect("writing to a string cannot fail");
    }
    out
}

/// Writes families in OpenMetrics 1.0. A family without samples is left out.
///
/// Series keep their names: a counter whose name does not end in `_total`, which OpenMetrics does not allow, is written as being
/// of unknown kind, and an info without `_info` as a gauge. Names that need quotes are quoted, which readers of OpenMetrics must
/// have agreed to. Samples of one label set must stand together.
pub fn write_open_metrics(families: &[MetricFamily]) -> String {
    let mut out = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let (name, kind) = match family.kind {
            MetricKind::Counter => match family.name.strip_suffix("_total") {
                Some(name) => (name, MetricKind::Counter),
                None => (family.name.as_str(), MetricKind::Unknown),
            },
            MetricKind::Info => match family.name.strip_suffix("_info") {
                Some(name) => (name, MetricKind::Info),
                None => (family.name.as_str(), MetricKind::Gauge),
            },
            kind => (family.name.as_str(), kind),
        };
        write_family(&mut out, family, name, &escape_value(&family.help), kind.as_str())
            .expect("writing to a string cannot fail");
    }
    out.push_str("# EOF\n");
    out
}

/// Writes a family whose metadata goes by `name` and says `help`, which is escaped already, and `kind`.
fn write_family(out: &mut String, family: &MetricFamily, name: &str, help: &str, kind: &str) -> std::fmt::Result {
    let shown = if is_legacy_metric_name(name) { name.to_owned() } else { format!("\"{}\"", escape_value(name)) };
    if !help.is_empty() {
        writeln!(out, "# HELP {shown} {help}")?;
    }
    writeln!(out, "# TYPE {shown} {kind}")?;
    let name = &family.name;
    let is_plain = is_legacy_metric_name(name);
    for sample in &family.samples {
        let suffix = match sample.suffix {
            "_sum" if kind == "gaugehistogram" => "_gsum",
            "_count" if kind == "gaugehistogram" => "_gcount",
            suffix => suffix,
        };
        let mut separator = "{";
        if is_plain {
            write!(out, "{name}{suffix}")?;
        } else {
            write!(out, "{{\"{}{suffix}\"", escape_value(name))?;
            separator = ",";
        }
        for (label, value) in &sample.labels {
            out.push_str(separator);
            separator = ",";
            if is_legacy_label_name(label) {
                out.push_str(label);
            } else {
                write!(out, "\"{}\"", escape_value(label))?;
            }
            write!(out, "=\"{}\"", escape_value(value))?;
        }
        let close = if separator == "," { "} " } else { " " };
        writeln!(out, "{close}{}", format_value_short(sample.value))?;
    }
    Ok(())
}

fn escape_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Format, parse};

    #[test]
    fn writes_the_text_format() {
        let mut latency = MetricFamily::new(MetricKind::Histogram, "latency_seconds", "");
        latency.push_histogram(&Labels::from_pairs([("path", "/")]), &[(0.1, 2), (1.0, 3)], 4.5, 5);
        let families = [
            MetricFamily::counter("reads_total", "How many\nreads, with \\ in it.", 1e6),
            MetricFamily::new(MetricKind::Unknown, "never", "Has no samples."),
            MetricFamily::new(MetricKind::Gauge, "temp", "Degrees.")
                .with(&[("room", "a\"b\\c\nd"), ("x.y", "é")], -0.5),
            MetricFamily::gauge("a.b", "", f64::INFINITY),
            latency,
        ];
        let expected = r#"# HELP reads_total How many\nreads, with \\ in it.
# TYPE reads_total counter
reads_total 1e+06
# HELP temp Degrees.
# TYPE temp gauge
temp{room="a\"b\\c\nd","x.y"="é"} -0.5
# TYPE "a.b" gauge
{"a.b"} +Inf
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1",path="/"} 2
latency_seconds_bucket{le="1.0",path="/"} 3
latency_seconds_bucket{le="+Inf",path="/"} 5
latency_seconds_sum{path="/"} 4.5
latency_seconds_count{path="/"} 5
"#;
        assert_eq!(write_text(&families), expected);
    }

    #[test]
    fn writes_open_metrics() {
        let mut sizes = MetricFamily::new(MetricKind::GaugeHistogram, "size_bytes", "");
        sizes.push_histogram(&Labels::from_pairs([("path", "/")]), &[(1.0, 2)], 4.5, 5);
        let families = [
            MetricFamily::counter("reads_total", "A \"quoted\" word.", 1e6),
            MetricFamily::counter("writes", "", 1.0),
            MetricFamily::new(MetricKind::Info, "build_info", "").with(&[("version", "1")], 1.0),
            MetricFamily::new(MetricKind::Unknown, "other", "").with(&[], f64::NAN),
            sizes,
        ];
        let expected = r#"# HELP reads A \"quoted\" word.
# TYPE reads counter
reads_total 1e+06
# TYPE writes unknown
writes 1
# TYPE build info
build_info{version="1"} 1
# TYPE other unknown
other NaN
# TYPE size_bytes gaugehistogram
size_bytes_bucket{le="1.0",path="/"} 2
size_bytes_bucket{le="+Inf",path="/"} 5
size_bytes_gsum{path="/"} 4.5
size_bytes_gcount{path="/"} 5
# EOF
"#;
        let text = write_open_metrics(&families);
        assert_eq!(text, expected);
        for entry in parse(text.as_bytes(), Format::OpenMetricsStrict).unwrap() {
            entry.unwrap();
        }
    }
}
