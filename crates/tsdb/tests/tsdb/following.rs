//! Following the log while segments are replaced by checkpoints and series go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{Position, Tail};
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::FaultyFs;
use crate::support::{NOW_MS, StillClock, options, write};

const RETENTION: Duration = Duration::from_secs(100);

fn open(fs: &FaultyFs, clock: &StillClock, followed_bytes: u64) -> Store {
    let on = Options {
        fs: Arc::new(fs.clone()),
        clock: Arc::new(clock.clone()),
        segment_bytes: 300,
        retention: RETENTION,
        followed_bytes,
        ..options()
    };
    Store::open(Path::new("/d"), on).unwrap()
}

/// Commits one sample at second `n`; a series lives for ten seconds.
fn commit(store: &Store, n: i64) {
    assert_eq!(write(store, &[(&format!("pod{}", n / 10), NOW_MS - 10_000_000 + n * 1000, n as f64)]), []);
}

/// The values from `from` on, and where they end.
fn rest(store: &Store, from: &Position) -> (Vec<i64>, Position) {
    let (mut values, mut at) = (Vec::new(), from.clone());
    loop {
        let batch = store.read(&at, 3).unwrap();
        if batch.samples.is_empty() {
            return (values, batch.next);
        }
        for (labels, sample) in batch.samples {
            assert_eq!(labels.metric_name(), Some(format!("pod{}", sample.value as i64 / 10).as_str()));
            values.push(sample.value as i64);
        }
        at = batch.next;
    }
}

#[test]
fn a_slow_follower_gets_everything_once() {
    let fs = FaultyFs::default();
    let clock = StillClock::at(NOW_MS);
    let mut store = open(&fs, &clock, 1 << 20);
    let start = store.end();
    let mut position = start;
    let mut seen = Vec::new();
    for n in 0..1000 {
        commit(&store, n);
        if n % 50 == 49 {
            store.maintain().unwrap();
            store.checkpoint().unwrap();
        }
        // Reads a little now and then, and is always far behind what retention keeps.
        if n % 100 == 99 {
            let batch = store.read(&position, 20).unwrap();
            seen.extend(batch.samples.iter().map(|(_, sample)| sample.value as i64));
            position = batch.next;
        }
        if n == 500 || n == 700 {
            drop(store);
            store = open(&fs, &clock, 1 << 20);
        }
    }
    assert!(store.stats().series < 20, "{}", store.stats().series);
    let (values, position) = rest(&store, &position);
    seen.extend(values);
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    // Everything was read, so nothing is kept for it any more; it is forgotten that somebody may come back after a restart.
    clock.set(NOW_MS + 3_600_001);
    store.read(&position, 1).unwrap();
    store.maintain().unwrap();
    store.checkpoint().unwrap();
    let segments = fs.files().keys().filter(|path| path.extension().is_some_and(|e| e == "wal")).count();
    assert!(segments <= 2, "{segments} segments");
}

#[test]
fn a_follower_that_was_at_the_end_never_gets_old_samples_again() {
    let fs = FaultyFs::default();
    let clock = StillClock::at(NOW_MS);
    // No byte is kept for followers.
    let store = open(&fs, &clock, 0);
    (0..50).for_each(|n| commit(&store, n));
    let at_the_end = store.end();
    let before = store.read(&Position::default(), 30).unwrap().next;
    store.checkpoint().unwrap();
    drop(store);
    let store = open(&fs, &clock, 0);
    store.checkpoint().unwrap();
    (50..55).for_each(|n| commit(&store, n));
    assert_eq!(rest(&store, &at_the_end).0, (50..55).collect::<Vec<_>>());
    // One that was behind goes on without a gap: it gets what lives once more.
    let mut again = rest(&store, &before).0;
    again.sort_unstable();
    assert_eq!(again, (0..55).collect::<Vec<_>>());
}

#[test]
fn positions() {
    let store = open(&FaultyFs::default(), &StillClock::at(NOW_MS), 0);
    (0..3).for_each(|n| commit(&store, n));
    for (text, expected) in [
        ("", Some(3)),
        ("1:32:0", Some(3)),
        // As they were written before they told the commit.
        ("1:32", Some(3)),
        ("1:32:0:0", None),
        ("1", None),
        ("x:0:0", None),
        ("9:0:0", None),
        ("1:-3:0", None),
        ("99999999999999999999:0:0", None),
    ] {
        let found = store.read(&Position(text.to_owned()), 10).ok().map(|batch| batch.samples.len());
        assert_eq!(found, expected, "{text:?}");
    }
}
