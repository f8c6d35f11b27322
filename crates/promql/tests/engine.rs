//! What the engine promises beside the values of expressions: limits, annotations, the agreement of instant and range queries.

use std::time::Duration;

use relatum_model::Labels;
use relatum_model::storage::{Cancel, Scope};
use relatum_promql::memory::Memory;
use relatum_promql::syntax::ParseOptions;
use relatum_promql::{Answer, Engine, EngineOptions, Probe, QueryError, QueryOptions, QueryStats, Value};

/// Two counters and a gauge, each with a sample every 15 seconds for ten minutes.
fn samples() -> Memory {
    let mut memory = Memory::new();
    for step in 0..=40 {
        let t_ms = step * 15_000;
        for (instance, speed) in [("a", 1.0), ("b", 3.0)] {
            let labels = Labels::from_pairs([("__name__", "requests_total"), ("instance", instance)]);
            memory.add(&labels, t_ms, step as f64 * speed);
        }
        memory.add(&Labels::from_pairs([("__name__", "load")]), t_ms, (step % 7) as f64);
    }
    memory
}

fn instant(engine: &Engine, query: &str) -> Result<Answer, QueryError> {
    engine.instant(&samples(), &Scope::all(), query, 600_000, &QueryOptions::default())
}

#[track_caller]
fn check(query: &str, expected: &[(&str, f64)]) {
    let answer = instant(&Engine::default(), query).unwrap();
    let Value::Vector(vector) = answer.value else { panic!("{query} gives {:?}", answer.value) };
    assert_eq!(vector.len(), expected.len(), "{query} gives {vector:?}");
    for (sample, (labels, value)) in vector.iter().zip(expected) {
        assert_eq!(sample.labels.to_string(), *labels, "{query}");
        assert!((sample.value - value).abs() <= 1e-12 * value.abs(), "{query} gives {}, not {value}", sample.value);
    }
}

#[test]
fn values() {
    check("load", &[("load", 5.0)]);
    check("rate(requests_total[5m])", &[(r#"{instance="a"}"#, 1.0 / 15.0), (r#"{instance="b"}"#, 0.2)]);
    check("sum(requests_total)", &[("{}", 160.0)]);
    check("requests_total > 100", &[(r#"requests_total{instance="b"}"#, 120.0)]);
    check("requests_total / on () group_left load", &[(r#"{instance="a"}"#, 8.0), (r#"{instance="b"}"#, 24.0)]);
    check(r#"absent(nothing{job="x"})"#, &[(r#"{job="x"}"#, 1.0)]);
    check("max_over_time(sum(requests_total)[5m:1m] offset 1m)", &[("{}", 144.0)]);
}

#[test]
fn annotations_have_places() {
    let answer = instant(&Engine::default(), "1 +\n rate(load[1m])").unwrap();
    assert_eq!(
        answer.infos,
        ["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"load\" (2:7)"]
    );
}

#[test]
fn limits() {
    let refused = |options: EngineOptions, query: &str| instant(&Engine::new(options), query).unwrap_err().to_string();
    let few = EngineOptions { samples_max: 30, ..EngineOptions::default() };
    let too_many = "query processing would load too many samples into memory in query execution";
    assert_eq!(refused(few.clone(), "sum_over_time(requests_total[10m])"), too_many);
    assert_eq!(refused(few, "count_over_time(vector(1)[10y:1ms])"), too_many);
    let slow = EngineOptions { timeout: Duration::from_nanos(1), ..EngineOptions::default() };
    assert_eq!(refused(slow, "load"), "query timed out in expression evaluation");

    let cancel = Cancel::new();
    cancel.cancel();
    let options = QueryOptions { cancel, ..QueryOptions::default() };
    let error = Engine::default().instant(&samples(), &Scope::all(), "load", 0, &options).unwrap_err();
    assert_eq!(error.to_string(), "query was canceled in expression evaluation");
}

/// A name that is added to every series may not be as long as a query.
#[test]
fn names_of_labels_are_limited() {
    let ask = |query: &str| instant(&Engine::default(), query).map(|_| ()).map_err(|error| error.to_string());
    let name = |length: usize| "n".repeat(length);
    for (function, query) in [
        ("count_values", |name: &str| format!("count_values(\"{name}\", load)")),
        ("label_replace", |name: &str| format!("label_replace(load, \"{name}\", \"x\", \"\", \"\")")),
        ("label_join", |name: &str| format!("label_join(load, \"{name}\", \"-\", \"a\", \"b\")")),
    ] as [(&str, fn(&str) -> String); 3]
    {
        assert_eq!(ask(&query(&name(65_536))), Ok(()), "{function}");
        let error = format!("label name in {function}() is longer than 65536 bytes");
        assert_eq!(ask(&query(&name(65_537))), Err(error), "{function}");
    }
}

#[test]
fn odd_moments_and_deep_queries() {
    let nested = |open: &str, inner: &str, close: &str, n: usize| open.repeat(n) + inner + &close.repeat(n);
    let queries = [
        "predict_linear(load[5m] @ 300, 60)".to_owned(),
        "rate(load[5m] @ 9e18)".to_owned(),
        "rate(load[100y] @ -9e18)".to_owned(),
        "sum_over_time(vector(1)[5m:1m] @ 9e18)".to_owned(),
        "load offset 200y".to_owned(),
        "load offset -200y".to_owned(),
        "timestamp(load) + day_of_year(vector(Inf)) + year(vector(-1e300))".to_owned(),
        nested("abs(", "load", ")", 90),
        nested("-(", "load", ")", 45),
        nested("max_over_time(", "load", "[1m:30s])", 45),
        "1".to_owned() + &" + load".repeat(480),
        "1".to_owned() + &" ^ load".repeat(90),
        "-".repeat(90) + "load",
    ];
    let (engine, scope, options) = (Engine::default(), Scope::all(), QueryOptions::default());
    let samples = samples();
    for query in queries {
        for at_ms in [i64::MIN, -1, 0, 600_000, i64::MAX] {
            // Only that they come back: what they find is up to them.
            let _ = engine.instant(&samples, &scope, &query, at_ms, &options);
        }
        let _ = engine.range(&samples, &scope, &query, i64::MIN, i64::MAX, i64::MAX, &options);
        let _ = engine.range(&samples, &scope, &query, i64::MIN, i64::MAX, 1, &options);
        assert!(engine.instant(&samples, &scope, &query, 600_000, &options).is_ok(), "{query}");
    }
}

#[test]
fn a_scope_cannot_be_left() {
    let matcher = relatum_model::Matcher::equal("instance", "a");
    let scope = Scope::limited(vec![matcher]);
    let options = EngineOptions { syntax: ParseOptions::all(), ..EngineOptions::default() };
    let query = r#"count({__name__=~".+"})"#;
    let answer = Engine::new(options).instant(&samples(), &scope, query, 600_000, &QueryOptions::default()).unwrap();
    let Value::Vector(vector) = answer.value else { panic!("not a vector") };
    assert_eq!(vector[0].value, 1.0);
}

/// Beyond some number series are read on another thread: order, sums and errors must not show it.
#[test]
fn many_series_are_read_ahead_in_their_order() {
    let mut memory = Memory::new();
    for n in 0..1000u32 {
        let labels = Labels::from_pairs([("__name__", "load".to_owned()), ("n", format!("{n:04}"))]);
        for step in 0..10 {
            memory.add(&labels, step * 30_000, f64::from(n) * 0.1 + step as f64);
        }
    }
    let ask = |samples_max: usize, query: &str, options: &QueryOptions| {
        let engine = Engine::new(EngineOptions { samples_max, ..EngineOptions::default() });
        engine.instant(&memory, &Scope::all(), query, 270_000, options)
    };
    let all = ask(usize::MAX, "load", &QueryOptions::default()).unwrap();
    let Value::Vector(vector) = all.value else { panic!("a selector gives a vector") };
    assert_eq!(vector.len(), 1000);
    assert!(vector.is_sorted_by(|a, b| a.labels < b.labels));
    // Added up in the order of the series, as one after the other.
    let sum = ask(usize::MAX, "sum(load)", &QueryOptions::default()).unwrap();
    let held = ask(usize::MAX, "sum(load or nothing)", &QueryOptions::default()).unwrap();
    assert_eq!(sum, held);
    // The limit is met somewhere among those that are read ahead.
    let too_many = ask(1300, "increase(load[5m])", &QueryOptions::default());
    assert!(too_many.is_ok(), "only what is in the result is held: {too_many:?}");
    let too_many = ask(600, "increase(load[5m])", &QueryOptions::default());
    assert!(matches!(too_many, Err(QueryError::TooManySamples)), "{too_many:?}");
    let cancel = Cancel::new();
    cancel.cancel();
    let cancelled = ask(usize::MAX, "sum(load)", &QueryOptions { cancel, ..QueryOptions::default() });
    assert!(matches!(cancelled, Err(QueryError::Cancelled)), "{cancelled:?}");
}

/// What a query has more than once is read once, and the plan says so; what the steps look at counts each time.
#[test]
fn what_is_there_twice_is_evaluated_once() {
    // The query, and which of its nodes have their value from another one.
    let rows: &[(&str, &[&str])] = &[
        ("load", &[]),
        ("load / on () sum(requests_total)", &[]),
        ("load / (load + load)", &["load", "load"]),
        ("sum(requests_total) / count(requests_total)", &["requests_total"]),
        ("sum(load) / sum(load)", &["sum(load)"]),
        ("(load + 1) * (load + 1)", &["load + 1"]),
        ("load + load offset 1m", &[]),
        ("load[5m:1m] ", &[]),
        ("sum_over_time(load[5m]) + sum_over_time(load[5m])", &["sum_over_time(load[5m])"]),
        // Not the same text, so annotations would not be at the same places.
        ("sum_over_time(load[5m]) + sum_over_time( load[5m])", &[]),
        ("sum_over_time(sum(load)[5m:1m]) - max_over_time(sum(load)[5m:1m])", &["sum(load)"]),
        ("1 + 1 + scalar(load) + scalar(load)", &["scalar(load)"]),
        ("time() + time() + load + sum(load)", &["load"]),
    ];
    for (query, shared) in rows {
        let stats = |shares| {
            let engine = Engine::new(EngineOptions { shares, ..EngineOptions::default() });
            let probe = Probe::explaining();
            let options = QueryOptions { probe: Some(probe.clone()), ..QueryOptions::default() };
            let answer = engine.instant(&samples(), &Scope::all(), query, 600_000, &options);
            (answer.unwrap_or_else(|error| panic!("{query}: {error}")).value, probe.stats())
        };
        let ((value, with), (expected, without)) = (stats(true), stats(false));
        assert_eq!(value, expected, "{query}");
        let found: Vec<&str> = with.nodes.iter().filter(|node| node.is_shared).map(|node| node.expr.as_str()).collect();
        assert_eq!(found, *shared, "{query}");
        assert!(without.nodes.iter().all(|node| !node.is_shared), "{query}");
        assert_eq!(with.samples_looked_at, without.samples_looked_at, "{query}");
        assert_eq!(with.samples_read < without.samples_read, !shared.is_empty(), "{query}");
    }
}

/// One series for each of `sizes` of a metric, with one sample.
fn sized(sizes: &[(&str, u32)]) -> Memory {
    let mut memory = Memory::new();
    for (name, n_series) in sizes {
        for n in 0..*n_series {
            let labels = Labels::from_pairs([("__name__", (*name).to_owned()), ("n", format!("{n:03}"))]);
            memory.add(&labels, 0, f64::from(n));
        }
    }
    memory
}

/// Evaluates `query` at ten steps, within limits of samples and of bytes.
fn limited(
    memory: &Memory,
    query: &str,
    shares: bool,
    (samples_max, bytes_max): (usize, usize),
) -> (Result<Value, String>, QueryStats) {
    let engine = Engine::new(EngineOptions { samples_max, bytes_max, shares, ..EngineOptions::default() });
    let probe = Probe::explaining();
    let options = QueryOptions { probe: Some(probe.clone()), ..QueryOptions::default() };
    let answer = engine.range(memory, &Scope::all(), query, 0, 9000, 1000, &options);
    (answer.map(|answer| answer.value).map_err(|error| error.to_string()), probe.stats())
}

/// Where what is shared takes too much, the query works as it does without, and tells of itself what it tells without.
#[test]
fn nothing_fails_for_being_shared() {
    let memory = sized(&[("x", 45), ("y", 60)]);
    let unbounded = usize::MAX;
    let ask = |query: &str, shares, limits| limited(&memory, query, shares, limits);
    // The query, and the samples it may have: with the first number it shares, with the second it has to do without.
    for (query, shares_with, works_with) in [
        ("sum(x) / count(x)", 2000, 300),
        ("(sum(x) + sum(abs(y))) / count(x)", 2000, 1000),
        ("(count(x) + max(y * 2)) / sum(x)", 2000, 1000),
    ] {
        let is_shared = |stats: &QueryStats| stats.nodes.iter().any(|node| node.is_shared);
        let (expected, without) = ask(query, false, (works_with, unbounded));
        let expected = Ok(expected.unwrap_or_else(|error| panic!("{query}: {error}")));
        let (value, stats) = ask(query, true, (shares_with, unbounded));
        assert!(value == expected && is_shared(&stats), "{query}: {value:?} {stats:?}");
        let (value, stats) = ask(query, true, (works_with, unbounded));
        assert_eq!(value, expected, "{query}");
        let told = |stats: &QueryStats| {
            let nodes: Vec<_> = stats.nodes.iter().map(|node| (node.depth, node.expr.clone(), node.series)).collect();
            (nodes, stats.samples_looked_at, stats.samples_read, stats.samples_peak, stats.bytes_peak)
        };
        assert_eq!(told(&stats), told(&without), "{query}");
        assert!(!is_shared(&stats), "{query}");
    }
    for query in [
        "sum(x) / count(x) + sum(abs(y))",
        "(sum(x) + sum(abs(y))) / count(x)",
        "sum(x) + sum(x * 2) + sum(abs(y)) + sum(x)",
        "max(x) + sum(sort(y)) + max(x) + sum(sort(y)) + count(x) + count(y)",
        "x > avg_over_time(x[5s:1s])",
        "topk(3, x) + on (n) (x - count_values by (n) (\"v\", x))",
    ] {
        for n in 1..60 {
            for limits in [(50 * n, unbounded), (unbounded, 1000 * n)] {
                let (shared, unshared) = (ask(query, true, limits).0, ask(query, false, limits).0);
                assert!(shared.is_ok() || unshared.is_err(), "{query} within {limits:?}: {shared:?}");
            }
        }
    }
}

/// What looks the same but is asked for at other moments, or never, is not held in vain.
#[test]
fn what_is_of_no_use_again_is_not_kept() {
    let memory = sized(&[("x", 40), ("x_info", 3)]);
    for query in [
        "x > avg_over_time(x[5s:1s])",
        "sum(x) - sum(avg_over_time(x[5s:1s]))",
        "sum(x @ 5) + sum(abs(x)) - x @ 5",
        "max_over_time(x[5s:1s]) - min_over_time(x[5s:2s])",
        "x - timestamp(x)",
        "timestamp((x)) + x",
    ] {
        let (with, without) =
            (limited(&memory, query, true, (1500, usize::MAX)), limited(&memory, query, false, (1500, usize::MAX)));
        assert_eq!(with.0, without.0, "{query}");
        assert!(with.0.is_ok() && with.1.nodes.iter().all(|node| !node.is_shared), "{query}: {with:?}");
        let peak = |stats: &QueryStats| (stats.samples_peak, stats.bytes_peak, stats.samples_read);
        assert_eq!(peak(&with.1), peak(&without.1), "{query}");
    }
    // The moments are the same, whatever is made of them.
    let (value, stats) =
        limited(&memory, "max_over_time(x[5s:1s]) - min_over_time(x[5s:1s])", true, (5000, usize::MAX));
    assert!(value.is_ok() && stats.nodes.iter().any(|node| node.is_shared), "{stats:?}");
}

/// Who asks for many groups is charged for their labels, whatever becomes of them.
#[test]
fn groups_are_charged() {
    let memory = sized(&[("x", 500)]);
    let peak = |query: &str| {
        let (value, stats) = limited(&memory, query, false, (usize::MAX, usize::MAX));
        assert!(value.is_ok(), "{query}: {value:?}");
        stats.bytes_peak
    };
    for op in ["bottomk", "topk"] {
        let (one, many) = (peak(&format!("{op}(1, x)")), peak(&format!("{op} by (n) (1, x)")));
        // Each is a name, a value of three digits and what stands around them.
        assert!(many >= one + 500 * 4, "{op}: {one} {many}");
    }
}

/// A query may read so many series in all, on however many threads; what it has twice is read once.
#[test]
fn series_are_limited() {
    let filled = || {
        let mut memory = Memory::new();
        for n in 0..100 {
            let labels = Labels::from_pairs([("__name__", "load".to_owned()), ("n", format!("{n:02}"))]);
            memory.add(&labels, 0, f64::from(n));
        }
        memory
    };
    for memory in [filled(), filled().in_parts(3)] {
        let check = |series_max: usize, query: &str, is_refused: bool| {
            let engine = Engine::new(EngineOptions { series_max, ..EngineOptions::default() });
            match engine.instant(&memory, &Scope::all(), query, 0, &QueryOptions::default()) {
                Ok(_) => assert!(!is_refused, "{query} with {series_max}"),
                Err(QueryError::TooManySeries { series_max: told }) => assert!(is_refused && told == series_max),
                Err(error) => panic!("{query} with {series_max}: {error}"),
            }
        };
        check(100, "load", false);
        check(99, "load", true);
        check(99, "sum(load)", true);
        check(99, "sum(rate(load[5m]))", true);
        check(90, r#"sum(load{n=~"[0-8]."})"#, false);
        check(100, "load / load", false);
        check(199, "sum(load) / sum(load offset -1s)", true);
        check(200, "sum(load) / sum(load offset -1s)", false);
        check(usize::MAX, "load", false);
    }
}
