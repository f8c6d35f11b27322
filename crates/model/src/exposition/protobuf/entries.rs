//! Families and metrics as the series they stand for, one after another, as a text would list them.

use std::fmt::Write as _;

use super::read::{self, BucketSample, Buckets, ExemplarSample, Exemplars, Families, Family, Metric, Metrics, Value};
use super::{HistogramSample, ProtobufError, Quantiles};
use crate::exposition::family::format_bound;
use crate::exposition::{Entry, Exemplar, MetricKind, ParsedSample};
use crate::histogram::{Histogram, NativeHistogram};
use crate::text::{is_legacy_label_name, is_legacy_metric_name};

/// Which parts of histograms are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramParts {
    /// Take native buckets where there are some; otherwise every histogram is a classic one.
    pub native: bool,
    /// Take the classic buckets of a histogram that has native ones, too.
    pub classic_of_native: bool,
}

/// An entry as a text has it, or a native histogram, which texts do not have.
#[derive(Debug, Clone)]
pub enum Item<'e> {
    /// What a text could have as well.
    Entry(Entry<'e>),
    /// A native histogram.
    Histogram(ParsedHistogram<'e>),
}

/// A native histogram as the body has it.
#[derive(Debug, Clone)]
pub struct ParsedHistogram<'e> {
    /// The series in the notation of the text format; see [`labels_of`](crate::exposition::labels_of).
    pub series: &'e str,
    /// The kind of its family.
    pub kind: MetricKind,
    /// Milliseconds since 1970, if the body gives a time.
    pub t_ms: Option<i64>,
    /// When counting began, in milliseconds since 1970, if the body says so.
    pub created_ms: Option<i64>,
    /// The histogram: spans and counts fit together, the rest is as the body has it.
    pub histogram: &'e NativeHistogram,
    /// The classic buckets, whose exemplars count if there are no others.
    buckets: Buckets<'e>,
    exemplars: Exemplars<'e>,
}

impl<'e> ParsedHistogram<'e> {
    /// The exemplars: those of the native histogram, or if it has none those of the classic buckets. Without a time an exemplar
    /// of a native histogram could not be told from the one before, so it is left out.
    pub fn exemplars(&self) -> impl Iterator<Item = ExemplarSample<'e>> + use<'e> {
        let own = self.exemplars.clone();
        let has_own = own.clone().next().is_some();
        let classic = self.buckets.clone().filter(move |_| !has_own).filter_map(|bucket| bucket.exemplar);
        own.chain(classic).filter(|exemplar| exemplar.t_ms.is_some())
    }
}

/// The entries of a body, in order. They borrow the reader's buffers, so each must be used before the next one is read.
#[derive(Debug)]
pub struct Entries<'a> {
    parts: HistogramParts,
    families: Families<'a>,
    family: Option<Family<'a>>,
    /// Whether the family's name needs no quotes.
    is_plain: bool,
    metrics: Option<Metrics<'a>>,
    step: Step<'a>,
    t_ms: Option<i64>,
    created_ms: Option<i64>,
    /// The labels of the metric in the notation of the text format, without braces.
    labels: String,
    series: String,
    /// How much of `series` all buckets of the metric have in common.
    bucket_prefix: usize,
    exemplar_labels: String,
    histogram: NativeHistogram,
    /// The texts of bounds by their place: histograms of one family have the same, and to write a float takes long.
    bounds: Vec<(u64, String)>,
}

/// What comes next.
#[derive(Debug)]
enum Step<'a> {
    Family,
    Unit,
    Kind,
    Metric,
    Sum {
        sum: f64,
        then: Rest<'a>,
    },
    Rest {
        rest: Rest<'a>,
        n: usize,
    },
    /// The classic form of a histogram whose native one was given.
    Classic(HistogramSample<'a>),
}

#[derive(Debug)]
enum Rest<'a> {
    Quantiles(Quantiles<'a>),
    Buckets { buckets: Buckets<'a>, all: f64 },
}

impl<'a> Entries<'a> {
    /// The entries of `body`.
    pub fn new(body: &'a [u8], parts: HistogramParts) -> Self {
        Entries {
            parts,
            families: read::families(body),
            family: None,
            is_plain: true,
            metrics: None,
            step: Step::Family,
            t_ms: None,
            created_ms: None,
            labels: String::new(),
            series: String::new(),
            bucket_prefix: 0,
            exemplar_labels: String::new(),
            histogram: NativeHistogram::Integer(Histogram::default()),
            bounds: Vec::new(),
        }
    }

    /// The next entry; `None` behind the last one. Nothing can be read after an error.
    pub fn next_entry(&mut self) -> Result<Option<Item<'_>>, ProtobufError> {
        loop {
            match std::mem::replace(&mut self.step, Step::Family) {
                Step::Family => {
                    let Some(family) = self.families.next().transpose()? else { return Ok(None) };
                    // A family without metrics is as good as none.
                    if !family.has_metrics() {
                        continue;
                    }
                    self.metrics = Some(family.metrics());
                    let (name, text) = (family.name, family.help);
                    self.step = if family.unit.is_empty() { Step::Kind } else { Step::Unit };
                    self.is_plain = is_legacy_metric_name(name);
                    self.family = Some(family);
                    return Ok(Some(Item::Entry(Entry::Help { name, text })));
                }
                Step::Unit => {
                    let family = self.family.as_ref().expect("the family was read before its unit");
                    self.step = Step::Kind;
                    return Ok(Some(Item::Entry(Entry::Unit { name: family.name, unit: family.unit })));
                }
                Step::Kind => {
                    let family = self.family.as_ref().expect("the family was read before its kind");
                    self.step = Step::Metric;
                    return Ok(Some(Item::Entry(Entry::Type { name: family.name, kind: family.kind })));
                }
                Step::Metric => {
                    self.labels.clear();
                    let labels = &mut self.labels;
                    let metrics = self.metrics.as_mut().expect("a family was read before its metrics");
                    let Some(metric) = metrics.read(|name, value| write_pair(labels, name, value))? else { continue };
                    return self.metric(metric).map(Some);
                }
                Step::Classic(histogram) => {
                    let item = self.count(histogram.count_of_all(), histogram.sum, classic(&histogram));
                    return Ok(Some(Item::Entry(item)));
                }
                Step::Sum { sum, then } => {
                    self.step = Step::Rest { rest: then, n: 0 };
                    self.write_series("_sum");
                    return Ok(Some(Item::Entry(self.sample(sum, None))));
                }
                Step::Rest { rest: Rest::Quantiles(mut quantiles), n } => {
                    let Some((quantile, value)) = quantiles.next() else {
                        self.step = Step::Metric;
                        continue;
                    };
                    self.write_bounded("", "quantile", quantile, n);
                    self.step = Step::Rest { rest: Rest::Quantiles(quantiles), n: n + 1 };
                    return Ok(Some(Item::Entry(self.sample(value, None))));
                }
                Step::Rest { rest: Rest::Buckets { mut buckets, all }, n } => {
                    let infinite = || BucketSample { bound: f64::INFINITY, count: all, exemplar: None };
                    let bucket = buckets.next().unwrap_or_else(infinite);
                    self.write_bounded("_bucket", "le", bucket.bound, n);
                    self.step = if bucket.bound == f64::INFINITY {
                        Step::Metric
                    } else {
                        Step::Rest { rest: Rest::Buckets { buckets, all }, n: n + 1 }
                    };
                    return Ok(Some(Item::Entry(self.sample(bucket.count, bucket.exemplar.as_ref()))));
                }
            }
        }
    }

    fn metric(&mut self, metric: Metric<'a>) -> Result<Item<'_>, ProtobufError> {
        let kind = self.family().kind;
        self.t_ms = metric.t_ms;
        self.step = Step::Metric;
        match metric.value {
            Value::Number { value, created_ms, exemplar } => {
                self.created_ms = created_ms;
                self.write_series("");
                Ok(Item::Entry(self.sample(value, exemplar.as_ref())))
            }
            Value::Summary(summary) => {
                self.created_ms = summary.created_ms;
                let rest = Rest::Quantiles(summary.quantiles());
                Ok(Item::Entry(self.count(summary.count as f64, summary.sum, rest)))
            }
            Value::Histogram(histogram) if self.parts.native && histogram.is_native => {
                self.created_ms = histogram.created_ms;
                histogram
                    .read_native(kind, &mut self.histogram)
                    .map_err(|error| HistogramSample::blame(self.family().name, error))?;
                self.write_series("");
                let (buckets, exemplars) = (histogram.buckets(), histogram.exemplars());
                if self.parts.classic_of_native && histogram.n_buckets > 0 {
                    self.step = Step::Classic(histogram);
                }
                Ok(Item::Histogram(ParsedHistogram {
                    series: &self.series,
                    kind,
                    t_ms: self.t_ms,
                    created_ms: self.created_ms,
                    histogram: &self.histogram,
                    buckets,
                    exemplars,
                }))
            }
            Value::Histogram(histogram) => {
                self.created_ms = histogram.created_ms;
                Ok(Item::Entry(self.count(histogram.count_of_all(), histogram.sum, classic(&histogram))))
            }
        }
    }

    fn family(&self) -> &Family<'a> {
        self.family.as_ref().expect("a family was read before its metrics")
    }

    /// The first series of a summary or histogram; the others follow.
    fn count(&mut self, count: f64, sum: f64, then: Rest<'a>) -> Entry<'_> {
        self.step = Step::Sum { sum, then };
        self.write_series("_count");
        self.sample(count, None)
    }

    fn sample(&mut self, value: f64, exemplar: Option<&ExemplarSample<'a>>) -> Entry<'_> {
        if let Some(exemplar) = exemplar {
            self.exemplar_labels.clear();
            self.exemplar_labels.push('{');
            for (name, value) in exemplar.labels() {
                write_pair(&mut self.exemplar_labels, name, value);
            }
            self.exemplar_labels.push('}');
        }
        Entry::Sample(ParsedSample {
            series: &self.series,
            kind: self.family().kind,
            t_ms: self.t_ms,
            created_ms: self.created_ms,
            value,
            exemplar: exemplar.map(|exemplar| Exemplar {
                labels: &self.exemplar_labels,
                value: exemplar.value,
                t_ms: exemplar.t_ms,
            }),
        })
    }

    /// Writes the series of the metric with its name and `suffix`.
    fn write_series(&mut self, suffix: &str) {
        let has_more = self.write_start(suffix);
        if has_more {
            self.series.push('}');
        }
    }

    /// Writes name, suffix and labels up to where another label or the closing brace goes; `false` if there is no brace yet.
    fn write_start(&mut self, suffix: &str) -> bool {
        let name = self.family.as_ref().map_or("", |family| family.name);
        self.series.clear();
        let is_plain = self.is_plain;
        if is_plain {
            self.series.push_str(name);
            self.series.push_str(suffix);
        } else {
            self.series.push_str("{\"");
            write_escaped(&mut self.series, name);
            self.series.push_str(suffix);
            self.series.push('"');
        }
        if !self.labels.is_empty() {
            self.series.push(if is_plain { '{' } else { ',' });
            self.series.push_str(&self.labels);
        }
        !(is_plain && self.labels.is_empty())
    }

    /// Writes the series of a bucket or quantile, the `n`th of its metric.
    fn write_bounded(&mut self, suffix: &str, label: &str, bound: f64, n: usize) {
        if n == 0 {
            let has_brace = self.write_start(suffix);
            self.series.push(if has_brace { ',' } else { '{' });
            self.series.push_str(label);
            self.series.push_str("=\"");
            self.bucket_prefix = self.series.len();
        } else {
            self.series.truncate(self.bucket_prefix);
        }
        let known = self.bounds.get(n).is_some_and(|(bits, _)| *bits == bound.to_bits());
        if !known {
            self.bounds.truncate(n);
            self.bounds.push((bound.to_bits(), format_bound(bound)));
        }
        self.series.push_str(&self.bounds[n].1);
        self.series.push_str("\"}");
    }
}

fn classic<'a>(histogram: &HistogramSample<'a>) -> Rest<'a> {
    Rest::Buckets { buckets: histogram.buckets(), all: histogram.count_of_all() }
}

/// Adds a label to those in `out`, in which an opening brace may come first.
fn write_pair(out: &mut String, name: &str, value: &str) {
    if !matches!(out.as_bytes(), [] | [b'{']) {
        out.push(',');
    }
    if is_legacy_label_name(name) {
        out.push_str(name);
    } else {
        out.push('"');
        write_escaped(out, name);
        out.push('"');
    }
    out.push_str("=\"");
    write_escaped(out, value);
    out.push('"');
}

fn write_escaped(out: &mut String, text: &str) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.write_char(c).expect("writing to a string cannot fail"),
        }
    }
}
