//! A run of native histograms of one series, column by column.
//!
//! The histograms of a chunk have the same shape: kind, schema, spans and bounds stand once. Counts of one bucket change slowly
//! from sample to sample, so each bucket is a column of its own.

use std::sync::Arc;

use relatum_model::HistogramSample;
use relatum_model::histogram::{Buckets, Histogram, NativeHistogram, Span};

use crate::histogram::{put_floats, put_spans, reset_number, reset_of, take_floats, take_spans};

use super::bytes::{Cursor, put_varint};
use super::column::{encode_integers, encode_values};
use super::decoder::{decode_integers, decode_values};
use super::layout::Damage;

use crate::chunk::{unzigzag, zigzag};

/// The first byte of a column of histograms, which no column of values begins with.
pub(crate) const HISTOGRAMS: u8 = 0xfe;
/// How many histograms a chunk holds at most.
pub(crate) const CHUNK_HISTOGRAMS_MAX: usize = 240;

/// What all histograms of a chunk share.
#[derive(PartialEq)]
struct Shape {
    float: bool,
    schema: i32,
    // As bits, so that NaN equals itself.
    zero_threshold: u64,
    positive: Vec<Span>,
    negative: Vec<Span>,
    n_positive: usize,
    n_negative: usize,
    bounds: Vec<u64>,
}

impl Shape {
    fn of(histogram: &NativeHistogram) -> Shape {
        fn shape<C>(histogram: &Histogram<C>, float: bool) -> Shape {
            Shape {
                float,
                schema: histogram.schema,
                zero_threshold: histogram.zero_threshold.to_bits(),
                positive: histogram.positive.spans.clone(),
                negative: histogram.negative.spans.clone(),
                n_positive: histogram.positive.counts.len(),
                n_negative: histogram.negative.counts.len(),
                bounds: histogram.custom_bounds.iter().map(|bound| bound.to_bits()).collect(),
            }
        }
        match histogram {
            NativeHistogram::Integer(histogram) => shape(histogram, false),
            NativeHistogram::Float(histogram) => shape(histogram, true),
        }
    }
}

/// Cuts histograms into runs that may share a chunk.
pub(crate) fn runs(histograms: &[HistogramSample]) -> impl Iterator<Item = &[HistogramSample]> {
    histograms
        .chunk_by(|a, b| Shape::of(&a.histogram) == Shape::of(&b.histogram))
        .flat_map(|run| run.chunks(CHUNK_HISTOGRAMS_MAX))
}

/// Writes a run that [`runs`] gave.
pub(crate) fn encode_histograms(out: &mut Vec<u8>, run: &[HistogramSample]) {
    let Some(first) = run.first() else { return };
    let shape = Shape::of(&first.histogram);
    out.push(HISTOGRAMS);
    out.push(u8::from(shape.float));
    put_varint(out, zigzag(i64::from(shape.schema)));
    put_floats(out, &[f64::from_bits(shape.zero_threshold)]);
    put_spans(out, &shape.positive);
    put_varint(out, shape.n_positive as u64);
    put_spans(out, &shape.negative);
    put_varint(out, shape.n_negative as u64);
    put_varint(out, shape.bounds.len() as u64);
    shape.bounds.iter().for_each(|bits| out.extend_from_slice(&bits.to_le_bytes()));

    let integers = |out: &mut Vec<u8>, of: &dyn Fn(&HistogramSample) -> i64| {
        column(out, |out| encode_integers(out, &run.iter().map(of).collect::<Vec<_>>()));
    };
    integers(out, &|sample| sample.start_ms);
    integers(out, &|sample| match &*sample.histogram {
        NativeHistogram::Integer(histogram) => i64::from(reset_number(histogram.counter_reset)),
        NativeHistogram::Float(histogram) => i64::from(reset_number(histogram.counter_reset)),
    });
    column(out, |out| {
        let sum = |sample: &HistogramSample| match &*sample.histogram {
            NativeHistogram::Integer(histogram) => histogram.sum.to_bits(),
            NativeHistogram::Float(histogram) => histogram.sum.to_bits(),
        };
        encode_values(out, &run.iter().map(sum).collect::<Vec<_>>());
    });
    for place in 0..2 + shape.n_positive + shape.n_negative {
        let count = |sample: &HistogramSample| match &*sample.histogram {
            NativeHistogram::Integer(histogram) => count_at(histogram, place),
            NativeHistogram::Float(histogram) => count_at(histogram, place).to_bits(),
        };
        let counts: Vec<u64> = run.iter().map(count).collect();
        column(out, |out| {
            if shape.float {
                encode_values(out, &counts);
            } else {
                encode_integers(out, &counts.iter().map(|count| *count as i64).collect::<Vec<_>>());
            }
        });
    }
}

/// The count in all, that of the zero bucket, then those of the buckets.
fn count_at<C: Copy>(histogram: &Histogram<C>, place: usize) -> C {
    match place {
        0 => histogram.count,
        1 => histogram.zero_count,
        _ => {
            let positive = &histogram.positive.counts;
            match positive.get(place - 2) {
                Some(count) => *count,
                None => histogram.negative.counts[place - 2 - positive.len()],
            }
        }
    }
}

fn column(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    put_varint(out, bytes.len() as u64);
    out.append(&mut bytes);
}

/// Reads the histograms of `times` that [`encode_histograms`] wrote.
pub(crate) fn decode_histograms(bytes: &[u8], times: &[i64]) -> Result<Vec<HistogramSample>, Damage> {
    let n = times.len();
    if n > CHUNK_HISTOGRAMS_MAX {
        return Err(Damage("too many histograms in a column"));
    }
    let mut cursor = Cursor::new(bytes);
    if cursor.byte()? != HISTOGRAMS {
        return Err(Damage("a column has no histograms"));
    }
    let float = cursor.byte()? == 1;
    let schema = i32::try_from(unzigzag(cursor.varint()?)).map_err(|_| Damage("no such schema"))?;
    let zero_threshold = take_floats(&mut cursor, 1)?[0];
    let positive = take_spans(&mut cursor)?;
    let n_positive = cursor.count(1)?;
    let negative = take_spans(&mut cursor)?;
    let n_negative = cursor.count(1)?;
    let n_bounds = cursor.count(1)?;
    let custom_bounds: Arc<[f64]> = take_floats(&mut cursor, n_bounds)?.into();
    let starts = decode_integers(next_column(&mut cursor)?, n)?;
    let resets = decode_integers(next_column(&mut cursor)?, n)?;
    let sums = decode_values(next_column(&mut cursor)?, n)?;
    // Each column of counts takes at least two bytes of what is left, so this is no more than the file has room for.
    if (2 + n_positive + n_negative) * 2 > cursor.rest.len() {
        return Err(Damage("there are fewer columns than buckets"));
    }
    let mut columns: Vec<Vec<u64>> = Vec::new();
    for _ in 0..2 + n_positive + n_negative {
        let bytes = next_column(&mut cursor)?;
        columns.push(if float {
            decode_values(bytes, n)?.iter().map(|value| value.to_bits()).collect()
        } else {
            decode_integers(bytes, n)?.iter().map(|integer| *integer as u64).collect()
        });
    }
    let mut samples = Vec::with_capacity(n);
    for at in 0..n {
        let counter_reset = reset_of(u8::try_from(resets[at]).unwrap_or(u8::MAX))?;
        let of = |place: usize| columns[place][at];
        let positive_counts = || (2..2 + n_positive).map(of);
        let negative_counts = || (2 + n_positive..2 + n_positive + n_negative).map(of);
        let histogram = if float {
            NativeHistogram::Float(Histogram {
                schema,
                counter_reset,
                zero_threshold,
                zero_count: f64::from_bits(of(1)),
                count: f64::from_bits(of(0)),
                sum: sums[at],
                positive: Buckets { spans: positive.clone(), counts: positive_counts().map(f64::from_bits).collect() },
                negative: Buckets { spans: negative.clone(), counts: negative_counts().map(f64::from_bits).collect() },
                custom_bounds: Arc::clone(&custom_bounds),
            })
        } else {
            NativeHistogram::Integer(Histogram {
                schema,
                counter_reset,
                zero_threshold,
                zero_count: of(1),
                count: of(0),
                sum: sums[at],
                positive: Buckets { spans: positive.clone(), counts: positive_counts().collect() },
                negative: Buckets { spans: negative.clone(), counts: negative_counts().collect() },
                custom_bounds: Arc::clone(&custom_bounds),
            })
        };
        samples.push(HistogramSample { t_ms: times[at], start_ms: starts[at], histogram: Arc::new(histogram) });
    }
    Ok(samples)
}

fn next_column<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Damage> {
    let n = cursor.count(1)?;
    cursor.bytes(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::samples::growing;

    #[test]
    fn histograms_come_back_by_runs_of_one_shape() {
        for float in [false, true] {
            let samples = growing(300, float);
            let mut back = Vec::new();
            let mut bytes = 0;
            for run in runs(&samples) {
                assert!(run.len() <= 50, "the shape changes after fifty");
                let mut out = Vec::new();
                encode_histograms(&mut out, run);
                bytes += out.len();
                let times: Vec<i64> = run.iter().map(|sample| sample.t_ms).collect();
                back.extend(decode_histograms(&out, &times).unwrap());
                for at in 0..out.len() {
                    assert!(decode_histograms(&out[..at], &times).is_err(), "cut at {at}");
                    let mut damaged = out.clone();
                    damaged[at] ^= 0x81;
                    let _ = decode_histograms(&damaged, &times);
                }
            }
            assert_eq!(back, samples);
            assert!(bytes < 300 * 10, "{bytes} bytes for 300 histograms of five to ten buckets");
        }
    }
}
