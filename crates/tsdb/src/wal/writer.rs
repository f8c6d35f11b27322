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
    /// Begins segment `number`.
    pub(crate) fn begin(
        fs: Arc<dyn Fs>,
        dir: &Path,
        number: u64,
        segment_bytes_max: u64,
    ) -> Result<Self, WriteFailure> {
        let segment = begin_segment(&*fs, dir, number)?;
        Ok(Writer { fs, dir: dir.to_owned(), segment, segment_bytes_max })
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
            return Err(WriteFailure { path, source, undone });
        }
        self.segment.bytes += frames.len() as u64;
        Ok(())
    }

    /// Makes the current segment durable and begins the next one.
    ///
    /// The order matters: a segment is complete on disk before its successor exists, so only the last segment of a log can
    /// end early.
    pub(crate) fn rotate(&mut self) -> Result<(), WriteFailure> {
        sync(&self.segment)?;
        self.segment = begin_segment(&*self.fs, &self.dir, self.segment.number + 1)?;
        Ok(())
    }
}

/// Makes what was written to `segment` durable.
pub(crate) fn sync(segment: &Segment) -> Result<(), WriteFailure> {
    segment.file.sync().map_err(|source| WriteFailure { path: segment.path.clone(), source, undone: false })
}

fn begin_segment(fs: &dyn Fs, dir: &Path, number: u64) -> Result<Segment, WriteFailure> {
    let path = dir.join(FileKind::Segment.file_name(number));
    let header = FileHeader::new(FileKind::Segment, number);
    let begin = || -> io::Result<Arc<dyn AppendFile>> {
        let file: Arc<dyn AppendFile> = fs.create(&path)?.into();
        file.append(&header.encode())?;
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
