//! Reading a file of the log whose header is damaged: the salt is worked out from the first frame.
//!
//! A frame's checksum begins with the salt, and a CRC can be run backwards, so the bytes of a frame and its checksum have
//! exactly one salt that fits. One frame alone proves nothing, as some salt fits any bytes; the frame behind it must fit the
//! same salt, or nothing must be written behind it and the payload must be readable.

use std::io;

use crate::fs::ReadFile;

use super::FileKind;
use super::frame::{self, BadHeader, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader};
use super::record::sections;

/// The header of a file and, if it was worked out, what is wrong with the one on disk.
pub(crate) type Header = (FileHeader, Option<BadHeader>);

/// Reads the header of file `number`, or works it out from what follows.
pub(crate) fn read_header(file: &dyn ReadFile, kind: FileKind, number: u64) -> io::Result<Result<Header, BadHeader>> {
    let mut bytes = [0; FILE_HEADER_BYTES];
    let n = file.read_at(0, &mut bytes)?;
    let wrong = match FileHeader::decode(&bytes[..n]) {
        Ok(header) if header.kind == kind && header.number == number => return Ok(Ok((header, None))),
        // Whole, and of another file.
        Ok(_) => return Ok(Err(BadHeader::Foreign)),
        Err(wrong @ (BadHeader::Short | BadHeader::Version(_))) => return Ok(Err(wrong)),
        Err(wrong) => wrong,
    };
    Ok(match find_salt(file)? {
        // Whether there was room went with the header, so zeros at the end mean nothing.
        Some(salt) => Ok((FileHeader { kind, number, salt, has_room: true }, Some(wrong))),
        None => Err(wrong),
    })
}

fn find_salt(file: &dyn ReadFile) -> io::Result<Option<u32>> {
    let at = FILE_HEADER_BYTES as u64;
    let Some(first) = frame_at(file, at)? else { return Ok(None) };
    let salt = salt_of(&first);
    let fits = match frame_at(file, at + first.len() as u64)? {
        Some(second) => frame::is_whole(&second, salt),
        None => {
            let mut behind = [0; FRAME_HEADER_BYTES];
            let n = file.read_at(at + first.len() as u64, &mut behind)?;
            let is_last = behind[..n].iter().all(|byte| *byte == 0);
            is_last && sections(&first[FRAME_HEADER_BYTES..]).all(|section| section.is_ok())
        }
    };
    Ok(fits.then_some(salt))
}

/// The bytes that look like a frame at `offset`.
fn frame_at(file: &dyn ReadFile, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; FRAME_HEADER_BYTES];
    if file.read_at(offset, &mut header)? < header.len() {
        return Ok(None);
    }
    let Some(FrameHeader { payload_bytes, .. }) = FrameHeader::decode(&header) else { return Ok(None) };
    let mut frame = vec![0; FRAME_HEADER_BYTES + payload_bytes];
    Ok((file.read_at(offset, &mut frame)? == frame.len()).then_some(frame))
}

/// The salt with which the checksum of `frame` fits.
fn salt_of(frame: &[u8]) -> u32 {
    let table = table();
    let mut place = [0u8; 256];
    for (i, entry) in table.iter().enumerate() {
        place[(entry >> 24) as usize] = i as u8;
    }
    // The register before a byte follows from the one behind it: its highest byte tells which entry was mixed in.
    let entry_of = |register: u32| place[(register >> 24) as usize];
    let back = |register: u32, entry: u8| (register ^ table[usize::from(entry)]) << 8;
    let checksum = u32::from_le_bytes(frame[4..8].try_into().expect("a frame has a header"));
    let mut register = !checksum;
    for byte in frame[8..].iter().rev() {
        let entry = entry_of(register);
        register = back(register, entry) | u32::from(entry ^ byte);
    }
    // Four unknown bytes from a known start: the entries are found backwards, then the bytes forwards.
    let mut entries = [0; 4];
    let mut behind = register;
    for entry in entries.iter_mut().rev() {
        *entry = entry_of(behind);
        // The lowest byte is not known, and does not reach the highest one within four steps.
        behind = back(behind, *entry);
    }
    let mut register = u32::MAX;
    let bytes = entries.map(|entry| {
        let byte = entry ^ register as u8;
        register = (register >> 8) ^ table[usize::from(entry)];
        byte
    });
    u32::from_le_bytes(bytes)
}

/// What each value of a byte mixes into the register of CRC-32C.
fn table() -> [u32; 256] {
    std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::super::frame::{close_frame, open_frame};
    use super::*;

    #[test]
    fn the_salt_of_any_frame_comes_back() {
        for (salt, payload) in [(0, &b""[..]), (u32::MAX, b"x"), (0x1234_5678, b"payload"), (1, &[0xa5; 3000])] {
            let mut frame = Vec::new();
            let at = open_frame(&mut frame);
            frame.extend_from_slice(payload);
            close_frame(&mut frame, at, salt, 7, 0, true);
            assert_eq!(salt_of(&frame), salt);
        }
    }
}
