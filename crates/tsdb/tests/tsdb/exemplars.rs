//! Exemplars: with their batch or not at all, and over every kind of restart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::exemplar::Exemplar;
use relatum_model::storage::{Append, ExemplarRefused, Exemplars, Scope, SeriesRef, TimeRange};
use relatum_model::{Labels, Matcher};
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::{After, Fault, FaultyFs};
use crate::support::{NOW_MS, labels, options};

fn open(fs: &FaultyFs) -> Store {
    let on =
        Options { fs: Arc::new(fs.clone()), exemplars_max: 1000, retention: Duration::from_secs(300), ..options() };
    Store::open(Path::new("/d"), on).expect("the store opens")
}

fn exemplar(n: i64) -> Exemplar {
    Exemplar {
        labels: Labels::from_pairs([("trace_id", format!("t{n}"))]),
        value: n as f64 / 3.0,
        t_ms: NOW_MS + n * 1000,
    }
}

/// A batch of a sample and an exemplar for each of two series.
fn commit(store: &Store, n: i64) -> bool {
    let mut appender = store.appender();
    for name in ["requests,job=a", "requests,job=b"] {
        let labels = labels(name);
        let reference = appender.append(SeriesRef::NONE, &labels, NOW_MS + n * 1000, n as f64).expect("it is in order");
        assert_eq!(appender.append_exemplar(reference, &labels, exemplar(n)), Ok(true));
        // The same once more, as a target shows it until it has another.
        assert_eq!(appender.append_exemplar(reference, &labels, exemplar(n)), Ok(true));
    }
    appender.commit().is_ok()
}

/// The numbers of the exemplars of series `job`.
fn held(store: &Store, job: &str) -> Vec<i64> {
    let set = vec![Matcher::equal("__name__", "requests"), Matcher::equal("job", job)];
    let found = store.exemplars(&Scope::all(), &[set], TimeRange::ALL);
    let exemplars = found.into_iter().flat_map(|series| series.exemplars);
    exemplars
        .map(|found| {
            let n = (found.t_ms - NOW_MS) / 1000;
            assert!(found.is_same(&exemplar(n)), "{found:?}");
            n
        })
        .collect()
}

#[track_caller]
fn check(store: &Store, expected: &[i64], context: &str) {
    for job in ["a", "b"] {
        assert_eq!(held(store, job), expected, "{context}");
    }
}

#[test]
fn exemplars_stay_over_restarts() {
    let fs = FaultyFs::default();
    let mut store = open(&fs);
    let mut expected = Vec::new();
    for n in 0..12 {
        assert!(commit(&store, n));
        expected.push(n);
        match n {
            2 | 9 => store.checkpoint().unwrap(),
            // The samples are in blocks then, and their series not in memory.
            5 => store.cut().unwrap(),
            7 => store.write_image().unwrap(),
            _ => {}
        }
        check(&store, &expected, &format!("while running, {n}"));
        drop(store);
        store = open(&fs);
        check(&store, &expected, &format!("after batch {n}"));
    }
    let range = TimeRange { min_ms: NOW_MS + 3000, max_ms: NOW_MS + 4000 };
    let sets = [vec![Matcher::equal("job", "a")], vec![Matcher::equal("job", "b")]];
    let found = store.exemplars(&Scope::all(), &sets, range);
    assert_eq!(found.iter().map(|series| series.exemplars.len()).collect::<Vec<_>>(), [2, 2]);
    let only = Scope::limited(vec![Matcher::equal("job", "b")]);
    assert_eq!(store.exemplars(&only, &sets, range).len(), 1, "the scope counts");
    assert_eq!(store.stats().exemplars.held, 24);
    store.set_exemplars_max(4);
    check(&store, &[10, 11], "those that came first go");
}

#[test]
fn a_batch_and_its_exemplars_are_one() {
    let fs = FaultyFs::default();
    let store = open(&fs);
    assert!(commit(&store, 0));
    let labels = labels("requests,job=a");
    let mut appender = store.appender();
    appender.append(SeriesRef::NONE, &labels, NOW_MS + 1000, 1.0).unwrap();
    assert_eq!(appender.append_exemplar(SeriesRef::NONE, &labels, exemplar(1)), Ok(true));
    let nobody = crate::support::labels("nobody");
    assert_eq!(appender.append_exemplar(SeriesRef::NONE, &nobody, exemplar(1)), Err(ExemplarRefused::NoSeries));
    assert_eq!(appender.append_exemplar(SeriesRef::NONE, &labels, exemplar(0)), Err(ExemplarRefused::OutOfOrder));
    appender.rollback();
    check(&store, &[0], "rolled back");

    // The same sample again, and a new exemplar: the commit holds nothing else.
    let mut appender = store.appender();
    appender.append(SeriesRef::NONE, &labels, NOW_MS, 0.0).expect("it is the same");
    assert_eq!(appender.append_exemplar(SeriesRef::NONE, &labels, exemplar(1)), Ok(true));
    appender.commit().unwrap();
    assert_eq!(held(&store, "a"), [0, 1]);
    let stats = store.stats();
    assert_eq!((stats.min_time_ms, stats.max_time_ms), (Some(NOW_MS), Some(NOW_MS)));
    drop(store);
    assert_eq!(held(&open(&fs), "a"), [0, 1]);
}

#[test]
fn what_was_acknowledged_is_there_wherever_the_process_dies() {
    for (fault, operation) in [Fault::Stop, Fault::Torn].into_iter().flat_map(|fault| (0..40).map(move |n| (fault, n)))
    {
        let fs = FaultyFs::default();
        fs.break_at(operation, fault);
        let on = Options { fs: Arc::new(fs.clone()), exemplars_max: 1000, segment_bytes: 300, ..options() };
        let Ok(store) = Store::open(Path::new("/d"), on) else { continue };
        let mut acknowledged = Vec::new();
        for n in 0..8 {
            if commit(&store, n) {
                acknowledged.push(n);
            }
            match n {
                3 => drop(store.checkpoint()),
                5 => drop(store.write_image()),
                _ => {}
            }
        }
        let left = fs.after(After::Kill);
        drop(store);
        let store = open(&left);
        let found = held(&store, "a");
        assert_eq!(held(&store, "b"), found, "{fault:?} at {operation}");
        assert!(
            found.starts_with(&acknowledged) && found.len() <= acknowledged.len() + 1,
            "{found:?} {acknowledged:?}"
        );
    }
}
