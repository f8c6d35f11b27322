//! Writing, reading and opening again, on a real disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{Append, Cancel, Hints, Position, Refused, Scope, Select, SeriesRef, Tail, TimeRange};
use relatum_model::{Labels, MatchOp, Matcher, stale_nan};
use relatum_tsdb::{Durability, OpenError, Options, ReplayState, Replaying, Store};

use crate::faulty_fs::FaultyFs;
use crate::support::{NOW_MS, content, labels, options, write};

fn open(dir: &Path) -> Store {
    Store::open(dir, options()).expect("the store opens")
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    for durability in [Durability::Process, Durability::Fsync] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options { durability, ..options() }).unwrap();
        // An empty store takes any history.
        assert_eq!(write(&store, &[("up,job=a", 0, 1.0), ("up,job=b", 0, -0.0)]), []);
        assert_eq!(write(&store, &[("up,job=a", 15_000, stale_nan()), ("up,job=b", 15_001, f64::NAN)]), []);
        let mut appender = store.appender();
        appender.append(SeriesRef::NONE, &labels("never"), 1, 1.0).unwrap();
        appender.rollback();
        let before = content(&store);
        assert_eq!(before.len(), 2);
        assert_eq!(before[r#"up{job="a"}"#][1], (15_000, stale_nan().to_bits()));
        drop(store);
        let store = open(dir.path());
        assert_eq!(content(&store), before);
        assert_eq!((store.opened().samples, store.opened().series), (4, 2));
        assert_eq!(store.opened().dropped, []);
        // And it goes on where it was.
        assert_eq!(write(&store, &[("up,job=a", 15_000, 3.0)]), [Refused::DuplicateTimestamp]);
    }
}

#[test]
fn refusals_name_their_reason_and_harm_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let minute = 60_000;
    let day = 24 * 60 * minute;
    write(&store, &[("a", NOW_MS, 1.0)]);
    for (sample, expected) in [
        (("a", NOW_MS, 1.0), None),
        (("a", NOW_MS, 2.0), Some(Refused::DuplicateTimestamp)),
        (("a", NOW_MS - 1, 1.0), Some(Refused::OutOfOrder)),
        (("a", NOW_MS + 10 * minute + 1, 1.0), Some(Refused::TooFarInFuture)),
        (("a", i64::MAX, 1.0), Some(Refused::TooFarInFuture)),
        (("a", i64::MIN, 1.0), Some(Refused::TooOld)),
        // Far behind the store's newest, but the first of its series and within retention.
        (("b", NOW_MS - 14 * day, 1.0), None),
        (("b", NOW_MS - 13 * day, 1.0), None),
        (("c", NOW_MS - 16 * day, 1.0), Some(Refused::TooOld)),
        // What was refused before poisons nothing.
        (("a", NOW_MS + 1, 1.0), None),
        (("a", NOW_MS + 10 * minute, 1.0), None),
    ] {
        assert_eq!(write(&store, &[sample]), Vec::from_iter(expected), "{sample:?}");
    }
    // Inside one batch as well.
    let batch =
        [("d", 5, 1.0), ("d", 5, 1.0), ("d", 5, 2.0), ("d", 4, 1.0), ("d", 6, 1.0)].map(|(s, t, v)| (s, NOW_MS + t, v));
    assert_eq!(write(&store, &batch), [Refused::DuplicateTimestamp, Refused::OutOfOrder]);
    let mut appender = store.appender();
    let long = Labels::from_pairs([("a", "x".repeat(2 << 20))]);
    for bad in [Labels::empty(), long, Labels::from_pairs([("", "x")])] {
        assert!(matches!(appender.append(SeriesRef::NONE, &bad, NOW_MS, 1.0), Err(Refused::InvalidLabels(_))));
    }
    let stats = store.stats();
    assert_eq!((stats.refused_duplicate, stats.refused_out_of_order, stats.refused_labels), (2, 2, 3));
}

#[test]
fn late_samples_within_the_window_are_sorted_in() {
    let dir = tempfile::tempdir().unwrap();
    let window = Options { out_of_order_window: Duration::from_secs(60), ..options() };
    let store = Store::open(dir.path(), window.clone()).unwrap();
    write(&store, &[("a", NOW_MS, 0.0)]);
    let at = |seconds: i64, value: f64| ("a", NOW_MS - seconds * 1000, value);
    assert_eq!(
        write(&store, &[at(30, 30.0), at(60, 60.0), at(61, 61.0), at(30, 30.0), at(30, 3.0)]),
        [Refused::TooOld, Refused::DuplicateTimestamp]
    );
    // In another batch, an equal one is fine and another value is not.
    assert_eq!(write(&store, &[at(60, 60.0), at(60, 6.0), at(45, 45.0)]), [Refused::DuplicateTimestamp]);
    let expected = [60, 45, 30, 0].map(|s| (NOW_MS - s * 1000, (s as f64).to_bits()));
    assert_eq!(content(&store)["a"], expected);
    drop(store);
    assert_eq!(content(&Store::open(dir.path(), window).unwrap())["a"], expected);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let second = Store::open(dir.path(), options());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    drop(store);
    open(dir.path());
}

#[test]
fn a_reader_sees_whole_commits_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[("a", 1, 1.0)]);
    let reader = store.open(&Scope::all(), TimeRange::ALL).unwrap();
    let all = || {
        reader
            .series(&[], &Hints::default(), &Cancel::new())
            .unwrap()
            .map(|s| s.unwrap().samples.len())
            .collect::<Vec<_>>()
    };
    write(&store, &[("a", 2, 1.0), ("b", 2, 1.0)]);
    write(&store, &[("a", 3, 1.0), ("b", 3, 1.0)]);
    assert_eq!(all(), [1], "what came later is invisible");
    assert_eq!(reader.label_values("__name__", &[], 0, &Cancel::new()).unwrap(), ["a"]);
    drop(reader);
    assert_eq!(content(&store).values().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn batches_that_meet_at_one_series() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (mut first, mut second) = (store.appender(), store.appender());
    for (appender, value) in [(&mut first, 1.0), (&mut second, 2.0)] {
        appender.append(SeriesRef::NONE, &labels("shared"), 10, value).unwrap();
        appender.append(SeriesRef::NONE, &labels(&format!("own{value}")), 10, value).unwrap();
    }
    second.commit().unwrap();
    first.commit().unwrap();
    let content = content(&store);
    assert_eq!(content["shared"], [(10, 2f64.to_bits())], "who commits first wins");
    assert_eq!(content.len(), 3);
    assert_eq!(store.stats().refused_duplicate, 1);
}

#[test]
fn selection_by_scope_and_matcher() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(
        &store,
        &[("up,job=a,env=x", 10, 1.0), ("up,job=b,env=x", 20, 1.0), ("up,job=c,env=y", 10, 1.0), ("down", 10, 1.0)],
    );
    let range = TimeRange { min_ms: 0, max_ms: 15 };
    let reader = store.open(&Scope::limited(vec![Matcher::equal("env", "x")]), range).unwrap();
    let cancel = Cancel::new();
    let up = [Matcher::new(MatchOp::Regex, "__name__", "u.*").unwrap()];
    let sets = reader.label_sets(&up, 0, &cancel).unwrap();
    assert_eq!(sets, [labels("up,job=a,env=x")], "b has no sample in the range, c is outside the scope");
    assert_eq!(reader.label_names(&[], 0, &cancel).unwrap(), ["__name__", "env", "job"]);
    assert_eq!(reader.label_values("job", &[], 0, &cancel).unwrap(), ["a"]);
    let everything = store.open(&Scope::all(), TimeRange::ALL).unwrap();
    assert_eq!(everything.label_values("job", &[], 0, &cancel).unwrap(), ["a", "b", "c"]);
    let hints = Hints { limit: 2, ..Hints::default() };
    assert_eq!(everything.series(&[], &hints, &cancel).unwrap().count(), 2);
    cancel.cancel();
    assert!(everything.series(&[], &hints, &cancel).is_err());
}

#[test]
fn the_tail_gives_every_commit_once_and_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options { segment_bytes: 200, ..options() };
    let mut store = Store::open(dir.path(), small.clone()).unwrap();
    let mut from = Position::default();
    let mut seen = Vec::new();
    for t_ms in 0..40 {
        write(&store, &[("a", t_ms, 1.0), ("b", t_ms, 2.0)]);
        if t_ms % 3 == 0 {
            let batch = store.read(&from, 1).unwrap();
            assert_eq!(batch.samples.len(), 2, "one commit at a time");
            seen.extend(batch.samples);
            from = batch.next;
        }
        if t_ms == 20 {
            drop(store);
            store = Store::open(dir.path(), small.clone()).unwrap();
        }
    }
    let rest = store.read(&from, 1000).unwrap();
    seen.extend(rest.samples);
    assert_eq!(seen.iter().map(|(_, s)| s.t_ms).collect::<Vec<_>>(), (0..40).flat_map(|t| [t, t]).collect::<Vec<_>>());
    assert!(store.stats().wal_segment > 5, "several segments");
    assert_eq!(rest.next, store.end());
    assert!(store.read(&store.end(), 10).unwrap().samples.is_empty());
    assert!(store.read(&Position("99:0".to_owned()), 10).is_err());
    assert!(store.read(&Position("x".to_owned()), 10).is_err());
}

#[test]
fn retention_shortens_memory_and_log() {
    let dir = tempfile::tempdir().unwrap();
    let short = Options { retention: Duration::from_secs(600), segment_bytes: 4096, ..options() };
    let store = Store::open(dir.path(), short.clone()).unwrap();
    let from = Position::default();
    let mut largest = 0;
    for round in 0..2000 {
        let t_ms = NOW_MS - 10_000_000 + round * 5_000;
        write(&store, &[("steady", t_ms, round as f64), (&format!("pod{}", round / 50), t_ms, 0.5)]);
        if round % 20 == 0 {
            store.maintain().unwrap();
            largest = largest.max(store.stats().wal_bytes);
        }
    }
    let stats = store.stats();
    assert!(stats.checkpoints > 0 && largest < 40_000, "{stats:?}");
    assert!(stats.series <= 6, "old pods are gone: {}", stats.series);
    let before = content(&store);
    assert_eq!(before["steady"].len(), 121, "ten minutes, both ends included");
    drop(store);
    let store = Store::open(dir.path(), short).unwrap();
    assert_eq!(content(&store), before);
    // A follower that was away for long goes on with what still lives.
    let mut tail = Vec::new();
    let mut at = from;
    loop {
        let batch = store.read(&at, 100).unwrap();
        if batch.samples.is_empty() {
            break;
        }
        tail.extend(batch.samples);
        at = batch.next;
    }
    for (name, samples) in &before {
        for (t_ms, bits) in samples {
            let found =
                tail.iter().any(|(l, s)| l.to_string() == *name && s.t_ms == *t_ms && s.value.to_bits() == *bits);
            assert!(found, "{name} {t_ms}");
        }
    }
}

#[test]
fn the_reading_of_the_log_is_told() {
    let fs = FaultyFs::default();
    let open = |replaying: &Arc<Replaying>| {
        let fs = Arc::new(fs.clone());
        let on = Options { segment_bytes: 400, images: false, replaying: Arc::clone(replaying), fs, ..options() };
        Store::open(Path::new("/d"), on).expect("the store opens")
    };
    let replaying = Arc::default();
    let store = open(&replaying);
    assert_eq!(replaying.state(), ReplayState::default(), "there was nothing to read");
    for n in 0..100 {
        write(&store, &[("a", NOW_MS + n, n as f64)]);
    }
    let last = store.stats().wal_segment;
    assert!(last > 3, "{last}");
    drop(store);
    let replaying = Arc::default();
    drop(open(&replaying));
    assert_eq!(replaying.state(), ReplayState { first: 1, last, current: last });
}
