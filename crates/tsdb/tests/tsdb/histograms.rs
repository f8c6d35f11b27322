//! Native histograms: every way that floats go, they go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::histogram::CounterReset;
use relatum_model::storage::{Append, Cancel, Hints, Refused, Scope, Select, SeriesRef, TimeRange};
use relatum_model::{HistogramSample, Matcher, NativeHistogram, Samples};
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::FaultyFs;
use crate::support::{NOW_MS, histogram, labels, options, write};

const MINUTE_MS: i64 = 60_000;
const START_MS: i64 = NOW_MS / 7_200_000 * 7_200_000 - 72_000_000;

fn open(fs: &FaultyFs) -> Store {
    let window = Duration::from_secs(3600);
    let on = Options { fs: Arc::new(fs.clone()), out_of_order_window: window, ..options() };
    Store::open(Path::new("/d"), on).expect("the store opens")
}

fn append(store: &Store, series: &str, t_ms: i64, histogram: &Arc<NativeHistogram>) -> Result<(), Refused> {
    let mut appender = store.appender();
    let taken = appender.append_histogram(SeriesRef::NONE, &labels(series), t_ms, 17, histogram).map(|_| ());
    appender.commit().expect("the batch can be committed");
    taken
}

/// The minutes of `range` at which counting begins, the buckets are others than before, or counts become floats or whole numbers again.
fn expected_unsure(range: std::ops::Range<i64>) -> Vec<i64> {
    range.filter(|n| n % 100 == 0 || n % 7 <= 1).collect()
}

fn hint(histogram: &mut NativeHistogram) -> &mut CounterReset {
    match histogram {
        NativeHistogram::Integer(histogram) => &mut histogram.counter_reset,
        NativeHistogram::Float(histogram) => &mut histogram.counter_reset,
    }
}

/// The samples as they were sent: without what the store says of resets.
fn samples(store: &Store, series: &str, range: TimeRange) -> Samples {
    let mut samples = hinted_samples(store, series, range);
    samples.histograms.iter_mut().for_each(|s| *hint(Arc::make_mut(&mut s.histogram)) = CounterReset::Unknown);
    samples
}

/// The minutes of the samples of which the store does not say that counting went on.
fn unsure_minutes(store: &Store, series: &str, range: TimeRange) -> Vec<i64> {
    let mut samples = hinted_samples(store, series, range);
    let unsure = samples.histograms.iter_mut().filter_map(|sample| {
        (*hint(Arc::make_mut(&mut sample.histogram)) != CounterReset::NotReset).then_some(sample.t_ms)
    });
    unsure.map(|t_ms| (t_ms - START_MS) / MINUTE_MS).collect()
}

fn hinted_samples(store: &Store, series: &str, range: TimeRange) -> Samples {
    let reader = store.open(&Scope::all(), range).unwrap();
    let matcher = [Matcher::equal("__name__", series)];
    let mut set = reader.series(&matcher, &Hints::default(), &Cancel::new()).unwrap();
    set.next().map_or_else(Samples::default, |series| series.unwrap().samples)
}

fn expected(minutes: impl Iterator<Item = i64>) -> Vec<HistogramSample> {
    let sample = |n| HistogramSample { t_ms: START_MS + n * MINUTE_MS, start_ms: 17, histogram: histogram(n) };
    minutes.map(sample).collect()
}

#[test]
fn histograms_come_back_from_log_head_and_blocks() {
    let fs = FaultyFs::default();
    let mut store = open(&fs);
    for n in 0..600 {
        let t_ms = START_MS + n * MINUTE_MS;
        append(&store, "native", t_ms, &histogram(n)).unwrap();
        write(&store, &[("float", t_ms, n as f64)]);
        // One series that changes from the one kind to the other, as it does when an exporter is updated.
        if n < 300 {
            write(&store, &[("mixed", t_ms, n as f64)]);
        } else {
            append(&store, "mixed", t_ms, &histogram(n)).unwrap();
        }
    }
    let check = |store: &Store, context: &str| {
        let native = samples(store, "native", TimeRange::ALL);
        assert_eq!(native.histograms, expected(0..600), "{context}");
        assert!(native.timestamps.is_empty());
        let mixed = samples(store, "mixed", TimeRange::ALL);
        assert_eq!((mixed.timestamps.len(), mixed.histograms), (300, expected(300..600)), "{context}");
        assert_eq!(samples(store, "float", TimeRange::ALL).timestamps.len(), 600, "{context}");
        let range = TimeRange { min_ms: START_MS + 290 * MINUTE_MS, max_ms: START_MS + 310 * MINUTE_MS };
        let mixed = samples(store, "mixed", range);
        assert_eq!((mixed.timestamps.len(), mixed.histograms), (10, expected(300..311)), "{context}");
        // What was before a range is known; the first one of the other series comes behind a float.
        assert_eq!(unsure_minutes(store, "native", TimeRange::ALL), expected_unsure(0..600), "{context}");
        assert_eq!(unsure_minutes(store, "mixed", range), expected_unsure(300..311), "{context}");
        assert_eq!(unsure_minutes(store, "native", range), expected_unsure(290..311), "{context}");
    };
    check(&store, "in the head");
    drop(store);
    store = open(&fs);
    check(&store, "from the log");
    store.checkpoint().unwrap();
    drop(store);
    let store = open(&fs);
    check(&store, "from a checkpoint");
    store.maintain().unwrap();
    assert!(store.stats().blocks > 0 && store.stats().samples > 0, "{:?}", store.stats());
    check(&store, "from blocks and head");
    store.cut().unwrap();
    assert_eq!(store.stats().samples, 0);
    check(&store, "from blocks");
    store.compact().unwrap();
    check(&store, "from merged blocks");
    // What blocks hold is known: equal is fine, other is not, and older than the window is too old.
    let last_ms = START_MS + 599 * MINUTE_MS;
    assert_eq!(append(&store, "native", last_ms, &histogram(599)), Ok(()));
    assert_eq!(append(&store, "native", last_ms, &histogram(1)), Err(Refused::DuplicateTimestamp));
    assert_eq!(append(&store, "native", last_ms - MINUTE_MS, &histogram(598)), Ok(()));
    assert_eq!(append(&store, "native", last_ms - MINUTE_MS, &histogram(2)), Err(Refused::DuplicateTimestamp));
    assert_eq!(append(&store, "native", START_MS, &histogram(0)), Err(Refused::TooOld));
    assert_eq!(write(&store, &[("native", last_ms, 1.0)]), [Refused::DuplicateTimestamp]);
    check(&store, "nothing changed");
    append(&store, "native", last_ms - MINUTE_MS + 5, &histogram(7)).unwrap();
    assert_eq!(samples(&store, "native", TimeRange::ALL).histograms.len(), 601);
    drop(store);
    let store = open(&fs);
    assert_eq!(samples(&store, "native", TimeRange::ALL).histograms.len(), 601);
    // Deleting takes them as well.
    store.delete(&[Matcher::equal("__name__", "native")], TimeRange { min_ms: i64::MIN, max_ms: last_ms - 1 }).unwrap();
    store.clean_deleted().unwrap();
    assert_eq!(samples(&store, "native", TimeRange::ALL).histograms, expected(599..600));
}

#[test]
fn a_reader_sees_its_own_commit() {
    let store = open(&FaultyFs::default());
    append(&store, "native", START_MS, &histogram(1)).unwrap();
    let reader = store.open(&Scope::all(), TimeRange::ALL).unwrap();
    append(&store, "native", START_MS + 1, &histogram(2)).unwrap();
    append(&store, "native", START_MS - 1, &histogram(3)).unwrap();
    append(&store, "other", START_MS, &histogram(2)).unwrap();
    store.cut().unwrap();
    let seen: Vec<usize> = reader
        .series(&[], &Hints::default(), &Cancel::new())
        .unwrap()
        .map(|series| series.unwrap().samples.histograms.len())
        .collect();
    assert_eq!(seen, [1]);
    drop(reader);
    assert_eq!(samples(&store, "native", TimeRange::ALL).histograms.len(), 3);
}
