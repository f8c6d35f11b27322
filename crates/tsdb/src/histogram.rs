//! Native histograms as bytes: how the log and the head hold one.
//!
//! Whatever a peer sent comes back bit by bit. In blocks they stand column by column, see `block::histograms`.

use std::hash::BuildHasher;
use std::sync::Arc;

use relatum_model::HistogramSample;
use relatum_model::histogram::{Buckets, CounterReset, Histogram, NativeHistogram, Span};

use crate::block::bytes::{Cursor, put_varint};
use crate::block::layout::Damage;
use crate::chunk::{unzigzag, zigzag};

/// The largest encoded histogram that the store takes: some hundred thousand buckets.
pub(crate) const HISTOGRAM_BYTES_MAX: usize = 1 << 20;

/// A histogram and when it began to count, encoded. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded(Arc<[u8]>);

impl Encoded {
    /// Encodes a histogram that began to count at `start_ms`, 0 if that is not known.
    pub(crate) fn new(start_ms: i64, histogram: &NativeHistogram) -> Self {
        let mut out = Vec::new();
        put_varint(&mut out, zigzag(start_ms));
        match histogram {
            NativeHistogram::Integer(histogram) => {
                out.push(0);
                encode(&mut out, histogram, put_integers);
            }
            NativeHistogram::Float(histogram) => {
                out.push(1);
                encode(&mut out, histogram, put_floats);
            }
        }
        Encoded(out.into())
    }

    /// Takes bytes from disk; they are looked at when they are decoded.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Encoded(Arc::from(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A number that is equal for equal histograms, and hardly ever otherwise: stands where a float has its bits.
    pub(crate) fn fingerprint(&self) -> u64 {
        foldhash::quality::FixedState::default().hash_one(&*self.0)
    }

    /// The sample of time `t_ms`.
    pub(crate) fn decode(&self, t_ms: i64) -> Result<HistogramSample, Damage> {
        let mut cursor = Cursor::new(&self.0);
        let start_ms = unzigzag(cursor.varint()?);
        let histogram = match cursor.byte()? {
            0 => NativeHistogram::Integer(decode(&mut cursor, take_integers)?),
            1 => NativeHistogram::Float(decode(&mut cursor, take_floats)?),
            _ => return Err(Damage("unknown kind of histogram")),
        };
        Ok(HistogramSample { t_ms, start_ms, histogram: Arc::new(histogram) })
    }
}

fn encode<C: Copy>(out: &mut Vec<u8>, histogram: &Histogram<C>, put: impl Fn(&mut Vec<u8>, &[C])) {
    let Histogram { schema, counter_reset, zero_threshold, zero_count, count, sum, positive, negative, custom_bounds } =
        histogram;
    out.push(reset_number(*counter_reset));
    put_varint(out, zigzag(i64::from(*schema)));
    put_floats(out, &[*zero_threshold, *sum]);
    put(out, &[*zero_count, *count]);
    for Buckets { spans, counts } in [positive, negative] {
        put_spans(out, spans);
        put_varint(out, counts.len() as u64);
        put(out, counts);
    }
    put_varint(out, custom_bounds.len() as u64);
    put_floats(out, custom_bounds);
}

fn decode<'a, C: Copy + Default>(
    cursor: &mut Cursor<'a>,
    take: impl Fn(&mut Cursor<'a>, usize) -> Result<Vec<C>, Damage>,
) -> Result<Histogram<C>, Damage> {
    let counter_reset = reset_of(cursor.byte()?)?;
    let schema = i32::try_from(unzigzag(cursor.varint()?)).map_err(|_| Damage("no such schema"))?;
    let floats = take_floats(cursor, 2)?;
    let counts = take(cursor, 2)?;
    let mut buckets = || {
        let spans = take_spans(cursor)?;
        let n = cursor.count(1)?;
        Ok(Buckets { spans, counts: take(cursor, n)? })
    };
    let (positive, negative) = (buckets()?, buckets()?);
    let n = cursor.count(1)?;
    let custom_bounds = take_floats(cursor, n)?.into();
    let (zero_threshold, sum) = (floats[0], floats[1]);
    let (zero_count, count) = (counts[0], counts[1]);
    Ok(Histogram { schema, counter_reset, zero_threshold, zero_count, count, sum, positive, negative, custom_bounds })
}

pub(crate) fn reset_number(reset: CounterReset) -> u8 {
    match reset {
        CounterReset::Unknown => 0,
        CounterReset::Reset => 1,
        CounterReset::NotReset => 2,
        CounterReset::Gauge => 3,
    }
}

pub(crate) fn reset_of(number: u8) -> Result<CounterReset, Damage> {
    [CounterReset::Unknown, CounterReset::Reset, CounterReset::NotReset, CounterReset::Gauge]
        .get(usize::from(number))
        .copied()
        .ok_or(Damage("unknown hint of a histogram"))
}

pub(crate) fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_varint(out, spans.len() as u64);
    for Span { offset, length } in spans {
        put_varint(out, zigzag(i64::from(*offset)));
        put_varint(out, u64::from(*length));
    }
}

pub(crate) fn take_spans(cursor: &mut Cursor<'_>) -> Result<Vec<Span>, Damage> {
    let n = cursor.count(1)?;
    let too_large = |_| Damage("a span of buckets is too large");
    (0..n)
        .map(|_| {
            let offset = i32::try_from(unzigzag(cursor.varint()?)).map_err(too_large)?;
            let length = u32::try_from(cursor.varint()?).map_err(too_large)?;
            Ok(Span { offset, length })
        })
        .collect()
}

/// Neighbouring buckets have similar counts.
fn put_integers(out: &mut Vec<u8>, integers: &[u64]) {
    let mut previous = 0u64;
    for integer in integers {
        put_varint(out, zigzag(integer.wrapping_sub(previous) as i64));
        previous = *integer;
    }
}

fn take_integers(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<u64>, Damage> {
    let mut previous = 0u64;
    (0..n)
        .map(|_| {
            previous = previous.wrapping_add(unzigzag(cursor.varint()?) as u64);
            Ok(previous)
        })
        .collect()
}

pub(crate) fn put_floats(out: &mut Vec<u8>, floats: &[f64]) {
    floats.iter().for_each(|float| out.extend_from_slice(&float.to_bits().to_le_bytes()));
}

pub(crate) fn take_floats(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<f64>, Damage> {
    (0..n).map(|_| cursor.u64().map(f64::from_bits)).collect()
}

/// Histograms of all shapes, for tests of what holds them.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// `n` histograms of one series whose counts grow; every 50th changes its shape.
    pub(crate) fn growing(n: usize, float: bool) -> Vec<HistogramSample> {
        let histogram = |i: usize| {
            let shape = i / 50;
            let spans = vec![Span { offset: -3, length: 4 }, Span { offset: 2, length: shape as u32 + 1 }];
            let n_counts = 5 + shape;
            let counts = (0..n_counts).map(|bucket| (i * (bucket + 3)) as u64).collect::<Vec<_>>();
            let whole = Histogram {
                schema: 3,
                counter_reset: if i == 0 { CounterReset::Reset } else { CounterReset::NotReset },
                zero_threshold: 1e-128,
                zero_count: i as u64,
                count: counts.iter().sum::<u64>() + i as u64,
                sum: i as f64 * 0.37,
                positive: Buckets { spans, counts },
                negative: Buckets::default(),
                custom_bounds: Arc::from([]),
            };
            if float { NativeHistogram::Float(whole.to_float()) } else { NativeHistogram::Integer(whole) }
        };
        (0..n)
            .map(|i| HistogramSample {
                t_ms: 1_700_000_000_000 + i as i64 * 15_000,
                start_ms: 1_699_999_999_000,
                histogram: Arc::new(histogram(i)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_comes_back() {
        let custom = Histogram {
            schema: -53,
            counter_reset: CounterReset::Gauge,
            zero_threshold: -0.0,
            zero_count: f64::NAN,
            count: f64::INFINITY,
            sum: f64::from_bits(relatum_model::STALE_NAN_BITS),
            positive: Buckets { spans: vec![Span { offset: i32::MIN, length: u32::MAX }], counts: vec![0.1, -7.0] },
            negative: Buckets { spans: vec![], counts: vec![3.5] },
            custom_bounds: Arc::from([0.1, 1.0, 1e300]),
        };
        let extreme = Histogram { count: u64::MAX, zero_count: 1, ..Histogram::default() };
        for histogram in [NativeHistogram::Float(custom), NativeHistogram::Integer(extreme)] {
            let encoded = Encoded::new(i64::MIN, &histogram);
            let back = encoded.decode(5).unwrap();
            assert_eq!((back.t_ms, back.start_ms), (5, i64::MIN));
            // Encoded once more, because NaN equals nothing.
            assert_eq!(Encoded::new(i64::MIN, &back.histogram), encoded);
            for at in 0..encoded.bytes().len() {
                assert!(Encoded::from_bytes(&encoded.bytes()[..at]).decode(0).is_err(), "cut at {at}");
                let mut damaged = encoded.bytes().to_vec();
                damaged[at] ^= 0xff;
                let _ = Encoded::from_bytes(&damaged).decode(0);
            }
        }
        for sample in samples::growing(120, false).iter().chain(&samples::growing(120, true)) {
            let encoded = Encoded::new(sample.start_ms, &sample.histogram);
            assert_eq!(&encoded.decode(sample.t_ms).unwrap(), sample);
        }
    }
}
