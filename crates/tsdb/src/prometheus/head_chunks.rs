//! The chunks that left the memory of Prometheus' head.

use relatum_model::Samples;

use super::bytes::Reader;
use super::{Damage, chunks};

const MAGIC: u32 = 0x0130_BC91;
const HEADER_BYTES: usize = 8;
/// Set in the encoding of a chunk whose samples came late.
const LATE: u8 = 0x80;

/// Reads the chunks of one file; `each` gets the reference of the series and the samples.
pub(super) fn read(bytes: &[u8], mut each: impl FnMut(u64, Samples)) -> Result<(), Damage> {
    if bytes.is_empty() {
        return Ok(());
    }
    if Reader::new(bytes).u32()? != MAGIC {
        return Err(Damage("it holds no chunks of a head"));
    }
    let mut reader = Reader::new(bytes.get(HEADER_BYTES..).ok_or(Damage("it ends early"))?);
    while !reader.rest.is_empty() {
        let from = reader.rest;
        let reference = reader.u64()?;
        if reference == 0 {
            // Room that was reserved.
            return if from.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Damage("a chunk has no series")) };
        }
        reader.bytes(16)?;
        let encoding = reader.byte()? & !LATE;
        let length = reader.count()?;
        let data = reader.bytes(length)?;
        let sum = crc32c::crc32c(&from[..from.len() - reader.rest.len()]);
        if reader.u32()? != sum {
            return Err(Damage("a chunk is damaged"));
        }
        let mut samples = Samples::default();
        chunks::decode(encoding, data, &mut { chunks::CHUNK_MEMORY_MAX }, &mut samples)?;
        each(reference, samples);
    }
    Ok(())
}
