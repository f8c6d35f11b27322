//! Copying files between folders that others may write into.
//!
//! A backup is often made by root, of a folder that belongs to another user. So nothing here follows a link in the place of a
//! file, and a copy is always a new file: whoever puts something there first is not written through.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;

use super::{Entry, failed};
use crate::failure::CommandFailure;

/// The path, if it stays inside the folder it is joined to.
pub(super) fn inside(path: &Path) -> Result<&Path, CommandFailure> {
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(path);
    }
    Err(CommandFailure::failed(format!("{} does not lie inside the backup", path.display())))
}

/// The files below `dir`, by their paths from `root` on; no locks, sockets or links.
pub(super) fn files_of(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(dir))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (kind, path) = (entry.file_type()?, dir.join(entry.file_name()));
        if kind.is_dir() {
            files_of(root, &path, found)?;
        } else if kind.is_file() && path.extension().is_none_or(|extension| extension != "lock") {
            found.push(path);
        }
    }
    Ok(())
}

/// Copies a file with its mode into a new one, and reads the copy back. What is not the same goes again.
pub(super) fn copy(from: &Path, to: &Path, path: PathBuf) -> Result<Entry, CommandFailure> {
    let (source, target) = (from.join(inside(&path)?), to.join(&path));
    let copied = || {
        let mut file = open(&source)?;
        let sum = checksum_of(&mut file)?;
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        let written = fill(&mut file, copy, sum, &target);
        if written.is_err() {
            let _ = fs::remove_file(&target);
        }
        written.map(|()| sum)
    };
    let (bytes, crc32c) = copied().map_err(|error: io::Error| failed("copy", &source, &error))?;
    Ok(Entry { path, bytes, crc32c })
}

fn fill(file: &mut File, mut copy: File, sum: (u64, u32), target: &Path) -> io::Result<()> {
    file.rewind()?;
    io::copy(file, &mut copy)?;
    copy.set_permissions(Permissions::from_mode(file.metadata()?.mode() & 0o777))?;
    copy.sync_all()?;
    if checksum(target)? != sum {
        return Err(io::Error::other("the copy is another one"));
    }
    Ok(())
}

/// How long a file is, and its CRC-32C.
pub(super) fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    checksum_of(&mut open(path)?)
}

/// Opens a file to read it. Links and pipes in its place are refused: their other end may be anywhere.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

fn checksum_of(file: &mut File) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; 1 << 18];
    let (mut bytes, mut sum) = (0, 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, sum)),
            n => {
                bytes += n as u64;
                sum = crc32c::crc32c_append(sum, &buffer[..n]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_neither_read_nor_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("from")).unwrap();
        fs::create_dir(at("to")).unwrap();
        fs::write(at("outside"), "of somebody else").unwrap();
        fs::write(at("from/file"), "new").unwrap();
        symlink(at("outside"), at("to/file")).unwrap();
        symlink(at("outside"), at("from/link")).unwrap();
        let refused = |path: &str| copy(&at("from"), &at("to"), path.into()).is_err();
        assert!(refused("file"), "a link where the copy belongs");
        assert_eq!(fs::read_to_string(at("outside")).unwrap(), "of somebody else");
        assert!(refused("link"), "a link in the place of a file");
        assert!(checksum(&at("from/link")).is_err());

        fs::remove_file(at("to/file")).unwrap();
        fs::set_permissions(at("from/file"), Permissions::from_mode(0o640)).unwrap();
        copy(&at("from"), &at("to"), "file".into()).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(fs::read_to_string(at("to/file")).unwrap(), "new");
        assert_eq!(fs::metadata(at("to/file")).unwrap().mode() & 0o777, 0o640);
        assert!(refused("file"), "what is there is not overwritten");
        assert_eq!(fs::read_to_string(at("to/file")).unwrap(), "new", "and stays");
    }
}
