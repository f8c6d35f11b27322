//! Streams of bits, highest first, and the numbers that Prometheus writes into them.

use super::Damage;

/// How many bits a number of variable width takes behind each length of its prefix of ones.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// Bits that are written.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    // Of the last byte.
    free: u32,
}

impl BitWriter {
    /// Begins with whole bytes.
    pub(super) fn new(header: &[u8]) -> Self {
        BitWriter { bytes: header.to_vec(), free: 0 }
    }

    /// Writes the lowest `n` bits of `value`.
    pub(super) fn put(&mut self, value: u64, n: u32) {
        let mut left = n;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let piece = ((value >> (left - take)) & ((1 << take) - 1)) as u8;
            self.free -= take;
            left -= take;
            if let Some(last) = self.bytes.last_mut() {
                *last |= piece << self.free;
            }
        }
    }

    /// Writes groups of seven bits, as whole numbers stand between bytes.
    pub(super) fn put_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(value | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    /// The same for a number with a sign.
    pub(super) fn put_varint(&mut self, value: i64) {
        self.put_uvarint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// Writes a number in one of nine widths: a prefix of ones tells which.
    pub(super) fn put_varbit(&mut self, value: i64) {
        let fits = |width: &u32| {
            let half = 1i64.checked_shl(width.wrapping_sub(1)).unwrap_or(i64::MAX);
            match width {
                0 => value == 0,
                64 => true,
                _ => -half < value && value <= half,
            }
        };
        self.put_in_width(value as u64, WIDTHS.iter().position(fits).unwrap_or(8));
    }

    /// The same for a number without a sign.
    pub(super) fn put_varbit_unsigned(&mut self, value: u64) {
        let fits = |width: &u32| 64 - value.leading_zeros() <= *width;
        self.put_in_width(value, WIDTHS.iter().position(fits).unwrap_or(8));
    }

    fn put_in_width(&mut self, value: u64, at: usize) {
        match at {
            8 => self.put(0xff, 8),
            _ => self.put((1 << (at + 1)) - 2, at as u32 + 1),
        }
        self.put(value, WIDTHS[at]);
    }

    /// What was written, the last byte filled with zeros.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Bits that are read.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    // In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    /// The next `n` bits, at most 64.
    pub(super) fn take(&mut self, n: u32) -> Result<u64, Damage> {
        if self.at + n as usize > self.bytes.len() * 8 {
            return Err(Damage("a chunk ends early"));
        }
        let from = self.at / 8;
        let mut window = [0; 16];
        let rest = &self.bytes[from..self.bytes.len().min(from + 9)];
        window[..rest.len()].copy_from_slice(rest);
        let word = u128::from_be_bytes(window) << (self.at % 8);
        self.at += n as usize;
        Ok(if n == 0 { 0 } else { (word >> (128 - n)) as u64 })
    }

    pub(super) fn bit(&mut self) -> Result<bool, Damage> {
        Ok(self.take(1)? == 1)
    }

    /// How many ones there are up to the next zero, or `most`.
    pub(super) fn ones(&mut self, most: usize) -> Result<usize, Damage> {
        for n in 0..most {
            if !self.bit()? {
                return Ok(n);
            }
        }
        Ok(most)
    }

    pub(super) fn uvarint(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for i in 0..10 {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage("a number does not end"))
    }

    pub(super) fn varint(&mut self) -> Result<i64, Damage> {
        let value = self.uvarint()?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    pub(super) fn varbit(&mut self) -> Result<i64, Damage> {
        let width = WIDTHS[self.ones(8)?];
        Ok(signed(self.take(width)?, width))
    }

    pub(super) fn varbit_unsigned(&mut self) -> Result<u64, Damage> {
        let width = WIDTHS[self.ones(8)?];
        self.take(width)
    }

    pub(super) fn float(&mut self) -> Result<f64, Damage> {
        Ok(f64::from_bits(self.take(64)?))
    }
}

/// The number whose lowest `width` bits these are. The one in the middle counts as positive.
pub(super) fn signed(bits: u64, width: u32) -> i64 {
    if width == 0 || width == 64 || bits <= 1 << (width - 1) {
        bits as i64
    } else {
        bits.wrapping_sub(1 << width) as i64
    }
}

/// Which bits of the last difference of two floats were written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    leading: u32,
    // 0 before the first difference.
    length: u32,
}

impl Window {
    /// Writes what turns the bits of `before` into those of `value`.
    pub(super) fn put(&mut self, out: &mut BitWriter, before: f64, value: f64) {
        let difference = before.to_bits() ^ value.to_bits();
        if difference == 0 {
            return out.put(0, 1);
        }
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        let end = 64 - self.leading - self.length;
        if self.length > 0 && leading >= self.leading && trailing >= end {
            out.put(0b10, 2);
            return out.put(difference >> end, self.length);
        }
        *self = Window { leading, length: 64 - leading - trailing };
        out.put(0b11, 2);
        out.put(u64::from(leading), 5);
        // 64 does not fit into six bits, and 0 never occurs.
        out.put(u64::from(self.length), 6);
        out.put(difference >> trailing, self.length);
    }

    /// Reads the float that follows `before`.
    pub(super) fn take(&mut self, bits: &mut BitReader<'_>, before: f64) -> Result<f64, Damage> {
        if !bits.bit()? {
            return Ok(before);
        }
        if bits.bit()? {
            self.begin(bits)?;
        }
        self.difference(bits, before)
    }

    /// Reads which bits the next differences have.
    pub(super) fn begin(&mut self, bits: &mut BitReader<'_>) -> Result<(), Damage> {
        let leading = bits.take(5)? as u32;
        let length = match bits.take(6)? as u32 {
            0 => 64,
            length => length,
        };
        if leading + length > 64 {
            return Err(Damage("a float has too many bits"));
        }
        *self = Window { leading, length };
        Ok(())
    }

    /// Reads the bits in which a float differs from `before`.
    pub(super) fn difference(&self, bits: &mut BitReader<'_>, before: f64) -> Result<f64, Damage> {
        let difference = bits.take(self.length)?;
        let shift = 64 - self.leading - self.length;
        Ok(f64::from_bits(before.to_bits() ^ difference.checked_shl(shift).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let mut numbers: Vec<i64> = (0..64).flat_map(|i| [1i64 << i, (1i64 << i).wrapping_sub(1)]).collect();
        numbers.extend(numbers.clone().iter().map(|n| n.wrapping_neg()));
        numbers.extend([i64::MIN, i64::MAX, -36_028_797_018_963_967, 36_028_797_018_963_968]);
        let mut out = BitWriter::default();
        for n in &numbers {
            out.put_varbit(*n);
            out.put_varbit_unsigned(*n as u64);
            out.put_varint(*n);
        }
        let bytes = out.into_bytes();
        let mut bits = BitReader::new(&bytes);
        for n in &numbers {
            let back = (bits.varbit().unwrap(), bits.varbit_unsigned().unwrap(), bits.varint().unwrap());
            assert_eq!(back, (*n, *n as u64, *n));
        }
        assert!(bits.take(8).is_err());
    }
}
