//! The files of one folder, read again only when they changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::packed::PackedText;

/// A file is read up to this size.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// More files than anybody keeps in one folder.
const FILES_MAX: usize = 10_000;

/// How often an emptied file is looked at again, and after which time.
const LOOKS_MAX: u32 = 20;
const LOOK_AFTER: Duration = Duration::from_millis(5);

/// Longer than the tick of any file system that keeps configuration.
const YOUNG_MS: i64 = 2000;

/// What tells a changed file from an unchanged one: device, inode, size, and when it changed to the nanosecond.
pub(crate) type Stamp = (u64, u64, u64, i64, i64);

/// A folder that is looked at again and again. It need not exist.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    endings: &'static [&'static str],
    known: BTreeMap<String, Known>,
}

/// A file as it was read last.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// It was written so shortly before that the next writing may bear the same time.
    is_young: bool,
    content: Content,
}

/// The text of a file, or why there is none.
pub type Content = Result<PackedText, String>;

impl Folder {
    /// The folder at `path`; only files with one of `endings`, without the dot, count.
    pub fn new(path: PathBuf, endings: &'static [&'static str]) -> Self {
        Folder { path, endings, known: BTreeMap::new() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files by name as they are now. The error is about the folder itself; then the files are not known.
    pub fn read(&mut self) -> Result<BTreeMap<String, Content>, String> {
        let names = names(&self.path, self.endings).map_err(|error| format!("cannot be read: {error}"))?;
        if names.len() > FILES_MAX {
            return Err(format!("has more than {FILES_MAX} files"));
        }
        let mut known = std::mem::take(&mut self.known);
        for name in names {
            let path = self.path.join(&name);
            // Follows links, as a file may be one into a folder that is swapped.
            let stamp = match fs::metadata(&path).map(|metadata| stamp(&metadata)) {
                Ok(stamp) => stamp,
                // It went away since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let content = Err(format!("cannot be read: {error}"));
                    self.known.insert(name, Known { stamp: (0, 0, 0, 0, 0), is_young: true, content });
                    continue;
                }
            };
            // Judged before the reading: what is written after it is then seen the next time.
            let is_young = is_young(stamp);
            let content = match known.remove(&name) {
                Some(before) if before.stamp == stamp && !before.is_young && before.content.is_ok() => before.content,
                Some(before) => {
                    let now = text(&path);
                    // The same text again is the same for whoever compares by address.
                    if before.content == now { before.content } else { now }
                }
                None => text(&path),
            };
            self.known.insert(name, Known { stamp, is_young, content });
        }
        Ok(self.known())
    }

    /// The files as they were when they were read last.
    pub fn known(&self) -> BTreeMap<String, Content> {
        self.known.iter().map(|(name, known)| (name.clone(), known.content.clone())).collect()
    }
}

/// The names that count, sorted. A folder that is not there has none.
pub(crate) fn names(folder: &Path, endings: &[&str]) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        // Names that are no text cannot be shown, so they cannot be ours.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        // Editors and kubelets keep their own things in hidden files.
        if !name.starts_with('.') && ending.is_some_and(|ending| endings.contains(&ending)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a file with this stamp was written so recently that another writing may bear the same time: file systems count in ticks,
/// some in whole seconds.
pub(crate) fn is_young((.., seconds, nanoseconds): Stamp) -> bool {
    let at_ms = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
    crate::now_ms().saturating_sub(at_ms) < YOUNG_MS
}

pub(crate) fn stamp(metadata: &fs::Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// Waits a moment for whoever has emptied the file just now: a file that is written where it stands is emptied first, and read in
/// between, it would take back all that it said.
pub(crate) fn let_writer_finish(path: &Path) {
    while_emptied(path, || thread::sleep(LOOK_AFTER));
}

fn while_emptied(path: &Path, mut pause: impl FnMut()) {
    let is_young = |metadata: &fs::Metadata| {
        let age = metadata.modified().ok().and_then(|at| at.elapsed().ok());
        age.is_some_and(|age| age < LOOK_AFTER * LOOKS_MAX)
    };
    for _ in 0..LOOKS_MAX {
        if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0 && is_young(&metadata)) {
            return;
        }
        pause();
    }
}

fn text(path: &Path) -> Content {
    let read = || -> io::Result<String> {
        let_writer_finish(path);
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        fs::read_to_string(path)
    };
    read().map(Into::into).map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn who_empties_a_file_is_given_time_to_fill_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let pauses = |fill_after: u32| {
            let mut count = 0;
            while_emptied(&path, || {
                count += 1;
                if count == fill_after {
                    fs::write(&path, "full").unwrap();
                }
            });
            count
        };
        assert_eq!(pauses(1), 0, "what is not there is not waited for");
        fs::write(&path, "").unwrap();
        assert_eq!(pauses(3), 3);
        assert_eq!(pauses(1), 0, "it is full");
        fs::File::create(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(pauses(1), 0, "it has been empty for long");
    }

    #[test]
    fn a_second_text_of_the_same_time_and_size_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let mut folder = Folder::new(dir.path().to_owned(), &["yaml"]);
        let now = std::time::SystemTime::now();
        let mut read_of = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(now).unwrap();
            folder.read().unwrap()["a.yaml"].clone().unwrap()
        };
        let one = read_of("one");
        let two = read_of("two");
        let again = read_of("two");
        assert_eq!((one.read().as_str(), two.read().as_str()), ("one", "two"));
        assert!(two.is_shared_with(&again), "what is the same is not another");
    }

    #[test]
    fn only_what_counts_is_read_and_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(dir.path().join("x.d"), &["yaml", "yml"]);
        assert_eq!(folder.read().unwrap().len(), 0);
        let at = |name: &str| dir.path().join("x.d").join(name);
        fs::create_dir(at("")).unwrap();
        for name in ["a.yaml", "b.yml", ".hidden.yaml", "c.yaml~", "d.yaml.swp", "e.txt"] {
            fs::write(at(name), "1").unwrap();
        }
        let first = folder.read().unwrap();
        assert_eq!(first.keys().collect::<Vec<_>>(), ["a.yaml", "b.yml"]);
        let again = folder.read().unwrap();
        let same = |name: &str| match (&first[name], &again[name]) {
            (Ok(a), Ok(b)) => a.is_shared_with(b),
            _ => false,
        };
        assert!(same("a.yaml"));
        // As kubelets do it: the files are links into a folder that is swapped as a whole.
        fs::create_dir(at("v1")).unwrap();
        fs::create_dir(at("v2")).unwrap();
        fs::write(at("v1").join("l.yaml"), "old").unwrap();
        fs::write(at("v2").join("l.yaml"), "new").unwrap();
        symlink("v1", at("..data")).unwrap();
        symlink("..data/l.yaml", at("l.yaml")).unwrap();
        assert_eq!(folder.read().unwrap()["l.yaml"], Ok("old".into()));
        symlink("v2", at("..next")).unwrap();
        fs::rename(at("..next"), at("..data")).unwrap();
        assert_eq!(folder.read().unwrap()["l.yaml"], Ok("new".into()));
        fs::write(at("a.yaml"), [0xff]).unwrap();
        assert!(folder.read().unwrap()["a.yaml"].is_err());
    }
}
