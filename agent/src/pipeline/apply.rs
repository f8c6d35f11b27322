//! The rendered directory: read as files, changed by steps.
//!
//! Every file is written beside its place and moved there, so nobody ever sees half of one, and what was written before a
//! failure is put back. The workload prepares before the first configuration file is touched and commits after the last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::error;

use super::desire::MATERIALS;
use super::plan::Step;
use super::render::{ARGUMENTS_PATH, DATASOURCE_PATH, MAIN_PATH, WEB_PATH};
use crate::dialect::Layout;
use crate::packed::PackedText;
use crate::workload::{Fault, Files, NotRun, Workload};

/// The folders below `rendered/`, and what the names of our files in them end in. Anything else is not ours to touch.
const FOLDERS: [(&str, &str); 4] = [("", ""), ("scrape", ".yml"), ("rules", ".rules"), (MATERIALS, "")];

/// The files in the top folder.
const TOP: [&str; 4] = [MAIN_PATH, ARGUMENTS_PATH, WEB_PATH, DATASOURCE_PATH];

/// What the name of a file that is being written begins with.
const UNFINISHED: &str = ".new-";

/// Up to so many files are made safe one by one.
const SYNCED_SINGLY_MAX: usize = 32;

/// Why the directory is not as planned.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It cannot be written; what was written is undone.
    #[error("cannot write {}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The workload does not take it; nothing was changed.
    #[error("cannot load what was rendered")]
    Refused(Vec<Fault>),
    /// The files are as planned, and the workload is not there to read them.
    #[error("cannot reach what is to run the rendered files")]
    Absent,
}

/// `rendered/`, with a memory of what is in it so that unchanged files are not read again.
pub struct RenderedDirectory {
    path: PathBuf,
    /// What the files were known by when they were read or written last.
    stamps: BTreeMap<String, Stamp>,
    /// What they said then.
    files: Files,
    /// What was written could not be finished, so that nobody knows what is there.
    is_unsure: bool,
    layout: Layout,
}

/// What is different after a file was replaced or edited: inode, size, time of change.
type Stamp = (u64, u64, i64, i64);

impl RenderedDirectory {
    /// The directory at `path`, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        RenderedDirectory {
            path,
            stamps: BTreeMap::new(),
            files: Files::new(),
            is_unsure: true,
            layout: Layout::default(),
        }
    }

    /// Says who reads the files.
    pub fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a process that was killed left half-written. Only for the one that writes here: others would take away what it
    /// is just writing.
    pub fn clean(&self) {
        for (folder, _) in FOLDERS {
            for entry in fs::read_dir(self.path.join(folder)).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                    // If it cannot be removed it still harms nothing.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// The files as they are. One that is not UTF-8 is not ours any more and reads as empty, so that it gets replaced.
    pub fn read(&mut self) -> Result<Files, ApplyError> {
        let (mut stamps, mut files) = (BTreeMap::new(), Files::new());
        for (folder, ending) in FOLDERS {
            let failed = |source| ApplyError::Read { path: self.path.join(folder), source };
            let entries = match fs::read_dir(self.path.join(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(failed)?,
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                if name.starts_with(UNFINISHED) {
                    continue;
                }
                let ours = if folder.is_empty() { TOP.contains(&name.as_str()) } else { name.ends_with(ending) };
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let metadata = entry.metadata().map_err(failed)?;
                if !ours || !metadata.is_file() {
                    continue;
                }
                let stamp = stamp(&metadata);
                let text = match self.files.get(path.as_str()) {
                    Some(text) if self.stamps.get(&path) == Some(&stamp) => text.clone(),
                    _ => match fs::read(entry.path()) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        bytes => String::from_utf8(bytes.map_err(failed)?).unwrap_or_default().into(),
                    },
                };
                stamps.insert(path.clone(), stamp);
                files.insert(path.into(), text);
            }
        }
        self.stamps = stamps;
        self.is_unsure = false;
        // Nobody has to let go of what is as it was.
        if files != self.files {
            self.files = files;
        }
        Ok(self.known())
    }

    /// Whether only reading can tell what is there.
    pub fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// The files as they were when they were read or written last.
    pub fn known(&self) -> Files {
        self.files.clone()
    }

    /// Does `steps`, which lead to `wanted`, and has the workload run the result.
    pub fn apply(&mut self, steps: &[Step], wanted: &Files, workload: &dyn Workload) -> Result<(), ApplyError> {
        let done = self.run(steps, wanted, workload);
        if matches!(done, Ok(()) | Err(ApplyError::Absent)) {
            self.remember(steps);
            self.share(wanted);
        } else {
            self.is_unsure = true;
        }
        done
    }

    /// Knows the files as `steps` have left them, so that the next look need not read what was just written.
    fn remember(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Write { path, .. } => {
                    // One that is gone again already is missed by the next look.
                    let Ok(metadata) = fs::metadata(self.path.join(&**path)) else { continue };
                    self.stamps.insert(path.to_string(), stamp(&metadata));
                }
                Step::Remove { path } => drop(self.stamps.remove(&**path)),
                Step::Reload => {}
            }
        }
    }

    /// Knows the files by `same`, which says what they say: one text for both, and whoever compares the two finds at once that they are
    /// alike.
    pub fn share(&mut self, same: &Files) {
        self.files = same.clone();
    }

    fn run(&self, steps: &[Step], wanted: &Files, workload: &dyn Workload) -> Result<(), ApplyError> {
        let is_material = |step: &&Step| step.path().is_some_and(|path| path.starts_with(MATERIALS));
        // New certificates first, as the workload opens them to prepare; nothing refers to them yet. Old ones go last.
        let (materials, files): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(is_material);
        let mut undo = Undo { directory: self, before: Vec::new() };
        undo.run(materials.iter().copied().filter(|step| matches!(step, Step::Write { .. })))?;
        let ready = match workload.prepare(wanted) {
            Ok(ready) => ready,
            Err(faults) => {
                undo.back();
                return Err(ApplyError::Refused(faults));
            }
        };
        undo.run(
            files.iter().copied().chain(materials.iter().copied().filter(|step| matches!(step, Step::Remove { .. }))),
        )?;
        if !steps.contains(&Step::Reload) {
            return Ok(());
        }
        ready.commit();
        match workload.reload(wanted) {
            Ok(()) => Ok(()),
            Err(NotRun::Absent) => Err(ApplyError::Absent),
            Err(NotRun::Refused(faults)) => {
                undo.back();
                workload.restored();
                Err(ApplyError::Refused(faults))
            }
        }
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let unfinished = self.unfinished(path);
        let written = self
            .stage(path, text)
            .and_then(|()| File::open(&unfinished)?.sync_data())
            .and_then(|()| fs::rename(&unfinished, self.path.join(path)));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Writes a file beside the place where it goes; it is neither safe on disk nor seen by anybody yet.
    fn stage(&self, path: &str, text: &str) -> io::Result<()> {
        let unfinished = self.unfinished(path);
        let create = || OpenOptions::new().create_new(true).write(true).mode(mode(path, self.layout)).open(&unfinished);
        let file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = unfinished.parent().unwrap_or(&self.path);
                DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
                create()
            }
            // One that was left behind may have another mode.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&unfinished)?;
                create()
            }
            file => file,
        };
        file?.write_all(text.as_bytes())
    }

    /// Makes staged files safe on disk: each by itself, or, where there are many, all at once with whatever else is not written yet.
    ///
    /// Nothing to do where only we read them: what a power cut tears is seen at the start to be otherwise than wanted, and written anew.
    fn sync(&self, paths: &[&str]) -> io::Result<()> {
        if self.layout == Layout::Split {
            return Ok(());
        }
        if paths.len() > SYNCED_SINGLY_MAX {
            return Ok(nix::unistd::syncfs(File::open(&self.path)?)?);
        }
        paths.iter().try_for_each(|path| File::open(self.unfinished(path))?.sync_data())
    }

    fn unfinished(&self, path: &str) -> PathBuf {
        let target = self.path.join(path);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        target.with_file_name(format!("{UNFINISHED}{name}"))
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    (metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec())
}

/// Scrape jobs may hold passwords, and materials hold keys: nobody reads them but we. Where another process has to, its group may
/// read them all.
fn mode(path: &str, layout: Layout) -> u32 {
    let is_secret = path.starts_with("scrape/") || path.starts_with(MATERIALS);
    if is_secret && layout == Layout::Split { 0o600 } else { 0o640 }
}

/// What was there before, to be put back if something fails.
struct Undo<'a> {
    directory: &'a RenderedDirectory,
    before: Vec<(String, Option<PackedText>)>,
}

impl Undo<'_> {
    fn run<'s>(&mut self, steps: impl Iterator<Item = &'s Step>) -> Result<(), ApplyError> {
        let steps: Vec<&Step> = steps.collect();
        self.stage(&steps)?;
        let mut folders = BTreeSet::new();
        for step in steps {
            let Some(path) = step.path() else { continue };
            let target = self.directory.path.join(path);
            let before = self.directory.files.get(path).cloned();
            self.before.push((path.to_owned(), before));
            let done = match step {
                Step::Write { .. } => fs::rename(self.directory.unfinished(path), &target),
                _ => match fs::remove_file(&target) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    done => done,
                },
            };
            if let Err(source) = done {
                self.back();
                return Err(ApplyError::Write { path: target, source });
            }
            folders.extend(target.parent().map(Path::to_owned));
        }
        for folder in folders.into_iter().filter(|_| self.directory.layout != Layout::Split) {
            // The files themselves are safe; this makes their names so.
            if let Err(source) = File::open(&folder).and_then(|folder| folder.sync_all()) {
                self.back();
                return Err(ApplyError::Write { path: folder, source });
            }
        }
        Ok(())
    }

    /// Puts everything beside its place and makes it safe; if that fails, nothing has changed.
    fn stage(&self, steps: &[&Step]) -> Result<(), ApplyError> {
        let mut staged = Vec::new();
        let mut stage = || {
            for step in steps {
                let Step::Write { path, text } = step else { continue };
                staged.push(&**path);
                let failed = |source| ApplyError::Write { path: self.directory.path.join(&**path), source };
                self.directory.stage(path, &text.read()).map_err(failed)?;
            }
            let failed = |source| ApplyError::Write { path: self.directory.path.clone(), source };
            self.directory.sync(&staged).map_err(failed)
        };
        let done = stage();
        if done.is_err() {
            for path in staged {
                let _ = fs::remove_file(self.directory.unfinished(path));
            }
        }
        done
    }

    fn back(&mut self) {
        for (path, before) in self.before.drain(..).rev() {
            let undone = match &before {
                Some(text) => self.directory.write(&path, &text.read()),
                None => match fs::remove_file(self.directory.path.join(&path)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    done => done,
                },
            };
            if let Err(error) = undone {
                // The next pass sees the difference and tries again.
                error!(%path, %error, "cannot put back a rendered file");
            }
        }
    }
}
