//! How far a follower is behind, told from the lengths of files: nothing is read.

use relatum_model::storage::{Lag, Position};

use super::{Place, PlaceKind};
use crate::core::Core;
use crate::readers::LogEnd;
use crate::wal::frame::FILE_HEADER_BYTES;

impl Core {
    /// How much of the log stands behind `from`. Of a follower that still reads blocks, all of the log; samples are as many as the log
    /// has for so many bytes.
    pub(crate) fn tail_lag(&self, from: &Position) -> Lag {
        let (LogEnd { segment: last, offset: end }, _) = self.readers.end();
        let files = self.files();
        let checkpoint = files.checkpoint.filter(|checkpoint| checkpoint.number <= last);
        // One that was just finished may be listed before the next one is published.
        let finished = files.segments.iter().filter(|segment| segment.number < last);
        let segments = || finished.clone().map(|segment| (segment.number, segment.bytes)).chain([(last, end)]);
        // What is behind `offset` of segment `number`, and all later segments but for their headers.
        let behind = |number: u64, offset: u64| -> u64 {
            let rest = |(other, bytes): (u64, u64)| {
                let read = if other == number { offset } else { FILE_HEADER_BYTES as u64 };
                if other < number { 0 } else { bytes.saturating_sub(read) }
            };
            segments().map(rest).sum()
        };
        let header = FILE_HEADER_BYTES as u64;
        let all = || {
            let (first, bytes) = checkpoint.map_or((0, 0), |checkpoint| (checkpoint.number, checkpoint.bytes));
            bytes.saturating_sub(header) + behind(first, header)
        };
        let oldest = segments().next().map_or(last, |(number, _)| number);
        let bytes = match Place::parse(&from.0) {
            // Without its segment it goes on behind the checkpoint, or reads blocks and all of the log.
            Some(Place { kind: PlaceKind::Segment, number, commit, .. }) if number < oldest => match checkpoint {
                Some(checkpoint) if checkpoint.commit <= commit => behind(checkpoint.number, header),
                _ => all(),
            },
            Some(Place { kind: PlaceKind::Segment, number, offset, .. }) => behind(number, offset),
            Some(Place { kind: PlaceKind::Checkpoint, number, offset, .. }) => {
                let rest = checkpoint.filter(|checkpoint| checkpoint.number == number);
                rest.map_or(0, |checkpoint| checkpoint.bytes.saturating_sub(offset)) + behind(number, header)
            }
            _ => all(),
        };
        let share = u128::from(files.rows) * u128::from(bytes) / u128::from(all().max(1));
        Lag { bytes, samples: u64::try_from(share).unwrap_or(u64::MAX) }
    }
}
