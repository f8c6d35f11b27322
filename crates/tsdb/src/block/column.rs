//! Columns: the times or the values of a run of samples, compressed.
//!
//! Times are integers. Most values people measure are decimal numbers with few digits, so they are scaled to integers where
//! that gives back every bit; the few that do not fit (staleness markers, NaN, infinities, -0) are listed beside them. Integers
//! of even distance are a line; others are written in as many bits as their steps need, or by `pco` where that is shorter, as
//! floats are that are no short decimals. [`decoder`](super::decoder) reads them.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::wrapped::FileCompressor;

use crate::chunk::zigzag;

use super::bits;
use super::bytes::put_varint;

/// The largest number of samples in a column; bounds what a decoder holds.
pub(crate) const COLUMN_SAMPLES_MAX: usize = 1 << 16;

/// Fewer integers than this are written one by one.
const BITS_MIN: usize = 8;
/// Fewer integers than this are written in as many bits as their spread needs: the tables of `pco` would take more than they
/// save.
const PACKED_MIN: usize = 256;
/// So are more of them if that takes no more than one part in so many above what `pco` takes, as with most counters: they are read
/// in a third of the time.
const BITS_SHARE: usize = 8;
/// Beyond this not every integer is a float.
const INTEGER_MAX: f64 = (1u64 << 53) as f64;

// How integers are written.
pub(super) const LINE: u8 = 0;
pub(super) const STEPS: u8 = 1;
pub(super) const PACKED: u8 = 2;
pub(super) const BITS: u8 = 3;
// How values are written: this, or the number of decimal places.
pub(super) const FLOATS: u8 = 0xff;
// Before values that know when they began to count; histograms have 0xfe, summaries 0xfc.
pub(super) const STARTED: u8 = 0xfd;

pub(super) const POWERS: [f64; 13] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// Writes times, or any other integers.
pub(crate) fn encode_integers(out: &mut Vec<u8>, integers: &[i64]) {
    let step = |pair: &[i64]| pair[1].wrapping_sub(pair[0]);
    let first_step = integers.first_chunk::<2>().map_or(0, |pair| step(pair));
    let first = integers.first().copied().unwrap_or(0);
    if integers.windows(2).all(|pair| step(pair) == first_step) {
        out.push(LINE);
        put_varint(out, zigzag(first));
        put_varint(out, zigzag(first_step));
    } else if integers.len() < BITS_MIN {
        out.push(STEPS);
        put_varint(out, zigzag(first));
        integers.windows(2).for_each(|pair| put_varint(out, zigzag(step(pair))));
    } else {
        let start = out.len();
        out.push(BITS);
        bits::encode(out, integers);
        if integers.len() >= PACKED_MIN {
            let bits_bytes = out.len() - start;
            let mut packed = vec![PACKED];
            pack(&mut packed, integers);
            if bits_bytes > packed.len() + packed.len() / BITS_SHARE {
                out.truncate(start);
                out.append(&mut packed);
            }
        }
    }
}

/// Writes values, given by their bits.
pub(crate) fn encode_values(out: &mut Vec<u8>, bits: &[u64]) {
    if !encode_decimals(out, bits) {
        out.push(FLOATS);
        let floats: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
        pack(out, &floats);
    }
}

/// Writes values, given by their bits, with when each began to count.
pub(crate) fn encode_started(out: &mut Vec<u8>, bits: &[u64], starts: &[i64]) {
    let mut column = Vec::new();
    encode_integers(&mut column, starts);
    out.push(STARTED);
    put_varint(out, column.len() as u64);
    out.extend_from_slice(&column);
    encode_values(out, bits);
}

/// Writes values, given by their bits, if they are decimals; otherwise returns `false` and writes nothing.
pub(crate) fn encode_decimals(out: &mut Vec<u8>, bits: &[u64]) -> bool {
    let Some(Decimals { places, integers, exceptions }) = decimals(bits) else { return false };
    out.push(places);
    put_varint(out, exceptions.len() as u64);
    for (at, bits) in &exceptions {
        put_varint(out, *at as u64);
        out.extend_from_slice(&bits.to_le_bytes());
    }
    encode_integers(out, &integers);
    true
}

/// Values as integers: `integers[i] / 10^places`, except at the places of the exceptions.
struct Decimals {
    places: u8,
    integers: Vec<i64>,
    exceptions: Vec<(usize, u64)>,
}

/// The scaling that gives back every bit; `None` if too many values are no short decimals.
fn decimals(bits: &[u64]) -> Option<Decimals> {
    let exceptions_max = bits.len() / 16 + 1;
    let mut places = 0;
    let mut misfits = 0;
    // The fewest places with which all values fit; one that fits with none is passed over.
    for bits in bits {
        let value = f64::from_bits(*bits);
        if scaled(value, POWERS[places]).is_some() {
            continue;
        }
        match (places..POWERS.len()).find(|places| scaled(value, POWERS[*places]).is_some()) {
            Some(more) => places = more,
            None => {
                misfits += 1;
                if misfits > exceptions_max {
                    return None;
                }
            }
        }
    }
    let mut exceptions = Vec::new();
    let mut integers = Vec::with_capacity(bits.len());
    let mut previous = 0;
    for (at, bits) in bits.iter().enumerate() {
        match scaled(f64::from_bits(*bits), POWERS[places]) {
            Some(integer) => previous = integer,
            None if exceptions.len() < exceptions_max => exceptions.push((at, *bits)),
            // More places were too many for a value that had fitted before.
            None => return None,
        }
        integers.push(previous);
    }
    // Leading exceptions take the first number that follows, so that they do not make a step.
    if let Some(first) = (0..bits.len()).find(|at| !exceptions.iter().any(|(exception, _)| exception == at)) {
        let integer = integers[first];
        integers[..first].fill(integer);
    }
    Some(Decimals { places: places as u8, integers, exceptions })
}

/// `value * power` if that is an integer from which the division gives back every bit of `value`.
fn scaled(value: f64, power: f64) -> Option<i64> {
    let integer = (value * power).round();
    // Written so that NaN does not pass.
    let fits = integer.abs() < INTEGER_MAX;
    (fits && ((integer as i64) as f64 / power).to_bits() == value.to_bits()).then_some(integer as i64)
}

fn pack<T: Number>(out: &mut Vec<u8>, numbers: &[T]) {
    // Writing to memory cannot fail, and the configuration is the default one.
    let infallible = "numbers are packed into memory";
    let file = FileCompressor::default();
    file.write_header(&mut *out).expect(infallible);
    let config = ChunkConfig::default().with_paging_spec(pco::PagingSpec::Exact(vec![numbers.len()]));
    let mut chunk = file.chunk_compressor(numbers, &config).expect(infallible);
    chunk.write_meta(&mut *out).expect(infallible);
    chunk.write_page(0, &mut *out).expect(infallible);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::decoder::{decode_integers, decode_values};
    use proptest::prelude::*;

    #[track_caller]
    fn check_values(bits: &[u64]) -> usize {
        let mut out = Vec::new();
        encode_values(&mut out, bits);
        let back: Vec<u64> = decode_values(&out, bits.len()).unwrap().iter().map(|value| value.to_bits()).collect();
        assert_eq!(back, bits);
        out.len()
    }

    #[track_caller]
    fn check_integers(integers: &[i64]) -> usize {
        let mut out = Vec::new();
        encode_integers(&mut out, integers);
        assert_eq!(decode_integers(&out, integers.len()).unwrap(), integers);
        out.len()
    }

    fn bits_of(values: impl IntoIterator<Item = f64>) -> Vec<u64> {
        values.into_iter().map(f64::to_bits).collect()
    }

    #[test]
    fn every_bit_comes_back_and_costs_little() {
        check_values(&[]);
        check_integers(&[]);
        check_integers(&[i64::MIN, i64::MAX, 0, -1]);
        let odd = [0x7ff0_0000_0000_0002, 0x7ff8_0000_0000_0001, 0xfff8_dead_beef_0001, 0, 1 << 63, 1, u64::MAX];
        check_values(&odd);
        check_values(&bits_of([f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1e300]));
        let constant = check_values(&bits_of(std::iter::repeat_n(42.5, 480)));
        assert!(constant <= 8, "{constant} bytes for a series that stands still");
        let regular = check_integers(&(0..480).map(|i| 1_700_000_000_000 + i * 15_000).collect::<Vec<_>>());
        assert!(regular <= 12, "{regular} bytes for regular times");
        // A gauge with two decimals, with a marker of staleness at its end and a NaN in the middle.
        let mut gauge = bits_of((0..480).map(|i: i32| f64::from(i * 7919 % 1000) / 100.0));
        *gauge.last_mut().unwrap() = 0x7ff0_0000_0000_0002;
        gauge[77] = f64::NAN.to_bits();
        let gauge = check_values(&gauge);
        assert!(gauge < 480 * 10 / 8 + 100, "{gauge} bytes for ten bits of information a sample");
    }

    #[test]
    fn counters_are_written_in_bits() {
        let form = |integers: &[i64]| {
            let mut out = Vec::new();
            encode_integers(&mut out, integers);
            out[0]
        };
        let random = |i: u64| {
            let bits = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((bits ^ (bits >> 27)) >> 54) as i64
        };
        let sums = |step: &dyn Fn(u64) -> i64| {
            let mut total = 0;
            (0..900)
                .map(|i| {
                    total += step(i);
                    total
                })
                .collect::<Vec<i64>>()
        };
        // Steps of any size up to a bound are as many bits each whoever writes them; those of a walk are mostly small.
        assert_eq!(form(&sums(&random)), BITS);
        let walk = sums(&|i| (random(i) - 512).pow(5) >> 36);
        assert_eq!(form(&walk), PACKED);
    }

    #[test]
    fn damaged_columns_are_errors() {
        let mut values = Vec::new();
        encode_values(&mut values, &bits_of((0..480).map(|i: i32| f64::from(i * i % 97) / 4.0)));
        for at in 0..values.len() {
            for bit in 0..8 {
                let mut damaged = values.clone();
                damaged[at] ^= 1 << bit;
                let _ = decode_values(&damaged, 480);
            }
            let _ = decode_values(&values[..at], 480);
        }
        assert!(decode_values(&values, COLUMN_SAMPLES_MAX + 1).is_err());
        assert!(decode_integers(&[9], 1).is_err());
    }

    proptest! {
        #[test]
        fn any_values(bits in proptest::collection::vec(any::<u64>(), 0..600)) {
            check_values(&bits);
        }

        #[test]
        fn decimal_values(integers in proptest::collection::vec(-1_000_000i64..1_000_000, 0..600), places in 0usize..13) {
            check_values(&bits_of(integers.iter().map(|integer| *integer as f64 / POWERS[places])));
        }

        #[test]
        fn any_integers(integers in proptest::collection::vec(any::<i64>(), 0..600)) {
            check_integers(&integers);
        }
    }
}
