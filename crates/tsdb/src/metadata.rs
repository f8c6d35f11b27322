//! What is known of metrics: type, help and unit of each, kept beside the samples so that it survives a restart.
//!
//! It is small and changes seldom: in memory as a map, on disk as one file that is written anew when something changed
//! (`docs/formats/metadata.md`). Losing the last minute of it costs nothing, as those who tell it tell it again; so it is not in the
//! log, and a write that fails is no reason to stop taking samples.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use relatum_model::exposition::{MetricDescription, MetricKind};

use crate::block::bytes::{Cursor, put_varint};
use crate::block::layout::Damage;
use crate::fs::Fs;
use crate::replay::Recovery;

/// The name of the file in the store's directory.
const FILE: &str = "metadata";
const MAGIC: &[u8; 8] = b"RELATMET";
const VERSION: u32 = 1;
/// How many metrics are described; more have samples, but no description.
const METRICS_MAX: usize = 200_000;
/// Longer texts are no help.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// A file as long as all of that is no metadata.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The kinds by their number in the file.
const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
];

/// The descriptions of a store.
#[derive(Debug)]
pub(crate) struct Metadata {
    dir: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    metrics: BTreeMap<Box<str>, MetricDescription>,
    // Whether the file is behind.
    is_newer: bool,
}

impl Metadata {
    /// Reads what is known in the store in `dir`. A file that cannot be read is reported and counts as empty.
    pub(crate) fn open(fs: &dyn Fs, dir: &Path, recovery: &mut Recovery) -> Self {
        let metrics = match read(fs, &dir.join(FILE)) {
            Ok(metrics) => metrics,
            Err(reason) => {
                recovery.dropped(FILE, 0, 0, 0, reason);
                BTreeMap::new()
            }
        };
        Metadata { dir: dir.to_owned(), known: Mutex::new(Known { metrics, is_newer: false }) }
    }

    /// Remembers what somebody says of a metric; the last one who says something else counts.
    pub(crate) fn describe(&self, metric: &str, kind: MetricKind, help: &str, unit: &str) {
        if [metric, help, unit].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return;
        }
        let mut known = self.known();
        let is_known = known.metrics.get(metric).is_some_and(|d| d.kind == kind && d.help == help && d.unit == unit);
        if !is_known && (known.metrics.len() < METRICS_MAX || known.metrics.contains_key(metric)) {
            let description = MetricDescription { kind, help: help.to_owned(), unit: unit.to_owned() };
            known.metrics.insert(Box::from(metric), description);
            known.is_newer = true;
        }
    }

    /// Calls `each` for every metric that is described, in the order of their names.
    pub(crate) fn visit(&self, mut each: impl FnMut(&str, &MetricDescription)) {
        self.known().metrics.iter().for_each(|(metric, description)| each(metric, description));
    }

    /// Writes the file if something changed since.
    pub(crate) fn save(&self, fs: &dyn Fs) -> io::Result<()> {
        let bytes = {
            let mut known = self.known();
            if !known.is_newer {
                return Ok(());
            }
            known.is_newer = false;
            encode(&known.metrics)
        };
        let written = write(fs, &self.dir, &bytes);
        if written.is_err() {
            self.known().is_newer = true;
        }
        written
    }

    /// Writes all of it into the store in `dir`.
    pub(crate) fn copy_to(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let bytes = {
            let known = self.known();
            if known.metrics.is_empty() {
                return Ok(());
            }
            encode(&known.metrics)
        };
        write(fs, dir, &bytes)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(fs: &dyn Fs, dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, unfinished) = (dir.join(FILE), dir.join(FILE).with_extension("tmp"));
    let written = (|| {
        let file = fs.create(&unfinished)?;
        file.append(bytes)?;
        file.sync()?;
        fs.rename(&unfinished, &path)?;
        fs.sync_dir(dir)
    })();
    if written.is_err() {
        let _ = fs.remove(&unfinished);
    }
    written
}

fn read(fs: &dyn Fs, path: &Path) -> Result<BTreeMap<Box<str>, MetricDescription>, String> {
    let file = match fs.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    let length = file.length().map_err(|error| error.to_string())?;
    if length > FILE_BYTES_MAX {
        return Err("it is too long".to_owned());
    }
    let mut bytes = vec![0; length as usize];
    let n = file.read_at(0, &mut bytes).map_err(|error| error.to_string())?;
    decode(&bytes[..n]).map_err(|damage| damage.to_string())
}

fn encode(metrics: &BTreeMap<Box<str>, MetricDescription>) -> Vec<u8> {
    let mut body = VERSION.to_le_bytes().to_vec();
    put_varint(&mut body, metrics.len() as u64);
    for (metric, MetricDescription { kind, help, unit }) in metrics {
        body.push(KINDS.iter().position(|known| known == kind).unwrap_or(0) as u8);
        for text in [&**metric, help, unit] {
            put_varint(&mut body, text.len() as u64);
            body.extend_from_slice(text.as_bytes());
        }
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.append(&mut body);
    out
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<Box<str>, MetricDescription>, Damage> {
    let mut cursor = Cursor::new(bytes);
    if cursor.bytes(MAGIC.len())? != MAGIC || cursor.u32()? != crc32c::crc32c(cursor.rest) {
        return Err(Damage("what is known of metrics is damaged"));
    }
    if cursor.u32()? != VERSION {
        return Err(Damage("what is known of metrics has an unknown version"));
    }
    let n = cursor.count(1)?;
    let mut metrics = BTreeMap::new();
    for _ in 0..n {
        let kind = *KINDS.get(usize::from(cursor.byte()?)).ok_or(Damage("unknown kind of a metric"))?;
        let mut text = || {
            let n = cursor.count(1)?;
            std::str::from_utf8(cursor.bytes(n)?).map_err(|_| Damage("a text is no UTF-8"))
        };
        let (metric, help, unit) = (text()?, text()?.to_owned(), text()?.to_owned());
        metrics.insert(Box::from(metric), MetricDescription { kind, help, unit });
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_come_back_and_damage_is_an_error() {
        let mut metrics = BTreeMap::new();
        assert_eq!(decode(&encode(&metrics)), Ok(metrics.clone()));
        for (at, kind) in KINDS.into_iter().enumerate() {
            let description = MetricDescription { kind, help: "ä".repeat(at), unit: "s".repeat(at % 2) };
            metrics.insert(Box::from(format!("m{at}")), description);
        }
        let bytes = encode(&metrics);
        assert_eq!(decode(&bytes), Ok(metrics));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
