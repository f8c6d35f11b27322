//! The catalog: which blocks count, and up to where the head was cut.
//!
//! It is replaced as a whole, so several blocks come and go at once whenever the process dies. Blocks that it does not name
//! are what a crash left over.

use crate::block::bytes::{Cursor, put_varint};
use crate::block::layout::Damage;
use crate::chunk::{unzigzag, zigzag};

/// The version of the format this code writes and reads.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"RELATCAT";

/// What the catalog says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Catalog {
    /// The numbers of the blocks that count.
    pub(crate) blocks: Vec<u64>,
    /// The next number for a block.
    pub(crate) next_number: u64,
    /// The last cut of the head.
    pub(crate) cut: Option<CutMark>,
}

/// A cut: what was committed before `segment` began and is older than `end_ms` is in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CutMark {
    pub(crate) segment: u64,
    pub(crate) end_ms: i64,
}

/// Why a catalog cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadCatalog {
    Version(u32),
    Damaged(Damage),
}

impl From<Damage> for BadCatalog {
    fn from(damage: Damage) -> Self {
        BadCatalog::Damaged(damage)
    }
}

impl Catalog {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = VERSION.to_le_bytes().to_vec();
        put_varint(&mut body, self.next_number);
        body.push(u8::from(self.cut.is_some()));
        if let Some(CutMark { segment, end_ms }) = self.cut {
            put_varint(&mut body, segment);
            put_varint(&mut body, zigzag(end_ms));
        }
        put_varint(&mut body, self.blocks.len() as u64);
        self.blocks.iter().for_each(|number| put_varint(&mut body, *number));
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.append(&mut body);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadCatalog> {
        let mut cursor = Cursor::new(bytes);
        if cursor.bytes(MAGIC.len())? != MAGIC {
            return Err(Damage("it does not begin as a catalog").into());
        }
        if cursor.u32()? != crc32c::crc32c(cursor.rest) {
            return Err(Damage("its checksum does not fit").into());
        }
        let version = cursor.u32()?;
        if version != VERSION {
            return Err(BadCatalog::Version(version));
        }
        let next_number = cursor.varint()?;
        let cut = match cursor.byte()? {
            0 => None,
            _ => Some(CutMark { segment: cursor.varint()?, end_ms: unzigzag(cursor.varint()?) }),
        };
        let n = cursor.count(1)?;
        let blocks = (0..n).map(|_| cursor.varint()).collect::<Result<_, _>>()?;
        Ok(Catalog { blocks, next_number, cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        for catalog in [
            Catalog::default(),
            Catalog {
                blocks: vec![3, 1, 1 << 40],
                next_number: 7,
                cut: Some(CutMark { segment: 12, end_ms: -7_200_000 }),
            },
        ] {
            let bytes = catalog.encode();
            assert_eq!(Catalog::decode(&bytes), Ok(catalog));
            for at in 0..bytes.len() {
                assert!(Catalog::decode(&bytes[..at]).is_err(), "cut at {at}");
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x10;
                assert!(matches!(Catalog::decode(&damaged), Err(BadCatalog::Damaged(_))), "byte {at}");
            }
        }
        let mut newer = Catalog::default().encode();
        newer[12] = 2;
        let sum = crc32c::crc32c(&newer[12..]).to_le_bytes();
        newer[8..12].copy_from_slice(&sum);
        assert_eq!(Catalog::decode(&newer), Err(BadCatalog::Version(2)));
    }
}
