//! Reading a file of the log frame by frame, over whatever damage it has.
//!
//! The length of a frame is believed only when its checksum fits. Where it does not, the reader looks for the next place at
//! which a whole frame begins: a damaged frame costs itself and nothing behind it.

use std::io;

use crate::fs::ReadFile;

use super::frame::{
    self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, FileHeader, FrameHeader, PAYLOAD_BYTES_MAX,
};

// How much is read at once; frames are mostly far smaller.
const READ_BYTES: usize = 1 << 20;

/// What comes next in a file.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A whole frame that begins at `offset`.
    Frame { offset: u64, header: FrameHeader, payload: &'a [u8] },
    /// Bytes that are no frame, from `offset` on.
    Damage { offset: u64, bytes: u64 },
    /// Room for more from `offset` to the end, where nothing was written yet.
    Room { offset: u64 },
}

/// A walk over the frames of one file.
pub(crate) struct FrameReader<'f> {
    file: &'f dyn ReadFile,
    salt: u32,
    has_room: bool,
    // The window of the file that is in memory, and where in the file it begins.
    window: Vec<u8>,
    window_at: u64,
    // Where the next frame should begin.
    at: u64,
    // Behind the last byte that may be read.
    end: u64,
    pending: Option<(u64, FrameHeader)>,
}

impl<'f> FrameReader<'f> {
    /// A walk through the file of this header from `at` (0 for the first frame) up to `end`.
    pub(crate) fn new(file: &'f dyn ReadFile, header: &FileHeader, at: u64, end: u64) -> Self {
        let at = at.max(FILE_HEADER_BYTES as u64);
        let FileHeader { salt, has_room, .. } = *header;
        FrameReader { file, salt, has_room, window: Vec::new(), window_at: at, at, end, pending: None }
    }

    /// Where the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.at
    }

    /// The next frame or the damage before it; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        let found = match self.pending.take() {
            Some(found) => found,
            None => {
                let from = self.at;
                let mut candidate = from;
                let found = loop {
                    if candidate >= self.end {
                        break None;
                    }
                    if let Some(header) = self.frame_at(candidate)? {
                        break Some((candidate, header));
                    }
                    candidate = self.magic_after(candidate + 1)?;
                };
                let stop = match found {
                    Some((offset, _)) => offset,
                    None if self.has_room => self.last_written(from)?,
                    None => self.end,
                };
                if stop == from && found.is_none() && from < self.end {
                    self.at = self.end;
                    return Ok(Some(Found::Room { offset: from }));
                }
                if stop > from {
                    self.at = stop;
                    self.pending = found;
                    return Ok(Some(Found::Damage { offset: from, bytes: stop - from }));
                }
                match found {
                    Some(found) => found,
                    None => return Ok(None),
                }
            }
        };
        let (offset, header) = found;
        self.at = offset + (FRAME_HEADER_BYTES + header.payload_bytes) as u64;
        let frame = self.view(offset, FRAME_HEADER_BYTES + header.payload_bytes)?;
        // The file may have changed between two reads of it; then there is nothing to believe any more.
        match frame.get(FRAME_HEADER_BYTES..) {
            Some(payload) if payload.len() == header.payload_bytes => {
                Ok(Some(Found::Frame { offset, header, payload }))
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The header of the whole frame that begins at `offset`, if one does.
    fn frame_at(&mut self, offset: u64) -> io::Result<Option<FrameHeader>> {
        let bytes = self.view(offset, FRAME_HEADER_BYTES)?;
        let Some(header) = bytes.first_chunk().and_then(FrameHeader::decode) else { return Ok(None) };
        let length = FRAME_HEADER_BYTES + header.payload_bytes;
        if self.end - offset < length as u64 {
            return Ok(None);
        }
        let salt = self.salt;
        let frame = self.view(offset, length)?;
        Ok((frame.len() == length && frame::is_whole(frame, salt)).then_some(header))
    }

    /// The next place from `from` on at which a frame could begin; the end if there is none.
    fn magic_after(&mut self, mut from: u64) -> io::Result<u64> {
        while from < self.end {
            let bytes = self.view(from, FRAME_HEADER_BYTES.max(4096))?;
            if bytes.len() < FRAME_MAGIC.len() {
                break;
            }
            if let Some(at) = bytes.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC) {
                return Ok(from + at as u64);
            }
            // A magic may begin in the last three bytes.
            from += (bytes.len() - FRAME_MAGIC.len() + 1) as u64;
        }
        Ok(self.end)
    }

    /// Where the last bytes from `from` on end that are not zeros; `from` if there are none.
    fn last_written(&mut self, from: u64) -> io::Result<u64> {
        let (mut at, mut written) = (from, from);
        while at < self.end {
            let bytes = self.view(at, READ_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                written = at + last as u64 + 1;
            }
            at += bytes.len() as u64;
        }
        Ok(written)
    }

    /// `n` bytes from `offset` on, fewer at the end. Keeps at most one frame and one read in memory.
    fn view(&mut self, offset: u64, n: usize) -> io::Result<&[u8]> {
        debug_assert!(n <= FRAME_HEADER_BYTES + PAYLOAD_BYTES_MAX, "longer frames are refused by their header");
        let n = n.min(usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX));
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + n as u64 > window_end {
            let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut window = std::mem::take(&mut self.window);
            window.resize(n.max(READ_BYTES).min(left), 0);
            let got = self.file.read_at(offset, &mut window)?;
            window.truncate(got);
            self.window = window;
            self.window_at = offset;
        }
        let from = (offset - self.window_at) as usize;
        let to = (from + n).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or(&[]))
    }
}
