//! A process that writes and is killed: nothing it acknowledged is lost.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use relatum_model::storage::{Append, SeriesRef};
use relatum_tsdb::{Durability, Options, Store};

use crate::support::{NOW_MS, content, labels, options};

const DIR: &str = "RELATUM_TSDB_KILL_DIR";
const DURABILITY: &str = "RELATUM_TSDB_KILL_DURABILITY";
const SERIES: usize = 20;

/// Not a test by itself: what the killed process runs.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let durability = std::env::var(DURABILITY).unwrap().parse().unwrap();
    let on = Options { durability, segment_bytes: 20_000, block_range: Duration::from_millis(50), ..options() };
    let store = Store::open(Path::new(&dir), on).unwrap();
    let first = content(&store).values().map(Vec::len).max().unwrap_or(0) as i64;
    let mut out = std::io::stdout().lock();
    for n in first.. {
        let mut appender = store.appender();
        for i in 0..SERIES {
            appender.append(SeriesRef::NONE, &labels(&format!("s,i={i}")), NOW_MS + n, n as f64).unwrap();
        }
        appender.commit().unwrap();
        // A parent that is gone ends it.
        if writeln!(out, "acknowledged {n}").and_then(|()| out.flush()).is_err() {
            return;
        }
        match n % 100 {
            99 => store.checkpoint().unwrap(),
            30 | 65 => store.cut().unwrap(),
            80 => store.compact().unwrap(),
            _ => {}
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = -1;
    // Odd numbers, so that the signal meets the writer anywhere.
    let lines = [1, 3, 170, 17, 99, 250, 30, 31, 32, 5, 66, 65, 2, 80, 81, 7, 13, 29, 61, 1];
    let times = if std::env::var_os("RELATUM_LONG").is_some() { 10 } else { 1 };
    // A log that is synced for each commit has room at its end, over which it goes when it is opened the other way.
    let durabilities = [Durability::Process, Durability::Fsync, Durability::Fsync].into_iter().cycle();
    for (lines, durability) in std::iter::repeat_n(lines, times).flatten().zip(durabilities) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::writer", "--nocapture"])
            .env(DIR, dir.path())
            .env(DURABILITY, durability.as_str())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut heard = out
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.split_once("acknowledged ").and_then(|(_, n)| n.parse::<i64>().ok()));
        acknowledged = heard.by_ref().take(lines).last().unwrap_or(acknowledged);
        child.kill().unwrap();
        // What was still in the pipe was acknowledged as well.
        acknowledged = heard.last().unwrap_or(acknowledged);
        child.wait().unwrap();
        let store = Store::open(dir.path(), options()).unwrap();
        assert!(store.opened().dropped.len() <= 1, "{:?}", store.opened());
        let content = content(&store);
        assert_eq!(content.len(), SERIES);
        let lengths: Vec<_> = content.values().map(Vec::len).collect();
        assert!(lengths.iter().all(|n| *n == lengths[0]), "a batch in part: {lengths:?}");
        assert!(lengths[0] as i64 > acknowledged, "{} of {acknowledged}", lengths[0]);
        assert!(lengths[0] as i64 <= acknowledged + 2, "samples nobody wrote");
    }
}
