//! Following the log while segments are replaced by checkpoints and series go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::Labels;
use relatum_model::exemplar::Exemplar;
use relatum_model::histogram::{Buckets, Histogram, NativeHistogram, Span};
use relatum_model::storage::{Append, Lag, Position, SeriesRef, Tail};
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
fn a_follower_knows_how_far_it_is_behind() {
    let fs = FaultyFs::default();
    let store = open(&fs, &StillClock::at(NOW_MS), 1 << 20);
    let start = store.end();
    assert_eq!(store.lag(&start), Lag::default());
    for n in 0..100 {
        commit(&store, n);
    }
    let mut before = store.lag(&start);
    assert!(store.stats().wal_segment > 5 && (95..=105).contains(&before.samples), "{before:?}");
    assert_eq!(store.lag(&Position::default()), before, "who begins at the beginning has all before it");
    let mut at = start;
    loop {
        let next = store.read(&at, 20).unwrap().next;
        let after = store.lag(&next);
        if next == at {
            break;
        }
        assert!(after.bytes < before.bytes && after.samples < before.samples, "{before:?} {after:?}");
        (at, before) = (next, after);
    }
    assert_eq!(store.lag(&at), Lag::default());
    // An empty segment is nothing to read.
    store.checkpoint().unwrap();
    assert_eq!(store.lag(&at), Lag::default());
}

#[test]
fn a_follower_whose_segments_are_gone_has_all_before_it() {
    let fs = FaultyFs::default();
    let store = open(&fs, &StillClock::at(NOW_MS), 0);
    let start = store.end();
    for n in 0..100 {
        commit(&store, n);
        if n == 90 {
            store.checkpoint().unwrap();
        }
    }
    let lag = store.lag(&start);
    assert!(lag.bytes > 0);
    assert_eq!(lag, store.lag(&Position::default()), "it reads blocks, the checkpoint and the rest of the log");
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

/// Floats with their starts, histograms and exemplars come as they were committed.
#[test]
fn all_kinds_of_samples_are_followed() {
    let fs = FaultyFs::default();
    let clock = StillClock::at(NOW_MS);
    let on = Options { fs: Arc::new(fs.clone()), clock: Arc::new(clock.clone()), exemplars_max: 10, ..options() };
    let store = Store::open(Path::new("/d"), on).unwrap();
    let start = store.end();
    let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
    let buckets = Buckets { spans: vec![Span { offset: 0, length: 1 }], counts: vec![2] };
    let histogram = Histogram { count: 2, sum: 1.0, positive: buckets, ..Histogram::default() };
    let histogram = Arc::new(NativeHistogram::Integer(histogram));
    let example =
        |n: i64| Exemplar { labels: Labels::from_pairs([("trace_id", "x")]), value: n as f64, t_ms: NOW_MS + n };
    for n in 0..3 {
        let mut batch = store.appender();
        let t_ms = NOW_MS + n * 1000;
        // The first one has none; the counter starts anew with the third.
        let start_ms = [0, NOW_MS - 5, NOW_MS + 1500][n as usize];
        batch.append(SeriesRef::NONE, &labels("plain"), t_ms, n as f64).unwrap();
        batch.append_started(SeriesRef::NONE, &labels("counter"), t_ms, start_ms, n as f64).unwrap();
        batch.append_histogram(SeriesRef::NONE, &labels("native"), t_ms, 7, &histogram).unwrap();
        assert_eq!(batch.append_exemplar(SeriesRef::NONE, &labels("counter"), example(n)), Ok(true));
        batch.commit().unwrap();
    }
    let check = |from: &Position| {
        let (mut at, mut floats, mut histograms, mut exemplars) = (from.clone(), Vec::new(), 0, Vec::new());
        loop {
            let batch = store.read(&at, 1).unwrap();
            if batch.next == at {
                break;
            }
            assert!(batch.starts_ms.is_empty() || batch.starts_ms.len() == batch.samples.len());
            let starts = batch.starts_ms.iter().copied().chain(std::iter::repeat(0));
            for ((labels, sample), start_ms) in batch.samples.iter().zip(starts) {
                floats.push((labels.to_string(), sample.value as i64, start_ms));
            }
            for (labels, sample) in &batch.histograms {
                assert_eq!((labels.to_string().as_str(), sample.start_ms), ("native", 7));
                assert_eq!(sample.histogram, histogram);
                histograms += 1;
            }
            exemplars.extend(batch.exemplars.iter().map(|(labels, one)| (labels.to_string(), one.value as i64)));
            at = batch.next;
        }
        floats.sort();
        let expected = [
            ("counter", 0, 0),
            ("counter", 1, NOW_MS - 5),
            ("counter", 2, NOW_MS + 1500),
            ("plain", 0, 0),
            ("plain", 1, 0),
            ("plain", 2, 0),
        ];
        assert_eq!(floats, expected.map(|(name, value, start_ms)| (name.to_owned(), value, start_ms)));
        assert_eq!(histograms, 3);
        let of_counter = (0..3).map(|n| ("counter".to_owned(), n)).collect::<Vec<_>>();
        assert_eq!(exemplars, of_counter);
    };
    check(&start);
    check(&Position::default());
}
