//! What was deleted from a block: spans of time of its series, in a file beside it.
//!
//! The block itself stays as it is until it is merged or cleaned.

use std::io;
use std::path::Path;

use hashbrown::HashMap;
use relatum_model::storage::TimeRange;

use crate::chunk::{unzigzag, zigzag};
use crate::fs::Fs;

use super::bytes::{Cursor, put_varint};
use super::layout::{BadBlock, Damage};

/// The version of the format this code writes and reads.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"RELATDEL";

/// The name of the file that goes with block `number`.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:010}.deleted")
}

/// The number of the block with which the file of this name goes.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".deleted")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Spans of time by the number of a series; sorted and disjoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deleted(HashMap<u32, Vec<TimeRange>, foldhash::fast::FixedState>);

impl Deleted {
    /// Whether nothing was deleted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a span of a series.
    pub(crate) fn insert(&mut self, series: u32, span: TimeRange) {
        let spans = self.0.entry(series).or_default();
        spans.push(span);
        spans.sort_unstable_by_key(|span| span.min_ms);
        spans.dedup_by(|next, before| {
            let joins = next.min_ms <= before.max_ms.saturating_add(1);
            if joins {
                before.max_ms = before.max_ms.max(next.max_ms);
            }
            joins
        });
    }

    /// What was deleted of a series.
    pub(crate) fn of(&self, series: u32) -> &[TimeRange] {
        self.0.get(&series).map_or(&[], Vec::as_slice)
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = VERSION.to_le_bytes().to_vec();
        put_varint(&mut body, self.0.values().map(Vec::len).sum::<usize>() as u64);
        for (series, spans) in &self.0 {
            for TimeRange { min_ms, max_ms } in spans {
                put_varint(&mut body, u64::from(*series));
                put_varint(&mut body, zigzag(*min_ms));
                put_varint(&mut body, zigzag(*max_ms));
            }
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.append(&mut body);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, BadBlock> {
        let damage = Damage("the list of what was deleted from it is damaged");
        let mut cursor = Cursor::new(bytes);
        if cursor.bytes(MAGIC.len())? != MAGIC || cursor.u32()? != crc32c::crc32c(cursor.rest) {
            return Err(damage.into());
        }
        let version = cursor.u32()?;
        if version != VERSION {
            return Err(BadBlock::Version(version));
        }
        let n = cursor.count(1)?;
        let mut deleted = Deleted::default();
        for _ in 0..n {
            let series = u32::try_from(cursor.varint()?).map_err(|_| damage)?;
            let span = TimeRange { min_ms: unzigzag(cursor.varint()?), max_ms: unzigzag(cursor.varint()?) };
            deleted.insert(series, span);
        }
        Ok(deleted)
    }

    /// Reads what was deleted from block `number`: nothing if there is no file.
    pub(crate) fn read(fs: &dyn Fs, dir: &Path, number: u64) -> io::Result<Result<Self, BadBlock>> {
        let file = match fs.open(&dir.join(file_name(number))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Deleted::default())),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; usize::try_from(file.length()?).unwrap_or(usize::MAX).min(1 << 30)];
        let n = file.read_at(0, &mut bytes)?;
        Ok(Deleted::decode(&bytes[..n]))
    }

    /// Makes this what was deleted from block `number`, durably.
    pub(crate) fn write(&self, fs: &dyn Fs, dir: &Path, number: u64) -> io::Result<()> {
        let path = dir.join(file_name(number));
        let unfinished = path.with_extension("deleted.tmp");
        let written = (|| {
            let file = fs.create(&unfinished)?;
            file.append(&self.encode())?;
            file.sync()?;
            fs.rename(&unfinished, &path)
        })();
        if written.is_err() {
            let _ = fs.remove(&unfinished);
        }
        written?;
        fs.sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_join_and_come_back() {
        let mut deleted = Deleted::default();
        for (series, min_ms, max_ms) in [(1, 10, 20), (1, 40, 50), (1, 15, 25), (1, 26, 30), (9, i64::MIN, i64::MAX)] {
            deleted.insert(series, TimeRange { min_ms, max_ms });
        }
        let span = |min_ms, max_ms| TimeRange { min_ms, max_ms };
        assert_eq!(deleted.of(1), [span(10, 30), span(40, 50)]);
        assert_eq!(deleted.of(2), []);
        let bytes = deleted.encode();
        assert_eq!(Deleted::decode(&bytes), Ok(deleted));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            assert!(Deleted::decode(&damaged).is_err());
            assert!(Deleted::decode(&bytes[..at]).is_err());
        }
    }
}
