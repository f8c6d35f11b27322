//! The write-ahead log: what it is made of, how it is written and how it is read back.
//!
//! The bytes are described in `docs/formats/wal.md`. A *file* (segment or checkpoint) is a header and *frames*; a frame is a
//! checksum around a *payload*; a commit is one frame or several in a row; a payload defines series and holds rows of samples.

pub(crate) mod frame;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod salvage;
pub(crate) mod writer;

/// What a file of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Commits in the order in which they were made.
    Segment,
    /// Everything that was committed before the segment of the same number.
    Checkpoint,
    /// The head as it was when the segment of the same number began: saves reading what stands before.
    Head,
}

impl FileKind {
    fn extension(self) -> &'static str {
        match self {
            FileKind::Segment => "wal",
            FileKind::Checkpoint => "checkpoint",
            FileKind::Head => "head",
        }
    }

    /// The name of file `number`.
    pub(crate) fn file_name(self, number: u64) -> String {
        format!("{number:010}.{}", self.extension())
    }

    /// What the file of this name is; `None` if it is none of the log's.
    pub(crate) fn of_name(name: &str) -> Option<(FileKind, u64)> {
        let (number, _) = name.split_once('.')?;
        let number = number.parse().ok()?;
        [FileKind::Segment, FileKind::Checkpoint, FileKind::Head]
            .into_iter()
            .find(|kind| kind.file_name(number) == name)
            .map(|kind| (kind, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("0000000007.wal", Some((FileKind::Segment, 7))),
            ("0000000012.checkpoint", Some((FileKind::Checkpoint, 12))),
            ("0000000012.head", Some((FileKind::Head, 12))),
            ("12345678901.wal", Some((FileKind::Segment, 12_345_678_901))),
            ("7.wal", None),
            ("+000000007.wal", None),
            ("0000000007.checkpoint.tmp", None),
            // Prometheus' own.
            ("00000000", None),
        ] {
            assert_eq!(FileKind::of_name(name), expected, "{name}");
        }
    }
}
