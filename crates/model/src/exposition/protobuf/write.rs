//! Families as bytes.

use super::field;
use crate::exposition::{MetricFamily, MetricKind};
use crate::histogram::{Buckets, Count, Histogram, NativeHistogram, Span};
use crate::labels::Labels;
use crate::protobuf::{push_double, push_message, push_uint, zigzag};

/// Writes one family, metric by metric.
#[derive(Debug)]
pub struct FamilyWriter {
    kind: MetricKind,
    message: Vec<u8>,
}

/// The times of a metric, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrittenTimes {
    /// When the value was taken, unless it is now.
    pub t_ms: Option<i64>,
    /// When counting began.
    pub created_ms: Option<i64>,
}

/// An exemplar to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenExemplar {
    /// The labels.
    pub labels: Labels,
    /// The value.
    pub value: f64,
    /// Milliseconds since 1970.
    pub t_ms: Option<i64>,
}

/// The classic form of a histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Classic {
    /// How many observations there were.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Upper bounds with the number of observations up to each, smallest first; the infinite one may be left out.
    pub buckets: Vec<(f64, u64)>,
}

impl FamilyWriter {
    /// A family without metrics. The format knows no infos and state sets; they become gauges.
    pub fn new(name: &str, help: &str, unit: &str, kind: MetricKind) -> Self {
        let mut message = Vec::new();
        push_text(&mut message, field::FAMILY_NAME, name);
        push_text(&mut message, field::FAMILY_HELP, help);
        let number = match kind {
            MetricKind::Counter => 0,
            MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet => 1,
            MetricKind::Summary => 2,
            MetricKind::Unknown => 3,
            MetricKind::Histogram => 4,
            MetricKind::GaugeHistogram => 5,
        };
        push_uint(&mut message, field::FAMILY_KIND, number);
        push_text(&mut message, field::FAMILY_UNIT, unit);
        FamilyWriter { kind, message }
    }

    /// Adds a counter, gauge or metric of unknown kind. Only a counter has an exemplar and a time of creation.
    pub fn number(
        &mut self,
        labels: &Labels,
        value: f64,
        times: WrittenTimes,
        exemplar: Option<&WrittenExemplar>,
    ) -> &mut Self {
        let number = match self.kind {
            MetricKind::Counter => field::METRIC_COUNTER,
            MetricKind::Unknown => field::METRIC_UNTYPED,
            _ => field::METRIC_GAUGE,
        };
        self.metric(labels, times, number, |out| {
            push_double(out, field::NUMBER_VALUE, value);
            if number == field::METRIC_COUNTER {
                if let Some(exemplar) = exemplar {
                    push_exemplar(out, field::COUNTER_EXEMPLAR, exemplar);
                }
                push_time(out, field::COUNTER_CREATED, times.created_ms);
            }
        })
    }

    /// Adds a summary: `quantiles` with their values.
    pub fn summary(
        &mut self,
        labels: &Labels,
        quantiles: &[(f64, f64)],
        sum: f64,
        count: u64,
        times: WrittenTimes,
    ) -> &mut Self {
        self.metric(labels, times, field::METRIC_SUMMARY, |out| {
            push_uint(out, field::SUMMARY_COUNT, count);
            push_double(out, field::SUMMARY_SUM, sum);
            for (quantile, value) in quantiles {
                push_message(out, field::SUMMARY_QUANTILE, |out| {
                    push_double(out, field::FIRST, *quantile);
                    push_double(out, field::SECOND, *value);
                });
            }
            push_time(out, field::SUMMARY_CREATED, times.created_ms);
        })
    }

    /// Adds a histogram in one form or both. Custom buckets have no place in the format and are left out.
    pub fn histogram(
        &mut self,
        labels: &Labels,
        classic: Option<&Classic>,
        native: Option<&NativeHistogram>,
        times: WrittenTimes,
        exemplars: &[WrittenExemplar],
    ) -> &mut Self {
        self.metric(labels, times, field::METRIC_HISTOGRAM, |out| {
            if let Some(classic) = classic {
                for &(bound, up_to) in &classic.buckets {
                    push_message(out, field::HISTOGRAM_BUCKET, |out| {
                        push_uint(out, field::BUCKET_COUNT, up_to);
                        push_double(out, field::BUCKET_BOUND, bound);
                    });
                }
            }
            match native {
                Some(NativeHistogram::Integer(histogram)) => {
                    push_uint(out, field::HISTOGRAM_COUNT, histogram.count);
                    push_uint(out, field::HISTOGRAM_ZERO_COUNT, histogram.zero_count);
                    push_native(out, histogram);
                    push_deltas(out, field::HISTOGRAM_POSITIVE_DELTA, &histogram.positive);
                    push_deltas(out, field::HISTOGRAM_NEGATIVE_DELTA, &histogram.negative);
                }
                Some(NativeHistogram::Float(histogram)) => {
                    push_double(out, field::HISTOGRAM_COUNT_FLOAT, histogram.count);
                    push_double(out, field::HISTOGRAM_ZERO_COUNT_FLOAT, histogram.zero_count);
                    push_native(out, histogram);
                    push_counts(out, field::HISTOGRAM_POSITIVE_COUNT, &histogram.positive);
                    push_counts(out, field::HISTOGRAM_NEGATIVE_COUNT, &histogram.negative);
                }
                None => {
                    let classic = classic.cloned().unwrap_or_default();
                    push_uint(out, field::HISTOGRAM_COUNT, classic.count);
                    push_double(out, field::HISTOGRAM_SUM, classic.sum);
                }
            }
            push_time(out, field::HISTOGRAM_CREATED, times.created_ms);
            for exemplar in exemplars {
                push_exemplar(out, field::HISTOGRAM_EXEMPLAR, exemplar);
            }
        })
    }

    /// Adds the family to `body`.
    pub fn finish(&self, body: &mut Vec<u8>) {
        crate::protobuf::push_varint(body, self.message.len() as u64);
        body.extend_from_slice(&self.message);
    }

    fn metric(
        &mut self,
        labels: &Labels,
        times: WrittenTimes,
        number: u8,
        value: impl FnOnce(&mut Vec<u8>),
    ) -> &mut Self {
        push_message(&mut self.message, field::FAMILY_METRIC, |out| {
            push_labels(out, field::METRIC_LABEL, labels);
            push_message(out, number, value);
            push_uint(out, field::METRIC_TIME, times.t_ms.unwrap_or(0).cast_unsigned());
        });
        self
    }
}

/// Writes families. One without samples is left out.
pub fn write_protobuf(families: &[MetricFamily]) -> Vec<u8> {
    let mut body = Vec::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let mut writer = FamilyWriter::new(&family.name, &family.help, "", family.kind);
        let times = WrittenTimes::default();
        let samples = &family.samples;
        match family.kind {
            MetricKind::Histogram | MetricKind::GaugeHistogram => {
                for group in grouped(samples, "le") {
                    let mut classic = Classic::default();
                    for sample in group {
                        match sample.suffix {
                            "_bucket" => {
                                // Our own bounds are written by us, so they are numbers.
                                let bound = sample.labels.value("le").parse().unwrap_or(f64::INFINITY);
                                classic.buckets.push((bound, sample.value as u64));
                            }
                            "_sum" | "_gsum" => classic.sum = sample.value,
                            _ => classic.count = sample.value as u64,
                        }
                    }
                    let labels = group[0].labels.filtered(|name| name != "le");
                    writer.histogram(&labels, Some(&classic), None, times, &[]);
                }
            }
            MetricKind::Summary => {
                for group in grouped(samples, "quantile") {
                    let (mut quantiles, mut sum, mut count) = (Vec::new(), 0.0, 0);
                    for sample in group {
                        match sample.suffix {
                            "" => {
                                quantiles.push((sample.labels.value("quantile").parse().unwrap_or(0.0), sample.value));
                            }
                            "_sum" => sum = sample.value,
                            _ => count = sample.value as u64,
                        }
                    }
                    let labels = group[0].labels.filtered(|name| name != "quantile");
                    writer.summary(&labels, &quantiles, sum, count, times);
                }
            }
            _ => {
                for sample in samples {
                    writer.number(&sample.labels, sample.value, times, None);
                }
            }
        }
        writer.finish(&mut body);
    }
    body
}

/// Runs of samples whose labels are the same but for `own`.
fn grouped<'a>(
    samples: &'a [crate::exposition::FamilySample],
    own: &'a str,
) -> impl Iterator<Item = &'a [crate::exposition::FamilySample]> {
    let key = move |sample: &crate::exposition::FamilySample| sample.labels.filtered(|name| name != own);
    samples.chunk_by(move |a, b| key(a) == key(b))
}

fn push_text(out: &mut Vec<u8>, number: u8, text: &str) {
    if !text.is_empty() {
        push_message(out, number, |out| out.extend_from_slice(text.as_bytes()));
    }
}

fn push_labels(out: &mut Vec<u8>, number: u8, labels: &Labels) {
    for (name, value) in labels {
        push_message(out, number, |out| {
            push_text(out, field::FIRST, name);
            push_text(out, field::SECOND, value);
        });
    }
}

fn push_exemplar(out: &mut Vec<u8>, number: u8, exemplar: &WrittenExemplar) {
    push_message(out, number, |out| {
        push_labels(out, field::EXEMPLAR_LABEL, &exemplar.labels);
        push_double(out, field::EXEMPLAR_VALUE, exemplar.value);
        push_time(out, field::EXEMPLAR_TIME, exemplar.t_ms);
    });
}

fn push_time(out: &mut Vec<u8>, number: u8, t_ms: Option<i64>) {
    if let Some(t_ms) = t_ms {
        push_message(out, number, |out| {
            push_uint(out, field::FIRST, t_ms.div_euclid(1000).cast_unsigned());
            push_uint(out, field::SECOND, t_ms.rem_euclid(1000).cast_unsigned() * 1_000_000);
        });
    }
}

fn push_native<C: Count>(out: &mut Vec<u8>, histogram: &Histogram<C>) {
    push_double(out, field::HISTOGRAM_SUM, histogram.sum);
    push_uint(out, field::HISTOGRAM_SCHEMA, zigzag(histogram.schema.into()));
    push_double(out, field::HISTOGRAM_ZERO_THRESHOLD, histogram.zero_threshold);
    push_spans(out, field::HISTOGRAM_POSITIVE_SPAN, &histogram.positive.spans);
    push_spans(out, field::HISTOGRAM_NEGATIVE_SPAN, &histogram.negative.spans);
    let looks_classic = histogram.positive.spans.is_empty()
        && histogram.negative.spans.is_empty()
        && (histogram.zero_threshold <= 0.0 || histogram.zero_threshold.is_nan());
    if looks_classic {
        // A span without buckets tells readers that this is a native histogram without observations.
        push_spans(out, field::HISTOGRAM_POSITIVE_SPAN, &[Span::default()]);
    }
}

fn push_spans(out: &mut Vec<u8>, number: u8, spans: &[Span]) {
    for span in spans {
        push_message(out, number, |out| {
            push_uint(out, field::FIRST, zigzag(span.offset.into()));
            push_uint(out, field::SECOND, span.length.into());
        });
    }
}

fn push_deltas(out: &mut Vec<u8>, number: u8, buckets: &Buckets<u64>) {
    if buckets.counts.is_empty() {
        return;
    }
    push_message(out, number, |out| {
        let mut last = 0i64;
        for count in &buckets.counts {
            let count = count.cast_signed();
            crate::protobuf::push_varint(out, zigzag(count.wrapping_sub(last)));
            last = count;
        }
    });
}

fn push_counts(out: &mut Vec<u8>, number: u8, buckets: &Buckets<f64>) {
    if buckets.counts.is_empty() {
        return;
    }
    push_message(out, number, |out| {
        for count in &buckets.counts {
            out.extend(count.to_bits().to_le_bytes());
        }
    });
}
