//! What is known of metrics: type, help and unit of each, kept beside the samples so that it survives a restart.
//!
//! It is small and changes seldom: in memory as a map, on disk as one file that is written anew when something changed
//! (`docs/formats/metadata.md`). Losing the last minute of it costs nothing, as those who tell it tell it again; so it is not in the
//! log, and a write that fails is no reason to stop taking samples.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
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
/// Longer texts are no help.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// How much all descriptions may take up, as [`bytes_of`] counts; those told least recently go.
pub(crate) const BYTES_MAX: usize = 32 << 20;
/// What goes at once, as finding the oldest looks at all.
const EVICTED_AT_ONCE: usize = BYTES_MAX / 8;
/// What a metric takes up beside its texts: its place in the map, which is two thirds full, and three allocations.
const METRIC_BYTES: usize = size_of::<(Box<str>, Told)>() * 3 / 2 + 3 * 16;
/// How many are copied while those who tell of others wait.
const VISITED_AT_ONCE: usize = 256;
/// A metric takes fewer bytes in the file than in memory, so what is written is never longer than what is read.
const FILE_BYTES_MAX: u64 = BYTES_MAX as u64 + 64;

/// The descriptions of a store.
#[derive(Debug)]
pub(crate) struct Metadata {
    dir: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    metrics: BTreeMap<Box<str>, Told>,
    // Of all metrics.
    bytes: usize,
    // Counts what is told.
    clock: u64,
    // Whether the file is behind.
    is_newer: bool,
}

#[derive(Debug)]
struct Told {
    description: MetricDescription,
    // When it was told last.
    at: u64,
}

/// What a metric takes up in memory, about.
fn bytes_of(metric: &str, help: &str, unit: &str) -> usize {
    METRIC_BYTES + metric.len() + help.len() + unit.len()
}

impl Known {
    /// Takes what is told of a metric; whether that is news.
    fn tell(&mut self, metric: &str, kind: MetricKind, help: &str, unit: &str) -> bool {
        self.clock += 1;
        if let Some(told) = self.metrics.get_mut(metric) {
            told.at = self.clock;
            let MetricDescription { kind: known_kind, help: known_help, unit: known_unit } = &told.description;
            if *known_kind == kind && known_help == help && known_unit == unit {
                return false;
            }
            self.bytes -= bytes_of(metric, known_help, known_unit);
            self.metrics.remove(metric);
        }
        let bytes = bytes_of(metric, help, unit);
        if self.bytes + bytes > BYTES_MAX {
            self.evict();
        }
        let description = MetricDescription { kind, help: help.to_owned(), unit: unit.to_owned() };
        self.metrics.insert(Box::from(metric), Told { description, at: self.clock });
        self.bytes += bytes;
        true
    }

    /// Forgets the metrics that were told least recently.
    fn evict(&mut self) {
        let size = |metric: &str, told: &Told| bytes_of(metric, &told.description.help, &told.description.unit);
        let mut ages: Vec<(u64, usize)> =
            self.metrics.iter().map(|(metric, told)| (told.at, size(metric, told))).collect();
        ages.sort_unstable();
        let (mut bytes, mut last) = (0, 0);
        for (at, of_one) in ages {
            if bytes >= EVICTED_AT_ONCE {
                break;
            }
            (bytes, last) = (bytes + of_one, at);
        }
        self.metrics.retain(|_, told| told.at > last);
        self.bytes -= bytes;
    }
}

impl Metadata {
    /// Reads what is known in the store in `dir`. A file that cannot be read is reported and counts as empty.
    pub(crate) fn open(fs: &dyn Fs, dir: &Path, recovery: &mut Recovery) -> Self {
        let known = match read(fs, &dir.join(FILE)) {
            Ok(known) => known,
            Err(reason) => {
                recovery.dropped(FILE, 0, 0, 0, reason);
                Known::default()
            }
        };
        Metadata { dir: dir.to_owned(), known: Mutex::new(known) }
    }

    /// Remembers what somebody says of a metric; the last one who says something else counts.
    pub(crate) fn describe(&self, metric: &str, kind: MetricKind, help: &str, unit: &str) {
        if [metric, help, unit].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return;
        }
        let mut known = self.known();
        known.is_newer |= known.tell(metric, kind, help, unit);
    }

    /// What is known takes up so many bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.known().bytes
    }

    /// What is known of one metric.
    pub(crate) fn of(&self, metric: &str) -> Option<MetricDescription> {
        self.known().metrics.get(metric).map(|told| told.description.clone())
    }

    /// Calls `each` for every metric that is described, in the order of their names. What is told meanwhile may be among them or not:
    /// nobody waits while `each` works.
    pub(crate) fn visit(&self, mut each: impl FnMut(&str, &MetricDescription)) {
        let mut behind: Bound<Box<str>> = Bound::Unbounded;
        loop {
            let some: Vec<(Box<str>, MetricDescription)> = {
                let known = self.known();
                let rest = known.metrics.range::<str, _>((behind.as_ref().map(|last| &**last), Bound::Unbounded));
                rest.take(VISITED_AT_ONCE).map(|(metric, told)| (metric.clone(), told.description.clone())).collect()
            };
            some.iter().for_each(|(metric, description)| each(metric, description));
            match some.into_iter().last() {
                Some((last, _)) => behind = Bound::Excluded(last),
                None => return,
            }
        }
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

fn read(fs: &dyn Fs, path: &Path) -> Result<Known, String> {
    let file = match fs.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::default()),
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

fn encode(metrics: &BTreeMap<Box<str>, Told>) -> Vec<u8> {
    let mut body = VERSION.to_le_bytes().to_vec();
    put_varint(&mut body, metrics.len() as u64);
    for (metric, Told { description: MetricDescription { kind, help, unit }, .. }) in metrics {
        body.push(kind.number());
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

fn decode(bytes: &[u8]) -> Result<Known, Damage> {
    let mut cursor = Cursor::new(bytes);
    if cursor.bytes(MAGIC.len())? != MAGIC || cursor.u32()? != crc32c::crc32c(cursor.rest) {
        return Err(Damage("what is known of metrics is damaged"));
    }
    if cursor.u32()? != VERSION {
        return Err(Damage("what is known of metrics has an unknown version"));
    }
    let n = cursor.count(1)?;
    let mut known = Known::default();
    for _ in 0..n {
        let kind = *MetricKind::ALL.get(usize::from(cursor.byte()?)).ok_or(Damage("unknown kind of a metric"))?;
        let mut text = || {
            let n = cursor.count(1)?;
            std::str::from_utf8(cursor.bytes(n)?).map_err(|_| Damage("a text is no UTF-8"))
        };
        let (metric, help, unit) = (text()?, text()?, text()?);
        known.tell(metric, kind, help, unit);
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptions(known: &Known) -> Vec<(&str, &MetricDescription)> {
        known.metrics.iter().map(|(metric, told)| (&**metric, &told.description)).collect()
    }

    #[test]
    fn descriptions_come_back_and_damage_is_an_error() {
        let mut known = Known::default();
        assert!(decode(&encode(&known.metrics)).unwrap().metrics.is_empty());
        for (at, kind) in MetricKind::ALL.into_iter().enumerate() {
            known.tell(&format!("m{at}"), kind, &"ä".repeat(at), &"s".repeat(at % 2));
        }
        let bytes = encode(&known.metrics);
        assert_eq!(descriptions(&decode(&bytes).unwrap()), descriptions(&known));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[track_caller]
    fn check_bound(metrics: usize, help_bytes: usize) {
        let (mut known, help) = (Known::default(), "x".repeat(help_bytes));
        for n in 0..metrics {
            known.tell(&format!("m{n}"), MetricKind::Gauge, &help, "");
            // What is told again stays, though it came first.
            assert!(!known.tell("m0", MetricKind::Gauge, &help, ""), "metric {n}");
            assert!(known.bytes <= BYTES_MAX, "{} bytes after metric {n}", known.bytes);
        }
        let of_all = |known: &Known| -> usize {
            descriptions(known).iter().map(|(metric, d)| bytes_of(metric, &d.help, &d.unit)).sum()
        };
        assert_eq!(known.bytes, of_all(&known));
        assert!(known.bytes > BYTES_MAX / 2, "only {} bytes are kept", known.bytes);
        assert!(known.metrics.len() < metrics && !known.metrics.contains_key("m1"));
        assert!(known.metrics.contains_key(&*format!("m{}", metrics - 1)));
        known.tell("m0", MetricKind::Gauge, "", "");
        assert_eq!(known.bytes, of_all(&known), "another text of a metric that is known");
        let bytes = encode(&known.metrics);
        assert!(bytes.len() as u64 <= FILE_BYTES_MAX, "a file of {} bytes would be refused", bytes.len());
        assert_eq!(descriptions(&decode(&bytes).unwrap()), descriptions(&known));
    }

    #[test]
    fn memory_and_file_have_a_bound() {
        check_bound(3_000, TEXT_BYTES_MAX);
        check_bound(250_000, 20);
    }

    #[test]
    fn nobody_waits_for_a_visitor() {
        let metadata = Metadata { dir: PathBuf::new(), known: Mutex::default() };
        let names: Vec<String> = (0..3 * VISITED_AT_ONCE + 1).map(|n| format!("m{n:04}")).collect();
        names.iter().for_each(|name| metadata.describe(name, MetricKind::Gauge, "", ""));
        let mut visited = Vec::new();
        metadata.visit(|metric, _| {
            // Somebody tells of another one, which comes first and so is not visited.
            metadata.describe("a", MetricKind::Counter, metric, "");
            visited.push(metric.to_owned());
        });
        assert_eq!(visited, names);
        assert_eq!(metadata.of("a").map(|description| description.help).as_ref(), names.last());
    }
}
