//! The few file operations the store needs, behind a trait so that tests can break each of them.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many zeros are written at once.
const ZEROS_BYTES: usize = 64 << 10;

/// The bytes of a file that nobody changes any more.
pub type MappedFile = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A place for files. [`Disk`] is the real one.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Creates a directory and those above it; fine if it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in `dir`, in any order. Names that are not UTF-8 come back with replacement characters.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a file to append to; an error if it is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    /// Opens a file to read.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;

    /// The whole of a file that is never written again, as memory.
    fn map(&self, path: &Path) -> io::Result<MappedFile>;

    /// Cuts a file off behind `bytes` and makes that durable.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes what was created, renamed and removed in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock that `path` stands for until the result is dropped; `WouldBlock` if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// A file that is written from its beginning to its end, behind which there may be room for more.
pub trait AppendFile: Send + Sync {
    /// Writes all of `bytes` behind what was appended before. After an error any part of them may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Writes zeros over `span`, in which nothing was appended yet. What is appended there later goes over them: then a sync has
    /// nothing to do but to write the bytes, neither where they are nor how long the file is. After an error any part of the span
    /// may be zeros.
    fn reserve(&self, span: Range<u64>) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file that is read.
pub trait ReadFile: Send + Sync {
    /// Reads from `offset` until `buffer` is full or the file ends; how many bytes it got.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// How long the file is now.
    fn length(&self) -> io::Result<u64>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Fs for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(Appended { file, end: AtomicU64::new(0) }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        crate::system::map(path)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        // The lock belongs to the open file, so it goes with the process however that ends; the file itself stays.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A file of which this process alone knows where its last bytes are.
struct Appended {
    file: File,
    end: AtomicU64,
}

impl AppendFile for Appended {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let end = self.end.load(Ordering::Relaxed);
        self.file.write_all_at(bytes, end)?;
        self.end.store(end + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn reserve(&self, span: Range<u64>) -> io::Result<()> {
        let mut at = span.start;
        while at < span.end {
            let zeros = &[0; ZEROS_BYTES][..usize::try_from(span.end - at).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES)];
            self.file.write_all_at(zeros, at)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl ReadFile for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
