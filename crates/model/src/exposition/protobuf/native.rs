//! The native buckets of a histogram in a body.

use std::sync::Arc;

use super::read::{int32, known, ordinary, span};
use super::{HistogramSample, ProtobufError, field};
use crate::exposition::MetricKind;
use crate::histogram::{self, CounterReset, Histogram, NativeHistogram};
use crate::protobuf::{Running, unzigzag};
use crate::text::quote;

impl HistogramSample<'_> {
    /// Whether the native buckets have float counts.
    fn is_float(&self) -> bool {
        self.count_float > 0.0 || self.zero_count_float > 0.0
    }

    /// Reads the native buckets into `native`, whose memory is used again.
    pub fn read_native(&self, kind: MetricKind, native: &mut NativeHistogram) -> Result<(), ProtobufError> {
        let at = self.fields.at();
        let unfit = |side: &str, needed: u64, given: usize| ProtobufError {
            at,
            reason: format!("{side} side: spans require {needed} buckets, have {given}"),
        };
        let counter_reset =
            if kind == MetricKind::GaugeHistogram { CounterReset::Gauge } else { CounterReset::Unknown };
        if self.is_float() {
            let mut histogram = match std::mem::replace(native, NativeHistogram::Float(Histogram::default())) {
                NativeHistogram::Float(histogram) => emptied(histogram),
                NativeHistogram::Integer(_) => Histogram::default(),
            };
            self.read_spans(&mut histogram)?;
            let mut fields = self.fields.clone();
            while let Some((number, field)) = fields.next()? {
                match known(number) {
                    field::HISTOGRAM_POSITIVE_COUNT => {
                        field.doubles(|count| histogram.positive.counts.push(ordinary(count)))?;
                    }
                    field::HISTOGRAM_NEGATIVE_COUNT => {
                        field.doubles(|count| histogram.negative.counts.push(ordinary(count)))?;
                    }
                    _ => {}
                }
            }
            histogram.count = self.count_float;
            histogram.zero_count = ordinary(self.zero_count_float);
            histogram.counter_reset = counter_reset;
            check_spans(&histogram, unfit)?;
            histogram.compact();
            *native = NativeHistogram::Float(histogram);
        } else {
            let mut histogram = match std::mem::replace(native, NativeHistogram::Float(Histogram::default())) {
                NativeHistogram::Integer(histogram) => emptied(histogram),
                NativeHistogram::Float(_) => Histogram::default(),
            };
            self.read_spans(&mut histogram)?;
            let mut fields = self.fields.clone();
            let (mut positive, mut negative) = (Running::default(), Running::default());
            while let Some((number, field)) = fields.next()? {
                match known(number) {
                    field::HISTOGRAM_ZERO_COUNT => histogram.zero_count = field.uint()?,
                    field::HISTOGRAM_POSITIVE_DELTA => {
                        field.sints(|delta| histogram.positive.counts.push(positive.add(delta)))?;
                    }
                    field::HISTOGRAM_NEGATIVE_DELTA => {
                        field.sints(|delta| histogram.negative.counts.push(negative.add(delta)))?;
                    }
                    _ => {}
                }
            }
            for (side, running) in [("negative", negative), ("positive", positive)] {
                if let Some((number, count)) = running.below_zero {
                    let reason = format!(
                        "{side} side: bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is negative"
                    );
                    return Err(ProtobufError { at, reason });
                }
            }
            histogram.count = self.count;
            histogram.counter_reset = counter_reset;
            check_spans(&histogram, unfit)?;
            histogram.compact();
            *native = NativeHistogram::Integer(histogram);
        }
        Ok(())
    }

    /// What [`HistogramSample::read_native`] fails with, told of the metric it belongs to.
    pub(super) fn blame(name: &str, error: ProtobufError) -> ProtobufError {
        ProtobufError { at: error.at, reason: format!("histogram {}: {}", quote(name), error.reason) }
    }

    fn read_spans<C>(&self, histogram: &mut Histogram<C>) -> Result<(), ProtobufError> {
        histogram.sum = self.sum;
        let mut fields = self.fields.clone();
        while let Some((number, field)) = fields.next()? {
            match known(number) {
                field::HISTOGRAM_SCHEMA => histogram.schema = int32(&field, unzigzag(field.uint()?))?,
                field::HISTOGRAM_ZERO_THRESHOLD => histogram.zero_threshold = ordinary(field.double()?),
                field::HISTOGRAM_POSITIVE_SPAN => histogram.positive.spans.push(span(field.message()?)?),
                field::HISTOGRAM_NEGATIVE_SPAN => histogram.negative.spans.push(span(field.message()?)?),
                _ => {}
            }
        }
        Ok(())
    }
}

/// An empty histogram with the memory of this one.
fn emptied<C: histogram::Count>(histogram: Histogram<C>) -> Histogram<C> {
    let emptied = |mut buckets: histogram::Buckets<C>| {
        buckets.spans.clear();
        buckets.counts.clear();
        buckets
    };
    Histogram {
        positive: emptied(histogram.positive),
        negative: emptied(histogram.negative),
        custom_bounds: Arc::default(),
        ..Histogram::default()
    }
}

fn check_spans<C>(
    histogram: &Histogram<C>,
    unfit: impl Fn(&str, u64, usize) -> ProtobufError,
) -> Result<(), ProtobufError> {
    for (side, buckets) in [("positive", &histogram.positive), ("negative", &histogram.negative)] {
        let needed = buckets.spans.iter().fold(0u64, |sum, span| sum.saturating_add(span.length.into()));
        if needed != buckets.counts.len() as u64 {
            return Err(unfit(side, needed, buckets.counts.len()));
        }
    }
    Ok(())
}
