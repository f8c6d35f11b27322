//! The bytes of protobuf messages: fields one after another, borrowed, never trusted.
//!
//! Only what the messages of this crate need is read. What is left over of the bytes bounds every length that they declare.

/// Why the bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where in the body, in bytes.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) reason: &'static str,
}

/// The fields of one message that are still to be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` begins in the body, for errors.
    offset: usize,
}

pub(crate) struct Field<'a> {
    pub(crate) content: Content<'a>,
    /// Where it stands in the body.
    pub(crate) at: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The message, text or bytes that the field must be.
    #[inline]
    pub(crate) fn message(&self) -> Result<Fields<'a>, Fault> {
        match self.content {
            Content::Bytes(bytes) => Ok(Fields::new(bytes, self.at)),
            _ => Err(self.wrong_type()),
        }
    }

    /// The text the field must be.
    #[inline]
    pub(crate) fn text(&self) -> Result<&'a str, Fault> {
        let bytes = self.message()?.rest();
        std::str::from_utf8(bytes).map_err(|error| Fault { at: self.at + error.valid_up_to(), reason: "invalid UTF-8" })
    }

    pub(crate) fn uint(&self) -> Result<u64, Fault> {
        match self.content {
            Content::Varint(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    pub(crate) fn double(&self) -> Result<f64, Fault> {
        match self.content {
            Content::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.wrong_type()),
        }
    }

    /// Hands out the numbers of a repeated field, which come one by one or packed.
    pub(crate) fn sints(&self, mut on: impl FnMut(i64)) -> Result<(), Fault> {
        match self.content {
            Content::Varint(number) => on(unzigzag(number)),
            Content::Bytes(_) => {
                let mut packed = self.message()?;
                while !packed.rest().is_empty() {
                    on(unzigzag(packed.varint()?));
                }
            }
            _ => return Err(self.wrong_type()),
        }
        Ok(())
    }

    /// Hands out the unsigned numbers of a repeated field, which come one by one or packed.
    pub(crate) fn uints(&self, mut on: impl FnMut(u64)) -> Result<(), Fault> {
        match self.content {
            Content::Varint(number) => on(number),
            Content::Bytes(_) => {
                let mut packed = self.message()?;
                while !packed.rest().is_empty() {
                    on(packed.varint()?);
                }
            }
            _ => return Err(self.wrong_type()),
        }
        Ok(())
    }

    /// Hands out the floats of a repeated field, which come one by one or packed.
    pub(crate) fn doubles(&self, mut on: impl FnMut(f64)) -> Result<(), Fault> {
        match self.content {
            Content::Fixed64(bits) => on(f64::from_bits(bits)),
            Content::Bytes(_) => {
                let mut packed = self.message()?;
                while !packed.rest().is_empty() {
                    on(f64::from_bits(u64::from_le_bytes(packed.array()?)));
                }
            }
            _ => return Err(self.wrong_type()),
        }
        Ok(())
    }

    pub(crate) fn wrong_type(&self) -> Fault {
        Fault { at: self.at, reason: "field has the wrong wire type" }
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Fields { bytes, at: 0, offset }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Where in the body these fields begin that are still to be read.
    pub(crate) fn at(&self) -> usize {
        self.offset + self.at
    }

    /// Takes a message behind its length.
    pub(crate) fn delimited(&mut self) -> Result<Fields<'a>, Fault> {
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_| self.error("length is out of range"))?;
        let offset = self.at();
        Ok(Fields::new(self.take(length)?, offset))
    }

    pub(crate) fn error(&self, reason: &'static str) -> Fault {
        Fault { at: self.offset + self.at, reason }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Fault> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let (number, wire_type) = (key >> 3, key & 7);
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(self.error("field number is not valid"));
        }
        let content = match wire_type {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| self.error("length is out of range"))?;
                Content::Bytes(self.take(length)?)
            }
            5 => {
                self.array::<4>()?;
                Content::Fixed32
            }
            // Groups are long gone from the language and no sender writes them.
            _ => return Err(self.error("wire type is not valid")),
        };
        let at = match content {
            Content::Bytes(bytes) => self.offset + self.at - bytes.len(),
            _ => self.offset + self.at,
        };
        Ok(Some((number, Field { content, at })))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        // Most keys, lengths and numbers have one byte.
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0u64;
        for (shift, byte) in (0..64).step_by(7).zip(self.rest()) {
            // The tenth byte has room for one bit only.
            if shift == 63 && *byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            self.at += 1;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.error(if self.at == self.bytes.len() { "message ends early" } else { "number is too long" }))
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let bytes = self.rest().get(..length).ok_or_else(|| self.error("message ends early"))?;
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        Ok(self.take(N)?.try_into().expect("as many bytes were taken"))
    }
}

/// Counts of a histogram's buckets from the differences between neighbours, as messages have them.
#[derive(Default)]
pub(crate) struct Running {
    count: i64,
    n: usize,
    /// The number of the first bucket with less than nothing, from 1, and what it has.
    pub(crate) below_zero: Option<(usize, i64)>,
}

impl Running {
    pub(crate) fn add(&mut self, delta: i64) -> u64 {
        self.count = self.count.wrapping_add(delta);
        self.n += 1;
        u64::try_from(self.count).unwrap_or_else(|_| {
            self.below_zero.get_or_insert((self.n, self.count));
            0
        })
    }
}

pub(crate) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn varint_size(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn push_text(out: &mut Vec<u8>, number: u8, text: &str) {
    out.push(number << 3 | 2);
    push_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn text_size(text: &str) -> usize {
    1 + varint_size(text.len() as u64) + text.len()
}

/// Adds a message or text, which `write` writes, as field `number`.
pub(crate) fn push_message(out: &mut Vec<u8>, number: u8, write: impl FnOnce(&mut Vec<u8>)) {
    push_key(out, number, 2);
    // Most messages are shorter than 128 bytes, so one byte is kept for the length, and a longer one moves the rest.
    let at = out.len();
    out.push(0);
    write(out);
    let length = (out.len() - at - 1) as u64;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let mut bytes = Vec::with_capacity(10);
        push_varint(&mut bytes, length);
        out.splice(at..=at, bytes);
    }
}

/// Adds a number, unless it is 0, which is what a missing field means.
pub(crate) fn push_uint(out: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        push_key(out, number, 0);
        push_varint(out, value);
    }
}

/// Adds a float, unless it is 0.
pub(crate) fn push_double(out: &mut Vec<u8>, number: u8, value: f64) {
    if value.to_bits() != 0 {
        push_key(out, number, 1);
        out.extend(value.to_bits().to_le_bytes());
    }
}

/// Signed numbers near zero as small unsigned ones.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

pub(crate) fn push_key(out: &mut Vec<u8>, number: u8, wire_type: u8) {
    push_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}
