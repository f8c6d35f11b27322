//! When floats began to count: it comes back from wherever they do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{Append, Cancel, Hints, Scope, Select, SeriesRef, TimeRange};
use relatum_model::{Matcher, Samples};
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::FaultyFs;
use crate::support::{NOW_MS, labels, options, write};

const MINUTE_MS: i64 = 60_000;
const START_MS: i64 = NOW_MS / 7_200_000 * 7_200_000 - 72_000_000;

fn open(fs: &FaultyFs) -> Store {
    let window = Duration::from_secs(3600);
    let on = Options { fs: Arc::new(fs.clone()), out_of_order_window: window, ..options() };
    Store::open(Path::new("/d"), on).expect("the store opens")
}

fn append(store: &Store, series: &str, samples: impl Iterator<Item = (i64, i64)>) {
    let mut appender = store.appender();
    for (t_ms, start_ms) in samples {
        let taken = appender.append_started(SeriesRef::NONE, &labels(series), t_ms, start_ms, t_ms as f64);
        taken.expect("the sample is taken");
    }
    appender.commit().expect("the batch can be committed");
}

fn samples(store: &Store, series: &str, hints: &Hints) -> Samples {
    let reader = store.open(&Scope::all(), TimeRange::ALL).unwrap();
    let matcher = [Matcher::equal("__name__", series)];
    let mut set = reader.series(&matcher, hints, &Cancel::new()).unwrap();
    set.next().map_or_else(Samples::default, |series| series.unwrap().samples)
}

/// The minute and the start of sample `n`: two restarts, and samples that do not know their start.
fn sample(n: i64) -> (i64, i64) {
    let start_ms = match n {
        0..100 => START_MS - 1000,
        100..105 => 0,
        _ => START_MS + n / 250 * 250 * MINUTE_MS + 17,
    };
    (START_MS + n * MINUTE_MS, start_ms)
}

#[test]
fn starts_come_back_from_log_head_and_blocks() {
    let fs = FaultyFs::default();
    let mut store = open(&fs);
    // A tenth comes late; what was there before the first start has none.
    for n in -3..0 {
        write(&store, &[("c", START_MS + n * MINUTE_MS, 1.0)]);
    }
    for tens in 0..60 {
        append(&store, "c", (tens * 10..tens * 10 + 10).filter(|n| n % 10 != 3).map(sample));
        write(&store, &[("plain", START_MS + tens * 10 * MINUTE_MS, 0.0)]);
        append(&store, "c", [sample(tens * 10 + 3)].into_iter());
    }
    let expected: Vec<(i64, i64)> =
        (-3..0).map(|n| (START_MS + n * MINUTE_MS, 0)).chain((0..600).map(sample)).collect();
    let check = |store: &Store, context: &str| {
        let all = samples(store, "c", &Hints::default());
        let found: Vec<(i64, i64)> = all.timestamps.into_iter().zip(all.starts).collect();
        assert_eq!(found, expected, "{context}");
        assert!(samples(store, "plain", &Hints::default()).starts.is_empty(), "{context}");
        let newest = samples(store, "c", &Hints { newest_in: Some(TimeRange::ALL), ..Hints::default() });
        assert_eq!(newest.starts.last(), Some(&sample(599).1), "{context}");
    };
    check(&store, "in the head");
    drop(store);
    store = open(&fs);
    check(&store, "read back from the log");
    store.checkpoint().unwrap();
    check(&store, "with a checkpoint");
    drop(store);
    store = open(&fs);
    check(&store, "read back from a checkpoint");
    store.maintain().unwrap();
    check(&store, "partly in blocks");
    drop(store);
    store = open(&fs);
    check(&store, "partly in blocks, read back");
    store.cut().unwrap();
    store.compact().unwrap();
    check(&store, "in blocks");
    let matcher = [Matcher::equal("__name__", "c")];
    let range = TimeRange { min_ms: sample(250).0, max_ms: sample(299).0 };
    store.delete(&matcher, range).unwrap();
    store.clean_deleted().unwrap();
    let left = samples(&store, "c", &Hints::default());
    assert_eq!(left.starts.len(), 553);
    assert_eq!(left.starts[253], sample(300).1);
}
