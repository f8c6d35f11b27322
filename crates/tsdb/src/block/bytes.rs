//! Numbers as bytes: varints for what is small, fixed sizes for what is found by its place.

use super::layout::Damage;

/// Writes `value` in groups of seven bits.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A walk over bytes from disk: whatever they are, it ends in a value or in [`Damage`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Cursor { rest }
    }

    /// A walk over `bytes` from `at` on.
    pub(crate) fn at(bytes: &'a [u8], at: usize) -> Result<Self, Damage> {
        bytes.get(at..).map(Cursor::new).ok_or(Damage("an offset lies behind the end"))
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or(Damage("it ends early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into().expect("four bytes")))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64::from_le_bytes(self.bytes(8)?.try_into().expect("eight bytes")))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Damage> {
        // Nearly all are short: symbols, counts and distances.
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a))
            }
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            [a, b, c, ref rest @ ..] if c < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) | u64::from(b & 0x7f) << 7 | u64::from(c) << 14)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(Damage("a number does not end"))
    }

    /// A varint that counts things of which each takes at least one byte of what is left times `per_byte`.
    pub(crate) fn count(&mut self, per_byte: usize) -> Result<usize, Damage> {
        let n = self.varint()?;
        if n > (self.rest.len() as u64).saturating_mul(per_byte as u64) {
            return Err(Damage("a count is larger than what follows"));
        }
        Ok(n as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_all_lengths() {
        let edges = (0..64).flat_map(|bits| [(1u64 << bits) - 1, 1u64 << bits]).chain([u64::MAX]);
        for value in edges {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let n = bytes.len();
            bytes.push(0xaa);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(cursor.varint(), Ok(value));
            assert_eq!(cursor.rest, [0xaa]);
            assert!(Cursor::new(&bytes[..n - 1]).varint().is_err(), "{value} without its last byte");
        }
        assert!(Cursor::new(&[0x80; 11]).varint().is_err());
    }
}
