//! What a long chunk says of its values, in front of their column: whether they rise decides how little of it functions over long windows
//! read.
//!
//! Only chunks that are long enough have it, of floats that are all finite: a short one is decoded as fast as it is looked up.

use super::bytes::{Cursor, put_varint};
use super::column::encode_values;
use super::layout::Damage;

/// The first byte of a column that begins with a summary.
const SUMMARIZED: u8 = 0xfc;
/// Chunks of fewer samples have none.
const SAMPLES_MIN: usize = 240;

// All values are the same, so one of them is told.
const CONSTANT: u8 = 0;
const VARYING: u8 = 1;
// None is smaller than the one before, as in a counter: the first is the smallest, the last is the largest.
const RISING: u8 = 2;
/// How many numbers a summary has that are values, of values that rise and of others.
const RISING_VALUES: usize = 3;
const VALUES: usize = 6;

/// What is known of a run of floats. None of them is a NaN or infinite, so none is a staleness marker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The time of the first one, in milliseconds since 1970.
    pub(crate) first_ms: i64,
    /// The time of the last one.
    pub(crate) last_ms: i64,
    /// How many there are; one at least.
    pub(crate) count: u32,
    /// The first value.
    pub(crate) first: f64,
    /// The last value.
    pub(crate) last: f64,
    /// The smallest value.
    pub(crate) min: f64,
    /// The largest value.
    pub(crate) max: f64,
    /// The sum of all, added with compensation.
    pub(crate) sum: f64,
    /// The sum of those values that stand before a smaller one: what a counter had reached whenever it began anew. The growth of
    /// a counter over the run is `last - first + resets`.
    pub(crate) resets: f64,
    /// How often a value is not the one before it.
    pub(crate) changes: u32,
    /// How often a value is smaller than the one before it.
    pub(crate) drops: u32,
}

impl Summary {
    /// Of `values`, the first of which has the time `first_ms` and the last one `last_ms`; `None` if there are none, or if
    /// any of them or their sum is no finite number.
    pub(crate) fn of(first_ms: i64, last_ms: i64, values: &[f64]) -> Option<Summary> {
        let (&first, &last) = (values.first()?, values.last()?);
        let mut summary = Summary {
            first_ms,
            last_ms,
            count: u32::try_from(values.len()).ok()?,
            first,
            last,
            min: first,
            max: first,
            sum: 0.0,
            resets: 0.0,
            changes: 0,
            drops: 0,
        };
        let (mut compensation, mut before) = (0.0, first);
        for &value in values {
            let sum = summary.sum + value;
            // Neumaier's: what the larger of the two lost of the smaller one.
            compensation += if f64::abs(summary.sum) >= f64::abs(value) {
                (summary.sum - sum) + value
            } else {
                (value - sum) + summary.sum
            };
            summary.sum = sum;
            summary.min = summary.min.min(value);
            summary.max = summary.max.max(value);
            summary.changes += u32::from(value != before);
            if value < before {
                summary.resets += before;
                summary.drops += 1;
            }
            before = value;
        }
        // A NaN or an infinity anywhere leaves none of these finite.
        summary.sum += compensation;
        (summary.sum.is_finite() && summary.resets.is_finite()).then_some(summary)
    }
}

/// Writes values, given by their bits, behind a summary if they are to have one.
pub(crate) fn encode_summarized(out: &mut Vec<u8>, bits: &[u64]) {
    if bits.len() >= SAMPLES_MIN {
        let values: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
        if let Some(summary) = Summary::of(0, 0, &values) {
            out.push(SUMMARIZED);
            encode(out, &summary);
        }
    }
    encode_values(out, bits);
}

fn encode(out: &mut Vec<u8>, summary: &Summary) {
    let Summary { first, last, min, max, sum, resets, changes, drops, .. } = *summary;
    let mut body = Vec::new();
    if changes == 0 && min.to_bits() == max.to_bits() {
        body.push(CONSTANT);
        encode_values(&mut body, &[first.to_bits()]);
    } else if drops == 0 && min.to_bits() == first.to_bits() && max.to_bits() == last.to_bits() {
        body.push(RISING);
        put_varint(&mut body, u64::from(changes));
        encode_values(&mut body, &[first, last, sum].map(f64::to_bits));
    } else {
        body.push(VARYING);
        put_varint(&mut body, u64::from(changes));
        put_varint(&mut body, u64::from(drops));
        let values: [f64; VALUES] = [first, last, min, max, sum, resets];
        encode_values(&mut body, &values.map(f64::to_bits));
    }
    put_varint(out, body.len() as u64);
    out.append(&mut body);
}

/// Takes a column of values apart: the summary, if there is one, and the values.
pub(crate) fn split(column: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Damage> {
    if column.first() != Some(&SUMMARIZED) {
        return Ok((None, column));
    }
    let mut cursor = Cursor::new(&column[1..]);
    let n = cursor.count(1)?;
    let summary = cursor.bytes(n)?;
    Ok((Some(summary), cursor.rest))
}

/// Whether a summary says that no value is smaller than the one before.
pub(crate) fn rises(bytes: &[u8]) -> Result<bool, Damage> {
    let mut cursor = Cursor::new(bytes);
    match cursor.byte()? {
        CONSTANT | RISING => Ok(true),
        VARYING => {
            let _changes = cursor.varint()?;
            Ok(cursor.varint()? == 0)
        }
        _ => Err(Damage("unknown form of a summary")),
    }
}

/// The column of values in a summary, how many it has, and which of them is the last value of the chunk.
pub(crate) fn place_of_last(bytes: &[u8]) -> Result<(&[u8], usize, u32), Damage> {
    let mut cursor = Cursor::new(bytes);
    let (counts, values, place) = match cursor.byte()? {
        CONSTANT => (0, 1, 0),
        RISING => (1, RISING_VALUES, 1),
        VARYING => (2, VALUES, 1),
        _ => return Err(Damage("unknown form of a summary")),
    };
    for _ in 0..counts {
        cursor.varint()?;
    }
    Ok((cursor.rest, values, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::decoder::{decode_started, decode_values};

    /// Reads the summary of a chunk of `count` samples from `first_ms` to `last_ms`.
    fn decode(bytes: &[u8], first_ms: i64, last_ms: i64, count: usize) -> Result<Summary, Damage> {
        let mut cursor = Cursor::new(bytes);
        let count = u32::try_from(count).map_err(|_| Damage("too many samples in a chunk"))?;
        let number = |cursor: &mut Cursor<'_>| {
            u32::try_from(cursor.varint()?).ok().filter(|n| *n < count).ok_or(Damage("a summary counts too much"))
        };
        match cursor.byte()? {
            CONSTANT => {
                let &[value] = decode_values(cursor.rest, 1)?.as_slice() else {
                    return Err(Damage("a summary ends early"));
                };
                let sum = value * f64::from(count);
                Ok(Summary {
                    first_ms,
                    last_ms,
                    count,
                    first: value,
                    last: value,
                    min: value,
                    max: value,
                    sum,
                    resets: 0.0,
                    changes: 0,
                    drops: 0,
                })
            }
            RISING => {
                let changes = number(&mut cursor)?;
                let &[first, last, sum] = decode_values(cursor.rest, 3)?.as_slice() else {
                    return Err(Damage("a summary ends early"));
                };
                let (min, max) = (first, last);
                Ok(Summary { first_ms, last_ms, count, first, last, min, max, sum, resets: 0.0, changes, drops: 0 })
            }
            VARYING => {
                let (changes, drops) = (number(&mut cursor)?, number(&mut cursor)?);
                let values = decode_values(cursor.rest, VALUES)?;
                let &[first, last, min, max, sum, resets] = values.as_slice() else {
                    return Err(Damage("a summary ends early"));
                };
                Ok(Summary { first_ms, last_ms, count, first, last, min, max, sum, resets, changes, drops })
            }
            _ => Err(Damage("unknown form of a summary")),
        }
    }

    #[track_caller]
    fn check(values: &[f64], has_summary: bool) {
        let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
        let mut column = Vec::new();
        encode_summarized(&mut column, &bits);
        let (summary, rest) = split(&column).expect("it was written here");
        assert_eq!(summary.is_some(), has_summary, "{values:?}");
        let back: Vec<u64> = decode_values(rest, bits.len()).unwrap().into_iter().map(f64::to_bits).collect();
        assert_eq!(back, bits);
        assert!(
            decode_started(&column, bits.len()).unwrap().0.iter().map(|v| v.to_bits()).eq(bits),
            "with the summary"
        );
        if let Some(summary) = summary {
            let expected = Summary::of(5, 9, values).expect("all are finite");
            assert_eq!(decode(summary, 5, 9, values.len()), Ok(expected));
            assert_eq!(rises(summary), Ok(expected.drops == 0));
            for at in 0..summary.len() {
                // Cut anywhere it is an error, or a summary of something else, and no panic.
                let _ = (decode(&summary[..at], 5, 9, values.len()), rises(&summary[..at]));
            }
        }
    }

    #[test]
    fn summaries_come_back() {
        let counter: Vec<f64> = (0..480).map(|i| f64::from(i % 100) * 7.25).collect();
        check(&counter, true);
        check(&counter[..100], false);
        check(&(0..480).map(|i| f64::from(i / 7) * 0.1).collect::<Vec<_>>(), true);
        check(&[4.5; 480], true);
        // Both zeros are the same number and not the same bits.
        let zeros: Vec<f64> = (0..300).map(|i| if i % 2 == 0 { 0.0 } else { -0.0 }).collect();
        check(&zeros, true);
        let mut with_nan = counter.clone();
        with_nan[200] = f64::NAN;
        check(&with_nan, false);
        check(&(0..300).map(|i| f64::from(i).sin()).collect::<Vec<_>>(), true);
    }

    #[test]
    fn summaries() {
        let summary = Summary::of(1, 9, &[3.0, 5.0, 5.0, 1.0, 2.0, 0.5]).expect("all are finite");
        let Summary { first, last, min, max, sum, resets, changes, drops, count, .. } = summary;
        assert_eq!((first, last, min, max, sum, resets), (3.0, 0.5, 0.5, 5.0, 16.5, 7.0));
        assert_eq!((changes, drops, count), (4, 2, 6));
        assert_eq!(Summary::of(0, 0, &[]), None);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, relatum_model::stale_nan()] {
            assert_eq!(Summary::of(0, 2, &[1.0, bad, 2.0]), None, "{bad}");
        }
        assert_eq!(Summary::of(0, 1, &[f64::MAX, f64::MAX]), None);
        let exact = Summary::of(0, 2, &[1e16, 1.0, -1e16]).expect("all are finite");
        assert_eq!(exact.sum, 1.0, "nothing is lost on the way");
    }

    #[test]
    fn a_summary_takes_little_room() {
        let counter: Vec<f64> = (0..480).map(|i| 100_000.0 + f64::from(i) * 1.5).collect();
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let bits: Vec<u64> = counter.iter().map(|value| value.to_bits()).collect();
        encode_summarized(&mut with, &bits);
        encode_values(&mut without, &bits);
        assert!(with.len() <= without.len() + 24, "{} against {}", with.len(), without.len());
    }
}
