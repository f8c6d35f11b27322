//! Samples that nobody looks at: what is shown without them tells of every window what all samples tell.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{Append, Cancel, Hints, Reader, Scope, Select, SeriesRef, TimeRange};
use relatum_model::windows::{Glimpse, Shown, Windows};
use relatum_model::{Labels, Matcher, NativeHistogram, Samples};
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::FaultyFs;
use crate::support::{histogram, labels, options};

const STEP_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
/// The beginning of a span of six hours.
const START_MS: i64 = 1_699_999_200_000 / (6 * HOUR_MS) * (6 * HOUR_MS) - 24 * HOUR_MS;

fn options_on(fs: &FaultyFs) -> Options {
    Options {
        fs: Arc::new(fs.clone()),
        retention: Duration::ZERO,
        out_of_order_window: Duration::from_secs(4 * 3600),
        ..options()
    }
}

/// Twelve hours: counters that begin anew, a gauge, series that stand still, one with stale markers and one that turns into histograms.
fn filled(fs: &FaultyFs) -> Store {
    let store = Store::open(Path::new("/d"), options_on(fs)).unwrap();
    for n in 0..12 * 240 {
        let t_ms = START_MS + n * STEP_MS;
        let mut appender = store.appender();
        let mut add = |name: &str, value: f64| {
            appender.append(SeriesRef::NONE, &labels(name), t_ms, value).expect("the sample is taken");
        };
        add("counter", (n * n % 97 + n * 50) as f64 * 0.01);
        add("restarts", (n % 700) as f64 * 0.5);
        add("gauge", (n as f64 / 50.0).sin() * 20.0);
        add("constant", 7.25);
        add("stale", f64::from_bits(if n % 300 == 0 { relatum_model::STALE_NAN_BITS } else { 3f64.to_bits() }));
        add("zeros", if n % 7 == 0 { -0.0 } else { 0.0 });
        if n > 1000 {
            appender.append_histogram(SeriesRef::NONE, &labels("native"), t_ms, 0, &histogram(n)).expect("it is taken");
        } else {
            add("native", n as f64);
        }
        appender.commit().unwrap();
        if n % 240 == 0 {
            store.maintain().unwrap();
        }
    }
    store
}

fn shown(reader: &dyn Reader, hints: &Hints) -> Vec<(Labels, Shown)> {
    let parts = reader.parts(&[], hints, &Cancel::new()).expect("a selection starts").expect("the store has parts");
    let mut all = Vec::new();
    for part in 0..parts.count() {
        let mut take = |labels: &Labels, shown: &mut Shown| {
            all.push((labels.clone(), std::mem::take(shown)));
            ControlFlow::Continue(())
        };
        parts.visit(part, &mut take).expect("a part is read");
    }
    all
}

/// The values inside a window, with their places.
fn inside(samples: &Samples, (from_ms, to_ms): (i64, i64)) -> Vec<(usize, u64)> {
    let values = samples.timestamps.iter().zip(&samples.values).enumerate();
    let inside = values.filter(|(_, (t_ms, _))| from_ms < **t_ms && **t_ms <= to_ms);
    inside.map(|(at, (_, value))| (at, value.to_bits())).collect()
}

/// Checks all series; returns of how many samples how many are shown.
#[track_caller]
fn check(store: &Store, glimpse: Glimpse) -> (usize, usize) {
    let windows = glimpse.windows;
    let end_ms = |n: usize| windows.first_end_ms + windows.step_ms * n as i64;
    let range = TimeRange { min_ms: windows.first_end_ms - windows.range_ms + 1, max_ms: end_ms(windows.count - 1) };
    let reader = store.open(&Scope::all(), range).unwrap();
    let hints = Hints { glimpse: Some(glimpse), ..Hints::default() };
    let (all, seen) = (shown(&*reader, &Hints::default()), shown(&*reader, &hints));
    assert_eq!(all.len(), seen.len());
    let mut counts = (0, 0);
    for ((labels, all), (seen_labels, seen)) in all.into_iter().zip(seen) {
        assert_eq!(labels, seen_labels);
        assert!(all.numbers.is_empty());
        let (all, numbers, seen) = (all.samples, seen.numbers, seen.samples);
        counts = (counts.0 + seen.len(), counts.1 + all.len());
        if numbers.is_empty() {
            let bits = |samples: &Samples| samples.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(
                (&seen.timestamps, bits(&seen), &seen.histograms),
                (&all.timestamps, bits(&all), &all.histograms)
            );
            continue;
        }
        assert!(all.histograms.is_empty(), "nothing of {labels} may be left out");
        assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.len() == seen.len(), "{labels}");
        for (at, number) in numbers.iter().enumerate() {
            let number = *number as usize;
            assert_eq!(seen.timestamps[at], all.timestamps[number], "{labels} {number}");
            assert_eq!(seen.values[at].to_bits(), all.values[number].to_bits(), "{labels} {number}");
        }
        let is_left_out = |at: &usize| numbers.binary_search(&(*at as u32)).is_err();
        for at in (0..all.len()).filter(is_left_out) {
            assert!(!relatum_model::is_stale(all.values[at]), "{labels}");
            assert!(!glimpse.falls || all.values[at - 1] <= all.values[at], "{labels} falls at {at}");
            assert!(!glimpse.falls || all.values[at] <= all.values[at + 1], "{labels} falls behind {at}");
        }
        for window in (0..windows.count).map(|n| (end_ms(n) - windows.range_ms, end_ms(n))) {
            let (found, expected) = (inside(&seen, window), inside(&all, window));
            let place = |sample: Option<&(usize, u64)>| sample.map(|(at, bits)| (numbers[*at] as usize, *bits));
            assert_eq!(place(found.last()), expected.last().copied(), "{labels} {window:?}");
            if glimpse.first {
                assert_eq!(place(found.first()), expected.first().copied(), "{labels} {window:?}");
            }
        }
    }
    counts
}

/// All kinds of glimpses of these windows; the most that is shown of all.
#[track_caller]
fn check_all(store: &Store, windows: Windows) -> f64 {
    let share = |(shown, all): (usize, usize)| shown as f64 / all as f64;
    let kinds = [(false, false), (true, false), (false, true), (true, true)];
    kinds.into_iter().map(|(first, falls)| share(check(store, Glimpse { windows, first, falls }))).fold(0.0, f64::max)
}

#[test]
fn what_is_shown_tells_what_all_tell() {
    let fs = FaultyFs::default();
    let store = filled(&fs);
    let end_ms = START_MS + 12 * HOUR_MS;
    let over = |range_ms: i64, step_ms: i64, count: usize, back_ms: i64| Windows {
        first_end_ms: end_ms - back_ms - step_ms * (count as i64 - 1),
        step_ms,
        count,
        range_ms,
    };
    let all = [
        over(12 * HOUR_MS, 1, 1, 0),
        over(8 * HOUR_MS, 1, 1, 1234),
        over(6 * HOUR_MS, 6 * HOUR_MS, 2, 0),
        over(3 * HOUR_MS, HOUR_MS, 6, 7),
        over(300_000, 5 * HOUR_MS, 3, 0),
        over(HOUR_MS, 600_000, 60, 1),
        over(600_000, 60_000, 500, 0),
        over(1, 1, 3, 5000),
        over(HOUR_MS, HOUR_MS, 10, -HOUR_MS),
    ];
    let shares: Vec<f64> = all.iter().map(|windows| check_all(&store, *windows)).collect();
    assert!(shares[0] < 0.7 && shares[3] < 0.8, "of long windows little is looked at: {shares:?}");
    assert_eq!(shares[6], 1.0, "of short ones all");
    store.compact().unwrap();
    let compacted: Vec<f64> = all.iter().map(|windows| check_all(&store, *windows)).collect();
    assert!(compacted[0] <= shares[0], "{compacted:?} {shares:?}");

    // What is deleted, and what comes late between the chunks, is no longer what summaries tell.
    let hour = TimeRange { min_ms: START_MS + HOUR_MS, max_ms: START_MS + 2 * HOUR_MS };
    store.delete(&[Matcher::equal("__name__", "counter")], hour).unwrap();
    let mut appender = store.appender();
    appender.append(SeriesRef::NONE, &labels("gauge"), end_ms - 3 * HOUR_MS + 7, 1000.0).expect("it is in the window");
    appender.commit().unwrap();
    for windows in all {
        check_all(&store, windows);
    }
}

/// Checks that of every series the newest sample in `range` is shown, whatever else the reader sees; returns of how many samples how many
/// are.
#[track_caller]
pub(crate) fn check_newest(store: &Store, range: TimeRange) -> (usize, usize) {
    let hints = Hints { newest_in: Some(range), ..Hints::default() };
    let all = shown(&*store.open(&Scope::all(), range).unwrap(), &Hints::default());
    let wide = TimeRange { min_ms: range.min_ms - HOUR_MS, max_ms: range.max_ms + HOUR_MS };
    for seen in [wide, TimeRange { max_ms: range.max_ms, ..wide }, TimeRange { min_ms: range.min_ms, ..wide }] {
        let mut newest = shown(&*store.open(&Scope::all(), seen).unwrap(), &hints);
        for (_, newest) in &mut newest {
            newest.samples = std::mem::take(&mut newest.samples).within(range.min_ms, range.max_ms);
        }
        newest.retain(|(_, newest)| !newest.samples.is_empty());
        compare_newest(&all, &newest, seen);
    }
    let newest = shown(&*store.open(&Scope::all(), range).unwrap(), &hints);
    compare_newest(&all, &newest, range)
}

#[track_caller]
fn compare_newest(all: &[(Labels, Shown)], newest: &[(Labels, Shown)], range: TimeRange) -> (usize, usize) {
    assert_eq!(all.len(), newest.len(), "{range:?}");
    let mut counts = (0, 0);
    for ((labels, all), (newest_labels, newest)) in all.iter().zip(newest) {
        assert_eq!(labels, newest_labels);
        let last = |samples: &Samples| {
            let float = samples.timestamps.last().copied().zip(samples.values.last().map(|value| value.to_bits()));
            // Whether a counter began anew depends on what else is seen.
            let count = |histogram: &NativeHistogram| match histogram {
                NativeHistogram::Integer(histogram) => histogram.count,
                NativeHistogram::Float(histogram) => histogram.count.to_bits(),
            };
            let histogram = samples.histograms.last().map(|sample| (sample.t_ms, count(&sample.histogram)));
            if histogram.as_ref().map(|(t_ms, _)| *t_ms) > float.map(|(t_ms, _)| t_ms) {
                (None, histogram)
            } else {
                (float, None)
            }
        };
        assert_eq!(last(&newest.samples), last(&all.samples), "{labels} {range:?}");
        counts = (counts.0 + newest.samples.len(), counts.1 + all.samples.len());
    }
    counts
}

#[test]
fn the_newest_sample_is_the_last_of_all() {
    let fs = FaultyFs::default();
    let store = filled(&fs);
    let check_all = || {
        let mut counts = (0, 0);
        for n in 0..200 {
            // Ends at, just before and between samples, and where blocks begin and end; windows that reach over several of them.
            let end_ms = START_MS + n * 225_000 + [0, -1, 1, 7000][n as usize % 4];
            let range_ms = [1, STEP_MS, 300_000, 3 * HOUR_MS][n as usize / 4 % 4];
            let (shown, all) = check_newest(&store, TimeRange { min_ms: end_ms - range_ms, max_ms: end_ms });
            counts = (counts.0 + shown, counts.1 + all);
        }
        counts
    };
    check_all();
    store.cut().unwrap();
    let (shown, all) = check_all();
    // Of histograms all are.
    assert!(shown * 5 < all, "{shown} of {all}");
    store.compact().unwrap();
    check_all();
    let hour = TimeRange { min_ms: START_MS + HOUR_MS, max_ms: START_MS + 2 * HOUR_MS };
    store.delete(&[Matcher::equal("__name__", "counter")], hour).unwrap();
    let mut appender = store.appender();
    let late_ms = START_MS + 9 * HOUR_MS + 7;
    appender.append(SeriesRef::NONE, &labels("gauge"), late_ms, 1000.0).expect("it is in the window");
    appender.append(SeriesRef::NONE, &labels("gauge"), late_ms + 225_000, -1.0).expect("it is in the window");
    appender.commit().unwrap();
    check_all();
    store.cut().unwrap();
    check_all();
}
