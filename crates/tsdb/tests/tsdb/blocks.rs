//! Blocks: cut from the head, read together with it, damaged and left out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::Sample;
use relatum_model::storage::{
    Append, Cancel, Hints, KnownSample, Position, Refused, Scope, Select, SeriesRef, Tail, TimeRange,
};
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::{After, Fault, FaultyFs};
use crate::support::{Content, NOW_MS, content, content_in, labels, options, write};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// The beginning of a span of two hours.
const START_MS: i64 = NOW_MS / (2 * HOUR_MS) * 2 * HOUR_MS - 100 * HOUR_MS;

fn open(fs: &FaultyFs) -> Store {
    let on = Options {
        fs: Arc::new(fs.clone()),
        out_of_order_window: Duration::from_secs(3600),
        segment_bytes: 20_000,
        ..options()
    };
    Store::open(Path::new("/d"), on).expect("the store opens")
}

/// A sample a minute of two steady series, and of a series that lives for an hour.
fn minute(store: &Store, n: i64) {
    let t_ms = START_MS + n * MINUTE_MS;
    let pod = format!("pod,n={}", n / 60);
    assert_eq!(write(store, &[("a", t_ms, n as f64), ("b,job=x", t_ms, 0.25), (&pod, t_ms, 1.0)]), []);
}

fn count(content: &Content) -> usize {
    content.values().map(Vec::len).sum()
}

#[test]
fn the_head_is_cut_every_half_hour() {
    let fs = FaultyFs::default();
    let mut store = open(&fs);
    let mut most_in_memory = 0;
    for n in 0..24 * 60 {
        minute(&store, n);
        if n % 10 == 0 {
            store.maintain().unwrap();
            most_in_memory = most_in_memory.max(store.stats().samples);
            assert_eq!(count(&content(&store)) as i64, 3 * (n + 1), "in minute {n}");
        }
        if n % 400 == 399 {
            let before = content(&store);
            drop(store);
            store = open(&fs);
            assert!(content(&store) == before, "opened again in minute {n}");
            assert_eq!(store.opened().dropped, []);
        }
    }
    let stats = store.stats();
    assert_eq!(stats.blocks, 6, "18 hours, two times two, and three halves: {stats:?}");
    assert!(most_in_memory <= 3 * 60 + 60, "{most_in_memory} samples were in memory");
    assert!(stats.series <= 5 && stats.wal_bytes < 60_000, "{stats:?}");
    let all = content(&store);
    assert_eq!((count(&all), all.len()), (3 * 24 * 60, 26));
    // Across blocks and head, and inside one block.
    for (from, to) in [(0, 1439), (100, 130), (600, 1430), (119, 120), (2000, 3000), (-5, -1)] {
        let range = TimeRange { min_ms: START_MS + from * MINUTE_MS, max_ms: START_MS + to * MINUTE_MS };
        let mut expected = all.clone();
        expected.values_mut().for_each(|samples| samples.retain(|(t_ms, _)| range.contains(*t_ms)));
        expected.retain(|_, samples| !samples.is_empty());
        assert!(content_in(&store, range) == expected, "minutes {from} to {to}");
        let reader = store.open(&Scope::all(), range).unwrap();
        let cancel = Cancel::new();
        let names: Vec<String> = reader.label_sets(&[], 0, &cancel).unwrap().iter().map(ToString::to_string).collect();
        let mut keys: Vec<&String> = expected.keys().collect();
        keys.sort();
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort();
        assert_eq!(sorted, keys);
        let pods = keys.iter().filter(|key| key.starts_with("pod")).count();
        assert_eq!(reader.label_values("n", &[], 0, &cancel).unwrap().len(), pods);
    }
    // A follower from the beginning gets all of it, from blocks and log.
    let (mut followed, mut at) = (0, Position::default());
    loop {
        let batch = store.read(&at, 100).unwrap();
        if batch.samples.is_empty() {
            break;
        }
        followed += batch.samples.len();
        at = batch.next;
    }
    assert_eq!(followed, count(&all));
    minute(&store, 1440);
    assert_eq!(store.read(&at, 100).unwrap().samples.len(), 3);
}

#[test]
fn a_reader_sees_the_same_before_and_after_a_cut() {
    let store = open(&FaultyFs::default());
    (0..200).for_each(|n| minute(&store, n));
    let reader = store.open(&Scope::all(), TimeRange::ALL).unwrap();
    let seen = || -> usize {
        let set = reader.series(&[], &Hints::default(), &Cancel::new()).unwrap();
        set.map(|series| series.unwrap().samples.len()).sum()
    };
    assert_eq!(seen(), 600);
    minute(&store, 200);
    store.cut().unwrap();
    assert_eq!((seen(), count(&content(&store))), (600, 603));
    assert_eq!(store.stats().samples, 603, "memory is not given back while somebody reads");
    store.maintain().unwrap();
    assert_eq!(seen(), 600);
    drop(reader);
    store.maintain().unwrap();
    assert_eq!((store.stats().samples, count(&content(&store))), (0, 603));
}

#[test]
fn late_samples_join_what_was_cut() {
    let fs = FaultyFs::default();
    let store = open(&fs);
    (0..300).for_each(|n| minute(&store, n));
    store.cut().unwrap();
    let at = |n: i64| START_MS + n * MINUTE_MS;
    let late = [
        // Of the same series: the window counts from its newest sample, which is in a block.
        (("a", at(250) + 1, 7.0), None),
        (("a", at(250), 250.0), None),
        (("a", at(250), 7.0), Some(Refused::DuplicateTimestamp)),
        (("a", at(200), 7.0), Some(Refused::TooOld)),
        // A series of its own that was away for long has no such limit.
        (("tier", at(-2000), 1.0), None),
        (("tier", at(10), 2.0), None),
        (("pod,n=0", at(100), 5.0), None),
    ];
    for (sample, refused) in late {
        assert_eq!(write(&store, &[sample]), Vec::from_iter(refused), "{sample:?}");
    }
    let expected = content(&store);
    assert_eq!(count(&expected), 900 + 4);
    assert_eq!(expected["a"].len(), 301);
    drop(store);
    let store = open(&fs);
    assert!(content(&store) == expected, "after a restart");
    store.cut().unwrap();
    assert_eq!(store.stats().samples, 0);
    assert!(content(&store) == expected, "from overlapping blocks");
    assert_eq!(write(&store, &[("tier", at(9), 2.0), ("a", at(250) + 2, 8.0)]), []);
    assert_eq!(content(&store)["a"].len(), 302);
}

#[test]
fn a_damaged_block_is_set_aside_and_the_rest_served() {
    let fs = FaultyFs::default();
    let store = open(&fs);
    (0..600).for_each(|n| minute(&store, n));
    store.cut().unwrap();
    let expected = content(&store);
    drop(store);
    let files = fs.files();
    let blocks: Vec<_> = files.keys().filter(|path| path.extension().is_some_and(|e| e == "block")).collect();
    assert_eq!(blocks.len(), 20);
    for at in [3, 40, 100, files[blocks[2]].len() / 2, files[blocks[2]].len() - 40, files[blocks[2]].len() - 3] {
        let mut damaged = files.clone();
        damaged.get_mut(blocks[2]).unwrap()[at] ^= 0xff;
        let fs = FaultyFs::of(damaged);
        let store = open(&fs);
        let left = content(&store);
        assert!((600 * 3 - 90..600 * 3).contains(&count(&left)), "{} of 1800, byte {at}", count(&left));
        for (name, samples) in &left {
            assert!(samples.iter().all(|sample| expected[name].contains(sample)), "{name}: byte {at}");
        }
        let named = store.opened().dropped.iter().any(|dropped| dropped.file == "0000000003.block");
        assert_ne!(named, store.stats().damaged_blocks == 1, "either at opening or when it is read: byte {at}");
        drop(store);
        if named {
            assert!(fs.files().keys().any(|path| path.ends_with("0000000003.block.damaged")));
            assert_eq!(open(&fs).opened().dropped, [], "it is told once");
        }
    }
    // Without the catalog all blocks count.
    for content_of_catalog in [None, Some(b"RELATCAT nonsense".to_vec()), Some(Vec::new())] {
        let mut damaged = files.clone();
        damaged.remove(Path::new("/d/blocks/catalog"));
        damaged.extend(content_of_catalog.map(|bytes| (Path::new("/d/blocks/catalog").to_owned(), bytes)));
        assert!(content(&open(&FaultyFs::of(damaged))) == expected);
    }
}

#[test]
fn a_cut_that_dies_anywhere_leaves_each_sample_once() {
    let mut in_memory = Vec::new();
    for operation in 0.. {
        let fs = FaultyFs::default();
        let store = open(&fs);
        (0..250).for_each(|n| minute(&store, n));
        let expected = content(&store);
        fs.break_at(fs.operations() + operation, Fault::Stop);
        let cut = store.cut();
        drop(store);
        let store = open(&fs.after(After::Kill));
        assert!(content(&store) == expected, "died at operation {operation}");
        let stats = store.stats();
        assert_eq!(stats.samples + stats.block_samples, 750, "died at operation {operation}");
        in_memory.push(stats.samples);
        if cut.is_ok() {
            break;
        }
    }
    in_memory.dedup();
    assert_eq!(in_memory, [750, 0], "all in memory, then all in blocks, and nothing between");
}

/// With the locks of all names held no block is read: whoever makes a series would wait for it.
#[test]
fn what_may_be_in_a_block_is_not_taken_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let on = Options { out_of_order_window: Duration::from_secs(10), retention: Duration::ZERO, ..options() };
    let store = Store::open(dir.path(), on).unwrap();
    let mut appender = store.appender();
    let series = appender.append(SeriesRef::NONE, &labels("a"), NOW_MS, 1.0).unwrap();
    appender.commit().unwrap();
    store.cut().unwrap();
    let mut appender = store.appender();
    let series = appender.append(series, &labels("a"), NOW_MS + 5, 1.0).unwrap();
    appender.commit().unwrap();
    let mut appender = store.appender();
    let known = |t_ms| KnownSample { series, start_ms: 0, sample: Sample { t_ms, value: 1.0 } };
    assert_eq!(appender.append_known(&[known(NOW_MS + 10), known(NOW_MS - 5), known(NOW_MS + 20)]), 1);
    assert_eq!(appender.append_known(&[known(NOW_MS - 5)]), 0);
    appender.append(series, &labels("a"), NOW_MS - 5, 1.0).unwrap();
    appender.commit().unwrap();
    assert_eq!(content(&store).values().map(Vec::len).sum::<usize>(), 4);
}
