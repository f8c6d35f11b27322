//! Integers in as many bits as their spread needs: for columns that are too short for the tables of `pco`, or gain little by them.
//!
//! Either the integers themselves or their steps are written as distances to the smallest one. The few that would make all
//! others wider have the bits that do not fit beside them.

use crate::chunk::{unzigzag, zigzag};

use super::bytes::{Cursor, put_varint};
use super::layout::Damage;

/// How integers are laid out.
struct Plan {
    // Whether the steps are written, behind the first integer.
    steps: bool,
    min: i64,
    width: u32,
    bytes: usize,
}

/// Writes `integers`.
pub(super) fn encode(out: &mut Vec<u8>, integers: &[i64]) {
    let steps: Vec<i64> = integers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let (of_integers, of_steps) = (plan(integers, false), plan(&steps, true));
    let plan = if of_steps.bytes < of_integers.bytes { of_steps } else { of_integers };
    let numbers = if plan.steps { &steps } else { integers };
    let mask = mask(plan.width);
    out.push(u8::from(plan.steps));
    if plan.steps {
        put_varint(out, zigzag(integers.first().copied().unwrap_or(0)));
    }
    put_varint(out, zigzag(plan.min));
    out.push(plan.width as u8);
    let distances = || numbers.iter().map(|number| number.wrapping_sub(plan.min) as u64);
    put_varint(out, distances().filter(|distance| distance & !mask != 0).count() as u64);
    let mut before = 0;
    for (at, distance) in distances().enumerate().filter(|(_, distance)| distance & !mask != 0) {
        put_varint(out, (at - before) as u64);
        put_varint(out, distance >> plan.width);
        before = at;
    }
    let (mut word, mut used) = (0u128, 0);
    for distance in distances() {
        word |= u128::from(distance & mask) << used;
        used += plan.width;
        if used >= 64 {
            out.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            used -= 64;
        }
    }
    out.extend_from_slice(&(word as u64).to_le_bytes()[..used.div_ceil(8) as usize]);
}

/// A column as it is read.
struct Layout<'b> {
    // The first integer, if what is packed are steps.
    first: Option<i64>,
    min: i64,
    width: u32,
    n_numbers: usize,
    packed: &'b [u8],
}

impl<'b> Layout<'b> {
    /// Takes apart what [`encode`] wrote of `n` integers. The places of those with further bits, and these where they belong, take the
    /// place of what is in `wide`.
    fn read(bytes: &'b [u8], n: usize, wide: &mut Vec<(usize, u64)>) -> Result<Self, Damage> {
        let mut cursor = Cursor::new(bytes);
        let first = match cursor.byte()? {
            0 => None,
            1 => Some(unzigzag(cursor.varint()?)),
            _ => return Err(Damage("unknown layout of bits")),
        };
        let min = unzigzag(cursor.varint()?);
        let width = u32::from(cursor.byte()?);
        if width > 64 {
            return Err(Damage("a number has too many bits"));
        }
        let n_numbers = if first.is_some() { n.saturating_sub(1) } else { n };
        let n_wide = cursor.count(1)?;
        wide.clear();
        let mut at = 0u64;
        for _ in 0..n_wide {
            at = at.saturating_add(cursor.varint()?);
            let place = usize::try_from(at).ok().filter(|place| *place < n_numbers);
            let place = place.ok_or(Damage("a wide number lies behind the end"))?;
            wide.push((place, cursor.varint()?.checked_shl(width).unwrap_or(0)));
        }
        let packed = cursor.bytes((n_numbers * width as usize).div_ceil(8))?;
        Ok(Layout { first, min, width, n_numbers, packed })
    }
}

/// Adds the first `end` of `n` integers that [`encode`] wrote to `integers`; `wide` is room to work in.
pub(super) fn decode(
    bytes: &[u8],
    n: usize,
    end: usize,
    wide: &mut Vec<(usize, u64)>,
    integers: &mut Vec<i64>,
) -> Result<(), Damage> {
    let Layout { first, min, width, packed, .. } = Layout::read(bytes, n, wide)?;
    let end = end.min(n);
    integers.reserve(end);
    integers.extend(first.filter(|_| end > 0));
    let n_first = integers.len();
    let n_read = if first.is_some() { end.saturating_sub(1) } else { end };
    unpack(packed, n_read, width, integers);
    let numbers = &mut integers[n_first..];
    for (at, high) in wide.iter() {
        if let Some(number) = numbers.get_mut(*at) {
            *number |= *high as i64;
        }
    }
    match first {
        None => numbers.iter_mut().for_each(|number| *number = min.wrapping_add(*number)),
        Some(mut integer) => {
            for number in numbers {
                integer = integer.wrapping_add(min.wrapping_add(*number));
                *number = integer;
            }
        }
    }
    Ok(())
}

/// Adds those of `n` integers that [`encode`] wrote that stand at `places`, which ascend, to `integers`; `wide` is room to work in.
///
/// Steps on the way from one place to the next are summed as they are packed, several at once.
pub(super) fn pick(
    bytes: &[u8],
    n: usize,
    places: &[u32],
    wide: &mut Vec<(usize, u64)>,
    integers: &mut Vec<i64>,
) -> Result<(), Damage> {
    let Layout { first, min, width, n_numbers, packed } = Layout::read(bytes, n, wide)?;
    if places.last().is_some_and(|place| *place as usize >= n) {
        return Err(Damage("a place lies behind the end of its column"));
    }
    // Of places that ascend; those below `n_numbers` were checked.
    let mut highs = wide.iter().peekable();
    let mut high_below = |end: usize| {
        let mut sum = 0u64;
        while let Some((_, high)) = highs.next_if(|(place, _)| *place < end) {
            sum = sum.wrapping_add(*high);
        }
        sum
    };
    let Some(mut integer) = first else {
        integers.extend(places.iter().map(|place| {
            let place = *place as usize;
            high_below(place);
            let number = take(packed, place * width as usize) & mask(width) | high_below(place + 1);
            min.wrapping_add(number as i64)
        }));
        return Ok(());
    };
    let mut at = 0;
    for place in places {
        let place = (*place as usize).min(n_numbers);
        if at < place {
            let sum = sum(packed, at, place, width).wrapping_add(high_below(place));
            let steps = min.wrapping_mul((place - at) as i64);
            integer = integer.wrapping_add(steps).wrapping_add(sum as i64);
            at = place;
        }
        integers.push(integer);
    }
    Ok(())
}

/// The sum of the numbers from `from` on and before `to`, of `width` bits each, which `packed` holds.
fn sum(packed: &[u8], from: usize, to: usize, width: u32) -> u64 {
    let bits = width as usize;
    if width == 0 {
        return 0;
    }
    let (mut total, mut at) = (0u64, from);
    // So many pairs of numbers lie in what can be read at once, wherever that begins in its first byte.
    let n_pairs = 57 / (2 * bits);
    if n_pairs > 0 {
        // A lane is as wide as two numbers, so that it holds many sums of two before it is full.
        let lanes = (0..n_pairs).fold(0u64, |lanes, pair| lanes | mask(width) << (2 * bits * pair));
        let n_sums = 1usize << (bits - 1).min(16);
        while at + 2 * n_pairs <= to {
            let mut sums = 0u64;
            let mut n = 0;
            while n < n_sums && at + 2 * n_pairs <= to {
                let Some(window) = packed.get(at * bits / 8..).and_then(|rest| rest.first_chunk::<8>()) else { break };
                let numbers = u64::from_le_bytes(*window) >> (at * bits % 8);
                sums += (numbers & lanes) + (numbers >> bits & lanes);
                at += 2 * n_pairs;
                n += 1;
            }
            if n == 0 {
                break;
            }
            for pair in 0..n_pairs {
                total = total.wrapping_add(sums >> (2 * bits * pair) & mask(2 * width));
            }
        }
    }
    for at in (at..to).map(|at| at * bits) {
        let number = match packed.get(at / 8..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(window) if width <= 56 => u64::from_le_bytes(*window) >> (at % 8),
            _ => take(packed, at),
        };
        total = total.wrapping_add(number & mask(width));
    }
    total
}

/// Adds `n` numbers of `width` bits each, which `packed` holds.
fn unpack(packed: &[u8], n: usize, width: u32, numbers: &mut Vec<i64>) {
    let mask = mask(width);
    // Nearly all lie inside of eight bytes that can be read at once.
    let n_at_once = match width {
        0 => return numbers.resize(numbers.len() + n, 0),
        1..=56 => (packed.len().saturating_sub(7) * 8).div_ceil(width as usize).min(n),
        _ => 0,
    };
    let windows = (0..n_at_once).map(|i| i * width as usize);
    numbers.extend(windows.map(|at| {
        let window = packed[at / 8..at / 8 + 8].try_into().expect("eight bytes");
        (u64::from_le_bytes(window) >> (at % 8) & mask) as i64
    }));
    numbers.extend((n_at_once..n).map(|i| (take(packed, i * width as usize) & mask) as i64));
}

/// The width with which `numbers` take the fewest bytes.
fn plan(numbers: &[i64], steps: bool) -> Plan {
    let min = numbers.iter().copied().min().unwrap_or(0);
    let mut n_of_length = [0usize; 65];
    for number in numbers {
        n_of_length[64 - (number.wrapping_sub(min) as u64).leading_zeros() as usize] += 1;
    }
    let (mut best, mut beside, mut wide) = ((usize::MAX, 0), 0, 0);
    // From the widest down: each step takes more numbers out, whose other bits then stand beside.
    for width in (0..=64usize).rev() {
        let bytes = (numbers.len() * width).div_ceil(8) + beside;
        if bytes < best.0 {
            best = (bytes, width);
        }
        wide += n_of_length[width];
        // A place and the bits above; about one byte each, and one more every seven bits.
        beside += 2 * n_of_length[width] + wide / 7;
    }
    Plan { steps, min, width: best.1 as u32, bytes: best.0 + 5 * usize::from(steps) }
}

fn mask(width: u32) -> u64 {
    u64::MAX.checked_shr(64 - width).unwrap_or(0)
}

/// The bits from bit `at` on, as many as there are of 64.
fn take(bytes: &[u8], at: usize) -> u64 {
    let mut window = [0; 16];
    let rest = bytes.get(at / 8..).unwrap_or(&[]);
    let n = rest.len().min(16);
    window[..n].copy_from_slice(&rest[..n]);
    (u128::from_le_bytes(window) >> (at % 8)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Picked at some places they are what they are among all.
    #[track_caller]
    fn check_picked(bytes: &[u8], integers: &[i64], every: usize) {
        for start in 0..every.min(3) {
            let places: Vec<u32> = (start..integers.len()).step_by(every).map(|place| place as u32).collect();
            let mut picked = Vec::new();
            pick(bytes, integers.len(), &places, &mut Vec::new(), &mut picked).expect("it was written here");
            let expected: Vec<i64> = places.iter().map(|place| integers[*place as usize]).collect();
            assert_eq!(picked, expected, "{places:?}");
        }
    }

    fn decoded(bytes: &[u8], n: usize) -> Result<Vec<i64>, Damage> {
        let mut integers = Vec::new();
        decode(bytes, n, n, &mut Vec::new(), &mut integers)?;
        Ok(integers)
    }

    #[track_caller]
    fn check(integers: &[i64]) -> usize {
        let mut out = Vec::new();
        encode(&mut out, integers);
        assert_eq!(decoded(&out, integers.len()).unwrap(), integers);
        [1, 2, 7, 59, 1000].into_iter().for_each(|every| check_picked(&out, integers, every));
        out.len()
    }

    #[test]
    fn short_columns() {
        check(&[]);
        check(&[7]);
        check(&[i64::MIN, i64::MAX, 0, -1]);
        check(&[0, u32::MAX.into(), 1 << 56, (1 << 57) - 1, 3]);
        // Ten bits each and one far off: a wide one stands beside the others.
        let mut gauge: Vec<i64> = (0..120).map(|i| i * 7919 % 1000).collect();
        gauge[50] = 1 << 50;
        assert!(check(&gauge) < 120 * 10 / 8 + 20);
        // Times with a few milliseconds of jitter.
        let times: Vec<i64> = (0..120).map(|i| 1_700_000_000_000 + i * 15_000 + i * 31 % 7).collect();
        assert!(check(&times) < 120 * 4 / 8 + 20);
    }

    #[test]
    fn damage_is_an_error_or_other_numbers() {
        let mut out = Vec::new();
        encode(&mut out, &[1, 5, 1 << 40, 7, 9, -4]);
        for at in 0..out.len() {
            for bit in 0..8 {
                let mut damaged = out.clone();
                damaged[at] ^= 1 << bit;
                let _ = decoded(&damaged, 6);
                let _ = pick(&damaged, 6, &[0, 2, 5], &mut Vec::new(), &mut Vec::new());
            }
            assert!(decoded(&out[..at], 6).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_integers(integers in proptest::collection::vec(any::<i64>(), 0..300), shift in 0u32..64) {
            let mut integers: Vec<i64> = integers.iter().map(|integer| integer >> shift).collect();
            check(&integers);
            // The same as steps, of any width.
            let mut total = 0i64;
            integers.iter_mut().for_each(|integer| {
                total = total.wrapping_add(*integer);
                *integer = total;
            });
            check(&integers);
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..100), n in 0usize..300) {
            let _ = decoded(&bytes, n);
            let _ = pick(&bytes, n, &[0, 1, 40, 200, 299], &mut Vec::new(), &mut Vec::new());
        }
    }
}
