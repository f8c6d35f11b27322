//! The queries that run, in a file beside the store: when the process ended in the middle of them, the next start says which they were.
//!
//! The file has a place of a fixed size for each (`docs/formats/queries-active.md`). It is written without waiting for the disk: what
//! is to be found out is which query took the process down, and what a process wrote stays when it is killed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::now_ms;

/// The name in the data directory, which is that of Prometheus' file.
const NAME: &str = "queries.active";
/// What each place takes.
const PLACE_BYTES: usize = 1024;
/// Where more may run at once than this, the others are not in the file.
const PLACES_MAX: usize = 512;
/// Of a longer query this is written; the end of a text helps less than its beginning.
const QUERY_BYTES_MAX: usize = 900;

/// Says in the file which queries run.
#[derive(Debug)]
pub(crate) struct ActiveQueries(Arc<Places>);

#[derive(Debug)]
struct Places {
    path: PathBuf,
    /// `None` if it could not be made.
    file: Option<File>,
    free: Mutex<Vec<usize>>,
    /// A disk that is full is said once.
    failed: AtomicBool,
}

/// A query that is in the file until this is dropped.
#[derive(Debug)]
pub(crate) struct Active {
    places: Arc<Places>,
    place: usize,
}

/// What stands in a place.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry<'q> {
    query: std::borrow::Cow<'q, str>,
    timestamp_sec: i64,
}

impl ActiveQueries {
    /// Makes the file for `n` queries in `dir`, and logs those that an earlier process did not finish. Whatever is wrong with it is
    /// logged, too, and nothing else.
    pub(crate) fn open(dir: &Path, n: usize) -> Self {
        let path = dir.join(NAME);
        for Entry { query, timestamp_sec } in unfinished(&path) {
            warn!(%query, begun = %moment(timestamp_sec), "this query had not finished when the server ended last");
        }
        let n = n.min(PLACES_MAX);
        let made = make(&path, n).inspect_err(|error| complain(&path, error));
        let places = Places { path, file: made.ok(), free: Mutex::new((0..n).rev().collect()), failed: false.into() };
        ActiveQueries(Arc::new(places))
    }

    /// Says that `query` runs. `None` if there is no place left or no file.
    pub(crate) fn begin(&self, query: &str) -> Option<Active> {
        self.0.file.as_ref()?;
        let place = self.0.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.0.write(place, &entry(query, now_ms().div_euclid(1000)));
        Some(Active { places: Arc::clone(&self.0), place })
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.places.write(self.place, &blank());
        self.places.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
    }
}

impl Places {
    fn write(&self, place: usize, bytes: &[u8; PLACE_BYTES]) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(bytes, (place * PLACE_BYTES) as u64)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            complain(&self.path, &error);
        }
    }
}

fn complain(file: &Path, error: &io::Error) {
    warn!(file = %file.display(), %error, "running queries cannot be noted: after a crash nobody can say which they were");
}

/// The file with `n` empty places. They are written at once, so that a disk that fills up later has room for what comes into them.
fn make(path: &Path, n: usize) -> io::Result<File> {
    // What people ask is nobody else's business.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all_at(&blank().repeat(n), 0)?;
    Ok(file)
}

/// An empty place: a line of spaces.
fn blank() -> [u8; PLACE_BYTES] {
    let mut bytes = [b' '; PLACE_BYTES];
    bytes[PLACE_BYTES - 1] = b'\n';
    bytes
}

/// A place with the beginning of `query`, as much as has room.
fn entry(query: &str, timestamp_sec: i64) -> [u8; PLACE_BYTES] {
    let mut place = blank();
    let mut length = query.floor_char_boundary(QUERY_BYTES_MAX);
    loop {
        let entry = Entry { query: query[..length].into(), timestamp_sec };
        let json = serde_json::to_vec(&entry).expect("a text and a number always serialize");
        if let Some(room) = place[..PLACE_BYTES - 1].get_mut(..json.len()) {
            room.copy_from_slice(&json);
            return place;
        }
        // Some letters take more room in JSON, up to six times.
        length = query.floor_char_boundary(length / 2);
    }
}

/// What an earlier process left in the file at `path`. A place that cannot be read says nothing.
fn unfinished(path: &Path) -> Vec<Entry<'static>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take((PLACES_MAX * PLACE_BYTES) as u64).read_to_end(&mut bytes));
    if read.is_err() {
        // There is none at the first start; if there is one, to write it fails as well and tells why.
        return Vec::new();
    }
    bytes.chunks(PLACE_BYTES).filter_map(|place| serde_json::from_slice(place).ok()).collect()
}

fn moment(timestamp_sec: i64) -> String {
    jiff::Timestamp::from_second(timestamp_sec).map_or_else(|_| timestamp_sec.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(dir: &Path) -> Vec<String> {
        unfinished(&dir.join(NAME)).into_iter().map(|entry| entry.query.into_owned()).collect()
    }

    #[test]
    fn what_runs_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let queries = ActiveQueries::open(dir.path(), 2);
        let long = "\u{e9}".repeat(1000);
        let first = queries.begin("up{a=\"b\"}\n");
        let second = queries.begin(&long);
        // There is no third place, and nothing fails for it.
        assert!(queries.begin("3").is_none());
        assert_eq!(left(dir.path()), ["up{a=\"b\"}\n", &long[..QUERY_BYTES_MAX]]);
        drop(first);
        let third = queries.begin(&"\u{1}".repeat(1000));
        // Six bytes each in JSON.
        assert_eq!(left(dir.path()), ["\u{1}".repeat(112).as_str(), &long[..QUERY_BYTES_MAX]]);
        drop((second, third));
        assert_eq!(left(dir.path()), [""; 0]);
        let text = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert_eq!((text.len(), text.trim()), (2 * PLACE_BYTES, ""));
    }

    #[test]
    fn what_an_earlier_process_left_is_read_whatever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(NAME);
        let mut bytes = entry("up", 7).to_vec();
        bytes.extend([0xff; PLACE_BYTES]);
        bytes.extend(entry("down", 8));
        // As a disk that was full leaves it.
        bytes.extend(&entry("torn", 9)[..10]);
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(left(dir.path()), ["up", "down"]);
        assert_eq!(unfinished(&file)[0], Entry { query: "up".into(), timestamp_sec: 7 });
        ActiveQueries::open(dir.path(), 1);
        assert_eq!(left(dir.path()), [""; 0]);
        // Without a file all goes on.
        let nowhere = ActiveQueries::open(&dir.path().join("nowhere"), 1);
        assert!(nowhere.begin("up").is_none());
    }
}
