//! Headers of files and frames: what lets a reader know where things begin and whether they are whole.

use std::hash::{BuildHasher, RandomState};

use super::FileKind;

/// The version of the format this code writes and reads.
pub(crate) const VERSION: u32 = 1;
/// The size of a file's header.
pub(crate) const FILE_HEADER_BYTES: usize = 32;
/// The size of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
/// The largest payload of a frame: a reader never allocates more for one.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// The first bytes of each frame.
pub(crate) const FRAME_MAGIC: [u8; 4] = [0xf7, b'R', b'L', b'T'];

// The highest bit of the part number: no part of this commit follows.
const LAST: u32 = 1 << 31;

/// The beginning of a segment or checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) kind: FileKind,
    pub(crate) number: u64,
    /// Goes into every checksum of the file, so that bytes of another file, or a label value that imitates a frame, never
    /// pass for a frame of this one.
    pub(crate) salt: u32,
    /// Whether zeros behind the last frame are room for more, and nothing that was lost.
    pub(crate) has_room: bool,
}

/// Why the beginning of a file is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// The file ends inside it.
    Short,
    /// Another format altogether.
    Foreign,
    /// Ours, but of a version this code does not know.
    Version(u32),
    /// Ours, but the checksum does not fit.
    Damaged,
}

impl FileHeader {
    /// A header with a salt nobody can foresee.
    pub(crate) fn new(kind: FileKind, number: u64) -> Self {
        FileHeader { kind, number, salt: RandomState::new().hash_one(number) as u32, has_room: false }
    }

    /// The same if this is the last segment of a log. All else was cut off behind its last frame before its successor was there, so
    /// that zeros are what was lost.
    pub(crate) fn with_room_in_the_last(self, is_last: bool) -> Self {
        FileHeader { has_room: self.has_room && is_last && self.kind == FileKind::Segment, ..self }
    }

    pub(crate) fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[..8].copy_from_slice(magic(self.kind));
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24] = u8::from(self.has_room);
        let checksum = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let Some(bytes) = bytes.first_chunk::<FILE_HEADER_BYTES>() else { return Err(BadHeader::Short) };
        let kind = [FileKind::Segment, FileKind::Checkpoint, FileKind::Head]
            .into_iter()
            .find(|kind| magic(*kind) == &bytes[..8]);
        let Some(kind) = kind else {
            // Zeros are what a power cut leaves of a file that was just made.
            return Err(if bytes.iter().all(|b| *b == 0) { BadHeader::Damaged } else { BadHeader::Foreign });
        };
        if crc32c::crc32c(&bytes[..28]) != u32_at(bytes, 28) {
            return Err(BadHeader::Damaged);
        }
        // The checksum comes first: a damaged version number must not look like a newer program's file.
        match u32_at(bytes, 8) {
            VERSION => {
                let (number, salt) = (u64_at(bytes, 16), u32_at(bytes, 12));
                Ok(FileHeader { kind, number, salt, has_room: bytes[24] & 1 != 0 })
            }
            other => Err(BadHeader::Version(other)),
        }
    }
}

fn magic(kind: FileKind) -> &'static [u8; 8] {
    match kind {
        FileKind::Segment => b"RELATWAL",
        FileKind::Checkpoint => b"RELATCKP",
        FileKind::Head => b"RELATHED",
    }
}

/// The beginning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_bytes: usize,
    /// Which commit the payload belongs to; commits are numbered upwards from 1.
    pub(crate) commit: u64,
    /// Which part of the commit it is, from 0.
    pub(crate) part: u32,
    /// Whether it is the last part.
    pub(crate) last: bool,
}

impl FrameHeader {
    /// Reads a header without checking that the payload is whole. `None` if no frame can begin here.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let payload_bytes = u32_at(bytes, 8) as usize;
        let part = u32_at(bytes, 12);
        (bytes[..4] == FRAME_MAGIC && payload_bytes <= PAYLOAD_BYTES_MAX).then(|| FrameHeader {
            payload_bytes,
            commit: u64_at(bytes, 16),
            part: part & !LAST,
            last: part & LAST != 0,
        })
    }
}

/// Leaves room for a frame's header at the end of `out`; returns where, for [`close_frame`].
pub(crate) fn open_frame(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    at
}

/// Fills in the header at `at`; everything behind it in `out` is the payload.
pub(crate) fn close_frame(out: &mut [u8], at: usize, salt: u32, commit: u64, part: u32, last: bool) {
    let payload_bytes = out.len() - at - FRAME_HEADER_BYTES;
    debug_assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "payloads are split before they are too large");
    let frame = &mut out[at..];
    frame[..4].copy_from_slice(&FRAME_MAGIC);
    frame[8..12].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    frame[12..16].copy_from_slice(&(part | if last { LAST } else { 0 }).to_le_bytes());
    frame[16..24].copy_from_slice(&commit.to_le_bytes());
    let checksum = checksum(salt, &frame[8..]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
}

/// Whether `frame`, header and payload, is as it was written.
pub(crate) fn is_whole(frame: &[u8], salt: u32) -> bool {
    frame.len() >= FRAME_HEADER_BYTES && checksum(salt, &frame[8..]) == u32_at(frame, 4)
}

fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
