//! From bytes to families, metrics and their values, borrowed all the way down.
//!
//! A metric is walked over once when it is reached, so that all faults are found there; the iterators that walk over its parts
//! again find none.

use super::{ProtobufError, field};
use crate::exposition::MetricKind;
use crate::histogram::Span;
use crate::labels::Labels;
use crate::protobuf::{Content, Fault, Field, Fields, unzigzag};
use crate::sample::normal_nan;

/// The families of `body`, one after another.
pub fn families(body: &[u8]) -> Families<'_> {
    Families { fields: Fields::new(body, 0), is_done: false }
}

/// The families of a body, in order; nothing follows the first error.
#[derive(Debug, Clone)]
pub struct Families<'a> {
    fields: Fields<'a>,
    is_done: bool,
}

/// All series of one metric name.
#[derive(Debug, Clone)]
pub struct Family<'a> {
    /// The name; any text but the empty one.
    pub name: &'a str,
    /// What it is, in one sentence; may be empty.
    pub help: &'a str,
    /// The unit; may be empty.
    pub unit: &'a str,
    /// What it measures.
    pub kind: MetricKind,
    fields: Fields<'a>,
    has_metrics: bool,
}

/// The metrics of a family, in order; nothing follows the first error.
#[derive(Debug, Clone)]
pub struct Metrics<'a> {
    kind: MetricKind,
    fields: Fields<'a>,
    is_done: bool,
}

/// One label set and its value.
#[derive(Debug, Clone)]
pub struct Metric<'a> {
    /// Milliseconds since 1970, if the body gives a time. The format cannot tell 1970 itself from no time.
    pub t_ms: Option<i64>,
    /// The value.
    pub value: Value<'a>,
    labels: Fields<'a>,
}

/// What a metric is worth.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A counter, gauge or something of unknown kind.
    Number {
        /// The number; every NaN is the ordinary one.
        value: f64,
        /// When counting began, in milliseconds since 1970, if the body says so.
        created_ms: Option<i64>,
        /// The exemplar of a counter.
        exemplar: Option<ExemplarSample<'a>>,
    },
    /// Quantiles.
    Summary(SummarySample<'a>),
    /// Buckets, classic or native or both.
    Histogram(HistogramSample<'a>),
}

/// The value of a summary.
#[derive(Debug, Clone)]
pub struct SummarySample<'a> {
    /// How many observations there were.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// When counting began, in milliseconds since 1970, if the body says so.
    pub created_ms: Option<i64>,
    fields: Fields<'a>,
}

/// The value of a histogram.
#[derive(Debug, Clone)]
pub struct HistogramSample<'a> {
    /// How many observations there were, of a histogram with whole counts.
    pub count: u64,
    /// How many observations there were, of a histogram with float counts; 0 if it has whole ones.
    pub count_float: f64,
    /// Their sum.
    pub sum: f64,
    /// When counting began, in milliseconds since 1970, if the body says so.
    pub created_ms: Option<i64>,
    /// Whether there are native buckets, which Prometheus takes from spans, a zero bucket, or its breadth.
    pub is_native: bool,
    /// How many classic buckets there are.
    pub n_buckets: usize,
    pub(super) zero_count_float: f64,
    pub(super) fields: Fields<'a>,
}

/// A classic bucket.
#[derive(Debug, Clone)]
pub struct BucketSample<'a> {
    /// The upper bound.
    pub bound: f64,
    /// How many observations there were up to the bound.
    pub count: f64,
    /// An example of them.
    pub exemplar: Option<ExemplarSample<'a>>,
}

/// An example of what was counted.
#[derive(Debug, Clone)]
pub struct ExemplarSample<'a> {
    /// The value.
    pub value: f64,
    /// Milliseconds since 1970, if the body gives a time.
    pub t_ms: Option<i64>,
    labels: Fields<'a>,
}

impl<'a> Iterator for Families<'a> {
    type Item = Result<Family<'a>, ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done || self.fields.rest().is_empty() {
            return None;
        }
        let read = self.read();
        self.is_done = read.is_err();
        Some(read)
    }
}

impl<'a> Families<'a> {
    fn read(&mut self) -> Result<Family<'a>, ProtobufError> {
        let message = self.fields.delimited()?;
        let at = message.at();
        let mut family = Family {
            name: "",
            help: "",
            unit: "",
            kind: MetricKind::Counter,
            fields: message.clone(),
            has_metrics: false,
        };
        let mut fields = message;
        while let Some((number, field)) = fields.next()? {
            match known(number) {
                field::FAMILY_NAME => family.name = field.text()?,
                field::FAMILY_HELP => family.help = field.text()?,
                field::FAMILY_UNIT => family.unit = field.text()?,
                field::FAMILY_KIND => family.kind = kind_of(&field)?,
                field::FAMILY_METRIC => {
                    field.message()?;
                    family.has_metrics = true;
                }
                _ => {}
            }
        }
        if family.name.is_empty() {
            return Err(ProtobufError { at, reason: "invalid metric name: ".to_owned() });
        }
        Ok(family)
    }
}

fn kind_of(field: &Field<'_>) -> Result<MetricKind, ProtobufError> {
    Ok(match field.uint()? {
        0 => MetricKind::Counter,
        1 => MetricKind::Gauge,
        2 => MetricKind::Summary,
        3 => MetricKind::Unknown,
        4 => MetricKind::Histogram,
        5 => MetricKind::GaugeHistogram,
        other => return Err(ProtobufError { at: field.at, reason: format!("unknown metric type {other}") }),
    })
}

/// The number of a field as the messages here number theirs; 0 for one they do not have.
pub(super) fn known(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(0)
}

impl<'a> Family<'a> {
    pub(super) fn has_metrics(&self) -> bool {
        self.has_metrics
    }

    /// The metrics of the family.
    pub fn metrics(&self) -> Metrics<'a> {
        Metrics { kind: self.kind, fields: self.fields.clone(), is_done: false }
    }
}

impl<'a> Iterator for Metrics<'a> {
    type Item = Result<Metric<'a>, ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let read = self.read(|_, _| {}).transpose();
        self.is_done = !matches!(read, Some(Ok(_)));
        read
    }
}

impl<'a> Metrics<'a> {
    /// Reads the next metric and hands out its labels on the way. Nothing may be read after an error.
    pub(super) fn read(&mut self, on_label: impl FnMut(&'a str, &'a str)) -> Result<Option<Metric<'a>>, ProtobufError> {
        while let Some((number, field)) = self.fields.next()? {
            if known(number) == field::FAMILY_METRIC {
                return metric(self.kind, field.message()?, on_label).map(Some);
            }
        }
        Ok(None)
    }
}

fn metric<'a>(
    kind: MetricKind,
    message: Fields<'a>,
    mut on_label: impl FnMut(&'a str, &'a str),
) -> Result<Metric<'a>, ProtobufError> {
    let mut t_ms = None;
    let mut content = Fields::default();
    let value_field = match kind {
        MetricKind::Counter => field::METRIC_COUNTER,
        MetricKind::Gauge => field::METRIC_GAUGE,
        MetricKind::Summary => field::METRIC_SUMMARY,
        MetricKind::Histogram | MetricKind::GaugeHistogram => field::METRIC_HISTOGRAM,
        _ => field::METRIC_UNTYPED,
    };
    let mut fields = message.clone();
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::METRIC_LABEL => {
                let (name, value) = pair(field.message()?)?;
                on_label(name, value);
            }
            field::METRIC_TIME => t_ms = Some(field.uint()?.cast_signed()).filter(|t_ms| *t_ms != 0),
            number if number == value_field => content = field.message()?,
            _ => {}
        }
    }
    let value = match kind {
        MetricKind::Summary => Value::Summary(summary(content)?),
        MetricKind::Histogram | MetricKind::GaugeHistogram => Value::Histogram(histogram(content)?),
        kind => number(kind, content)?,
    };
    Ok(Metric { t_ms, value, labels: message })
}

fn number<'a>(kind: MetricKind, mut fields: Fields<'a>) -> Result<Value<'a>, ProtobufError> {
    let (mut value, mut created_ms, mut exemplar) = (0.0, None, None);
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::NUMBER_VALUE => value = ordinary(field.double()?),
            field::COUNTER_EXEMPLAR if kind == MetricKind::Counter => {
                exemplar = Some(self::exemplar(field.message()?)?);
            }
            field::COUNTER_CREATED if kind == MetricKind::Counter => created_ms = Some(time_ms(field.message()?)?),
            _ => {}
        }
    }
    Ok(Value::Number { value, created_ms, exemplar })
}

fn summary(message: Fields<'_>) -> Result<SummarySample<'_>, ProtobufError> {
    let mut sample = SummarySample { count: 0, sum: 0.0, created_ms: None, fields: message.clone() };
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::SUMMARY_COUNT => sample.count = field.uint()?,
            field::SUMMARY_SUM => sample.sum = ordinary(field.double()?),
            field::SUMMARY_QUANTILE => {
                quantile(field.message()?)?;
            }
            field::SUMMARY_CREATED => sample.created_ms = Some(time_ms(field.message()?)?),
            _ => {}
        }
    }
    Ok(sample)
}

fn histogram(message: Fields<'_>) -> Result<HistogramSample<'_>, ProtobufError> {
    let mut sample = HistogramSample {
        count: 0,
        count_float: 0.0,
        sum: 0.0,
        created_ms: None,
        is_native: false,
        n_buckets: 0,
        zero_count_float: 0.0,
        fields: message.clone(),
    };
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::HISTOGRAM_COUNT => sample.count = field.uint()?,
            field::HISTOGRAM_COUNT_FLOAT => sample.count_float = ordinary(field.double()?),
            field::HISTOGRAM_SUM => sample.sum = ordinary(field.double()?),
            field::HISTOGRAM_BUCKET => {
                bucket(field.message()?)?;
                sample.n_buckets += 1;
            }
            field::HISTOGRAM_CREATED => sample.created_ms = Some(time_ms(field.message()?)?),
            field::HISTOGRAM_SCHEMA => {
                field.uint()?;
            }
            field::HISTOGRAM_ZERO_THRESHOLD => sample.is_native |= field.double()? > 0.0,
            field::HISTOGRAM_ZERO_COUNT => sample.is_native |= field.uint()? > 0,
            field::HISTOGRAM_ZERO_COUNT_FLOAT => sample.zero_count_float = field.double()?,
            field::HISTOGRAM_POSITIVE_SPAN | field::HISTOGRAM_NEGATIVE_SPAN => {
                span(field.message()?)?;
                sample.is_native = true;
            }
            field::HISTOGRAM_POSITIVE_DELTA | field::HISTOGRAM_NEGATIVE_DELTA => field.sints(|_| {})?,
            field::HISTOGRAM_POSITIVE_COUNT | field::HISTOGRAM_NEGATIVE_COUNT => field.doubles(|_| {})?,
            field::HISTOGRAM_EXEMPLAR => {
                exemplar(field.message()?)?;
            }
            _ => {}
        }
    }
    Ok(sample)
}

fn pair(mut fields: Fields<'_>) -> Result<(&str, &str), Fault> {
    let (mut name, mut value) = ("", "");
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::FIRST => name = field.text()?,
            field::SECOND => value = field.text()?,
            _ => {}
        }
    }
    if name.is_empty() { Err(fields.error("label name is empty")) } else { Ok((name, value)) }
}

fn quantile(mut fields: Fields<'_>) -> Result<(f64, f64), Fault> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::FIRST => quantile = field.double()?,
            field::SECOND => value = ordinary(field.double()?),
            _ => {}
        }
    }
    Ok((quantile, value))
}

pub(super) fn span(mut fields: Fields<'_>) -> Result<Span, Fault> {
    let mut span = Span::default();
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::FIRST => span.offset = int32(&field, unzigzag(field.uint()?))?,
            field::SECOND => {
                let out_of_range = Fault { at: field.at, reason: "length of span is out of range" };
                span.length = u32::try_from(field.uint()?).map_err(|_| out_of_range)?;
            }
            _ => {}
        }
    }
    Ok(span)
}

pub(super) fn int32(field: &Field<'_>, number: i64) -> Result<i32, Fault> {
    i32::try_from(number).map_err(|_| Fault { at: field.at, reason: "number is out of range" })
}

fn bucket(mut fields: Fields<'_>) -> Result<BucketSample<'_>, Fault> {
    let (mut bound, mut count, mut count_float, mut exemplar) = (0.0, 0, 0.0, None);
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::BUCKET_COUNT => count = field.uint()?,
            field::BUCKET_COUNT_FLOAT => count_float = field.double()?,
            field::BUCKET_BOUND => bound = field.double()?,
            field::BUCKET_EXEMPLAR => exemplar = Some(self::exemplar(field.message()?)?),
            _ => {}
        }
    }
    Ok(BucketSample { bound, count: either(count, count_float), exemplar })
}

/// The float count if there is one, as the format wants it.
fn either(count: u64, count_float: f64) -> f64 {
    if count_float == 0.0 { count as f64 } else { ordinary(count_float) }
}

fn exemplar(message: Fields<'_>) -> Result<ExemplarSample<'_>, Fault> {
    let mut exemplar = ExemplarSample { value: 0.0, t_ms: None, labels: message.clone() };
    let mut fields = message;
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::EXEMPLAR_LABEL => {
                pair(field.message()?)?;
            }
            field::EXEMPLAR_VALUE => exemplar.value = ordinary(field.double()?),
            field::EXEMPLAR_TIME => exemplar.t_ms = Some(time_ms(field.message()?)?),
            _ => {}
        }
    }
    Ok(exemplar)
}

/// A `google.protobuf.Timestamp` in milliseconds since 1970; what is finer is cut off.
fn time_ms(mut fields: Fields<'_>) -> Result<i64, Fault> {
    let (mut seconds, mut nanoseconds) = (0i64, 0i64);
    while let Some((number, field)) = fields.next()? {
        match known(number) {
            field::FIRST => seconds = field.uint()?.cast_signed(),
            field::SECOND => nanoseconds = field.uint()?.cast_signed(),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000))
}

/// A value from outside: no NaN may pass for a staleness marker.
pub(super) fn ordinary(value: f64) -> f64 {
    if value.is_nan() { normal_nan() } else { value }
}

impl<'a> Metric<'a> {
    /// The labels as the body has them, without the metric's name.
    pub fn labels(&self) -> Pairs<'a> {
        Pairs { number: field::METRIC_LABEL, fields: self.labels.clone() }
    }
}

impl<'a> ExemplarSample<'a> {
    /// The labels as the body has them.
    pub fn labels(&self) -> Pairs<'a> {
        Pairs { number: field::EXEMPLAR_LABEL, fields: self.labels.clone() }
    }

    /// The labels as a set; of a repeated name the last value counts.
    pub fn label_set(&self) -> Labels {
        Labels::from_pairs(self.labels())
    }
}

impl<'a> SummarySample<'a> {
    /// The quantiles with their values.
    pub fn quantiles(&self) -> Quantiles<'a> {
        Quantiles { fields: self.fields.clone() }
    }
}

impl<'a> HistogramSample<'a> {
    /// How many observations there were, whichever way they are counted.
    pub fn count_of_all(&self) -> f64 {
        either(self.count, self.count_float)
    }

    /// The classic buckets. The one without bound may be missing.
    pub fn buckets(&self) -> Buckets<'a> {
        Buckets { fields: self.fields.clone() }
    }

    /// The exemplars of the native histogram.
    pub fn exemplars(&self) -> Exemplars<'a> {
        Exemplars { fields: self.fields.clone() }
    }
}

/// Label pairs, in the order of the body.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    number: u8,
    fields: Fields<'a>,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        next_message(&mut self.fields, self.number, pair)
    }
}

/// Quantiles with their values, in the order of the body.
#[derive(Debug, Clone)]
pub struct Quantiles<'a> {
    fields: Fields<'a>,
}

impl Iterator for Quantiles<'_> {
    type Item = (f64, f64);

    fn next(&mut self) -> Option<Self::Item> {
        next_message(&mut self.fields, field::SUMMARY_QUANTILE, quantile)
    }
}

/// Classic buckets, in the order of the body.
#[derive(Debug, Clone)]
pub struct Buckets<'a> {
    fields: Fields<'a>,
}

impl<'a> Iterator for Buckets<'a> {
    type Item = BucketSample<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        next_message(&mut self.fields, field::HISTOGRAM_BUCKET, bucket)
    }
}

/// The exemplars of a native histogram, in the order of the body.
#[derive(Debug, Clone)]
pub struct Exemplars<'a> {
    fields: Fields<'a>,
}

impl<'a> Iterator for Exemplars<'a> {
    type Item = ExemplarSample<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        next_message(&mut self.fields, field::HISTOGRAM_EXEMPLAR, exemplar)
    }
}

/// The next field `number`, which was read before without fault.
fn next_message<'a, T>(
    fields: &mut Fields<'a>,
    number: u8,
    read: impl Fn(Fields<'a>) -> Result<T, Fault>,
) -> Option<T> {
    while let Some((found, field)) = fields.next().ok()? {
        if known(found) == number && matches!(field.content, Content::Bytes(_)) {
            return read(field.message().ok()?).ok();
        }
    }
    None
}
