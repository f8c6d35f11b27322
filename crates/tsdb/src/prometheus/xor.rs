//! Chunks of floats.

use relatum_model::stale_nan;

use super::Damage;
use super::bits::{BitReader, BitWriter, Window, signed};

/// Which widths the changes of the distance of two times have, by the number of ones before them.
const WIDTHS: [u32; 5] = [0, 14, 17, 20, 64];

/// How many samples Prometheus puts into a chunk.
pub(super) const CHUNK_SAMPLES: usize = 120;

/// Writes samples, which ascend in time.
pub(super) fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut out = BitWriter::new(&(samples.len() as u16).to_be_bytes());
    let (mut window, mut delta) = (Window::default(), 0i64);
    let mut before: Option<(i64, f64)> = None;
    for (at, (t_ms, value)) in samples.iter().enumerate() {
        match before {
            None => {
                out.put_varint(*t_ms);
                out.put(value.to_bits(), 64);
            }
            Some((before_ms, before)) => {
                let new = t_ms.wrapping_sub(before_ms);
                if at == 1 {
                    out.put_uvarint(new as u64);
                } else {
                    put_change(&mut out, new.wrapping_sub(delta));
                }
                delta = new;
                window.put(&mut out, before, *value);
            }
        }
        before = Some((*t_ms, *value));
    }
    out.into_bytes()
}

fn put_change(out: &mut BitWriter, change: i64) {
    let fits = |width: &u32| match width {
        0 => change == 0,
        64 => true,
        _ => -(1i64 << (width - 1)) < change && change <= 1 << (width - 1),
    };
    let at = WIDTHS.iter().position(fits).unwrap_or(4);
    match at {
        4 => out.put(0b1111, 4),
        _ => out.put((1 << (at + 1)) - 2, at as u32 + 1),
    }
    out.put(change as u64, WIDTHS[at]);
}

/// Reads samples; `each` gets them in order.
pub(super) fn decode(bytes: &[u8], mut each: impl FnMut(i64, f64)) -> Result<(), Damage> {
    let (n, rest) = bytes.split_first_chunk().ok_or(Damage("a chunk ends early"))?;
    let mut bits = BitReader::new(rest);
    let (mut t_ms, mut delta, mut value, mut window) = (0i64, 0i64, 0.0, Window::default());
    for at in 0..u16::from_be_bytes(*n) {
        match at {
            0 => {
                t_ms = bits.varint()?;
                value = bits.float()?;
            }
            1 => delta = bits.uvarint()? as i64,
            _ => {
                let width = WIDTHS[bits.ones(4)?];
                delta = delta.wrapping_add(signed(bits.take(width)?, width));
            }
        }
        if at > 0 {
            t_ms = t_ms.wrapping_add(delta);
            value = window.take(&mut bits, value)?;
        }
        each(t_ms, value);
    }
    Ok(())
}

/// Reads the newer form of Prometheus 3.10 and later, in which time and value share a prefix. Start times are passed over.
pub(super) fn decode2(bytes: &[u8], mut each: impl FnMut(i64, f64)) -> Result<(), Damage> {
    let (header, rest) = bytes.split_first_chunk::<3>().ok_or(Damage("a chunk ends early"))?;
    let n = u16::from_be_bytes([header[0], header[1]]);
    let mut starts = Starts::new(header[2]);
    let mut bits = BitReader::new(rest);
    let (mut t_ms, mut delta, mut base, mut window) = (0i64, 0i64, 0.0, Window::default());
    let stale = stale_nan();
    for at in 0..n {
        let value;
        let before_ms = t_ms;
        match at {
            0 => {
                t_ms = bits.varint()?;
                value = bits.float()?;
                if value.to_bits() != stale.to_bits() {
                    base = value;
                }
            }
            1 => {
                delta = bits.uvarint()? as i64;
                t_ms = t_ms.wrapping_add(delta);
                value = decode2_value(&mut bits, &mut window, &mut base, stale)?;
            }
            _ => {
                let prefix = bits.ones(5)?;
                let width = [0, 0, 13, 20, 64, 0][prefix];
                if width > 0 {
                    let bits = bits.take(width)?;
                    // Here the one in the middle counts as negative.
                    let change = ((bits << (64 - width)) as i64) >> (64 - width);
                    delta = delta.wrapping_add(change);
                }
                t_ms = t_ms.wrapping_add(delta);
                value = match prefix {
                    0 => base,
                    1 => {
                        if bits.bit()? {
                            window.begin(&mut bits)?;
                        }
                        base = window.difference(&mut bits, base)?;
                        base
                    }
                    5 => stale,
                    _ => decode2_value(&mut bits, &mut window, &mut base, stale)?,
                };
            }
        }
        starts.take(&mut bits, at, t_ms, before_ms)?;
        each(t_ms, value);
    }
    Ok(())
}

fn decode2_value(bits: &mut BitReader<'_>, window: &mut Window, base: &mut f64, stale: f64) -> Result<f64, Damage> {
    match bits.ones(3)? {
        0 => return Ok(*base),
        1 => {}
        2 => window.begin(bits)?,
        _ => return Ok(stale),
    }
    *base = window.difference(bits, *base)?;
    Ok(*base)
}

/// Start times, which newer chunks have beside each sample.
#[derive(Debug)]
pub(super) struct Starts {
    first_known: bool,
    // Which sample is the first whose start is another one; 0 for none.
    change_on: u16,
    difference: i64,
    /// The start of the current sample; 0 if it is not known.
    pub(super) start_ms: i64,
}

impl Starts {
    pub(super) fn new(header: u8) -> Self {
        Starts { first_known: header & 0x80 != 0, change_on: u16::from(header & 0x7f), difference: 0, start_ms: 0 }
    }

    /// Reads what follows sample `at`.
    pub(super) fn take(&mut self, bits: &mut BitReader<'_>, at: u16, t_ms: i64, before_ms: i64) -> Result<(), Damage> {
        if at == 0 {
            if self.first_known {
                self.start_ms = t_ms.wrapping_sub(bits.varint()?);
            }
        } else if self.change_on > 0 && at >= self.change_on {
            let number = bits.varbit()?;
            self.difference = if at == self.change_on { number } else { self.difference.wrapping_add(number) };
            self.start_ms = before_ms.wrapping_sub(self.difference);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(samples: &[(i64, f64)]) {
        let bytes = encode(samples);
        let mut back = Vec::new();
        decode(&bytes, |t_ms, value| back.push((t_ms, value.to_bits()))).unwrap();
        let expected: Vec<_> = samples.iter().map(|(t_ms, value)| (*t_ms, value.to_bits())).collect();
        assert_eq!(back, expected);
    }

    #[test]
    fn every_bit_comes_back() {
        check(&[]);
        check(&[(i64::MIN, 1.0), (0, -0.0), (i64::MAX, f64::NAN)]);
        check(&(0..120).map(|i| (i * 15_000 + i % 3, (i * i) as f64 / 10.0)).collect::<Vec<_>>());
        for change in [8191, 8192, 8193, -8191, -8192, 65_536, 65_537, 524_288, 524_289, -524_288] {
            check(&[(0, 1.0), (1_000_000, 1.5), (2_000_000 + change, 1.25), (3_000_000, 0.1)]);
        }
    }

    #[test]
    fn bytes_as_prometheus_writes_them() {
        // Sample count, time as a zigzag varint, the float, the distance, no change of value; no change of distance and value.
        let expected = [0, 3, 0x02, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x0f, 0b0000_0000];
        assert_eq!(encode(&[(1, 1.0), (16, 1.0), (31, 1.0)]), expected);
    }

    proptest! {
        #[test]
        fn any_samples(times in proptest::collection::btree_set(any::<i64>(), 0..130), bits in any::<[u64; 5]>()) {
            check(&times.iter().enumerate().map(|(i, t)| (*t, f64::from_bits(bits[i % 5]))).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes, |_, _| ());
            let _ = decode2(&bytes, |_, _| ());
        }
    }
}
