//! Native histograms in requests: the message is the same in 1.0 and 2.0, but for the start timestamp.

use std::sync::Arc;

use thiserror::Error;

use super::DecodeError;
use crate::histogram::{Buckets, Count, CounterReset, Histogram, HistogramError, NativeHistogram, Side, Span};
use crate::protobuf::{
    Content, Fault, Fields, Running, push_double, push_message, push_uint, push_varint, unzigzag, zigzag,
};
use crate::sample::HistogramSample;

/// The largest message of one histogram that is read: some hundred thousand buckets, each of which takes eight bytes in memory.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Why a histogram of a request cannot be taken.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HistogramFault {
    /// Its bytes are no histogram, so the request is none either.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It makes no sense; the rest of the request may.
    #[error(transparent)]
    Invalid(#[from] HistogramError),
}

impl From<Fault> for HistogramFault {
    fn from(fault: Fault) -> Self {
        HistogramFault::Decode(fault.into())
    }
}

/// Reads a histogram and makes sure that it makes sense.
pub(super) fn read_histogram(fields: Fields<'_>) -> Result<HistogramSample, HistogramFault> {
    if fields.rest().len() > MESSAGE_BYTES_MAX {
        return Err(fields.error("histogram is too large").into());
    }
    // Which of the two kinds it is stands in the count.
    let mut is_float = false;
    let mut looking = fields.clone();
    while let Some((number, _)) = looking.next()? {
        match number {
            1 => is_float = false,
            2 => is_float = true,
            _ => {}
        }
    }
    let mut whole: Histogram<u64> = Histogram::default();
    let mut float: Histogram<f64> = Histogram::default();
    let (mut positive, mut negative) = (Running::default(), Running::default());
    let mut custom_bounds = Vec::new();
    let (mut t_ms, mut start_ms) = (0, 0);
    let mut rest = fields;
    while let Some((number, field)) = rest.next()? {
        match number {
            1 => whole.count = field.uint()?,
            2 => float.count = field.double()?,
            3 => whole.sum = field.double()?,
            4 => {
                let schema = unzigzag(field.uint()?);
                whole.schema =
                    i32::try_from(schema).map_err(|_| Fault { at: field.at, reason: "schema is out of range" })?;
            }
            5 => whole.zero_threshold = field.double()?,
            6 => whole.zero_count = field.uint()?,
            7 => float.zero_count = field.double()?,
            8 => whole.negative.spans.push(span(field.message()?)?),
            9 => field.sints(|delta| whole.negative.counts.push(negative.add(delta)))?,
            10 => field.doubles(|count| float.negative.counts.push(count))?,
            11 => whole.positive.spans.push(span(field.message()?)?),
            12 => field.sints(|delta| whole.positive.counts.push(positive.add(delta)))?,
            13 => field.doubles(|count| float.positive.counts.push(count))?,
            14 => {
                whole.counter_reset = match field.uint()? {
                    1 => CounterReset::Reset,
                    2 => CounterReset::NotReset,
                    3 => CounterReset::Gauge,
                    // New hints may come; none of them is known here.
                    _ => CounterReset::Unknown,
                }
            }
            15 => t_ms = field.uint()?.cast_signed(),
            16 => field.doubles(|bound| custom_bounds.push(bound))?,
            17 => start_ms = field.uint()?.cast_signed(),
            _ => {}
        }
    }
    whole.custom_bounds = custom_bounds.into();
    let histogram = if is_float {
        NativeHistogram::Float(Histogram {
            schema: whole.schema,
            counter_reset: whole.counter_reset,
            zero_threshold: whole.zero_threshold,
            sum: whole.sum,
            custom_bounds: whole.custom_bounds,
            positive: Buckets { spans: whole.positive.spans, counts: float.positive.counts },
            negative: Buckets { spans: whole.negative.spans, counts: float.negative.counts },
            ..float
        })
    } else {
        let custom = whole.has_custom_bounds();
        for (side, running) in [(Side::Negative, negative), (Side::Positive, positive)] {
            if let Some((number, count)) = running.below_zero {
                let side = if custom { Side::Custom } else { side };
                return Err(HistogramError::Negative { side, number, count: count as f64 }.into());
            }
        }
        NativeHistogram::Integer(whole)
    };
    // A staleness marker says nothing but its sum.
    if !histogram.is_stale() {
        histogram.validate()?;
    }
    Ok(HistogramSample { t_ms, start_ms, histogram: Arc::new(histogram) })
}

fn span(mut fields: Fields<'_>) -> Result<Span, Fault> {
    let mut span = Span::default();
    while let Some((number, field)) = fields.next()? {
        let out_of_range = |_| Fault { at: field.at, reason: "span is out of range" };
        match (number, field.content) {
            (1, Content::Varint(number)) => span.offset = i32::try_from(unzigzag(number)).map_err(out_of_range)?,
            (2, Content::Varint(number)) => span.length = u32::try_from(number).map_err(out_of_range)?,
            (1 | 2, _) => return Err(field.wrong_type()),
            _ => {}
        }
    }
    Ok(span)
}

/// Adds a histogram as field `number`; without its start timestamp if `start_ms` is 0.
pub(super) fn push_histogram(out: &mut Vec<u8>, number: u8, t_ms: i64, start_ms: i64, histogram: &NativeHistogram) {
    push_message(out, number, |out| {
        match histogram {
            NativeHistogram::Integer(whole) => {
                // Written when it is 0, too: it tells the kind.
                out.push(1 << 3);
                push_varint(out, whole.count);
                push_shared(out, whole);
                push_uint(out, 6, whole.zero_count);
                for (first, buckets) in [(8, &whole.negative), (11, &whole.positive)] {
                    push_spans(out, first, &buckets.spans);
                    let mut before = 0u64;
                    let deltas = buckets.counts.iter().map(|count| {
                        let delta = count.wrapping_sub(before).cast_signed();
                        before = *count;
                        zigzag(delta)
                    });
                    push_packed(out, first + 1, deltas, push_varint);
                }
            }
            NativeHistogram::Float(float) => {
                out.push(2 << 3 | 1);
                out.extend(float.count.to_bits().to_le_bytes());
                push_shared(out, float);
                push_double(out, 7, float.zero_count);
                for (first, buckets) in [(8, &float.negative), (11, &float.positive)] {
                    push_spans(out, first, &buckets.spans);
                    push_packed(out, first + 2, buckets.counts.iter(), |out, count| {
                        out.extend(count.to_bits().to_le_bytes());
                    });
                }
            }
        }
        push_uint(out, 15, t_ms.cast_unsigned());
        let bounds = match histogram {
            NativeHistogram::Integer(whole) => &whole.custom_bounds,
            NativeHistogram::Float(float) => &float.custom_bounds,
        };
        push_packed(out, 16, bounds.iter(), |out, bound| out.extend(bound.to_bits().to_le_bytes()));
        push_uint(out, 17, start_ms.cast_unsigned());
    });
}

fn push_shared<C: Count>(out: &mut Vec<u8>, histogram: &Histogram<C>) {
    push_double(out, 3, histogram.sum);
    push_uint(out, 4, zigzag(histogram.schema.into()));
    push_double(out, 5, histogram.zero_threshold);
    let reset = match histogram.counter_reset {
        CounterReset::Unknown => 0,
        CounterReset::Reset => 1,
        CounterReset::NotReset => 2,
        CounterReset::Gauge => 3,
    };
    push_uint(out, 14, reset);
}

fn push_spans(out: &mut Vec<u8>, number: u8, spans: &[Span]) {
    for span in spans {
        push_message(out, number, |out| {
            push_uint(out, 1, zigzag(span.offset.into()));
            push_uint(out, 2, span.length.into());
        });
    }
}

fn push_packed<T>(
    out: &mut Vec<u8>,
    number: u8,
    items: impl ExactSizeIterator<Item = T>,
    push: impl Fn(&mut Vec<u8>, T),
) {
    if items.len() > 0 {
        push_message(out, number, |out| items.for_each(|item| push(out, item)));
    }
}
