//! Who may look and write into the folder of a backup meanwhile.
//!
//! The folder belongs to whoever makes the backup. An agent of another user writes into a folder of its own inside it, and what it
//! wrote is copied out of there once it can change nothing any more.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::{failed, files};
use crate::failure::CommandFailure;

/// The mode of a folder that others may not look into, as a data directory is: not all files with secrets say so themselves.
const PRIVATE: u32 = 0o750;
/// The folder that is lent to the agent.
const LENT: &str = ".agent";

/// User and group.
type Owner = (u32, u32);

/// Fails if there is anything in `dir`.
pub(super) fn check_empty(dir: &Path) -> Result<(), CommandFailure> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(CommandFailure::failed(format!("cannot write into {}: it is not empty", dir.display()))
            .hint("name a folder that is not there yet")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("read", dir, &error)),
    }
}

/// Makes a folder that others may not look into, or keeps them out of one that is there and empty. Root takes over what belongs
/// to another user; returns who that was.
pub(super) fn make_private(dir: &Path) -> Result<Option<Owner>, CommandFailure> {
    // What lies above is as open as any folder: who may look into `dir` must be able to get there.
    if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        fs::create_dir_all(above).map_err(|error| failed("make", above, &error))?;
    }
    match DirBuilder::new().mode(PRIVATE).create(dir) {
        Ok(()) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("make", dir, &error)),
    }
    let close = || {
        let folder = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(dir)?;
        let found = folder.metadata()?;
        let is_foreign = geteuid().is_root() && found.uid() != 0;
        if is_foreign {
            fchown(&folder, Some(0), None)?;
        }
        if found.mode() & 0o777 & !PRIVATE != 0 {
            folder.set_permissions(Permissions::from_mode(found.mode() & PRIVATE))?;
        }
        Ok(is_foreign.then(|| (found.uid(), found.gid())))
    };
    let owner = close().map_err(|error: io::Error| failed("keep others out of", dir, &error))?;
    // Its owner may have been quicker.
    check_empty(dir)?;
    Ok(owner)
}

/// Gives a folder back to whom it belonged.
pub(super) fn give_back(dir: &Path, (uid, gid): Owner) -> Result<(), CommandFailure> {
    chown(dir, Some(uid), Some(gid)).map_err(|error| failed("give back", dir, &error))
}

/// A folder inside the one of the backup that another user writes into.
pub(super) struct Lent {
    of: PathBuf,
    path: PathBuf,
}

impl Lent {
    /// Makes one inside `of` that belongs to `owner`.
    pub(super) fn to(owner: Owner, of: &Path) -> Result<Self, CommandFailure> {
        let lent = Lent { of: of.to_owned(), path: of.join(LENT) };
        let made = || {
            DirBuilder::new().mode(0o700).create(&lent.path)?;
            chown(&lent.path, Some(owner.0), Some(owner.1))?;
            // The other user must get through, and sees nothing on the way.
            fs::set_permissions(of, Permissions::from_mode(0o711))
        };
        made().map_err(|error| failed("hand over", &lent.path, &error))?;
        Ok(lent)
    }

    /// Where the other user writes.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves what was written into the folder around it.
    pub(super) fn take(self) -> Result<(), CommandFailure> {
        self.lock().map_err(|error| failed("take over", &self.path, &error))?;
        move_all(&self.path, &self.of, Path::new(""))
    }

    /// Lets nobody else pass any more.
    fn lock(&self) -> io::Result<()> {
        fs::set_permissions(&self.of, Permissions::from_mode(PRIVATE))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Something is left only where it failed: the next try needs an empty folder.
        let _ = self.lock();
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Moves what is in the folder `dir` of `from` to the same place in `to`. The files are copied: their writer may have them open, and
/// what is moved must not change any more.
fn move_all(from: &Path, to: &Path, dir: &Path) -> Result<(), CommandFailure> {
    let source = from.join(dir);
    // What is above is ours by now, so nobody puts another folder in this place; and nobody puts anything into it from here on.
    seize(&source).map_err(|error| failed("take over", &source, &error))?;
    let target = to.join(dir);
    fs::create_dir_all(&target).map_err(|error| failed("make", &target, &error))?;
    let unreadable = |error: io::Error| failed("read", &source, &error);
    for entry in fs::read_dir(&source).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = dir.join(entry.file_name());
        if entry.file_type().map_err(unreadable)?.is_dir() {
            move_all(from, to, &path)?;
        } else {
            files::copy(from, to, path)?;
            // One after the other, so that a copy of all needs no room twice.
            fs::remove_file(entry.path()).map_err(|error| failed("remove", &entry.path(), &error))?;
        }
    }
    Ok(())
}

/// Makes a folder, and no link to one, belong to us alone.
fn seize(dir: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let folder = OpenOptions::new().read(true).custom_flags(flags.bits()).open(dir)?;
    fchown(&folder, Some(geteuid().as_raw()), None)?;
    folder.set_permissions(Permissions::from_mode(0o700))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn others_may_pass_to_a_private_folder_but_not_look_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("as-any")).unwrap();
        make_private(&at("above/new")).unwrap();
        assert_eq!(mode(&at("above")), mode(&at("as-any")), "a folder above");
        for (name, before, after) in [("open", 0o777, 0o750), ("usual", 0o755, 0o750), ("narrow", 0o700, 0o700)] {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(before)).unwrap();
            assert_eq!(make_private(&at(name)).unwrap(), None, "{name} is ours");
            assert_eq!(mode(&at(name)), after, "{name}");
        }
        fs::write(at("open/file"), "").unwrap();
        assert!(make_private(&at("open")).is_err(), "somebody was quicker");
    }

    #[test]
    fn what_was_written_into_a_lent_folder_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let (uid, gid) = (geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let (of, outside) = (folder.path().join("backup"), folder.path().join("outside"));
        let lend = || {
            make_private(&of).unwrap();
            let lent = Lent::to((uid, gid), &of).unwrap();
            assert_eq!((mode(&of), mode(lent.path())), (0o711, 0o700));
            fs::create_dir_all(lent.path().join("tsdb/blocks")).unwrap();
            fs::write(lent.path().join("tsdb/blocks/1"), "one").unwrap();
            lent
        };
        lend().take().unwrap();
        assert_eq!(fs::read_to_string(of.join("tsdb/blocks/1")).unwrap(), "one");
        assert_eq!((mode(&of), of.join(LENT).exists()), (0o750, false));
        fs::remove_dir_all(&of).unwrap();

        // Who has the agent's permissions may put links there.
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "of somebody else").unwrap();
        for (link, target) in [("tsdb/blocks/2", "file"), ("tsdb/all", ".")] {
            let lent = lend();
            symlink(outside.join(target), lent.path().join(link)).unwrap();
            assert!(lent.take().is_err(), "{link}");
            assert!(!of.join(link).exists(), "{link}");
            assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "of somebody else");
            assert_eq!((mode(&of), of.join(LENT).exists()), (0o750, false), "it is gone where it failed, too");
            fs::remove_dir_all(&of).unwrap();
        }
        drop(lend());
        check_empty(&of).unwrap_or_else(|failure| panic!("{failure:?}"));
    }
}
