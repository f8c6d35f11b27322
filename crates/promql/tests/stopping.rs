//! A query that is stopped stops soon, on all its threads; and what queries tell of themselves.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use relatum_model::histogram::Histogram;
use relatum_model::storage::{Cancel, Hints, Moment, Parts, Reader, Scope, Select, SelectError, SeriesSet, TimeRange};
use relatum_model::windows::Shown;
use relatum_model::{Labels, Matcher};
use relatum_promql::memory::Memory;
use relatum_promql::syntax::ParseOptions;
use relatum_promql::{Engine, EngineOptions, Probe, QueryError, QueryOptions, RangeQuery, Results};

const SERIES: u32 = 8000;

fn many() -> Memory {
    let mut memory = Memory::new();
    for n in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "load_total".to_owned()), ("n", format!("{n:05}"))]);
        for step in 0..4 {
            memory.add(&labels, step * 30_000, f64::from(n) + step as f64);
        }
    }
    memory
}

/// Cancels the query when it has read so many series, and counts what is read all the same.
struct Tripwire<'m> {
    memory: &'m Memory,
    trips_at: usize,
    cancel: Cancel,
    read: AtomicUsize,
}

impl Tripwire<'_> {
    fn step(&self) {
        if self.read.fetch_add(1, Ordering::Relaxed) + 1 == self.trips_at {
            self.cancel.cancel();
        }
    }
}

impl Select for Tripwire<'_> {
    fn open(&self, scope: &Scope, range: TimeRange) -> Result<Box<dyn Reader + '_>, SelectError> {
        Ok(Box::new(Watched { inner: self.memory.open(scope, range)?, wire: self }))
    }
}

struct Watched<'w> {
    inner: Box<dyn Reader + 'w>,
    wire: &'w Tripwire<'w>,
}

impl Reader for Watched<'_> {
    fn series<'a>(&'a self, matchers: &[Matcher], hints: &Hints, _: &Cancel) -> Result<SeriesSet<'a>, SelectError> {
        // The store does not look at the switch, so it is the engine that stops.
        let all = self.inner.series(matchers, hints, &Cancel::new())?;
        Ok(Box::new(all.inspect(|_| self.wire.step())))
    }

    fn parts<'a>(
        &'a self,
        matchers: &[Matcher],
        hints: &Hints,
        _: &Cancel,
    ) -> Result<Option<Box<dyn Parts + 'a>>, SelectError> {
        let parts = self.inner.parts(matchers, hints, &Cancel::new())?;
        Ok(parts.map(|inner| Box::new(WatchedParts { inner, wire: self.wire }) as _))
    }

    fn changed_since(&self, _: Moment) -> i64 {
        // Nothing changes, so results can be kept.
        i64::MAX
    }

    fn label_sets(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<Labels>, SelectError> {
        self.inner.label_sets(matchers, limit, cancel)
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<String>, SelectError> {
        self.inner.label_names(matchers, limit, cancel)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<String>, SelectError> {
        self.inner.label_values(name, matchers, limit, cancel)
    }
}

struct WatchedParts<'w> {
    inner: Box<dyn Parts + 'w>,
    wire: &'w Tripwire<'w>,
}

impl Parts for WatchedParts<'_> {
    fn count(&self) -> usize {
        self.inner.count()
    }

    fn visit(
        &self,
        part: usize,
        each: &mut dyn FnMut(&Labels, &mut Shown) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        self.inner.visit(part, &mut |labels, samples| {
            self.wire.step();
            each(labels, samples)
        })
    }
}

#[test]
fn a_cancelled_query_reads_little_more() {
    let one_by_one = many();
    let in_parts = many().in_parts(128);
    for (memory, how) in [(&one_by_one, "one by one"), (&in_parts, "in parts")] {
        for query in ["sum(rate(load_total[2m]))", "load_total", "count(load_total) by (n)", "rate(load_total[2m])"] {
            let cancel = Cancel::new();
            let wire = Tripwire { memory, trips_at: 2000, cancel: cancel.clone(), read: AtomicUsize::new(0) };
            let options = QueryOptions { cancel, ..QueryOptions::default() };
            let error = Engine::default().instant(&wire, &Scope::all(), query, 90_000, &options).unwrap_err();
            assert!(matches!(error, QueryError::Cancelled), "{query} {how}: {error}");
            let more = wire.read.load(Ordering::Relaxed) - 2000;
            // What was read ahead, and on each thread a few series until it looks.
            assert!(more < 1000, "{query} {how}: {more} more series");
        }
    }
}

/// Series of a day with a sample each second: floats that fall again and again, and histograms.
fn long() -> Memory {
    let mut memory = Memory::new();
    let named = |name: &str| Labels::from_pairs([("__name__", name.to_owned())]);
    let (saw, histograms) = (named("saw_total"), named("sizes"));
    let histogram = Histogram { count: 3.0, sum: 5.0, ..Histogram::default() };
    for second in 0..DAY_SECONDS {
        memory.add(&saw, 1000 * second, (second % 2) as f64);
        if second % 10 == 0 {
            memory.add_histogram(&histograms, 1000 * second, 0, histogram.clone());
        }
    }
    memory
}

const DAY_SECONDS: i64 = 86_400;

/// Each of these looks at a series for the better part of a minute, as these tests are compiled, if nobody stops it.
#[test]
fn queries_stop_within_a_series() {
    let one_by_one = long();
    let in_parts = one_by_one.clone().in_parts(128);
    let over_windows = |of: &str| {
        let functions = ["sum_over_time", "stddev_over_time", "mad_over_time", "deriv", "changes"];
        let mut queries: Vec<String> = functions.iter().map(|function| format!("{function}({of})")).collect();
        queries.push(format!("quantile_over_time(0.9, {of})"));
        queries.push(format!("predict_linear({of}, 60)"));
        queries.push(format!("double_exponential_smoothing({of}, 0.5, 0.5)"));
        queries
    };
    let mut queries = over_windows("vector(1)[1d:1s]");
    queries.extend(over_windows("saw_total[1d]"));
    queries.extend(
        ["rate(saw_total[1d])", "rate(saw_total[1d] anchored)", "sum(stddev_over_time(saw_total[1d]))"]
            .map(String::from),
    );
    queries.extend(["avg_over_time(sizes[1d])", "rate((sizes > 0 or sizes)[1d:10s])"].map(String::from));
    let engine = Engine::new(EngineOptions { syntax: ParseOptions::all(), ..EngineOptions::default() });
    for memory in [&one_by_one, &in_parts] {
        for query in &queries {
            let ask = |options: &QueryOptions| {
                let start = Instant::now();
                let day_ms = 1000 * DAY_SECONDS;
                let answer = engine.range(memory, &Scope::all(), query, day_ms - 10_999_000, day_ms, 1000, options);
                let took = start.elapsed();
                assert!(took < Duration::from_secs(5), "{query} took {took:?}");
                answer.expect_err(query)
            };
            let timeout = Some(Duration::from_millis(50));
            let error = ask(&QueryOptions { timeout, ..QueryOptions::default() });
            assert!(matches!(error, QueryError::Timeout), "{query}: {error}");
            let cancel = Cancel::new();
            std::thread::scope(|scope| {
                let (done, is_done) = channel::<()>();
                let switch = cancel.clone();
                scope.spawn(move || {
                    let _ = is_done.recv_timeout(Duration::from_millis(50));
                    switch.cancel();
                });
                let error = ask(&QueryOptions { cancel, ..QueryOptions::default() });
                assert!(matches!(error, QueryError::Cancelled), "{query}: {error}");
                drop(done);
            });
        }
    }
}

/// Regular expressions are compiled within the time of the query, and together within a bound.
#[test]
fn expressions_of_a_query_are_bounded_together() {
    let memory = many();
    let matchers = |name: &str, count: usize| -> String {
        (0..count).map(|n| format!("i=~\"{name}{n}\\\\pL{{150}}\",")).collect()
    };
    let engine = Engine::default();
    let ask = |query: &str, options: &QueryOptions| {
        let start = Instant::now();
        let asked = RangeQuery { query, start_ms: 30_000, end_ms: 90_000, step_ms: 30_000 };
        // The second keeps results, for which it looks at the query before.
        let errors = [
            engine.instant(&memory, &Scope::all(), query, 90_000, options).unwrap_err(),
            Results::new(8 << 20).range(&engine, &memory, &Scope::all(), asked, options).unwrap_err(),
        ];
        (errors, start.elapsed())
    };
    let error = engine.parse(&format!("load_total{{{}}}", matchers("many", 100))).unwrap_err();
    assert!(error.to_string().contains("33554432 bytes together"), "{error}");
    let timeout = Some(Duration::from_millis(1));
    let (errors, took) =
        ask(&format!("load_total{{{}}}", matchers("slow", 100)), &QueryOptions { timeout, ..QueryOptions::default() });
    assert!(errors.iter().all(|error| matches!(error, QueryError::Timeout)), "{errors:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let cancel = Cancel::new();
    cancel.cancel();
    let (errors, _) =
        ask(&format!("load_total{{{}}}", matchers("left", 100)), &QueryOptions { cancel, ..QueryOptions::default() });
    assert!(errors.iter().all(|error| matches!(error, QueryError::Cancelled)), "{errors:?}");
}

#[test]
fn limits_hold_on_all_threads() {
    let memory = many().in_parts(128);
    let ask = |samples_max, query| {
        let syntax = ParseOptions::all();
        let engine = Engine::new(EngineOptions { samples_max, syntax, ..EngineOptions::default() });
        engine.instant(&memory, &Scope::all(), query, 90_000, &QueryOptions::default())
    };
    for (samples_max, query, is_refused) in [
        // Only the group is held, beside a series or two.
        (100, "sum(rate(load_total[2m]))", false),
        (3, "sum(rate(load_total[2m]))", true),
        (SERIES as usize + 100, "load_total", false),
        // Of what goes in, only what comes out is there twice.
        (SERIES as usize + 100, "topk(3, load_total)", false),
        (SERIES as usize + 100, "limitk by (n) (0 + 50, load_total) and on () vector(0)", true),
        (SERIES as usize + 100, "limit_ratio(1, load_total)", true),
        (SERIES as usize / 2, "load_total", true),
        (SERIES as usize / 2, "rate(load_total[2m])", true),
        (SERIES as usize / 2, "count by (n) (load_total)", true),
    ] {
        match ask(samples_max, query) {
            Ok(_) => assert!(!is_refused, "{query} with {samples_max}"),
            Err(error) => assert!(is_refused && matches!(error, QueryError::TooManySamples), "{query}: {error}"),
        }
    }
}

#[test]
fn queries_are_measured() {
    for memory in [many(), many().in_parts(128)] {
        let probe = Probe::explaining();
        let options = QueryOptions { probe: Some(probe.clone()), ..QueryOptions::default() };
        let query = "sum(rate(load_total[1m])) / (count(load_total) * 2)";
        Engine::default().range(&memory, &Scope::all(), query, 60_000, 90_000, 30_000, &options).unwrap();
        let stats = probe.stats();
        let n = u64::from(SERIES);
        // Windows of a minute hold two samples at either step; three are read. The count looks at the newest, and reads four.
        assert_eq!((stats.samples_looked_at, stats.samples_read), (2 * 2 * n + 2 * n, 3 * n + 4 * n));
        let shown: Vec<(usize, &str, Option<usize>)> =
            stats.nodes.iter().map(|node| (node.depth, node.expr.as_str(), node.series)).collect();
        for expected in [
            (0, query, Some(1)),
            (1, "sum(rate(load_total[1m]))", Some(1)),
            (1, "count(load_total) * 2", Some(1)),
            (2, "count(load_total)", Some(1)),
            // These went by one after the other.
            (2, "rate(load_total[1m])", Some(SERIES as usize)),
            (3, "load_total", Some(SERIES as usize)),
        ] {
            assert!(shown.contains(&expected), "{expected:?} is not in {shown:?}");
        }
        // What is the result itself is there once.
        let probe = Probe::new();
        let options = QueryOptions { probe: Some(probe.clone()), ..QueryOptions::default() };
        let raw = "load_total{n=\"00007\"}[2m]";
        Engine::default().instant(&memory, &Scope::all(), raw, 90_000, &options).unwrap();
        assert_eq!(probe.stats().samples_peak, 4);
        assert!(stats.evaluation >= stats.nodes[1].took, "{stats:?}");
        let failing = Probe::new();
        let options = QueryOptions { probe: Some(failing.clone()), ..QueryOptions::default() };
        let engine = Engine::new(EngineOptions { samples_max: 10, ..EngineOptions::default() });
        engine.instant(&memory, &Scope::all(), "load_total", 60_000, &options).unwrap_err();
        assert!(failing.stats().samples_peak > 10 && failing.stats().nodes.is_empty(), "{:?}", failing.stats());
    }
}

/// What counts as looked at is what it is for Prometheus, at each step.
#[test]
fn steps_tell_what_they_look_at() {
    let mut memory = Memory::new();
    let named = |name: &str, i: i64| Labels::from_pairs([("__name__", name.to_owned()), ("i", i.to_string())]);
    for t_ms in (1..=60).map(|n| 15_000 * n) {
        for i in 0..3 {
            memory.add(&named("m", i), t_ms, (t_ms * i) as f64);
        }
        let histogram = Histogram { count: 3.0, sum: 5.0, ..Histogram::default() };
        memory.add_histogram(&named("h", 0), t_ms, 0, histogram);
    }
    let in_parts = memory.clone().in_parts(2);
    let check = |query: &str, is_range: bool, expected: u64| {
        for memory in [&memory, &in_parts] {
            let probe = Probe::new().with_steps();
            let options = QueryOptions { probe: Some(probe.clone()), ..QueryOptions::default() };
            let (engine, scope) = (Engine::default(), Scope::all());
            let steps_ms: Vec<i64> = if is_range {
                engine.range(memory, &scope, query, 600_000, 900_000, 60_000, &options).unwrap();
                (600_000..=900_000).step_by(60_000).collect()
            } else {
                engine.instant(memory, &scope, query, 900_000, &options).unwrap();
                vec![900_000]
            };
            let stats = probe.stats();
            let expected_by_step: Vec<_> = steps_ms.iter().map(|t_ms| (*t_ms, expected)).collect();
            assert_eq!(stats.samples_looked_at_by_step, expected_by_step, "{query}");
            assert_eq!(stats.samples_looked_at, expected * steps_ms.len() as u64, "{query}");
        }
    };
    for (query, expected) in [
        ("m", 3),
        ("sum(m)", 3),
        ("rate(m[5m])", 60),
        ("sum(count_over_time(m[5m]))", 60),
        ("quantile_over_time(0.5, m[5m])", 60),
        ("absent_over_time(m[5m])", 60),
        // Used twice, and so counted twice, though it is read once.
        ("sum(m) / (sum(m) + 1)", 6),
        // What is the same at all steps counts at each.
        ("m{i=\"1\"} @ 600", 1),
        ("count_over_time(m{i=\"1\"}[5m] @ 600)", 20),
        ("sum(m @ 600) + m{i=\"1\"} @ 600 + sum(m)", 7),
        // Of subqueries the values are looked at, not what they are made of.
        ("max_over_time(rate(m{i=\"1\"}[1m])[10m:1m])", 10),
        ("sum_over_time(m{i=\"1\"}[10m:1m])", 10),
        ("max_over_time(sum(m)[10m:1m])", 10),
        ("max_over_time(sum(m @ 600)[10m:1m]) + sum(m)", 13),
        ("max_over_time((sum(m) / sum(m))[10m:1m]) + sum_over_time((sum(m) / sum(m))[10m:1m])", 20),
        ("avg_over_time(m{i=\"1\"}[10m:1m] @ 900)", 10),
        // A histogram counts as the floats that take as much.
        ("h", 11),
        ("count_over_time(h[5m])", 220),
    ] {
        check(query, true, expected);
        check(query, false, expected);
    }
    check("m{i=\"1\"}[5m]", false, 20);
    check("h[5m]", false, 220);
    check("rate(m{i=\"1\"}[1m])[10m:1m]", false, 40);
}

#[test]
fn memory_has_a_limit() {
    // Few samples, but labels of a kilobyte each.
    let mut memory = Memory::new();
    for n in 0..2000 {
        let labels = Labels::from_pairs([("__name__", "wide_total".to_owned()), ("n", format!("{n:01000}"))]);
        memory.add(&labels, 0, f64::from(n));
        memory.add(&labels, 60_000, f64::from(2 * n));
    }
    const MIB: usize = 1 << 20;
    for (mebibytes, query, is_refused) in [
        (5, "wide_total", false),
        (1, "wide_total", true),
        // What passes through is not held, and the groups are few.
        (1, "sum(rate(wide_total[2m]))", false),
        (1, "sum(wide_total)", false),
        (1, "sum by (n) (wide_total)", true),
        (1, "count_values(\"v\", wide_total)", true),
        (1, "topk(1, wide_total)", true),
        // Who is kept has the labels that are there.
        (3, "topk(5000, wide_total)", false),
        (3, "limit_ratio(1, wide_total)", false),
        (1, "wide_total unless wide_total", true),
        (5, "label_replace(wide_total, \"m\", \"$1$1\", \"n\", \"(.*)\")", true),
        (11, "label_replace(wide_total, \"m\", \"$1$1\", \"n\", \"(.*)\")", false),
        // The labels of both sides, and the signatures.
        (5, "wide_total / on (n) group_left wide_total", true),
        (12, "wide_total / on (n) group_left wide_total", false),
    ] {
        for memory in [memory.clone(), memory.clone().in_parts(100)] {
            let engine = Engine::new(EngineOptions {
                bytes_max: mebibytes * MIB,
                syntax: ParseOptions::all(),
                ..EngineOptions::default()
            });
            let probe = Probe::new();
            let options = QueryOptions { probe: Some(probe.clone()), ..QueryOptions::default() };
            match engine.instant(&memory, &Scope::all(), query, 60_000, &options) {
                Ok(_) => assert!(!is_refused, "{query} with {mebibytes}: {:?}", probe.stats()),
                Err(error) => {
                    assert!(
                        is_refused && matches!(error, QueryError::TooMuchMemory { .. }),
                        "{query} with {mebibytes}: {error}"
                    );
                    assert!(error.to_string().contains("query.max-memory"), "{error}");
                }
            }
            assert_eq!(probe.stats().bytes_peak > mebibytes * MIB, is_refused, "{query}: {:?}", probe.stats());
        }
    }
}

/// What a subquery has at its steps is counted with the times at which it has them.
#[test]
fn values_of_subqueries_take_memory() {
    for (mebibytes, is_refused) in [(15, true), (22, false)] {
        let engine = Engine::new(EngineOptions { bytes_max: mebibytes << 20, ..EngineOptions::default() });
        let query = "sum_over_time(vector(1)[10d:1s])";
        let answer = engine.instant(&Memory::new(), &Scope::all(), query, 0, &QueryOptions::default());
        assert_eq!(answer.is_err(), is_refused, "{mebibytes}: {answer:?}");
    }
}

/// Who asks for little reads little.
#[test]
fn queries_that_have_enough_stop() {
    let memory = many().in_parts(128);
    for (query, limit, read_max) in [
        ("absent(load_total)", 0, 128),
        ("scalar(load_total)", 0, 128),
        ("limitk(5, load_total)", 0, 128),
        ("limitk(200, load_total)", 0, 3 * 128),
        ("group((load_total))", 0, 128),
        ("load_total", 10, 128),
        ("(load_total)", 10, 128),
        ("load_total > 3", 10, SERIES as usize),
        ("limitk by (n) (5, load_total)", 0, SERIES as usize),
        ("limitk(5, load_total) + limitk(6, load_total)", 0, SERIES as usize),
        ("absent(nothing)", 0, 0),
    ] {
        for (start_ms, end_ms) in [(90_000, 90_000), (30_000, 90_000)] {
            // It is the same whether results of other queries are kept or not.
            for kept_bytes_max in [0, 8 << 20] {
                let (trips_at, read) = (usize::MAX, AtomicUsize::new(0));
                let wire = Tripwire { memory: &memory, trips_at, cancel: Cancel::new(), read };
                let options = QueryOptions { limit, ..QueryOptions::default() };
                let engine = Engine::new(EngineOptions { syntax: ParseOptions::all(), ..EngineOptions::default() });
                let asked = RangeQuery { query, start_ms, end_ms, step_ms: 30_000 };
                Results::new(kept_bytes_max).range(&engine, &wire, &Scope::all(), asked, &options).unwrap();
                let read = wire.read.into_inner();
                assert!(read <= read_max && (read_max < SERIES as usize || read == read_max), "{query}: {read}");
            }
        }
    }
}

/// Groups that values make are counted with their labels before there are too many.
#[test]
fn groups_of_values_take_memory() {
    let mut memory = Memory::new();
    let labels = Labels::from_pairs([("__name__", "x".to_owned()), ("wide", "w".repeat(1000))]);
    const KIB: usize = 1 << 10;
    for step in 0..1000 {
        memory.add(&labels, step * 1000, step as f64);
    }
    for (kibibytes, query, is_refused) in [
        // A thousand groups, each with a count and the place that it has.
        (256, "count_values(\"v\", x)", true),
        (512, "count_values(\"v\", x)", false),
        (1024, "count_values by (wide) (\"v\", x)", true),
        (2048, "count_values by (wide) (\"v\", x)", false),
    ] {
        let engine = Engine::new(EngineOptions { bytes_max: kibibytes * KIB, ..EngineOptions::default() });
        let probe = Probe::new();
        let options = QueryOptions { probe: Some(probe.clone()), ..QueryOptions::default() };
        let answer = engine.range(&memory, &Scope::all(), query, 0, 999_000, 1000, &options);
        assert_eq!(answer.is_err(), is_refused, "{query} with {kibibytes}: {:?}", probe.stats());
    }
}
