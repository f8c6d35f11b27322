//! Chunks as bytes of an image of the head: what memory holds is copied, nothing is coded anew.
//!
//! The bytes are described in `docs/formats/head.md`. Checksums keep accidents out; what is checked here is what would let
//! bytes of any kind do harm.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{CHUNK_SAMPLES_MAX, Chunk, Form, OpenChunk, Window, unzigzag, zigzag};
use crate::block::bytes::{Cursor, put_varint};
use crate::block::layout::Damage;

const BITS: u8 = 0;
const COLUMNS: u8 = 1;

/// No sample of an open chunk takes more.
const SAMPLE_BYTES_MAX: usize = 19;

/// The columns of times in one frame by their address, with their numbers: each is written once.
///
/// They are held, so that an address stands for one column as long as the frame is open.
#[derive(Debug, Default)]
pub(crate) struct TimesWritten(HashMap<usize, (u64, Arc<[u8]>), FixedState>);

/// The columns of times that were read from one frame, in their order.
pub(crate) type TimesRead = Vec<Arc<[u8]>>;

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Damage> {
    let n = cursor.count(1)?;
    cursor.bytes(n)
}

impl Chunk {
    /// Writes the chunk. `times` are the columns that stand before it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, times: &mut TimesWritten) {
        put_varint(out, zigzag(self.min_ms));
        put_varint(out, self.max_ms.wrapping_sub(self.min_ms) as u64);
        put_varint(out, u64::from(self.count));
        match &self.form {
            Form::Bits(bytes) => {
                out.push(BITS);
                put_bytes(out, bytes);
            }
            Form::Columns { times: column, values } => {
                out.push(COLUMNS);
                let next = times.0.len() as u64 + 1;
                let number = times.0.entry(column.as_ptr().addr()).or_insert_with(|| (next, Arc::clone(column))).0;
                if number == next {
                    put_varint(out, 0);
                    put_bytes(out, column);
                } else {
                    put_varint(out, number);
                }
                put_bytes(out, values);
            }
        }
    }

    /// Reads a chunk.
    pub(crate) fn decode(cursor: &mut Cursor<'_>, times: &mut TimesRead) -> Result<Chunk, Damage> {
        let min_ms = unzigzag(cursor.varint()?);
        let max_ms = min_ms.wrapping_add(cursor.varint()? as i64);
        let count = count(cursor)?;
        if count == 0 || max_ms < min_ms {
            return Err(Damage("a chunk without samples"));
        }
        let form = match cursor.byte()? {
            BITS => Form::Bits(Arc::from(take_bytes(cursor)?)),
            COLUMNS => {
                let column = match cursor.varint()? {
                    0 => {
                        let column: Arc<[u8]> = Arc::from(take_bytes(cursor)?);
                        times.push(Arc::clone(&column));
                        column
                    }
                    number => {
                        let column = usize::try_from(number - 1).ok().and_then(|at| times.get(at));
                        Arc::clone(column.ok_or(Damage("no such column of times"))?)
                    }
                };
                Form::Columns { times: column, values: Arc::from(take_bytes(cursor)?) }
            }
            _ => return Err(Damage("unknown form of a chunk")),
        };
        Ok(Chunk { min_ms, max_ms, count, form })
    }
}

impl OpenChunk {
    /// Writes the chunk with what it needs to go on growing.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.count));
        if self.count == 0 {
            return;
        }
        put_varint(out, zigzag(self.last_ms));
        put_varint(out, zigzag(self.delta_ms));
        out.extend_from_slice(&self.last_bits.to_le_bytes());
        out.extend_from_slice(&[self.bits_free, self.window.leading, self.window.length]);
        put_bytes(out, self.written());
    }

    /// Reads a chunk that goes on growing.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<OpenChunk, Damage> {
        let count = count(cursor)?;
        if count == 0 {
            return Ok(OpenChunk::default());
        }
        let (last_ms, delta_ms) = (unzigzag(cursor.varint()?), unzigzag(cursor.varint()?));
        let last_bits = cursor.u64()?;
        let (bits_free, leading, length) = (cursor.byte()?, cursor.byte()?, cursor.byte()?);
        if bits_free > 7 || leading > 63 || length > 64 || leading + length > 64 {
            return Err(Damage("a chunk cannot go on like this"));
        }
        let bytes: Box<[u8]> = Box::from(take_bytes(cursor)?);
        // The first time and the first value stand there as they are.
        if bytes.len() < 16 {
            return Err(Damage("a chunk ends early"));
        }
        if bytes.len() > count as usize * SAMPLE_BYTES_MAX {
            return Err(Damage("a chunk of too many bytes"));
        }
        let (used, count, window) = (bytes.len() as u16, count as u8, Window { leading, length });
        let chunk =
            OpenChunk { bytes, last_ms, delta_ms, last_bits, used, count, bits_free, window, ..OpenChunk::default() };
        if chunk.min_ms() > last_ms {
            return Err(Damage("a chunk ends before it begins"));
        }
        Ok(chunk)
    }
}

fn count(cursor: &mut Cursor<'_>) -> Result<u32, Damage> {
    let n = cursor.varint()?;
    u32::try_from(n).ok().filter(|n| *n <= CHUNK_SAMPLES_MAX).ok_or(Damage("a chunk of too many samples"))
}
