//! The end of the log that grows: segments, one after the other.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{AppendFile, Fs};

use super::FileKind;
use super::frame::{self, FileHeader};

/// Writes whole commits into the current segment.
#[derive(Debug)]
pub(crate) struct Writer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment: Segment,
    segment_bytes_max: u64,
    // How much room is made at once; 0 for none.
    room_bytes: u64,
    // Up to where there is room, or up to where none is tried to be made.
    room_end: u64,
}

/// The segment that is written to. Clones share the file.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn AppendFile>,
    /// How long the file is.
    pub(crate) bytes: u64,
    pub(crate) salt: u32,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("number", &self.number).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// How much room is made at once in a log that is synced for every commit: as much as some ten commits need, and no more than the disk
/// takes in the time of a few syncs.
const ROOM_BYTES: u64 = 256 << 10;

/// A failed operation and the file it was about.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
    /// Whether the log is as it was before, so that the next attempt may succeed. Otherwise nobody knows what the file holds.
    pub(crate) undone: bool,
}

/// Whether there is no room on the disk, or none that this user may take.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Writer {
    /// Begins segment `number`. `has_room` if every commit is to be synced: then there are always zeros ahead of what is written, so
    /// that a sync costs half as much.
    pub(crate) fn begin(
        fs: Arc<dyn Fs>,
        dir: &Path,
        number: u64,
        segment_bytes_max: u64,
        has_room: bool,
    ) -> Result<Self, WriteFailure> {
        let room_bytes = if has_room { ROOM_BYTES.min(segment_bytes_max) } else { 0 };
        let segment = begin_segment(&*fs, dir, number, room_bytes)?;
        let room_end = segment.bytes + room_bytes;
        Ok(Writer { fs, dir: dir.to_owned(), segment, segment_bytes_max, room_bytes, room_end })
    }

    /// The segment that is written to.
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Whether the next commit should go into a new segment.
    pub(crate) fn is_full(&self) -> bool {
        self.segment.bytes >= self.segment_bytes_max
    }

    /// Writes `frames`, which were closed with this segment's salt. On a full disk, what was written of them is cut off.
    pub(crate) fn append(&mut self, frames: &[u8]) -> Result<(), WriteFailure> {
        if let Err(source) = self.segment.file.append(frames) {
            let path = self.segment.path.clone();
            let undone = is_full(&source) && self.fs.truncate(&path, self.segment.bytes).is_ok();
            self.room_end = self.segment.bytes;
            return Err(WriteFailure { path, source, undone });
        }
        self.segment.bytes += frames.len() as u64;
        self.make_room()
    }

    /// Makes more room when half of it is used, so that the next sync brings it to the disk with what was written.
    fn make_room(&mut self) -> Result<(), WriteFailure> {
        let Segment { path, file, bytes, .. } = &self.segment;
        let wanted = *bytes + self.room_bytes;
        if wanted <= self.room_end + self.room_bytes / 2 {
            return Ok(());
        }
        let made = file.reserve(self.room_end.max(*bytes)..wanted);
        // Where there is none, the segment grows with each commit until it is tried again.
        self.room_end = wanted;
        match made {
            Ok(()) => Ok(()),
            Err(source) if is_full(&source) => truncate(&*self.fs, path, *bytes),
            Err(source) => Err(WriteFailure { path: path.clone(), source, undone: false }),
        }
    }

    /// Gives back the room that the segment has, durably.
    pub(crate) fn give_room_back(&mut self) -> Result<(), WriteFailure> {
        if self.room_bytes == 0 {
            return Ok(());
        }
        self.room_end = self.segment.bytes;
        truncate(&*self.fs, &self.segment.path, self.segment.bytes)
    }

    /// Makes the current segment durable and begins the next one.
    ///
    /// The order matters: a segment is complete on disk before its successor exists, so only the last segment of a log can
    /// end early.
    pub(crate) fn rotate(&mut self) -> Result<(), WriteFailure> {
        self.give_room_back()?;
        sync(&self.segment)?;
        self.segment = begin_segment(&*self.fs, &self.dir, self.segment.number + 1, self.room_bytes)?;
        self.room_end = self.segment.bytes + self.room_bytes;
        Ok(())
    }
}

/// Makes what was written to `segment` durable.
pub(crate) fn sync(segment: &Segment) -> Result<(), WriteFailure> {
    segment.file.sync().map_err(|source| WriteFailure { path: segment.path.clone(), source, undone: false })
}

/// Cuts a segment off behind its last commit and makes it durable.
fn truncate(fs: &dyn Fs, path: &Path, bytes: u64) -> Result<(), WriteFailure> {
    let failed = |source| WriteFailure { path: path.to_owned(), source, undone: false };
    fs.truncate(path, bytes).map_err(failed)
}

fn begin_segment(fs: &dyn Fs, dir: &Path, number: u64, room_bytes: u64) -> Result<Segment, WriteFailure> {
    let path = dir.join(FileKind::Segment.file_name(number));
    let header = FileHeader { has_room: room_bytes > 0, ..FileHeader::new(FileKind::Segment, number) };
    let begin = || -> io::Result<Arc<dyn AppendFile>> {
        let file: Arc<dyn AppendFile> = fs.create(&path)?.into();
        file.append(&header.encode())?;
        let begin = frame::FILE_HEADER_BYTES as u64;
        if room_bytes > 0 {
            file.reserve(begin..begin + room_bytes)?;
        }
        file.sync()?;
        fs.sync_dir(dir)?;
        Ok(file)
    };
    match begin() {
        Ok(file) => Ok(Segment { number, path, file, bytes: frame::FILE_HEADER_BYTES as u64, salt: header.salt }),
        Err(source) => {
            // Without its file the number is free for the next attempt.
            let _ = fs.remove(&path);
            let undone = is_full(&source) && fs.open(&path).is_err();
            Err(WriteFailure { path, source, undone })
        }
    }
}
