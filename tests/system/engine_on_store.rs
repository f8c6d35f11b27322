//! Every script in Prometheus' test notation against the engine on top of a store in its worst shape: in blocks and in memory, in
//! the order of time and against it, with deleted samples in between.

#[path = "../../crates/promql/tests/conformance/check.rs"]
mod check;
#[path = "../../crates/promql/tests/conformance/nhcb.rs"]
mod nhcb;
#[path = "../../crates/promql/tests/conformance/run.rs"]
mod run;
#[path = "../../crates/promql/tests/conformance/script.rs"]
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use libtest_mimic::Trial;
use relatum_model::storage::{Append, Select, SeriesRef, TimeRange};
use relatum_model::{Histogram, Labels, MatchOp, Matcher, NativeHistogram};
use relatum_tsdb::{Options, Store};
use tempfile::TempDir;

use check::Source;

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("promql_scripts_on_a_store", &[], true, || {
        let corpora = crate::corpora().context("the corpora are there, or the test would not run")?;
        let run = || {
            run::scripts::<Worst>(&corpora.join("conformance").join("promql"), run::EVALUATIONS_MIN, &[]);
            run::scripts::<Worst>(Path::new(OWN_SCRIPTS), 1, &[]);
        };
        std::panic::catch_unwind(run).map_err(|_| anyhow!("see the evaluations that failed above"))
    })]
}

const OWN_SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/promql");

/// At how many moments of a load there are samples that are deleted again. Each deletion is durable, so many would take long.
const JUNK_MOMENTS: usize = 4;

/// A sample that waits to be stored.
type Waiting = (Labels, i64, i64, Value);

#[derive(Clone)]
enum Value {
    Float(f64),
    Histogram(Arc<NativeHistogram>),
}

/// A store, and what is not in it yet.
struct Worst {
    store: Store,
    waiting: Vec<Waiting>,
    // Dropped behind the store.
    _dir: TempDir,
}

impl Default for Worst {
    fn default() -> Self {
        // In memory if there is such a place: hundreds of stores are opened, and each waits for the disk many times.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder can be made");
        let options = Options {
            retention: Duration::ZERO,
            out_of_order_window: Duration::from_secs(1000 * 86_400),
            sync_interval: None,
            maintenance_interval: None,
            ..Options::default()
        };
        let store = Store::open(dir.path(), options).expect("an empty folder is a store");
        Worst { store, waiting: Vec::new(), _dir: dir }
    }
}

impl Source for Worst {
    fn add(&mut self, labels: &Labels, t_ms: i64, start_ms: i64, value: f64) {
        self.waiting.push((labels.clone(), t_ms, start_ms, Value::Float(value)));
    }

    fn add_histogram(&mut self, labels: &Labels, t_ms: i64, start_ms: i64, histogram: Histogram<f64>) {
        let histogram = Arc::new(NativeHistogram::Float(histogram));
        self.waiting.push((labels.clone(), t_ms, start_ms, Value::Histogram(histogram)));
    }

    /// A third goes into a block, a third comes late, the rest stays in memory; what does not belong there is deleted again.
    fn settle(&mut self) {
        // A series that is described twice is what it was last.
        let mut all: BTreeMap<(Labels, i64), (i64, Value)> = BTreeMap::new();
        for (labels, t_ms, start_ms, value) in self.waiting.drain(..) {
            all.insert((labels, t_ms), (start_ms, value));
        }
        let all: Vec<Waiting> =
            all.into_iter().map(|((labels, t_ms), (start_ms, value))| (labels, t_ms, start_ms, value)).collect();
        let part = |n: usize| all.iter().enumerate().filter(move |(at, _)| at % 3 == n).map(|(_, sample)| sample);
        self.append(part(0));
        // Between the moments of the script, and in a series of its own.
        let moments: BTreeSet<i64> = all.iter().map(|(_, t_ms, ..)| *t_ms).collect();
        let is_free = |t_ms: &&i64| !moments.contains(&(**t_ms + 1));
        let moments: BTreeSet<i64> = moments.iter().filter(is_free).take(JUNK_MOMENTS).copied().collect();
        let junk: Vec<Waiting> = all
            .iter()
            .filter(|(_, t_ms, ..)| moments.contains(t_ms))
            .flat_map(|(labels, t_ms, ..)| {
                let other = labels.to_builder().set("junk", "yes").build();
                [(labels.clone(), t_ms + 1, 0, Value::Float(1e9)), (other, *t_ms, 0, Value::Float(-7.0))]
            })
            .collect();
        self.append(junk.iter());
        self.store.cut().expect("the head can be cut");
        for t_ms in &moments {
            let range = TimeRange { min_ms: t_ms + 1, max_ms: t_ms + 1 };
            self.store.delete(&[], range).expect("samples can be deleted");
        }
        let junk = Matcher::new(MatchOp::Equal, "junk", "yes").expect("an equality is a matcher");
        self.store.delete(&[junk], TimeRange::ALL).expect("samples can be deleted");
        self.append(part(2));
        self.append(part(1));
    }

    fn select(&self) -> &dyn Select {
        &self.store
    }
}

impl Worst {
    fn append<'s>(&self, samples: impl Iterator<Item = &'s Waiting>) {
        let mut appender = self.store.appender();
        for (labels, t_ms, start_ms, value) in samples {
            let taken = match value {
                Value::Float(value) => appender.append_started(SeriesRef::NONE, labels, *t_ms, *start_ms, *value),
                Value::Histogram(histogram) => {
                    appender.append_histogram(SeriesRef::NONE, labels, *t_ms, *start_ms, histogram)
                }
            };
            taken.unwrap_or_else(|refused| panic!("{labels} at {t_ms}: {refused}"));
        }
        appender.commit().expect("a batch can be stored");
    }
}
