//! What the tests of the store share: a clock that stands still and short ways to write and read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use relatum_model::histogram::{Buckets, Span};
use relatum_model::storage::{Append, Cancel, Hints, Reader, Refused, Scope, Select, SeriesRef, TimeRange};
use relatum_model::windows::Shown;
use relatum_model::{Histogram, HistogramSample, Labels, NativeHistogram, Series};
use relatum_tsdb::{Clock, Options, Store};

/// A clock that moves only when it is told to.
#[derive(Debug, Clone, Default)]
pub(crate) struct StillClock(Arc<AtomicI64>);

impl StillClock {
    pub(crate) fn at(now_ms: i64) -> Self {
        StillClock(Arc::new(AtomicI64::new(now_ms)))
    }

    pub(crate) fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }
}

impl Clock for StillClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A moment that the tests call now.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// Options without background work, with a clock that stands still.
pub(crate) fn options() -> Options {
    Options {
        sync_interval: None,
        maintenance_interval: None,
        clock: Arc::new(StillClock::at(NOW_MS)),
        ..Options::default()
    }
}

pub(crate) fn labels(text: &str) -> Labels {
    // `up` or `up,job=a`: enough for tests.
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let pairs = parts.filter_map(|part| part.split_once('='));
    Labels::from_pairs([("__name__", name)].into_iter().chain(pairs))
}

/// Commits what is accepted of `samples`; returns what was refused.
pub(crate) fn write(store: &Store, samples: &[(&str, i64, f64)]) -> Vec<Refused> {
    let mut refused = Vec::new();
    let mut appender = store.appender();
    for (series, t_ms, value) in samples {
        refused.extend(appender.append(SeriesRef::NONE, &labels(series), *t_ms, *value).err());
    }
    appender.commit().expect("the batch can be committed");
    refused
}

/// Everything in the store: by series, the samples as time and bits; of a native histogram, the inverted bits of its sum.
pub(crate) type Content = BTreeMap<String, Vec<(i64, u64)>>;

pub(crate) fn content(store: &Store) -> Content {
    content_in(store, TimeRange::ALL)
}

pub(crate) fn content_in(store: &Store, range: TimeRange) -> Content {
    let reader = store.open(&Scope::all(), range).expect("a view opens");
    let set = reader.series(&[], &Hints::default(), &Cancel::new()).expect("a selection starts");
    let set: Vec<Series> = set.map(|series| series.expect("a series is read")).collect();
    assert_eq!(bits(&in_parts(&*reader)), bits(&set), "in parts it is the same");
    set.into_iter()
        .map(|series| {
            let mut samples: Vec<_> = series.samples.iter().map(|s| (s.t_ms, s.value.to_bits())).collect();
            samples.extend(series.samples.histograms.iter().map(|sample| (sample.t_ms, !sum_of(sample).to_bits())));
            samples.sort_unstable();
            (series.labels.to_string(), samples)
        })
        .collect()
}

/// All series of a view, read part by part.
pub(crate) fn in_parts(reader: &dyn Reader) -> Vec<Series> {
    let parts = reader.parts(&[], &Hints::default(), &Cancel::new()).expect("a selection starts");
    let parts = parts.expect("the store has parts");
    let mut all = Vec::new();
    for part in 0..parts.count() {
        let mut take = |labels: &Labels, shown: &mut Shown| {
            all.push(Series { labels: labels.clone(), samples: std::mem::take(&mut shown.samples) });
            ControlFlow::Continue(())
        };
        parts.visit(part, &mut take).expect("a part is read");
    }
    all
}

/// What can be compared where there are NaN.
pub(crate) fn bits(all: &[Series]) -> Vec<String> {
    let floats = |series: &Series| series.samples.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let times = |series: &Series| series.samples.histograms.iter().map(|sample| sample.t_ms).collect::<Vec<_>>();
    let shown = |s: &Series| {
        format!("{} {:?} {:?} {:?} {:?}", s.labels, s.samples.timestamps, floats(s), times(s), s.samples.starts)
    };
    all.iter().map(shown).collect()
}

pub(crate) fn sum_of(sample: &HistogramSample) -> f64 {
    match &*sample.histogram {
        NativeHistogram::Integer(histogram) => histogram.sum,
        NativeHistogram::Float(histogram) => histogram.sum,
    }
}

/// A native histogram with this sum; others have other buckets as well.
pub(crate) fn histogram(sum: i64) -> Arc<NativeHistogram> {
    let counts: Vec<u64> = (0..4).map(|bucket| (sum.unsigned_abs() % 1000) * bucket).collect();
    let whole = Histogram {
        schema: 2,
        zero_threshold: 0.001,
        count: counts.iter().sum(),
        sum: sum as f64,
        positive: Buckets { spans: vec![Span { offset: (sum / 100) as i32, length: 4 }], counts },
        ..Histogram::default()
    };
    Arc::new(if sum % 7 == 0 { NativeHistogram::Float(whole.to_float()) } else { NativeHistogram::Integer(whole) })
}
