//! What a block's file is made of, from both ends: the header, the sections between, and the footer that lists them.

use std::hash::{BuildHasher, RandomState};

use thiserror::Error;

use crate::chunk::{unzigzag, zigzag};

use super::bytes::{Cursor, put_varint};

/// The version of the format this code writes and reads.
pub(crate) const VERSION: u32 = 1;
/// The size of a file's header.
pub(crate) const HEADER_BYTES: usize = 32;
/// The size of what ends a file: length and checksum of the footer, and the magic.
pub(super) const TRAILER_BYTES: usize = 16;

const MAGIC: &[u8; 8] = b"RELATBLK";
pub(super) const END_MAGIC: &[u8; 8] = b"RELATEND";
const N_SECTIONS: usize = 6;

/// What is wrong with bytes from disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct Damage(pub(crate) &'static str);

/// Why a file is not a block that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadBlock {
    /// Another format, or another block.
    Foreign,
    /// Ours, but of a version this code does not know.
    Version(u32),
    /// Ours, and not as it was written.
    Damaged(Damage),
}

impl From<Damage> for BadBlock {
    fn from(damage: Damage) -> Self {
        BadBlock::Damaged(damage)
    }
}

/// The sections of a block, in the order in which they stand in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// Columns of times and values; each has a checksum of its own.
    Columns,
    /// Where the columns of times are.
    Times,
    /// All names and values of labels.
    Symbols,
    /// Labels and chunks of each series.
    Series,
    /// Where every so-many-th series begins.
    SeriesTable,
    /// Which series have a label.
    Postings,
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) checksum: u32,
}

/// What a block says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    /// The time of the oldest sample.
    pub(crate) min_ms: i64,
    /// The time of the newest sample.
    pub(crate) max_ms: i64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    pub(crate) chunks: u64,
    /// How often its samples were merged: 1 for a block that was cut from the head.
    pub(crate) level: u32,
    /// The last commit of which it may hold samples.
    pub(crate) commit: u64,
}

/// The end of a block: what it says about itself and where its sections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Footer {
    pub(crate) summary: Summary,
    pub(crate) sections: [Section; N_SECTIONS],
}

/// The first bytes of block `number`; the salt is part of every checksum of the file.
pub(crate) fn encode_header(number: u64) -> ([u8; HEADER_BYTES], u32) {
    let salt = RandomState::new().hash_one(number) as u32;
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&salt.to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&checksum.to_le_bytes());
    (bytes, salt)
}

/// Whether `bytes` begin as a block does.
pub(super) fn is_block(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

fn decode_header(bytes: &[u8], number: u64) -> Result<u32, BadBlock> {
    let header = bytes.get(..HEADER_BYTES).ok_or(Damage("it is shorter than a header"))?;
    if &header[..8] != MAGIC {
        // What a power cut may leave.
        let zeros = header.iter().all(|b| *b == 0);
        return Err(if zeros { Damage("its header is empty").into() } else { BadBlock::Foreign });
    }
    let mut cursor = Cursor::new(&header[8..]);
    let (version, salt, own_number, _, checksum) =
        (cursor.u32()?, cursor.u32()?, cursor.u64()?, cursor.u32()?, cursor.u32()?);
    // The checksum comes first: a damaged version number must not look like a newer program's file.
    if crc32c::crc32c(&header[..28]) != checksum {
        return Err(Damage("its header is damaged").into());
    }
    if version != VERSION {
        return Err(BadBlock::Version(version));
    }
    if own_number == number { Ok(salt) } else { Err(BadBlock::Foreign) }
}

/// The checksum of a part of a file.
pub(crate) fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(salt, bytes)
}

impl Footer {
    /// The bytes that end the file.
    pub(crate) fn encode(&self, salt: u32) -> Vec<u8> {
        let Summary { min_ms, max_ms, series, samples, chunks, level, commit } = self.summary;
        let mut out = Vec::new();
        for number in [zigzag(min_ms), zigzag(max_ms), series, samples, chunks, u64::from(level), commit] {
            put_varint(&mut out, number);
        }
        for Section { offset, length, checksum } in self.sections {
            put_varint(&mut out, offset);
            put_varint(&mut out, length);
            out.extend_from_slice(&checksum.to_le_bytes());
        }
        let sum = checksum(salt, &out);
        out.extend_from_slice(&(out.len() as u32).to_le_bytes());
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(END_MAGIC);
        out
    }

    /// Reads the salt and the footer of block `number`, whose whole file is `bytes`.
    pub(crate) fn decode(bytes: &[u8], number: u64) -> Result<(u32, Footer), BadBlock> {
        let salt = decode_header(bytes, number)?;
        let at = bytes.len() - HEADER_BYTES;
        let at = at.checked_sub(TRAILER_BYTES).ok_or(Damage("it has no end"))? + HEADER_BYTES;
        let mut trailer = Cursor::at(bytes, at)?;
        let (length, sum) = (trailer.u32()? as usize, trailer.u32()?);
        if trailer.rest != END_MAGIC {
            return Err(Damage("its end is missing or damaged").into());
        }
        let from = at.checked_sub(length).filter(|from| *from >= HEADER_BYTES);
        let footer = &bytes[from.ok_or(Damage("its footer is damaged"))?..at];
        if checksum(salt, footer) != sum {
            return Err(Damage("its footer is damaged").into());
        }
        Ok((salt, Footer::read(footer, bytes.len() as u64)?))
    }

    /// Reads what [`Footer::encode`] wrote, without its end, in a file of so many bytes.
    pub(super) fn read(bytes: &[u8], file_bytes: u64) -> Result<Footer, Damage> {
        let mut cursor = Cursor::new(bytes);
        let summary = Summary {
            min_ms: unzigzag(cursor.varint()?),
            max_ms: unzigzag(cursor.varint()?),
            series: cursor.varint()?,
            samples: cursor.varint()?,
            chunks: cursor.varint()?,
            level: u32::try_from(cursor.varint()?).unwrap_or(u32::MAX),
            commit: cursor.varint()?,
        };
        let mut sections = [Section::default(); N_SECTIONS];
        for section in &mut sections {
            *section = Section { offset: cursor.varint()?, length: cursor.varint()?, checksum: cursor.u32()? };
            let end = section.offset.checked_add(section.length);
            if end.is_none_or(|end| end > file_bytes) {
                return Err(Damage("a section lies behind the end"));
            }
        }
        Ok(Footer { summary, sections })
    }
}
