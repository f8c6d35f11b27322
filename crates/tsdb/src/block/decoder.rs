//! Reading columns one after the other, in memory that is used again.
//!
//! A query reads thousands of short columns, so whatever is done once for each of them counts as much as the samples do. Of a
//! column only what is asked for is made into values; what stands behind it is mostly not even unpacked.

use std::ops::Range;

use pco::DecompressorScratch;
use pco::data_types::Number;
use pco::wrapped::FileDecompressor;

use crate::chunk::unzigzag;

use super::bits;
use super::bytes::Cursor;
use super::column::{BITS, COLUMN_SAMPLES_MAX, FLOATS, LINE, PACKED, POWERS, STARTED, STEPS};
use super::layout::Damage;
use super::summary;

/// `pco` unpacks so many numbers at once.
const BATCH: usize = 256;

/// Reads `n` integers that [`encode_integers`](super::column::encode_integers) wrote.
pub(crate) fn decode_integers(bytes: &[u8], n: usize) -> Result<Vec<i64>, Damage> {
    let mut integers = Vec::new();
    IntegerDecoder::default().read(bytes, n, n, &mut integers)?;
    Ok(integers)
}

/// Reads `n` values that [`encode_values`](super::column::encode_values) wrote.
pub(crate) fn decode_values(bytes: &[u8], n: usize) -> Result<Vec<f64>, Damage> {
    let mut values = Vec::new();
    ValueDecoder::default().push(bytes, n, 0..n, &mut values)?;
    Ok(values)
}

/// Reads `n` values, passing over a summary, with when each began to count; that is empty if it is known of none.
pub(crate) fn decode_started(bytes: &[u8], n: usize) -> Result<(Vec<f64>, Vec<i64>), Damage> {
    let (_, bytes) = summary::split(bytes)?;
    if bytes.first() != Some(&STARTED) {
        return Ok((decode_values(bytes, n)?, Vec::new()));
    }
    let mut cursor = Cursor::new(&bytes[1..]);
    let length = cursor.count(1)?;
    let (starts, values) = cursor.rest.split_at(length);
    Ok((decode_values(values, n)?, decode_integers(starts, n)?))
}

/// Whether it is known of the values when they began to count. What cannot be read is found when it is.
pub(crate) fn has_starts(bytes: &[u8]) -> bool {
    summary::split(bytes).is_ok_and(|(_, values)| values.first() == Some(&STARTED))
}

/// Reads columns of values.
#[derive(Default)]
pub(crate) struct ValueDecoder {
    integers: Vec<i64>,
    floats: Vec<f64>,
    decoder: IntegerDecoder,
}

impl ValueDecoder {
    /// Adds those in `part` of `n` values that [`encode_values`](super::column::encode_values) wrote to `values`, passing over a
    /// summary. With an error nothing is added.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        n: usize,
        part: Range<usize>,
        values: &mut Vec<f64>,
    ) -> Result<(), Damage> {
        let before = values.len();
        let pushed = self.push_part(bytes, n, part, values);
        if pushed.is_err() {
            values.truncate(before);
        }
        pushed
    }

    fn push_part(&mut self, bytes: &[u8], n: usize, part: Range<usize>, values: &mut Vec<f64>) -> Result<(), Damage> {
        check_length(n)?;
        if part.start > part.end || part.end > n {
            return Err(Damage("a part lies behind the end of its column"));
        }
        let before = values.len();
        let Some(decimals) = Decimals::read(bytes)? else {
            self.unpack_floats(bytes, n, part.end)?;
            values.extend_from_slice(&self.floats[part]);
            return Ok(());
        };
        self.decoder.read(decimals.integers, n, part.end, &mut self.integers)?;
        decimals.scale(&self.integers[part.clone()], values);
        decimals.each_exception(n, |at, value| {
            if part.contains(&at) {
                values[before + at - part.start] = value;
            }
        })
    }

    /// As [`ValueDecoder::push`], of the values at `places`, which ascend.
    pub(crate) fn pick(&mut self, bytes: &[u8], n: usize, places: &[u32], values: &mut Vec<f64>) -> Result<(), Damage> {
        let before = values.len();
        let picked = self.pick_places(bytes, n, places, values);
        if picked.is_err() {
            values.truncate(before);
        }
        picked
    }

    /// Adds the last value of a column to `values` if its summary tells it; otherwise returns `false`.
    pub(crate) fn push_last(&mut self, bytes: &[u8], values: &mut Vec<f64>) -> Result<bool, Damage> {
        let (Some(summary), _) = summary::split(bytes)? else { return Ok(false) };
        let (column, n, place) = summary::place_of_last(summary)?;
        self.pick(column, n, &[place], values)?;
        // Zeros count as the same value, so it may have been the other one.
        if values.last() == Some(&0.0) {
            values.pop();
            return Ok(false);
        }
        Ok(true)
    }

    fn pick_places(&mut self, bytes: &[u8], n: usize, places: &[u32], values: &mut Vec<f64>) -> Result<(), Damage> {
        check_length(n)?;
        let end = places.last().map_or(0, |place| *place as usize + 1);
        if end > n {
            return Err(Damage("a place lies behind the end of its column"));
        }
        let before = values.len();
        let Some(decimals) = Decimals::read(bytes)? else {
            self.unpack_floats(bytes, n, end)?;
            values.extend(places.iter().map(|place| self.floats[*place as usize]));
            return Ok(());
        };
        self.decoder.pick(decimals.integers, n, places, &mut self.integers)?;
        decimals.scale(&self.integers, values);
        decimals.each_exception(n, |at, value| {
            if let Ok(found) = places.binary_search_by(|place| (*place as usize).cmp(&at)) {
                values[before + found] = value;
            }
        })
    }

    /// Unpacks at least `end` of `n` floats that are no decimals.
    fn unpack_floats(&mut self, bytes: &[u8], n: usize, end: usize) -> Result<(), Damage> {
        let (_, bytes) = summary::split(bytes)?;
        let packed = bytes.get(1..).ok_or(Damage("a column ends early"))?;
        self.floats.resize(batches(n, end), 0.0);
        unpack(packed, n, &mut self.floats, &mut self.decoder.packed)
    }
}

/// A column of decimals.
struct Decimals<'b> {
    places: u8,
    power: f64,
    n_exceptions: usize,
    exceptions: Cursor<'b>,
    integers: &'b [u8],
}

impl<'b> Decimals<'b> {
    /// Takes a column of values apart, passing over a summary; `None` if they are floats.
    fn read(bytes: &'b [u8]) -> Result<Option<Self>, Damage> {
        let (_, bytes) = summary::split(bytes)?;
        let mut cursor = Cursor::new(bytes);
        let places = cursor.byte()?;
        if places == FLOATS {
            return Ok(None);
        }
        let power = *POWERS.get(usize::from(places)).ok_or(Damage("unknown form of values"))?;
        let n_exceptions = cursor.count(1)?;
        let exceptions = cursor;
        for _ in 0..n_exceptions {
            cursor.varint()?;
            cursor.u64()?;
        }
        Ok(Some(Decimals { places, power, n_exceptions, exceptions, integers: cursor.rest }))
    }

    /// Adds the values that `integers` stand for, but for exceptions.
    fn scale(&self, integers: &[i64], values: &mut Vec<f64>) {
        let power = self.power;
        // Without a division for what has no places, which is most.
        if self.places == 0 {
            values.extend(integers.iter().map(|integer| *integer as f64));
        } else {
            values.extend(integers.iter().map(|integer| *integer as f64 / power));
        }
    }

    /// Calls `each` with the place among `n` and the value of each exception.
    fn each_exception(mut self, n: usize, mut each: impl FnMut(usize, f64)) -> Result<(), Damage> {
        for _ in 0..self.n_exceptions {
            let (at, bits) = (self.exceptions.varint()?, self.exceptions.u64()?);
            let at = usize::try_from(at).ok().filter(|at| *at < n).ok_or(Damage("an exception lies behind the end"))?;
            each(at, f64::from_bits(bits));
        }
        Ok(())
    }
}

/// Whether values are known to be finite numbers.
pub(crate) fn is_surely_finite(bytes: &[u8]) -> Result<bool, Damage> {
    Ok(summary::split(bytes)?.0.is_some())
}

/// Whether values, which may stand behind a summary, are known to rise from the first to the last, without a -0 among them, so that any
/// two of them tell between which numbers those lie that are between them.
pub(crate) fn surely_rise(bytes: &[u8]) -> Result<bool, Damage> {
    let (Some(summary), bytes) = summary::split(bytes)? else { return Ok(false) };
    let mut cursor = Cursor::new(bytes);
    // Of decimals only an exception is -0.
    Ok(usize::from(cursor.byte()?) < POWERS.len() && cursor.varint()? == 0 && summary::rises(summary)?)
}

/// Reads columns of integers.
#[derive(Default)]
pub(crate) struct IntegerDecoder {
    wide: Vec<(usize, u64)>,
    packed: Packed,
}

/// What `pco` works in; made when it is needed first, as it takes some kilobytes.
type Packed = Option<DecompressorScratch>;

impl IntegerDecoder {
    /// Puts the first `end` of `n` integers that [`encode_integers`](super::column::encode_integers) wrote, and maybe some of
    /// those behind, in the place of what is in `integers`.
    pub(crate) fn read(&mut self, bytes: &[u8], n: usize, end: usize, integers: &mut Vec<i64>) -> Result<(), Damage> {
        check_length(n)?;
        integers.clear();
        let mut cursor = Cursor::new(bytes);
        match cursor.byte()? {
            LINE => {
                let first = unzigzag(cursor.varint()?);
                let step = unzigzag(cursor.varint()?);
                integers.extend((0..end as i64).map(|i| first.wrapping_add(step.wrapping_mul(i))));
                Ok(())
            }
            STEPS => {
                let mut integer = unzigzag(cursor.varint()?);
                for i in 0..n {
                    if i > 0 {
                        integer = integer.wrapping_add(unzigzag(cursor.varint()?));
                    }
                    integers.push(integer);
                }
                Ok(())
            }
            PACKED => {
                integers.resize(batches(n, end), 0);
                unpack(cursor.rest, n, integers, &mut self.packed)
            }
            BITS => bits::decode(cursor.rest, n, end, &mut self.wide, integers),
            _ => Err(Damage("unknown form of integers")),
        }
    }
}

impl IntegerDecoder {
    /// As [`IntegerDecoder::read`], but those at `places` alone, which ascend and are below `n`.
    fn pick(&mut self, bytes: &[u8], n: usize, places: &[u32], integers: &mut Vec<i64>) -> Result<(), Damage> {
        let mut cursor = Cursor::new(bytes);
        match cursor.byte()? {
            LINE => {
                let first = unzigzag(cursor.varint()?);
                let step = unzigzag(cursor.varint()?);
                integers.clear();
                integers.extend(places.iter().map(|place| first.wrapping_add(step.wrapping_mul((*place).into()))));
                Ok(())
            }
            BITS => {
                integers.clear();
                bits::pick(cursor.rest, n, places, &mut self.wide, integers)
            }
            _ => {
                let end = places.last().map_or(0, |place| *place as usize + 1);
                self.read(bytes, n, end, integers)?;
                // They ascend, so none is written over before it is moved.
                for (to, place) in places.iter().enumerate() {
                    integers[to] = integers[*place as usize];
                }
                integers.truncate(places.len());
                Ok(())
            }
        }
    }
}

/// How many of `n` numbers are unpacked to get the first `end`.
fn batches(n: usize, end: usize) -> usize {
    end.next_multiple_of(BATCH).min(n)
}

/// Reads as many of `n` numbers as there is room for: all, or whole batches.
fn unpack<T: Number>(bytes: &[u8], n: usize, numbers: &mut [T], scratch: &mut Packed) -> Result<(), Damage> {
    let damage = |_| Damage("packed numbers cannot be read");
    let (file, rest) = FileDecompressor::new(bytes).map_err(damage)?;
    let (chunk, rest) = file.chunk_decompressor::<T, _>(rest).map_err(damage)?;
    let scratch = scratch.get_or_insert_default();
    let mut page = chunk.page_decompressor_with_scratch(rest, n, scratch).map_err(damage)?;
    let progress = page.read(numbers).map_err(damage)?;
    if progress.n_processed != numbers.len() {
        return Err(Damage("packed numbers end early"));
    }
    Ok(())
}

fn check_length(n: usize) -> Result<(), Damage> {
    if n > COLUMN_SAMPLES_MAX { Err(Damage("too many samples in a column")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::column::{encode_integers, encode_values};
    use crate::block::summary::encode_summarized;
    use proptest::prelude::*;

    /// One decoder for all columns, as a reader has it: nothing of the last one may be left.
    #[track_caller]
    fn check(decoder: &mut ValueDecoder, bits: &[u64], part: Range<usize>) {
        let (mut plain, mut summarized) = (Vec::new(), Vec::new());
        encode_values(&mut plain, bits);
        encode_summarized(&mut summarized, bits);
        for column in [plain, summarized] {
            let mut values = vec![7.5];
            decoder.push(&column, bits.len(), part.clone(), &mut values).expect("it was written here");
            let back: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
            assert_eq!(back[0], 7.5f64.to_bits(), "what was there stays");
            assert_eq!(back[1..], bits[part.clone()], "{part:?} of {}", bits.len());
            for every in [1, 2, 17, 60, 400] {
                let places: Vec<u32> = part.clone().step_by(every).map(|place| place as u32).collect();
                let mut values = vec![7.5];
                decoder.pick(&column, bits.len(), &places, &mut values).expect("it was written here");
                let picked = values.iter().skip(1).map(|value| value.to_bits());
                assert!(picked.eq(places.iter().map(|place| bits[*place as usize])), "{places:?} of {}", bits.len());
            }
        }
    }

    proptest! {
        #[test]
        fn parts_of_columns(
            columns in proptest::collection::vec((
                proptest::sample::select(vec![0usize, 1, 3, 7, 8, 100, 120, 255, 256, 257, 480, 512, 700, 960]),
                0u32..5,
                any::<[u64; 3]>(),
                0.0..1.0f64,
                0.0..1.0f64,
            ), 1..6),
        ) {
            let mut decoder = ValueDecoder::default();
            for (n, kind, [a, b, c], from, to) in columns {
                let mut total = (a % 1000) as f64;
                let bits: Vec<u64> = (0..n as u64).map(|i| {
                    let random = a.wrapping_mul(i.wrapping_add(b)).rotate_left((i % 64) as u32) ^ c;
                    total += (random % 100) as f64;
                    match kind {
                        0 => 42.5f64.to_bits(),
                        1 => total.to_bits(),
                        2 => (total / 100.0).to_bits(),
                        // With a few exceptions.
                        3 if random % 50 == 0 => [f64::NAN, relatum_model::stale_nan(), -0.0][i as usize % 3].to_bits(),
                        3 => ((random % 1000) as f64 / 10.0).to_bits(),
                        _ => random,
                    }
                }).collect();
                let (from, to) = ((from * n as f64) as usize, (to * n as f64) as usize);
                check(&mut decoder, &bits, 0..n);
                check(&mut decoder, &bits, from.min(to)..from.max(to));
            }
        }

        #[test]
        fn parts_of_integers(
            integers in proptest::collection::vec(any::<i64>(), 0..600), shift in 0u32..64, share in 0.0..1.0f64,
        ) {
            let integers: Vec<i64> = integers.iter().map(|integer| integer >> shift).collect();
            let end = (share * integers.len() as f64) as usize;
            let mut column = Vec::new();
            encode_integers(&mut column, &integers);
            let mut back = vec![9; 5];
            IntegerDecoder::default().read(&column, integers.len(), end, &mut back).expect("it was written here");
            assert_eq!(back[..end], integers[..end]);
        }
    }

    #[test]
    fn a_part_behind_the_end_is_an_error() {
        let mut column = Vec::new();
        encode_values(&mut column, &[1f64.to_bits(); 5]);
        let mut values = vec![1.0];
        assert!(ValueDecoder::default().push(&column, 5, 3..6, &mut values).is_err());
        assert_eq!(values, [1.0]);
    }
}
