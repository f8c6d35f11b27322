//! The end of the log that grows: segments, one after the other.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use crate::fs::{AppendFile, Fs};

use super::FileKind;
use super::frame::{self, FileHeader};

/// Writes whole commits into the current segment.
#[derive(Debug)]
pub(crate) struct Writer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment: Segment,
    // There was no room on the disk for the segment's file, which is to begin like this: the first commit that finds some makes it.
    missing: Option<FileHeader>,
    segment_bytes_max: u64,
    room: Room,
}

/// The zeros behind the commits of a segment.
#[derive(Debug, Clone, Copy)]
struct Room {
    // How much is made at once; 0 for none.
    bytes: u64,
    // Where it ends, and the file with it; before the end of the commits if there is none.
    end: u64,
    // None is tried to be made before the commits reach this: there was none on the disk.
    not_before: u64,
}

/// The segment that is written to. Clones share the file.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn AppendFile>,
    /// Where its commits end; there may be room behind them.
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
    /// that a sync costs half as much. A full disk is no failure yet, so that what was written before can be read on one.
    pub(crate) fn begin(
        fs: Arc<dyn Fs>,
        dir: &Path,
        number: u64,
        segment_bytes_max: u64,
        has_room: bool,
    ) -> Result<Self, WriteFailure> {
        let room_bytes = if has_room { ROOM_BYTES.min(segment_bytes_max) } else { 0 };
        let header = FileHeader { has_room: room_bytes > 0, ..FileHeader::new(FileKind::Segment, number) };
        let (segment, room, missing) = match begin_segment(&*fs, dir, header, room_bytes) {
            Ok((segment, room)) => (segment, room, None),
            Err(failure) if failure.undone => {
                let segment = Segment::new(failure.path, Arc::new(NoFile), header);
                (segment, Room::new(room_bytes), Some(header))
            }
            Err(failure) => return Err(failure),
        };
        Ok(Writer { fs, dir: dir.to_owned(), segment, missing, segment_bytes_max, room })
    }

    /// Whether nothing can be written before there is room on the disk.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.missing.is_some()
    }

    /// Makes the file of a segment that has none.
    fn ensure_file(&mut self) -> Result<(), WriteFailure> {
        if let Some(header) = self.missing {
            (self.segment, self.room) = begin_segment(&*self.fs, &self.dir, header, self.room.bytes)?;
            self.missing = None;
        }
        Ok(())
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
        self.ensure_file()?;
        if let Err(source) = self.segment.file.append(frames) {
            let path = self.segment.path.clone();
            let undone = is_full(&source) && self.fs.truncate(&path, self.segment.bytes).is_ok();
            self.room.end = self.segment.bytes;
            return Err(WriteFailure { path, source, undone });
        }
        self.segment.bytes += frames.len() as u64;
        self.room.make(&*self.fs, &self.segment)
    }

    /// Gives back the room that the segment has, durably.
    pub(crate) fn give_room_back(&mut self) -> Result<(), WriteFailure> {
        self.room.give_back(&*self.fs, &self.segment)
    }

    /// Makes the current segment durable and begins the next one.
    ///
    /// The order matters: a segment is complete on disk before its successor exists, so only the last segment of a log can
    /// end early.
    pub(crate) fn rotate(&mut self) -> Result<(), WriteFailure> {
        self.ensure_file()?;
        self.give_room_back()?;
        sync(&self.segment)?;
        let (number, room_bytes) = (self.segment.number + 1, self.room.bytes);
        let header = FileHeader { has_room: room_bytes > 0, ..FileHeader::new(FileKind::Segment, number) };
        (self.segment, self.room) = begin_segment(&*self.fs, &self.dir, header, room_bytes)?;
        Ok(())
    }
}

impl Segment {
    /// A segment of which nothing but the header is written.
    fn new(path: PathBuf, file: Arc<dyn AppendFile>, header: FileHeader) -> Self {
        let FileHeader { number, salt, .. } = header;
        Segment { number, path, file, bytes: frame::FILE_HEADER_BYTES as u64, salt }
    }
}

/// What stands for the file that a full disk had no room for.
struct NoFile;

impl AppendFile for NoFile {
    fn append(&self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn reserve(&self, _: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn sync(&self) -> io::Result<()> {
        // All that was written, which is nothing, is on disk.
        Ok(())
    }
}

impl Room {
    /// None yet behind the header of a segment, and so many bytes at once from then on.
    fn new(bytes: u64) -> Self {
        Room { bytes, end: frame::FILE_HEADER_BYTES as u64, not_before: 0 }
    }

    /// Makes more when half of it is used, so that the next sync brings it to the disk with what was written. Where there is none, the
    /// segment grows with each commit until it is tried again.
    fn make(&mut self, fs: &dyn Fs, segment: &Segment) -> Result<(), WriteFailure> {
        let Segment { path, file, bytes, .. } = segment;
        let wanted = bytes + self.bytes;
        if self.bytes == 0 || wanted <= self.end + self.bytes / 2 || *bytes < self.not_before {
            return Ok(());
        }
        let made = file.reserve(self.end.max(*bytes)..wanted);
        self.end = wanted;
        let Err(reason) = made else { return Ok(()) };
        if is_full(&reason) {
            self.not_before = bytes + self.bytes / 2;
        } else {
            // What is to be written is written, so this harms nothing but the time that a sync takes.
            warn!(file = %path.display(), reason = &reason as &dyn std::error::Error, "cannot write zeros ahead of the log");
            self.bytes = 0;
        }
        self.give_back(fs, segment)
    }

    /// Cuts the segment off behind its commits, durably.
    fn give_back(&mut self, fs: &dyn Fs, segment: &Segment) -> Result<(), WriteFailure> {
        if self.end <= segment.bytes {
            return Ok(());
        }
        let failed = |source| WriteFailure { path: segment.path.clone(), source, undone: false };
        fs.truncate(&segment.path, segment.bytes).map_err(failed)?;
        self.end = segment.bytes;
        Ok(())
    }
}

/// Makes what was written to `segment` durable.
pub(crate) fn sync(segment: &Segment) -> Result<(), WriteFailure> {
    segment.file.sync().map_err(|source| WriteFailure { path: segment.path.clone(), source, undone: false })
}

/// Makes the segment that begins with `header`, durably, with room for `room_bytes` if the disk has it.
fn begin_segment(
    fs: &dyn Fs,
    dir: &Path,
    header: FileHeader,
    room_bytes: u64,
) -> Result<(Segment, Room), WriteFailure> {
    let path = dir.join(FileKind::Segment.file_name(header.number));
    let begin = || -> Result<(Segment, Room), WriteFailure> {
        let failed = |source| WriteFailure { path: path.clone(), source, undone: false };
        let file: Arc<dyn AppendFile> = fs.create(&path).map_err(failed)?.into();
        file.append(&header.encode()).map_err(failed)?;
        let segment = Segment::new(path.clone(), file, header);
        let mut room = Room::new(room_bytes);
        room.make(fs, &segment)?;
        sync(&segment)?;
        fs.sync_dir(dir).map_err(failed)?;
        Ok((segment, room))
    };
    begin().map_err(|failure| {
        // Without its file the number is free for the next attempt. Only when it is gone from the disk may its predecessor grow
        // again: that would not be the last segment otherwise.
        let _ = fs.remove(&path);
        let undone = is_full(&failure.source) && fs.open(&path).is_err() && fs.sync_dir(dir).is_ok();
        WriteFailure { undone, ..failure }
    })
}
