//! Blocks whose first bytes are gone.
//!
//! What is torn or zeroed is often the beginning of a file. Nothing in it is told nowhere else but the salt, without which no
//! checksum can be looked at; and that follows from the footer and its checksum.

use super::bytes::Cursor;
use super::layout::{Damage, END_MAGIC, Footer, HEADER_BYTES, TRAILER_BYTES};

/// The polynomial of CRC-32C, its lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The salt and the footer of a block of which the header cannot be read. Whether they are those that were written is told by the
/// checksums of the sections.
pub(super) fn footer(bytes: &[u8]) -> Result<(u32, Footer), Damage> {
    let at = bytes.len().checked_sub(TRAILER_BYTES).ok_or(Damage("it has no end"))?;
    let mut trailer = Cursor::at(bytes, at)?;
    let (length, sum) = (trailer.u32()? as usize, trailer.u32()?);
    if trailer.rest != END_MAGIC {
        return Err(Damage("its end is missing or damaged"));
    }
    let from = at.checked_sub(length).filter(|from| *from >= HEADER_BYTES);
    let footer = &bytes[from.ok_or(Damage("its footer is damaged"))?..at];
    Ok((salt_of(footer, sum), Footer::read(footer, bytes.len() as u64)?))
}

/// With which salt `bytes` have the checksum `sum`: each step of a CRC can be taken back.
fn salt_of(bytes: &[u8], sum: u32) -> u32 {
    let mut table = [0u32; 256];
    for (number, entry) in (0u32..).zip(&mut table) {
        *entry = (0..8).fold(number, |rest, _| if rest & 1 == 0 { rest >> 1 } else { (rest >> 1) ^ POLYNOMIAL });
    }
    // No two entries have the same highest byte.
    let mut numbers = [0u8; 256];
    for (number, entry) in (0u8..=255).zip(table) {
        numbers[(entry >> 24) as usize] = number;
    }
    let before = |state: u32, byte: &u8| {
        let number = numbers[(state >> 24) as usize];
        ((state ^ table[usize::from(number)]) << 8) | u32::from(number ^ byte)
    };
    !bytes.iter().rev().fold(!sum, before)
}

#[cfg(test)]
mod tests {
    use super::super::layout::checksum;
    use super::*;

    #[test]
    fn a_salt_is_worked_out() {
        for (salt, bytes) in [(0, &b""[..]), (1, b"a"), (0xdead_beef, b"what the footer says"), (u32::MAX, &[0; 40])] {
            assert_eq!(salt_of(bytes, checksum(salt, bytes)), salt, "{bytes:?}");
        }
    }
}
