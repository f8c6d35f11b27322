//! Which files the log has, which of them a restart needs, and which are only there for followers.

use std::collections::VecDeque;
use std::io;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use relatum_model::Labels;
use relatum_model::storage::AppendError;

use crate::core::Core;
use crate::image::ImageFile;
use crate::wal::FileKind;

/// Followers and what a restart reads may each take such a part of what retention by size allows; the rest is for blocks.
pub(crate) const RETENTION_SHARE: u64 = 4;

/// The files of the log, apart from the segment that is written to.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogFiles {
    /// What a restart reads first.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// What saves a restart reading what stands before it.
    pub(crate) image: Option<ImageFile>,
    /// The finished segments by number. A restart needs those from the checkpoint on; those before it are there for followers.
    pub(crate) segments: VecDeque<Segment>,
    /// Samples in what a restart reads.
    pub(crate) rows: u64,
}

/// A checkpoint on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    /// The last commit of which it holds what lives.
    pub(crate) commit: u64,
}

/// A finished segment on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

impl LogFiles {
    /// The number of the first segment that a restart reads.
    fn first_needed(&self) -> u64 {
        self.checkpoint.map_or(0, |checkpoint| checkpoint.number)
    }

    /// Bytes of the finished segments that a restart reads.
    pub(crate) fn needed_bytes(&self) -> u64 {
        let first = self.first_needed();
        self.segments.iter().filter(|segment| segment.number >= first).map(|segment| segment.bytes).sum()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let image = self.image.map_or(0, |image| image.bytes);
        segments + self.checkpoint.map_or(0, |checkpoint| checkpoint.bytes) + image
    }

    /// The segments that may go: those no restart and no follower needs, and, oldest first, those beyond `bytes_max`.
    fn dispensable(&self, followed: Option<u64>, bytes_max: u64) -> Vec<Segment> {
        let first = self.first_needed();
        let kept: Vec<Segment> = self.segments.iter().copied().take_while(|segment| segment.number < first).collect();
        let mut bytes: u64 = kept.iter().map(|segment| segment.bytes).sum();
        let followed = followed.unwrap_or(u64::MAX);
        kept.into_iter()
            .take_while(|segment| {
                let goes = segment.number < followed || bytes > bytes_max;
                bytes -= segment.bytes;
                goes
            })
            .collect()
    }
}

/// Labels of series that left the head, for followers that have yet to read their last samples.
#[derive(Debug, Default)]
pub(crate) struct Departed(HashMap<u64, (Labels, u64), FixedState>);

impl Departed {
    /// Remembers series `id`; no segment after `segment` names it.
    pub(crate) fn insert(&mut self, id: u64, labels: Labels, segment: u64) {
        self.0.insert(id, (labels, segment));
    }

    /// The labels of series `id`.
    pub(crate) fn get(&self, id: u64) -> Option<&Labels> {
        self.0.get(&id).map(|(labels, _)| labels)
    }

    /// Those that a segment from `first` on may name.
    pub(crate) fn since(&self, first: u64) -> Vec<(u64, Labels)> {
        self.0.iter().filter(|(_, (_, last))| *last >= first).map(|(id, (labels, _))| (*id, labels.clone())).collect()
    }

    /// Forgets those that no segment from `first` on names.
    fn forget_before(&mut self, first: u64) {
        self.0.retain(|_, (_, last)| *last >= first);
        self.0.shrink_to_fit();
    }
}

impl Core {
    /// Removes the segments that nobody needs any more.
    pub(crate) fn trim_log(&self) -> Result<(), AppendError> {
        let followed = self.followers.oldest_segment(self.options().clock.now_ms());
        let bytes_max = match self.retention_bytes() {
            0 => self.options().followed_bytes,
            retention_bytes => self.options().followed_bytes.min(retention_bytes / RETENTION_SHARE),
        };
        let gone = self.files().dispensable(followed, bytes_max);
        for segment in &gone {
            self.remove_log_file(&FileKind::Segment.file_name(segment.number))?;
            self.files().segments.retain(|other| other.number != segment.number);
        }
        let first = self.files().segments.front().map(|segment| segment.number);
        if !gone.is_empty() || first.is_none() {
            let first = first.unwrap_or_else(|| self.readers.end().0.segment);
            self.departed().forget_before(first);
        }
        Ok(())
    }

    /// Removes a file that is there, or is gone already.
    pub(crate) fn remove_log_file(&self, name: &str) -> Result<(), AppendError> {
        match self.options().fs.remove(&self.wal_dir().join(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(AppendError::Write { what: name.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go() {
        let segment = |number| Segment { number, bytes: 10 };
        let files = LogFiles {
            checkpoint: Some(Checkpoint { number: 6, bytes: 5, commit: 1 }),
            segments: (2..9).map(segment).collect(),
            ..LogFiles::default()
        };
        for (followed, bytes_max, expected) in [
            (None, 1000, 2..6),
            (Some(4), 1000, 2..4),
            (Some(0), 1000, 2..2),
            // Never what a restart needs.
            (Some(8), 0, 2..6),
            (Some(2), 25, 2..4),
            (Some(2), 20, 2..4),
            (Some(2), 19, 2..5),
        ] {
            let gone: Vec<u64> = files.dispensable(followed, bytes_max).iter().map(|s| s.number).collect();
            assert_eq!(gone, expected.collect::<Vec<_>>(), "{followed:?} {bytes_max}");
        }
        assert_eq!((files.needed_bytes(), files.bytes()), (30, 75));
    }
}
