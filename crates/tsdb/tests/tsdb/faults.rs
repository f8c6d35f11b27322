//! Breaks every operation of a scenario in every way, opens again and looks at what had to survive.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use relatum_model::storage::{Append, AppendError, SeriesRef};
use relatum_tsdb::{Durability, OpenError, Options, Store};

use crate::faulty_fs::{After, Fault, FaultyFs};
use crate::support::{NOW_MS, content, histogram, labels, options, write};

const BATCHES: i64 = 14;

fn options_on(fs: &FaultyFs, durability: Durability) -> Options {
    Options {
        fs: Arc::new(fs.clone()),
        durability,
        // Two or three batches.
        segment_bytes: 200,
        retention: Duration::from_secs(1000),
        out_of_order_window: Duration::from_secs(10),
        ..options()
    }
}

/// The series of batch `n`: one that all batches share and two that few do.
fn series(n: i64) -> [String; 3] {
    ["shared".to_owned(), format!("few,n={}", n / 3), format!("own,n={n}")]
}

/// Commits batch `n` at the time `n`.
fn commit(store: &Store, n: i64) -> Result<(), AppendError> {
    let mut appender = store.appender();
    for name in series(n) {
        appender.append(SeriesRef::NONE, &labels(&name), NOW_MS + n, n as f64).expect("the sample is in order");
    }
    // And one behind it, which is late.
    appender.append(SeriesRef::NONE, &labels("shared"), NOW_MS + n - 500, 0.5).expect("the sample is in the window");
    let _ = appender
        .append_histogram(SeriesRef::NONE, &labels("native"), NOW_MS + n, 0, &histogram(n))
        .expect("the histogram is in order");
    appender.commit()
}

/// What the scenario was told.
#[derive(Debug, Default)]
struct Outcome {
    acknowledged: BTreeSet<i64>,
    // Acknowledged before a sync that succeeded.
    synced: BTreeSet<i64>,
    tried: BTreeSet<i64>,
}

/// Appends, syncs, splits segments, writes checkpoints, closes and opens again; goes on after errors, as a server does.
fn scenario(fs: &FaultyFs, durability: Durability) -> Outcome {
    let mut outcome = Outcome::default();
    for (from, to) in [(0, 9), (9, BATCHES)] {
        let Ok(store) = Store::open(Path::new("/d"), options_on(fs, durability)) else { continue };
        for n in from..to {
            outcome.tried.insert(n);
            match commit(&store, n) {
                Ok(()) => {
                    outcome.acknowledged.insert(n);
                }
                Err(AppendError::Full { .. }) => {
                    assert!(store.stats().full && store.stats().poisoned.is_none(), "a full disk is no end");
                    // The fault is over, so the next attempt succeeds.
                    if commit(&store, n).is_ok() {
                        outcome.acknowledged.insert(n);
                    }
                    assert!(!store.stats().full, "either there is room or the process is dead");
                }
                Err(AppendError::Write { .. } | AppendError::Poisoned { .. }) => {
                    assert!(store.stats().poisoned.is_some(), "a store whose write failed says so");
                    assert!(matches!(commit(&store, n), Err(AppendError::Poisoned { .. })));
                }
            }
            if n % 4 == 3 && store.sync().is_ok() {
                outcome.synced = outcome.acknowledged.clone();
            }
            // What fails of these harms nothing, so their errors are no news here.
            match n {
                3 | 7 | 12 => drop(store.checkpoint()),
                5 | 10 => drop(store.cut()),
                _ => {}
            }
            // What was acknowledged is visible, and nothing else is.
            let visible = batches(&store, &format!("while running, {durability:?}"));
            assert!(outcome.acknowledged.is_subset(&visible), "{visible:?}");
            if durability == Durability::Fsync {
                let unknown: Vec<_> = visible.difference(&outcome.acknowledged).filter(|n| **n >= from).collect();
                assert!(unknown.is_empty(), "{unknown:?} failed and are visible");
            }
        }
        if store.close().is_ok() && store.stats().poisoned.as_deref() == Some("it was closed") {
            outcome.synced = outcome.acknowledged.clone();
        }
    }
    outcome
}

/// The batches in the store; fails on one that is there in part.
#[track_caller]
fn batches(store: &Store, context: &str) -> BTreeSet<i64> {
    let content = content(store);
    let at = |name: &str, t_ms: i64| {
        content.get(&labels(name).to_string()).is_some_and(|samples| samples.iter().any(|(t, _)| *t == t_ms))
    };
    let mut found = BTreeSet::new();
    for n in 0..=BATCHES {
        let mut parts: Vec<bool> = series(n).iter().map(|name| at(name, NOW_MS + n)).collect();
        parts.push(at("shared", NOW_MS + n - 500));
        parts.push(at("native", NOW_MS + n));
        assert!(parts.iter().all(|part| *part == parts[0]), "batch {n} is there in part: {parts:?}, {context}");
        if parts[0] {
            found.insert(n);
        }
    }
    let samples: usize = content.values().map(Vec::len).sum();
    assert_eq!(samples, found.len() * 5, "samples nobody wrote, {context}");
    found
}

#[track_caller]
fn check(durability: Durability, fault: Fault, after: After) {
    let mut operation = 0;
    loop {
        let fs = FaultyFs::default();
        fs.break_at(operation, fault);
        let outcome = scenario(&fs, durability);
        let context = format!("{durability:?}, {fault:?} at operation {operation}, then {after:?}");
        let left = fs.after(after);
        let reopened = Store::open(Path::new("/d"), options_on(&left, durability));
        let store = reopened.unwrap_or_else(|error| panic!("the store does not open: {error:?}, {context}"));
        let found = batches(&store, &context);
        let promised = match (durability, after) {
            (Durability::Fsync, _) | (_, After::Kill) => &outcome.acknowledged,
            (Durability::Process, _) => &outcome.synced,
        };
        assert!(promised.is_subset(&found), "lost {:?}, {context}", promised.difference(&found).collect::<Vec<_>>());
        assert!(found.is_subset(&outcome.tried), "phantoms {found:?}, {context}");
        // It goes on from there, and what it says about the past does not change.
        commit(&store, BATCHES).unwrap_or_else(|error| panic!("{error}, {context}"));
        drop(store);
        let store = Store::open(Path::new("/d"), options_on(&left, durability)).expect("the store opens once more");
        assert_eq!(batches(&store, &context), found.iter().copied().chain([BATCHES]).collect(), "{context}");
        if !fs.broke() {
            assert!(operation > 50, "the scenario has only {operation} operations");
            return;
        }
        operation += 1;
    }
}

#[test]
fn death_at_every_operation() {
    check(Durability::Process, Fault::Stop, After::Kill);
    check(Durability::Process, Fault::Torn, After::Kill);
    check(Durability::Fsync, Fault::Torn, After::Kill);
}

#[test]
fn power_cut_at_every_operation() {
    for fault in [Fault::Stop, Fault::Torn] {
        for after in [After::PowerCut, After::PowerCutWithZeros, After::PowerCutTorn] {
            check(Durability::Fsync, fault, after);
            check(Durability::Process, fault, after);
        }
    }
}

#[test]
fn every_operation_fails_once() {
    for durability in [Durability::Process, Durability::Fsync] {
        check(durability, Fault::Full, After::Kill);
        check(durability, Fault::Lost, After::Kill);
        check(durability, Fault::Lost, After::PowerCut);
    }
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let fs = FaultyFs::default();
    let store = Store::open(Path::new("/d"), options_on(&fs, Durability::Process)).unwrap();
    write(&store, &[("a", NOW_MS, 1.0)]);
    let before = content(&store);
    let files = fs.files();
    // Both the commit itself and the segment it needs find no room.
    for n in 0..3 {
        fs.break_at(fs.operations(), Fault::Full);
        assert!(matches!(commit(&store, n), Err(AppendError::Full { .. })), "attempt {n}");
        assert!(store.stats().full);
        assert_eq!(content(&store), before, "reading goes on");
        assert_eq!(fs.files(), files, "no trace is left");
    }
    commit(&store, 3).expect("there is room");
    assert!(!store.stats().full);
    let after = content(&store);
    assert_ne!(after, before);
    drop(store);
    let store = Store::open(Path::new("/d"), options_on(&fs, Durability::Process)).unwrap();
    assert_eq!(store.opened().dropped, []);
    assert_eq!(content(&store), after);
}

#[test]
fn a_place_that_cannot_be_read_loses_nothing() {
    let fs = FaultyFs::default();
    let store = Store::open(Path::new("/d"), options_on(&fs, Durability::Process)).unwrap();
    for n in 0..12 {
        commit(&store, n).unwrap();
        match n {
            3 => store.checkpoint().unwrap(),
            5 => store.cut().unwrap(),
            _ => {}
        }
    }
    let expected = content(&store);
    drop(store);
    let fs = FaultyFs::of(fs.files());
    let mut refused = 0;
    for read in 0.. {
        fs.break_read_at(read);
        match Store::open(Path::new("/d"), options_on(&fs, Durability::Process)) {
            // What could not be read was not needed to open it.
            Ok(store) if !fs.failed_to_read() => {
                assert_eq!(content(&store), expected);
                break;
            }
            Ok(store) => assert!(content(&store) == expected, "read {read} failed and something is missing"),
            Err(error) => {
                assert!(matches!(error, OpenError::Read { .. }), "read {read}: {error:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "only {refused} reads failed");
}

#[test]
fn a_store_whose_disk_fails_goes_on_reading() {
    let fs = FaultyFs::default();
    let store = Store::open(Path::new("/d"), options_on(&fs, Durability::Process)).unwrap();
    write(&store, &[("a", NOW_MS, 1.0)]);
    let before = content(&store);
    fs.break_at(fs.operations(), Fault::Lost);
    assert!(store.sync().is_err());
    let Err(AppendError::Poisoned { reason }) = commit(&store, 2) else { panic!("the store takes writes again") };
    assert!(reason.contains("0000000001.wal"), "{reason}");
    assert_eq!(content(&store), before);
    assert!(store.checkpoint().is_err());
}

#[test]
fn a_repetition_is_acknowledged_once_what_it_repeats_is_on_disk() {
    for fails in [false, true] {
        let fs = FaultyFs::default();
        // No sync for a new segment, which would keep the repetition from being looked at.
        let on = Options { segment_bytes: 1 << 20, ..options_on(&fs, Durability::Fsync) };
        let store = Store::open(Path::new("/d"), on).unwrap();
        commit(&store, 0).unwrap();
        fs.hold_syncs(true);
        let (first, repetition) = std::thread::scope(|scope| {
            let first = scope.spawn(|| commit(&store, 1));
            while fs.held() == 0 {
                std::thread::yield_now();
            }
            let repetition = scope.spawn(|| commit(&store, 1));
            // As long as would do to return at once.
            let begun = Instant::now();
            while !repetition.is_finished() && begun.elapsed() < Duration::from_millis(200) {
                std::thread::yield_now();
            }
            let early = repetition.is_finished();
            if fails {
                fs.break_at(fs.operations(), Fault::Lost);
            }
            fs.hold_syncs(false);
            assert!(!early, "it was acknowledged while the disk was at work");
            (first.join().unwrap(), repetition.join().unwrap())
        });
        assert_eq!((first.is_err(), repetition.is_err()), (fails, fails));
        drop(store);
        let left = fs.after(After::PowerCut);
        let store = Store::open(Path::new("/d"), options_on(&left, Durability::Fsync)).unwrap();
        assert_eq!(batches(&store, "after a power cut").contains(&1), !fails);
    }
}

#[test]
fn what_was_read_back_is_on_disk_before_it_is_acknowledged() {
    let fs = FaultyFs::default();
    let store = Store::open(Path::new("/d"), options_on(&fs, Durability::Fsync)).unwrap();
    // Written, and dead before it is synced.
    fs.break_at(fs.operations() + 1, Fault::Stop);
    assert!(commit(&store, 0).is_err());
    drop(store);
    let fs = fs.after(After::Kill);
    let store = Store::open(Path::new("/d"), options_on(&fs, Durability::Fsync)).unwrap();
    assert!(batches(&store, "after a restart").contains(&0), "it was written");
    commit(&store, 0).unwrap();
    drop(store);
    let fs = fs.after(After::PowerCut);
    let store = Store::open(Path::new("/d"), options_on(&fs, Durability::Fsync)).unwrap();
    assert!(batches(&store, "after a power cut").contains(&0), "it was acknowledged");
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wal")
}

/// What is in the segment that was written last, room included.
fn last_segment(fs: &FaultyFs) -> (PathBuf, Vec<u8>) {
    fs.files().into_iter().rfind(|(path, _)| is_segment(path)).expect("there is a segment")
}

#[test]
fn room_for_more_is_no_damage() {
    let fs = FaultyFs::default();
    let on = |fs: &FaultyFs| Options { segment_bytes: 1 << 20, ..options_on(fs, Durability::Fsync) };
    let store = Store::open(Path::new("/d"), on(&fs)).unwrap();
    (0..3).for_each(|n| commit(&store, n).unwrap());
    let expected = content(&store);
    let (path, bytes) = last_segment(&fs);
    let written = store.stats().wal_bytes as usize;
    assert!(bytes.len() > written + 1000, "there is room: {} bytes behind {written}", bytes.len() - written);
    let left = fs.after(After::Kill);
    for (garbage, dropped) in [(&b""[..], None), (b"garbage", Some(7)), (&[0xf7, b'R', b'L', b'T'], Some(4))] {
        let mut files = left.files();
        files.get_mut(&path).unwrap()[written..][..garbage.len()].copy_from_slice(garbage);
        let fs = FaultyFs::of(files);
        let store = Store::open(Path::new("/d"), on(&fs)).unwrap();
        assert_eq!(store.opened().dropped.first().map(|dropped| dropped.bytes), dropped, "{:?}", store.opened());
        assert_eq!(content(&store), expected);
    }
    // Whoever closes the store gives it back.
    store.close().unwrap();
    assert_eq!(last_segment(&fs).1.len(), written);
}

#[test]
fn where_there_is_no_room_for_more_there_may_be_for_a_commit() {
    let mut without_room = 0;
    for operation in 0.. {
        let fs = FaultyFs::default();
        let on = Options { segment_bytes: 1000, ..options_on(&fs, Durability::Fsync) };
        let store = Store::open(Path::new("/d"), on).unwrap();
        fs.break_at(fs.operations() + operation, Fault::Full);
        let mut outcomes = (0..BATCHES).map_while(|n| (!fs.broke()).then(|| commit(&store, n)));
        let outcome = outcomes.by_ref().last().expect("there is a commit");
        if !fs.broke() {
            break;
        }
        if outcome.is_ok() {
            let bytes: usize =
                fs.files().iter().filter(|(path, _)| is_segment(path)).map(|(_, bytes)| bytes.len()).sum();
            assert_eq!(bytes as u64, store.stats().wal_bytes, "what there was of the room is given back");
            without_room += 1;
        }
    }
    assert!(without_room > 0, "room was made in advance only");
}

#[test]
fn a_log_is_opened_and_goes_on_where_there_is_no_room_ahead() {
    let on = |fs: &FaultyFs| Options { segment_bytes: 1 << 20, ..options_on(fs, Durability::Fsync) };
    let fs = FaultyFs::default();
    let store = Store::open(Path::new("/d"), on(&fs)).unwrap();
    commit(&store, 0).unwrap();
    drop(store);
    // Less than is written ahead, and more than all that follows takes.
    fs.leave_room(100 << 10);
    let store = Store::open(Path::new("/d"), on(&fs)).expect("the store opens");
    assert_eq!(last_segment(&fs).1.len(), 32, "there is no room behind the header");
    commit(&store, 1).expect("there is room for a commit");
    store.checkpoint().expect("a new segment can be begun");
    commit(&store, 2).expect("there is room for a commit");
    store.cut().expect("a new segment can be begun");
    assert_eq!(last_segment(&fs).1.len(), 32, "there is no room behind the header");
    commit(&store, 3).expect("there is room for a commit");
    assert!(!store.stats().full && store.stats().poisoned.is_none(), "{:?}", store.stats());
    let left = fs.after(After::PowerCut);
    let store = Store::open(Path::new("/d"), on(&left)).unwrap();
    assert_eq!(store.opened().dropped, []);
    assert_eq!(batches(&store, "after a power cut"), (0..4).collect());
}

#[test]
fn room_that_was_given_back_leaves_no_gap() {
    let fs = FaultyFs::default();
    let on = Options { segment_bytes: 1 << 20, ..options_on(&fs, Durability::Fsync) };
    let store = Store::open(Path::new("/d"), on).unwrap();
    let mut without_room = 0;
    for n in 0..30 {
        // At first for the commits but not for what is written ahead of them; then for both.
        fs.leave_room(if n < 12 { 100 << 10 } else { 1 << 20 });
        let samples: Vec<_> = (0..2000).map(|i| ("a", NOW_MS + n * 2000 + i, ((n * 2000 + i) as f64).sqrt())).collect();
        assert_eq!(write(&store, &samples), []);
        without_room += usize::from(last_segment(&fs).1.len() as u64 == store.stats().wal_bytes);
    }
    assert!((2..20).contains(&without_room), "{without_room} commits without room");
    assert!(
        store.stats().wal_bytes > 400_000,
        "{} bytes are too few for it to be tried again",
        store.stats().wal_bytes
    );
    assert!(last_segment(&fs).1.len() as u64 > store.stats().wal_bytes, "there is room again");
}

#[test]
fn zeros_that_cannot_be_written_ahead_fail_no_commit() {
    let fs = FaultyFs::default();
    let on = |fs: &FaultyFs| Options { segment_bytes: 1000, ..options_on(fs, Durability::Fsync) };
    let store = Store::open(Path::new("/d"), on(&fs)).unwrap();
    fs.break_reserves();
    for n in 0..BATCHES {
        commit(&store, n).unwrap_or_else(|error| panic!("{error} in commit {n}"));
    }
    // Nor does it matter whether what there was can be given back in the end.
    let mut kept_room = 0;
    for operation in 0.. {
        let fs = FaultyFs::default();
        let store = Store::open(Path::new("/d"), on(&fs)).unwrap();
        commit(&store, 0).unwrap();
        let with_room = last_segment(&fs).1.len();
        fs.break_at(fs.operations() + operation, Fault::Full);
        store.close().unwrap_or_else(|error| panic!("{error} at operation {operation}"));
        if !fs.broke() {
            break;
        }
        kept_room += usize::from(last_segment(&fs).1.len() == with_room);
        let left = fs.after(After::PowerCut);
        let store = Store::open(Path::new("/d"), on(&left)).unwrap();
        assert_eq!((store.opened().damages, batches(&store, "after a power cut")), (0, BTreeSet::from([0])));
    }
    assert!(kept_room > 0, "giving the room back failed nowhere");
}
