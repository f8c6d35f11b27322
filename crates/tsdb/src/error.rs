//! Why a store cannot be opened.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why [`crate::Store::open`] failed. Nothing in the directory was changed or lost.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process works in the directory.
    #[error("cannot open {}: another process is using it", dir.display())]
    InUse {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The directory cannot be made or locked.
    #[error("cannot use directory {}", dir.display())]
    Directory {
        /// The store's directory.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of the log cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be written or cut off.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file has the name of one of ours and is none.
    #[error("cannot open {}: it is not part of a relatum log; move it out of the directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a program that knows a format we do not.
    #[error("cannot open {}: its format has version {version}, this program knows version {known}; use a newer relatum", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        version: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// A background thread cannot be started.
    #[error("cannot start a background thread")]
    Thread {
        /// The cause.
        source: io::Error,
    },
}
