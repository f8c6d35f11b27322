//! Results of range queries that are used again, on the store: whatever is written, late or deleted in between, they are to the
//! bit what the engine computes without them.

use std::time::Duration;

use proptest::prelude::*;
use relatum_model::storage::{Append, Scope, SeriesRef, TimeRange};
use relatum_model::{Labels, Matcher, stale_nan};
use relatum_promql::{Engine, EngineOptions, QueryOptions, RangeQuery, Results, Value};
use relatum_tsdb::{Options, Store};
use tempfile::TempDir;

const BASE_MS: i64 = 1_700_000_000_000;
const QUERIES: &[&str] = &[
    "a_total",
    "rate(a_total[2m])",
    "sum by (job) (increase(a_total[90s])) or vector(-1)",
    "b > 3",
    "a_total / on (job, n) b",
    "max_over_time(sum(b)[3m:30s])",
    "absent(b{job=\"x\"})",
    "topk(1, b)",
    "timestamp(b offset 1m)",
    "count_values(\"v\", b)",
    // These are never kept.
    "{__name__=~\"a_total|b\"}",
    "b @ end()",
    "b offset -1m",
    "rate(b[2m])",
    "sum(b or a_total)",
];

#[derive(Debug, Clone)]
enum Step {
    // A sample of series `n`, so many seconds behind the newest one.
    Write { n: usize, gap_s: i64, value: Option<i32> },
    // One so many seconds before it.
    Late { n: usize, ago_s: i64, value: i32 },
    Delete { n: usize, ago_s: i64, length_s: i64 },
    Cut,
    Ask { query: usize, scope: usize, ago_s: i64, steps: i64, step_s: i64 },
}

/// Few queries, each asked again and again.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    (0..QUERIES.len(), 0..QUERIES.len(), prop::sample::select(vec![15i64, 30, 60]))
        .prop_flat_map(|(one, other, step_s)| steps_of(vec![one, one, one, other], step_s))
}

fn steps_of(queries: Vec<usize>, step_s: i64) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..6usize, 1..40i64, prop::option::weighted(0.9, 0..9)).prop_map(|(n, gap_s, value)| Step::Write { n, gap_s, value }),
        2 => (0..6usize, 1..900i64, 0..9).prop_map(|(n, ago_s, value)| Step::Late { n, ago_s, value }),
        1 => (0..6usize, 0..900i64, 1..200i64).prop_map(|(n, ago_s, length_s)| Step::Delete { n, ago_s, length_s }),
        1 => Just(Step::Cut),
        9 => (prop::sample::select(queries), prop::bool::weighted(0.2), prop::sample::select(vec![0i64, 0, 0, -60, 100, 400]), 0..40i64)
            .prop_map(move |(query, limited, ago_s, steps)| Step::Ask { query, scope: usize::from(limited), ago_s, steps, step_s }),
    ];
    prop::collection::vec(step, 1..80)
}

struct World {
    store: Store,
    newest_ms: i64,
    // Dropped behind the store.
    _dir: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let options = Options { maintenance_interval: None, sync_interval: None, ..Options::for_history() };
        let options = Options { out_of_order_window: Duration::from_secs(86_400), ..options };
        let store = Store::open(dir.path(), options).expect("a store opens");
        World { store, newest_ms: BASE_MS, _dir: dir }
    }

    fn append(&self, n: usize, t_ms: i64, value: f64) {
        let mut batch = self.store.appender();
        // One that is there already is refused, and that changes nothing.
        let _ = batch.append(SeriesRef::NONE, &labels(n), t_ms, value);
        batch.commit().expect("a batch is written");
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write { n, gap_s, value } => {
                self.newest_ms += gap_s * 1000;
                self.append(n, self.newest_ms, value.map_or_else(stale_nan, f64::from));
            }
            Step::Late { n, ago_s, value } => self.append(n, self.newest_ms - ago_s * 1000, f64::from(value)),
            Step::Delete { n, ago_s, length_s } => {
                let max_ms = self.newest_ms - ago_s * 1000;
                let range = TimeRange { min_ms: max_ms - length_s * 1000, max_ms };
                let matchers: Vec<Matcher> =
                    labels(n).iter().map(|(name, value)| Matcher::equal(name, value)).collect();
                self.store.delete(&matchers, range).expect("samples are deleted");
            }
            Step::Cut => {
                self.store.cut().expect("a block is written");
                self.store.compact().expect("blocks are merged");
            }
            Step::Ask { .. } => {}
        }
    }
}

fn labels(n: usize) -> Labels {
    let name = if n < 3 { "a_total" } else { "b" };
    Labels::from_pairs([("__name__", name), ("job", ["x", "y", "y"][n % 3]), ("n", ["0", "1", "2"][n % 3])])
}

/// An answer with all bits of its values.
type Bits = Result<(Vec<(Labels, Vec<(i64, u64)>)>, Vec<String>, Vec<String>), String>;

fn bits(answer: Result<relatum_promql::Answer, relatum_promql::QueryError>) -> Bits {
    let answer = answer.map_err(|error| error.to_string())?;
    let Value::Matrix(series) = answer.value else { return Err("no matrix".to_owned()) };
    let of_series = |series: relatum_model::Series| {
        let samples = series.samples.iter().map(|sample| (sample.t_ms, sample.value.to_bits())).collect();
        (series.labels, samples)
    };
    Ok((series.into_iter().map(of_series).collect(), answer.warnings, answer.infos))
}

fn check(steps: &[Step], bytes_max: usize) -> relatum_promql::ResultsStats {
    let mut world = World::new();
    let engine = Engine::new(EngineOptions::default());
    let results = Results::new(bytes_max);
    let scopes = [Scope::all(), Scope::limited(vec![Matcher::equal("job", "y")])];
    let options = QueryOptions::default();
    for (at, step) in steps.iter().enumerate() {
        world.take(step);
        let &Step::Ask { query, scope, ago_s, steps: n_steps, step_s } = step else { continue };
        let (query, scope, step_ms) = (QUERIES[query], &scopes[scope], step_s * 1000);
        let end_ms = world.newest_ms - ago_s * 1000;
        let start_ms = end_ms.div_euclid(step_ms) * step_ms - n_steps * step_ms;
        let asked = RangeQuery { query, start_ms, end_ms, step_ms };
        let reused = results.range(&engine, &world.store, scope, asked, &options);
        let computed = engine.range(&world.store, scope, query, start_ms, end_ms, step_ms, &options);
        assert_eq!(bits(reused), bits(computed), "step {at}: {query} of {:?}", scope.cache_key());
        assert!(results.stats().bytes <= bytes_max, "{:?}", results.stats());
    }
    results.stats()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn reused_is_computed(steps in steps(), bytes_max in prop::sample::select(vec![0usize, 20_000, 1 << 20])) {
        check(&steps, bytes_max);
    }
}

#[test]
fn what_is_asked_again_is_computed_once() {
    let mut steps: Vec<Step> = (0..60).map(|at| Step::Write { n: at % 6, gap_s: 10, value: Some(at as i32) }).collect();
    let ask = |ago_s, steps| Step::Ask { query: 1, scope: 0, ago_s, steps, step_s: 15 };
    steps.push(ask(0, 20));
    assert_eq!(check(&steps, 1 << 20).steps_reused, 0);
    steps.push(ask(0, 20));
    assert_eq!(check(&steps, 1 << 20).steps_reused, 21);
    // What is new is computed, and a late sample spoils what is behind it.
    steps.push(Step::Write { n: 0, gap_s: 30, value: Some(100) });
    steps.push(ask(0, 22));
    assert_eq!(check(&steps, 1 << 20).steps_reused, 42);
    steps.push(Step::Late { n: 1, ago_s: 155, value: 1 });
    steps.push(ask(0, 22));
    assert_eq!(check(&steps, 1 << 20).steps_reused, 42 + 12);
    assert_eq!(check(&steps, 0).steps_reused, 0);
    // What is kept lies far from what is asked.
    let late = |ago_s| Step::Late { n: 0, ago_s, value: 0 };
    check(&[late(410), ask(400, 25), late(411), ask(0, 1)], 20_000);
}
