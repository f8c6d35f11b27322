//! A file system in memory that breaks where it is told to, and knows what a power cut would leave.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use relatum_tsdb::fs::{AppendFile, Fs, MappedFile, ReadFile};

/// How one operation goes wrong. Operations are those that change something; they are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before it.
    Stop,
    /// The process dies in the middle of it: half of the bytes are written.
    Torn,
    /// It fails, with half of the bytes written, and the process goes on.
    Full,
    /// It fails, and what was not on disk yet never gets there; the process goes on.
    Lost,
}

/// What is left for the next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Everything that was written.
    Kill,
    /// What was made durable.
    PowerCut,
    /// The same, and zeros up to the old length, as file systems do that write the length first.
    PowerCutWithZeros,
    /// The same, and of what was written since into room that was there only the second half.
    PowerCutTorn,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FaultyFs(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    // What `files` was when each directory was synced last.
    durable: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    // How many bytes all files may have.
    room: Option<usize>,
    // Whether no room can be made in advance, for a reason that is not a full disk.
    reserves_fail: bool,
    // Reads, and which of them fails.
    reads: u64,
    unreadable: Option<u64>,
    dead: bool,
    // Whether files are synced only once that is over, and how many wait for it.
    holds_syncs: bool,
    held: usize,
    lock_taken: bool,
}

impl State {
    fn bytes(&self) -> usize {
        self.files.values().map(|content| content.lock().unwrap().bytes.len()).sum()
    }

    /// What another process sees of it: what is on disk by now does not change because a process dies.
    fn as_it_is(&self) -> FaultyFs {
        let mut copies = BTreeMap::new();
        let mut copy = |names: &BTreeMap<PathBuf, Arc<Mutex<Content>>>| -> BTreeMap<PathBuf, Arc<Mutex<Content>>> {
            let mut copied = |content: &Arc<Mutex<Content>>| {
                let made = || Arc::new(Mutex::new(content.lock().unwrap().clone()));
                Arc::clone(copies.entry(Arc::as_ptr(content)).or_insert_with(made))
            };
            names.iter().map(|(path, content)| (path.clone(), copied(content))).collect()
        };
        let (files, durable) = (copy(&self.files), copy(&self.durable));
        FaultyFs(Arc::new(Mutex::new(State { files, durable, ..State::default() })))
    }
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    // Behind what was appended; there may be room behind it.
    end: usize,
    // How long the file is on disk, and how much of that was appended by then: behind it there is still room.
    synced: usize,
    synced_end: usize,
    // A sync failed, so nothing written before gets to the disk any more.
    lost: bool,
}

impl Content {
    /// A file of a former process.
    fn of(bytes: Vec<u8>) -> Self {
        Content { end: bytes.len(), synced: bytes.len(), synced_end: bytes.len(), lost: false, bytes }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.bytes.resize(self.bytes.len().max(at + bytes.len()), 0);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// What a power cut leaves.
    fn left(&self, after: After) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if after != After::PowerCutWithZeros {
            bytes.truncate(self.synced);
        }
        let unsynced = self.synced_end..self.end.clamp(self.synced_end, bytes.len());
        let lost = match after {
            After::PowerCutTorn => unsynced.start..unsynced.start.midpoint(unsynced.end),
            _ => unsynced.start..bytes.len(),
        };
        bytes[lost].fill(0);
        bytes
    }
}

impl FaultyFs {
    pub(crate) fn break_at(&self, operation: u64, fault: Fault) {
        self.state().fault = Some((operation, fault));
    }

    /// Leaves room for so many bytes beside what is there.
    pub(crate) fn leave_room(&self, bytes: usize) {
        let mut state = self.state();
        state.room = Some(state.bytes() + bytes);
    }

    /// Makes it fail from now on to write zeros ahead of a file.
    pub(crate) fn break_reserves(&self) {
        self.state().reserves_fail = true;
    }

    /// How much of a file may be written up to `end`, if it is `bytes` long.
    fn fits(&self, bytes: usize, end: usize) -> usize {
        let state = self.state();
        let left = state.room.map_or(usize::MAX, |room| room.saturating_sub(state.bytes()));
        end.min(bytes.saturating_add(left))
    }

    /// Makes read number `read` fail, as a disk with a bad place does. Everything else goes on.
    pub(crate) fn break_read_at(&self, read: u64) {
        let mut state = self.state();
        (state.reads, state.unreadable) = (0, Some(read));
    }

    /// Whether the read that fails was reached.
    pub(crate) fn failed_to_read(&self) -> bool {
        let state = self.state();
        state.unreadable.is_some_and(|at| state.reads > at)
    }

    fn read(&self) -> io::Result<()> {
        let mut state = self.state();
        let this = state.reads;
        state.reads += 1;
        // What the system calls EIO has no name among the kinds of errors.
        if state.unreadable == Some(this) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    /// Has every sync of a file take until this is called with `false`.
    pub(crate) fn hold_syncs(&self, hold: bool) {
        self.state().holds_syncs = hold;
    }

    /// How many syncs wait.
    pub(crate) fn held(&self) -> usize {
        self.state().held
    }

    fn wait_for_disk(&self) {
        self.state().held += 1;
        while self.state().holds_syncs {
            std::thread::yield_now();
        }
        self.state().held -= 1;
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Whether the fault was reached.
    pub(crate) fn broke(&self) -> bool {
        let state = self.state();
        state.fault.is_some_and(|(at, _)| state.operations > at)
    }

    /// The file system the next process finds.
    pub(crate) fn after(&self, after: After) -> FaultyFs {
        let state = self.state();
        if after == After::Kill {
            return state.as_it_is();
        }
        let files: BTreeMap<_, _> = state
            .durable
            .iter()
            .map(|(path, content)| {
                let left = content.lock().unwrap().left(after);
                (path.clone(), Arc::new(Mutex::new(Content::of(left))))
            })
            .collect();
        FaultyFs(Arc::new(Mutex::new(State { durable: files.clone(), files, ..State::default() })))
    }

    /// The files and their bytes.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.state().files.iter().map(|(path, content)| (path.clone(), content.lock().unwrap().bytes.clone())).collect()
    }

    /// A file system with these files.
    pub(crate) fn of(files: BTreeMap<PathBuf, Vec<u8>>) -> FaultyFs {
        let files: BTreeMap<_, _> =
            files.into_iter().map(|(path, bytes)| (path, Arc::new(Mutex::new(Content::of(bytes))))).collect();
        FaultyFs(Arc::new(Mutex::new(State { durable: files.clone(), files, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts one operation; the fault it meets, if any.
    fn operate(&self) -> io::Result<Option<Fault>> {
        let mut state = self.state();
        if state.dead {
            return Err(io::Error::other("the process is dead"));
        }
        let this = state.operations;
        state.operations += 1;
        let fault = state.fault.filter(|(at, _)| *at == this).map(|(_, fault)| fault);
        match fault {
            Some(Fault::Stop) => {
                state.dead = true;
                Err(io::Error::other("the process is dead"))
            }
            Some(Fault::Torn) => {
                state.dead = true;
                Ok(fault)
            }
            _ => Ok(fault),
        }
    }

    /// An operation that happens as a whole or not at all.
    fn whole(&self) -> io::Result<()> {
        match self.operate()? {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        self.state().files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Fs for FaultyFs {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.read()?;
        let names = self.state().files.keys().filter(|path| path.parent() == Some(dir)).cloned().collect::<Vec<_>>();
        Ok(names.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.whole()?;
        let content = Arc::default();
        let mut state = self.state();
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(path.to_owned(), Arc::clone(&content));
        Ok(Box::new(Handle { fs: self.clone(), content }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        self.read()?;
        Ok(Box::new(Handle { fs: self.clone(), content: self.find(path)? }))
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        self.read()?;
        Ok(Arc::new(self.find(path)?.lock().unwrap().bytes.clone()))
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.whole()?;
        let content = self.find(path)?;
        let mut content = content.lock().unwrap();
        content.bytes.truncate(bytes as usize);
        content.end = content.end.min(content.bytes.len());
        (content.synced, content.synced_end) = (content.bytes.len(), content.end);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole()?;
        let content = self.find(from)?;
        let mut state = self.state();
        state.files.remove(from);
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        self.whole()?;
        self.state().files.remove(path);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.whole()?;
        let mut state = self.state();
        state.durable = state.files.clone();
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.lock_taken, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock(self.clone())))
    }
}

struct Lock(FaultyFs);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.state().lock_taken = false;
    }
}

struct Handle {
    fs: FaultyFs,
    content: Arc<Mutex<Content>>,
}

impl Handle {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }
}

impl AppendFile for Handle {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let fault = self.fs.operate()?;
        let (end, length) = {
            let content = self.content();
            (content.end, content.bytes.len())
        };
        let fits = self.fs.fits(length, end + bytes.len()) - end;
        let mut content = self.content();
        if fault.is_some() || fits < bytes.len() {
            content.write(end, &bytes[..fits.min(bytes.len() / 2)]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.write(end, bytes);
        content.end = end + bytes.len();
        Ok(())
    }

    fn reserve(&self, span: Range<u64>) -> io::Result<()> {
        let fault = self.fs.operate()?;
        if self.fs.state().reserves_fail {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = self.content().bytes.len();
        let fits = self.fs.fits(length, span.end as usize).saturating_sub(span.start as usize);
        let mut content = self.content();
        assert!(span.start >= content.end as u64, "there is something already");
        assert!(span.start <= length as u64, "a gap between what was written and the room");
        let zeros = vec![0; (span.end - span.start) as usize];
        if fault.is_some() || fits < zeros.len() {
            content.write(span.start as usize, &zeros[..fits.min(zeros.len() / 2)]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.write(span.start as usize, &zeros);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.wait_for_disk();
        let fault = self.fs.operate()?;
        let mut content = self.content.lock().unwrap();
        if fault.is_some() {
            content.lost = true;
            return Err(io::Error::other("input/output error"));
        }
        // As Linux does: after a failed sync the next one succeeds although the pages are gone.
        if !content.lost {
            (content.synced, content.synced_end) = (content.bytes.len(), content.end);
        }
        Ok(())
    }
}

impl ReadFile for Handle {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.fs.read()?;
        let content = self.content.lock().unwrap();
        let rest = content.bytes.get(offset as usize..).unwrap_or(&[]);
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().bytes.len() as u64)
    }
}
