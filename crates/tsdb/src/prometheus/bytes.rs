//! Numbers and texts between bytes, as Prometheus writes them.

use super::Damage;

/// Bytes that are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Reader { rest }
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or(Damage("it ends early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Damage("it ends early"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damage> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Damage> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damage> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn float(&mut self) -> Result<f64, Damage> {
        Ok(f64::from_bits(self.u64()?))
    }

    pub(super) fn uvarint(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for i in 0..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
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

    /// How many things follow, of which each takes a byte at least.
    pub(super) fn count(&mut self) -> Result<usize, Damage> {
        let n = self.uvarint()?;
        if n > self.rest.len() as u64 {
            return Err(Damage("a count is larger than what follows"));
        }
        Ok(n as usize)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damage> {
        let length = self.count()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Damage("a text is not UTF-8"))
    }
}

/// Writes groups of seven bits.
pub(super) fn put_uvarint(out: &mut Vec<u8>, value: u64) {
    crate::block::bytes::put_varint(out, value);
}

/// The same for a number with a sign.
pub(super) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, crate::chunk::zigzag(value));
}

/// Writes a text behind its length.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
