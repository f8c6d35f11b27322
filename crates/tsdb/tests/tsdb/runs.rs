//! Series as runs: whatever the windows, summaries and samples together say what the samples say.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{Append, Cancel, Hints, Scope, Select, SeriesRef, TimeRange};
use relatum_model::summary::{Run, Summary, Windows};
use relatum_model::{Matcher, Samples};
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

/// Twelve hours: counters that begin anew, a gauge, a series that stands still, one with stale markers and one of histograms.
fn filled(fs: &FaultyFs) -> Store {
    let store = Store::open(Path::new("/d"), options_on(fs)).unwrap();
    for n in 0..12 * 240 {
        let t_ms = START_MS + n * STEP_MS;
        let mut appender = store.appender();
        let mut add = |name: &str, value: f64| {
            appender.append(SeriesRef::NONE, &labels(name), t_ms, value).expect("the sample is taken");
        };
        add("counter", (n % 700) as f64 * 0.5);
        add("gauge", (n as f64 / 50.0).sin() * 20.0);
        add("constant", 7.25);
        add("short", f64::from_bits(if n % 300 == 0 { relatum_model::STALE_NAN_BITS } else { 3f64.to_bits() }));
        if n > 1000 {
            appender.append_histogram(SeriesRef::NONE, &labels("native"), t_ms, 0, &histogram(n)).expect("it is taken");
        }
        appender.commit().unwrap();
        if n % 240 == 0 {
            store.maintain().unwrap();
        }
    }
    store
}

/// What functions over windows ask for: count, sum, min, max, growth, changes, first and last time.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    count: u32,
    sum: f64,
    min: f64,
    max: f64,
    growth: f64,
    changes: u32,
    times: Option<(i64, i64)>,
    histograms: usize,
}

fn add(answers: &mut Answer, before: &mut Option<f64>, first: f64, summary: &Summary) {
    if let Some(before) = *before {
        answers.growth += if first < before { first } else { first - before };
        answers.changes += u32::from(first != before);
    }
    answers.growth += summary.last - summary.first + summary.resets;
    answers.changes += summary.changes;
    answers.min = if answers.count == 0 { summary.min } else { answers.min.min(summary.min) };
    answers.max = if answers.count == 0 { summary.max } else { answers.max.max(summary.max) };
    answers.count += summary.count;
    answers.sum += summary.sum;
    answers.times = Some((answers.times.map_or(summary.first_ms, |(first_ms, _)| first_ms), summary.last_ms));
    *before = Some(summary.last);
}

/// The answer for one window, from runs; the window parts no summary.
fn answer(runs: &[Run], from_ms: i64, to_ms: i64) -> Answer {
    let (mut answer, mut before) = (Answer::default(), None);
    for run in runs {
        match run {
            Run::Summary(summary) => {
                let (first, last) = (summary.first_ms > from_ms, summary.last_ms <= to_ms);
                if summary.last_ms <= from_ms || summary.first_ms > to_ms {
                    continue;
                }
                assert!(first && last, "a window parts {summary:?}");
                add(&mut answer, &mut before, summary.first, summary);
            }
            Run::Samples(samples) => {
                let inside = samples.within(from_ms + 1, to_ms);
                answer.histograms += inside.histograms.len();
                for sample in inside.iter().filter(|sample| !relatum_model::is_stale(sample.value)) {
                    let one = Summary::of(sample.t_ms, sample.t_ms, &[sample.value]).expect("it is finite");
                    add(&mut answer, &mut before, sample.value, &one);
                }
            }
        }
    }
    answer
}

/// Checks all windows of all series; returns how many summaries there were.
#[track_caller]
fn check(store: &Store, windows: Windows) -> usize {
    let end_ms = windows.first_end_ms + windows.step_ms * (windows.count as i64 - 1);
    let range = TimeRange { min_ms: windows.first_end_ms - windows.range_ms + 1, max_ms: end_ms };
    let reader = store.open(&Scope::all(), range).unwrap();
    let (hints, cancel) = (Hints::default(), Cancel::new());
    let all: Vec<_> = reader.series(&[], &hints, &cancel).unwrap().map(Result::unwrap).collect();
    let runs: Vec<_> = reader.runs(&[], windows, &hints, &cancel).unwrap().map(Result::unwrap).collect();
    let mut summaries = 0;
    let mut runs = runs.into_iter().peekable();
    for series in all {
        let found = runs.next_if(|found| found.labels == series.labels).map_or(Vec::new(), |found| found.runs);
        let ends = found.iter().flat_map(|run| match run {
            Run::Summary(summary) => vec![summary.first_ms, summary.last_ms],
            Run::Samples(Samples { timestamps, .. }) => timestamps.clone(),
        });
        assert!(ends.collect::<Vec<_>>().is_sorted(), "runs follow one another");
        summaries += found.iter().filter(|run| matches!(run, Run::Summary(_))).count();
        let whole = [Run::Samples(series.samples)];
        for n in 0..windows.count as i64 {
            let to_ms = windows.first_end_ms + n * windows.step_ms;
            let from_ms = to_ms - windows.range_ms;
            let (found, expected) = (answer(&found, from_ms, to_ms), answer(&whole, from_ms, to_ms));
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
            let context = format!("{} {windows:?} window {n}: {found:?} {expected:?}", series.labels);
            assert!(close(found.sum, expected.sum) && close(found.growth, expected.growth), "{context}");
            let rest = |answer: Answer| Answer { sum: 0.0, growth: 0.0, ..answer };
            assert_eq!(rest(found), rest(expected), "{context}");
        }
    }
    assert_eq!(runs.next().map(|series| series.labels), None, "a series that is not there");
    summaries
}

#[test]
fn runs_say_what_samples_say() {
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
        over(600_000, 60_000, 500, 0),
        over(1, 1, 3, 5000),
    ];
    let summaries: Vec<usize> = all.iter().map(|windows| check(&store, *windows)).collect();
    assert!(summaries[0] >= 9 && summaries[1] >= 6, "long windows are told by summaries: {summaries:?}");
    assert_eq!(summaries[5], 0, "short ones are not");

    // What is deleted, and what comes late between the chunks, is no longer what summaries tell.
    store
        .delete(
            &[Matcher::equal("__name__", "counter")],
            TimeRange { min_ms: START_MS + HOUR_MS, max_ms: START_MS + 2 * HOUR_MS },
        )
        .unwrap();
    for windows in all {
        check(&store, windows);
    }
    let mut appender = store.appender();
    appender.append(SeriesRef::NONE, &labels("gauge"), end_ms - 3 * HOUR_MS + 7, 1000.0).expect("it is in the window");
    appender.commit().unwrap();
    for windows in all {
        check(&store, windows);
    }
}
