//! Merging, retention, deletion and snapshots; and dying in the middle of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{AppendError, Cancel, Scope, Select, Tail, TimeRange};
use relatum_model::{MatchOp, Matcher};
use relatum_tsdb::{Dropped, Options, Store};

use crate::faulty_fs::{After, Fault, FaultyFs};
use crate::support::{Content, NOW_MS, StillClock, content, labels, options, write};

const HOUR_MS: i64 = 3_600_000;
/// The beginning of a span of eighteen hours.
const START_MS: i64 = NOW_MS / (18 * HOUR_MS) * 18 * HOUR_MS - 10 * 18 * HOUR_MS;

fn open_with(fs: &FaultyFs, change: impl FnOnce(&mut Options)) -> Store {
    let mut on = Options { fs: Arc::new(fs.clone()), cut_range: Duration::from_secs(2 * 3600), ..options() };
    change(&mut on);
    Store::open(Path::new("/d"), on).expect("the store opens")
}

fn open(fs: &FaultyFs) -> Store {
    open_with(fs, |_| ())
}

/// Samples of ten series every five minutes, from hour to hour.
fn hours(store: &Store, from: i64, to: i64) {
    for n in from * 12..to * 12 {
        let names: Vec<String> = (0..10).map(|i| format!("m{},i={i}", i % 2)).collect();
        let t_ms = START_MS + n * 300_000;
        let batch: Vec<_> = names.iter().map(|name| (name.as_str(), t_ms, n as f64 / 10.0)).collect();
        assert_eq!(write(store, &batch), []);
    }
}

fn count(content: &Content) -> usize {
    content.values().map(Vec::len).sum()
}

fn without(content: &Content, name: &str, range: TimeRange) -> Content {
    let mut left = content.clone();
    for (_, samples) in left.iter_mut().filter(|(key, _)| key.starts_with(name)) {
        samples.retain(|(t_ms, _)| !range.contains(*t_ms));
    }
    left.retain(|_, samples| !samples.is_empty());
    left
}

fn m0() -> [Matcher; 1] {
    [Matcher::equal("__name__", "m0")]
}

#[test]
fn small_blocks_are_merged_and_hold_the_same() {
    let fs = FaultyFs::default();
    let store = open(&fs);
    for hour in (0..40).step_by(2) {
        hours(&store, hour, hour + 2);
        store.cut().unwrap();
    }
    assert_eq!(store.stats().blocks, 20);
    let before = content(&store);
    let bytes = store.stats().block_bytes;
    // One that is being read when its blocks go.
    let reader = store.open(&Scope::all(), TimeRange::ALL).unwrap();
    store.compact().unwrap();
    let stats = store.stats();
    assert_eq!(stats.blocks, 4, "two of 18 hours and two of 2: {stats:?}");
    assert!(stats.block_bytes < bytes / 2, "{} of {bytes} bytes", stats.block_bytes);
    assert!(content(&store) == before);
    assert_eq!(reader.label_values("i", &[], 0, &Cancel::new()).unwrap().len(), 10);
    drop(reader);
    drop(store);
    let blocks = fs.files().keys().filter(|path| path.extension().is_some_and(|e| e == "block")).count();
    assert_eq!(blocks, 4, "what was merged is gone");
    assert!(content(&open(&fs)) == before);
}

#[test]
fn retention_by_time_and_by_size() {
    let fs = FaultyFs::default();
    let store = open_with(&fs, |on| on.retention = Duration::from_secs(12 * 3600));
    for hour in 0..60 {
        hours(&store, hour, hour + 1);
        store.maintain().unwrap();
        let stats = store.stats();
        let oldest_ms = stats.min_time_ms.unwrap();
        let newest_ms = stats.max_time_ms.unwrap();
        // A block goes as a whole, so what is on disk may be one block older.
        assert!(newest_ms - oldest_ms <= 14 * HOUR_MS, "hour {hour}: {stats:?}");
        let expected = ((hour + 1) * 12).min(12 * 12 + 1) * 10;
        assert_eq!(count(&content(&store)) as i64, expected, "what is read is exact: hour {hour}");
    }
    store.set_retention(Duration::ZERO);
    store.cut().unwrap();
    store.maintain().unwrap();
    let stats = store.stats();
    let limit = stats.block_bytes + stats.wal_bytes - 1;
    store.set_retention_bytes(limit);
    store.maintain().unwrap();
    let smaller = store.stats();
    assert!(smaller.block_bytes + smaller.wal_bytes <= limit && smaller.blocks > 0, "{smaller:?}");
    assert!(smaller.min_time_ms > stats.min_time_ms && smaller.max_time_ms == stats.max_time_ms, "{smaller:?}");
    drop(store);
    assert_eq!(open(&fs).opened().dropped, []);
}

#[test]
fn one_sample_of_a_far_future_takes_nothing_away() {
    let fs = FaultyFs::default();
    for future_ms in [i64::MAX - 1, NOW_MS + 1000 * 24 * HOUR_MS] {
        let store = open_with(&fs, |on| *on = Options { fs: Arc::clone(&on.fs), ..Options::for_history() });
        assert_eq!(write(&store, &[("far", future_ms, 1.0)]), []);
        store.cut().unwrap();
        drop(store);
    }
    let start_ms = NOW_MS - 10 * HOUR_MS;
    let clock = StillClock::at(start_ms);
    let store =
        open_with(&fs, |on| (on.retention, on.clock) = (Duration::from_secs(24 * 3600), Arc::new(clock.clone())));
    for n in 0..10 * 60 {
        clock.set(start_ms + n * 60_000);
        assert_eq!(write(&store, &[("near", start_ms + n * 60_000, n as f64)]), []);
        store.maintain().unwrap();
    }
    let stats = store.stats();
    assert!((3..8).contains(&stats.cuts), "cut as ever: {stats:?}");
    assert_eq!(content(&store)[&labels("near").to_string()].len(), 600);
    // It goes when its time has come, or by deletion.
    store.delete(&[Matcher::equal("__name__", "far")], TimeRange::ALL).unwrap();
    store.clean_deleted().unwrap();
    assert_eq!(content(&store).len(), 1);
}

#[test]
fn retention_by_size_takes_samples_away_in_pieces() {
    let fs = FaultyFs::default();
    let limit = 120_000;
    let store = open_with(&fs, |on| (on.retention, on.retention_bytes) = (Duration::ZERO, limit));
    let names: Vec<String> = (0..100).map(|i| format!("m,i={i}")).collect();
    let mut reached = false;
    for n in 0..178 * 12 {
        let t_ms = START_MS + n * 300_000;
        let batch: Vec<_> =
            names.iter().zip(0..).map(|(name, i)| (name.as_str(), t_ms, (n * i) as f64 / 7.0)).collect();
        assert_eq!(write(&store, &batch), []);
        if n % 12 == 11 {
            store.maintain().unwrap();
            let stats = store.stats();
            assert!(stats.block_bytes + stats.wal_bytes <= limit, "row {n}: {stats:?}");
            reached |= stats.min_time_ms > Some(START_MS);
            // What goes at once is never much of what is kept.
            assert!(!reached || stats.block_bytes > limit / 2, "row {n}: {stats:?}");
        }
    }
    assert!(reached, "the limit was never met: {:?}", store.stats());
}

#[test]
fn retention_by_size_holds_for_a_log_that_no_cut_is_due_for() {
    let fs = FaultyFs::default();
    let limit = 60_000;
    let store = open_with(&fs, |on| (on.segment_bytes, on.retention_bytes) = (10_000, limit));
    // A follower that never comes back, all within one span of a cut.
    let _ = store.end();
    for n in 0..100 {
        let samples: Vec<_> =
            (0..1000).map(|i| ("a", START_MS + n * 1000 + i, ((n * 1000 + i) as f64).sqrt())).collect();
        assert_eq!(write(&store, &samples), []);
        store.maintain().unwrap();
        let stats = store.stats();
        assert!(stats.block_bytes + stats.wal_bytes <= limit, "round {n}: {stats:?}");
    }
    let stats = store.stats();
    assert!(stats.blocks > 0 && stats.min_time_ms > Some(START_MS), "{stats:?}");
    assert!(count(&content(&store)) > 8000, "{stats:?}");
}

#[test]
fn a_full_disk_does_not_keep_old_blocks() {
    // The folder's sync, the catalog's creation and its bytes: each of them finds no room.
    for operation in 0..3 {
        let fs = FaultyFs::default();
        let store = open(&fs);
        for hour in [0, 2, 4] {
            hours(&store, hour, hour + 2);
            store.cut().unwrap();
        }
        let reserve = || fs.files().contains_key(Path::new("/d/blocks/reserve"));
        assert!(reserve());
        store.set_retention(Duration::from_secs(3600));
        fs.break_at(fs.operations() + operation, Fault::Full);
        store.maintain().unwrap_or_else(|error| panic!("{error} at operation {operation}"));
        assert!(fs.broke());
        assert_eq!(store.stats().blocks, 1, "operation {operation}");
        assert!(reserve(), "there is room again");
    }
}

#[test]
fn a_cut_without_room_does_not_keep_old_blocks() {
    let fs = FaultyFs::default();
    let store = open(&fs);
    for hour in [0, 2, 4] {
        hours(&store, hour, hour + 2);
        store.cut().unwrap();
    }
    hours(&store, 6, 9);
    let expected = content(&store);
    store.set_retention(Duration::from_secs(2 * 3600));
    fs.leave_room(0);
    let failed = store.maintain().expect_err("there is no room for what is cut");
    assert!(matches!(failed, AppendError::Write { .. } | AppendError::Full { .. }), "{failed}");
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.cuts), (0, 3), "the old ones went: {stats:?}");
    fs.leave_room(1 << 20);
    store.maintain().expect("there is room");
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.cuts), (1, 4), "{stats:?}");
    let kept = content(&store);
    let since = |series: &str| kept[series].iter().map(|sample| sample.0).min();
    assert!(kept.keys().all(|series| since(series) <= Some(START_MS + 7 * HOUR_MS)), "nothing else went");
    assert!(count(&kept) < count(&expected));
}

#[test]
fn what_is_deleted_is_gone_from_head_and_blocks() {
    let fs = FaultyFs::default();
    let mut store = open(&fs);
    hours(&store, 0, 5);
    store.maintain().unwrap();
    let all = content(&store);
    let range = TimeRange { min_ms: START_MS + HOUR_MS, max_ms: START_MS + 4 * HOUR_MS + 1 };
    store.delete(&m0(), range).unwrap();
    let expected = without(&all, "m0", range);
    assert_eq!(count(&all) - count(&expected), 37 * 5);
    for round in 0..4 {
        assert!(content(&store) == expected, "round {round}");
        let reader = store.open(&Scope::all(), range).unwrap();
        assert_eq!(reader.label_values("__name__", &[], 0, &Cancel::new()).unwrap(), ["m1"]);
        drop(reader);
        match round {
            0 => {
                drop(store);
                store = open(&fs);
            }
            1 => store.clean_deleted().unwrap(),
            _ => store.compact().unwrap(),
        }
    }
    assert!(!fs.files().keys().any(|path| path.extension().is_some_and(|e| e == "deleted")), "cleaned");
    assert_eq!(store.stats().block_samples, count(&expected) as u64);
    // All of it.
    let every = Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap();
    store.delete(&[every], TimeRange::ALL).unwrap();
    assert!(content(&store).is_empty());
    store.clean_deleted().unwrap();
    assert_eq!(store.stats().blocks, 0);
    hours(&store, 5, 6);
    assert_eq!(count(&content(&store)), 120);
}

#[test]
fn a_snapshot_is_a_store() {
    let fs = FaultyFs::default();
    let store = open(&fs);
    hours(&store, 0, 5);
    store.maintain().unwrap();
    store.delete(&m0(), TimeRange { min_ms: START_MS, max_ms: START_MS + HOUR_MS }).unwrap();
    hours(&store, 5, 6);
    let expected = content(&store);
    store.snapshot(Path::new("/s")).unwrap();
    hours(&store, 6, 7);
    assert!(matches!(store.snapshot(Path::new("/s")), Err(AppendError::Write { .. })), "it is taken");
    drop(store);
    let on = Options { fs: Arc::new(fs.clone()), ..options() };
    let copy = Store::open(Path::new("/s"), on).unwrap();
    assert!(content(&copy) == expected);
    hours(&copy, 6, 8);
}

/// Runs `step` on a store with several blocks, breaking it at every operation; what is left is one of `allowed`.
#[track_caller]
fn check_death(step: impl Fn(&Store) -> Result<(), AppendError>, allowed: impl Fn(&Content, &Content) -> bool) {
    let fs = FaultyFs::default();
    let store = open(&fs);
    for hour in [0, 2, 4, 6] {
        hours(&store, hour, hour + 2);
        store.cut().unwrap();
    }
    hours(&store, 8, 9);
    let before = content(&store);
    drop(store);
    let files = fs.files();
    for fault in [Fault::Stop, Fault::Torn, Fault::Full, Fault::Lost] {
        for after in [After::Kill, After::PowerCut, After::PowerCutWithZeros] {
            for operation in 0.. {
                let fs = FaultyFs::of(files.clone());
                let store = open(&fs);
                fs.break_at(fs.operations() + operation, fault);
                let done = step(&store);
                let broke = fs.broke();
                let context = format!("{fault:?} at operation {operation}, then {after:?}: {done:?}");
                let running = content(&store);
                assert!(allowed(&before, &running), "while running, {context}");
                drop(store);
                let left = fs.after(after);
                let store = open(&left);
                let found = content(&store);
                assert!(allowed(&before, &found), "{context}");
                let damaged = |dropped: &&Dropped| !dropped.file.ends_with(".wal");
                assert_eq!(store.opened().dropped.iter().find(damaged), None, "{context}");
                if done.is_ok() {
                    assert!(found == running, "what was acknowledged is there, {context}");
                }
                // It goes on.
                step(&store).unwrap_or_else(|error| panic!("{error}, {context}"));
                assert_eq!(write(&store, &[("m1,i=1", START_MS + 9 * HOUR_MS, 1.0)]), []);
                if !broke {
                    assert!(operation > 3, "only {operation} operations");
                    break;
                }
            }
        }
    }
}

#[test]
fn death_while_blocks_are_merged() {
    check_death(Store::compact, |before, after| before == after);
}

#[test]
fn death_while_something_is_deleted() {
    let range = TimeRange { min_ms: START_MS + HOUR_MS, max_ms: START_MS + 9 * HOUR_MS };
    let delete = |store: &Store| store.delete(&m0(), range);
    // Block by block, so a part may be gone; nothing else ever is.
    check_death(delete, |before, after| {
        let least = without(before, "m0", range);
        least.iter().all(|(name, samples)| samples.iter().all(|sample| after[name].contains(sample)))
            && after.iter().all(|(name, samples)| samples.iter().all(|sample| before[name].contains(sample)))
    });
}

#[test]
fn death_while_deleted_samples_are_cleaned() {
    let range = TimeRange { min_ms: START_MS + HOUR_MS, max_ms: START_MS + 9 * HOUR_MS };
    check_death(
        |store| store.delete(&m0(), range).and_then(|()| store.clean_deleted()),
        |before, after| {
            let least = without(before, "m0", range);
            least.iter().all(|(name, samples)| samples.iter().all(|sample| after[name].contains(sample)))
        },
    );
}
