//! An instant query at t gives what a range query gives at t, whatever the query and the samples.

use proptest::prelude::*;
use relatum_model::histogram::{Buckets, Span};
use relatum_model::storage::Scope;
use relatum_model::{Histogram, Labels, stale_nan};
use relatum_promql::memory::Memory;
use relatum_promql::syntax::ParseOptions;
use relatum_promql::{Engine, EngineOptions, QueryOptions, Value};

const LENGTH_MS: i64 = 1_200_000;

/// Up to four series with gaps, resets, staleness markers and odd values.
fn series() -> impl Strategy<Value = Memory> {
    let value = prop_oneof![
        8 => (0..20i32).prop_map(f64::from),
        1 => Just(stale_nan()),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.5), Just(1e300)],
    ];
    let sample = (1..60_000i64, value);
    prop::collection::vec(prop::collection::vec(sample, 0..40), 4).prop_map(|all| {
        let mut memory = Memory::new();
        let names = [("m", "a"), ("m", "b"), ("n", "a"), ("n", "c")];
        for ((name, job), samples) in names.into_iter().zip(all) {
            let labels =
                Labels::from_pairs([("__name__", name), ("job", job), ("le", if job == "a" { "1" } else { "+Inf" })]);
            let mut t_ms = 0;
            for (gap_ms, value) in samples {
                t_ms += gap_ms;
                // One of the series turns into histograms now and then.
                if job == "c" && t_ms % 3 == 0 && value.is_finite() {
                    memory.add_histogram(&labels, t_ms, 0, histogram(value));
                } else {
                    memory.add(&labels, t_ms, value);
                }
            }
        }
        memory
    })
}

fn histogram(value: f64) -> Histogram<f64> {
    let count = value.abs();
    let buckets = Buckets { spans: vec![Span { offset: 1, length: 1 }], counts: vec![count] };
    Histogram { count, sum: value, positive: buckets, ..Histogram::default() }
}

fn query() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("m".to_owned()),
        Just("n".to_owned()),
        Just("n offset 90s".to_owned()),
        Just("m @ 600".to_owned()),
        // Who of equals is taken depends on their order, which an instant query may choose: so of series only.
        Just("topk(1, m)".to_owned()),
        Just("bottomk by (job) (2, n)".to_owned()),
        Just("limitk(1, m)".to_owned()),
        Just("vector(3)".to_owned()),
        Just("vector(time())".to_owned()),
        Just(r#"{__name__=~"m|n"}"#.to_owned()),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let of_range = prop::sample::select(vec![
            "rate",
            "increase",
            "delta",
            "irate",
            "idelta",
            "resets",
            "changes",
            "deriv",
            "sum_over_time",
            "avg_over_time",
            "max_over_time",
            "stddev_over_time",
            "count_over_time",
            "last_over_time",
            "absent_over_time",
            "mad_over_time",
        ]);
        let of_vector = prop::sample::select(vec!["abs", "timestamp", "sgn", "absent", "hour", "-", "ceil"]);
        let aggregation = prop::sample::select(vec![
            "sum",
            "avg by (job)",
            "max without (le)",
            "count by (__name__)",
            "stddev",
            "quantile(0.3, ",
            "count_values(\"v\", ",
            "histogram_quantile(0.5, ",
            "group by (le)",
        ]);
        let operator = prop::sample::select(vec![
            "+",
            "/ on (job)",
            "> ignoring (le)",
            "and on (job)",
            "or",
            "unless",
            "== bool on (job, le)",
            "* on (job) group_left",
            "- on (job) group_right (le)",
            "^ fill(1)",
        ]);
        prop_oneof![
            (of_range.clone(), inner.clone()).prop_map(|(function, inner)| format!("{function}(({inner})[4m:30s])")),
            of_range.prop_map(|function| format!("{function}(m[3m])")),
            (of_vector, inner.clone()).prop_map(|(function, inner)| format!("{function}({inner})")),
            (aggregation, inner.clone()).prop_map(|(aggregation, inner)| match aggregation.strip_suffix(", ") {
                Some(_) => format!("{aggregation}{inner})"),
                None => format!("{aggregation} ({inner})"),
            }),
            (operator, inner.clone(), inner.clone()).prop_map(|(op, a, b)| format!("({a}) {op} ({b})")),
            inner.clone().prop_map(|inner| format!("({inner}) > scalar(m)")),
        ]
    })
}

fn same(a: f64, b: f64) -> bool {
    // Sums may be added up in another order.
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// A series with the bits of its floats, and its histograms.
type Shown = (Labels, Vec<(i64, u64)>, String);

/// One that takes everything that can be written.
fn engine(delayed_name_removal: bool) -> Engine {
    Engine::new(EngineOptions { syntax: ParseOptions::all(), delayed_name_removal, ..EngineOptions::default() })
}

/// What a range query gives, to the bit, and what is noted.
fn shown(
    engine: &Engine,
    memory: &Memory,
    query: &str,
    step_ms: i64,
) -> (Result<Vec<Shown>, String>, Vec<Option<String>>) {
    let answer = engine.range(memory, &Scope::all(), query, 0, LENGTH_MS, step_ms, &QueryOptions::default());
    let mut notes = Vec::new();
    let bits = answer.map(|answer| {
        notes
            .extend(answer.infos.iter().chain(&answer.warnings).map(|note| note.split(" (").next().map(str::to_owned)));
        let Value::Matrix(matrix) = answer.value else { panic!("{query} gives no matrix") };
        let samples = |series: &relatum_model::Series| {
            let floats: Vec<_> = series.samples.iter().map(|sample| (sample.t_ms, sample.value.to_bits())).collect();
            (series.labels.clone(), floats, format!("{:?}", series.samples.histograms))
        };
        matrix.iter().map(samples).collect::<Vec<_>>()
    });
    (bits.map_err(|error| error.to_string()), notes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn range_is_instants(memory in series(), query in query(), delayed in any::<bool>(), step_ms in 20_000..200_000i64) {
        let engine = engine(delayed);
        let (scope, options) = (Scope::all(), QueryOptions::default());
        let range = engine.range(&memory, &scope, &query, 0, LENGTH_MS, step_ms, &options);
        let mut failures = 0;
        let mut t_ms = 0;
        while t_ms <= LENGTH_MS {
            let instant = engine.instant(&memory, &scope, &query, t_ms, &options);
            let single = engine.range(&memory, &scope, &query, t_ms, t_ms, 1, &options);
            prop_assert_eq!(instant.is_ok(), single.is_ok(), "{} at {}", query, t_ms);
            let Ok(instant) = instant else {
                failures += 1;
                t_ms += step_ms;
                continue;
            };
            let Value::Vector(mut vector) = instant.value else { panic!("{query} gives no vector") };
            vector.sort_by(|a, b| a.labels.cmp(&b.labels));
            for answer in [&single, &range] {
                let Ok(answer) = answer else { continue };
                let Value::Matrix(matrix) = &answer.value else { panic!("{query} gives no matrix") };
                // Of a histogram its count is enough to know it again.
                let at_t: Vec<(&Labels, f64)> = matrix
                    .iter()
                    .filter_map(|series| {
                        let float = series.samples.iter().find(|sample| sample.t_ms == t_ms);
                        let histogram = series.samples.histograms.iter().find(|sample| sample.t_ms == t_ms);
                        let count = histogram.map(|sample| sample.histogram.to_float().count);
                        Some((&series.labels, float.map(|sample| sample.value).or(count)?))
                    })
                    .collect();
                let agrees = at_t.len() == vector.len()
                    && at_t.iter().zip(&vector).all(|((labels, a), b)| **labels == b.labels && same(*a, b.histogram.as_ref().map_or(b.value, |histogram| histogram.count)));
                prop_assert!(agrees, "{} at {}: {:?} is not {:?}", query, t_ms, at_t, vector);
            }
            t_ms += step_ms;
        }
        // A range fails when a moment in it does, and may not fail otherwise.
        if failures > 0 {
            prop_assert!(range.is_err(), "{} fails at {} moments but not in a range", query, failures);
        } else if let Err(error) = range {
            prop_assert!(false, "{} fails in a range only: {}", query, error);
        }
    }

    /// An aggregation that lets series pass through gives to the bit what it gives when it holds them all.
    #[test]
    fn what_is_not_held_is_the_same(
        memory in series(),
        aggregation in prop::sample::select(vec![
            "sum", "avg by (job)", "max without (le)", "count by (__name__)", "stddev by (job)", "group by (le)", "min",
        ]),
        input in prop::sample::select(vec![
            "m", "n offset 90s", r#"{__name__=~"m|n"}"#, "rate(m[3m])", "increase(n[4m])", r#"rate({__name__=~"m|n"}[3m])"#,
            "max_over_time(m[2m])", "last_over_time(n[3m])", "count_over_time(n[3m])", "sum_over_time(m[5m] offset 1m)",
        ]),
        delayed in any::<bool>(),
        step_ms in 20_000..200_000i64,
    ) {
        let engine = engine(delayed);
        let ask = |query: &str| shown(&engine, &memory, query, step_ms);
        let passing = ask(&format!("{aggregation} ({input})"));
        let held = ask(&format!("{aggregation} ({input} or nothing)"));
        prop_assert_eq!(passing, held, "{} ({})", aggregation, input);
    }

    /// Threads that share the series of a selection give to the bit what one gives that has all.
    #[test]
    fn in_parts_is_the_same(
        memory in series(),
        part_series in 1..3usize,
        query in prop_oneof![
            query(),
            prop::sample::select(vec![
                "sum by (job) (rate(m[3m]))", r#"sum without (le) (rate({__name__=~"m|n"}[3m]))"#, "count by (__name__) ({job!=\"\"})",
                r#"max_over_time({__name__=~"m|n"}[2m])"#, r#"{__name__=~"m|n"}"#, "avg(deriv(n[4m]))", "max(last_over_time(m[3m]))",
                "sum(increase(n[4m])) / count(m)", "histogram_count(rate(n[3m]))", "timestamp(n)",
            ]).prop_map(str::to_owned),
        ],
        delayed in any::<bool>(),
        step_ms in 20_000..200_000i64,
    ) {
        let engine = engine(delayed);
        let whole = shown(&engine, &memory, &query, step_ms);
        let in_parts = shown(&engine, &memory.in_parts(part_series), &query, step_ms);
        prop_assert_eq!(in_parts, whole, "{}", query);
    }

    /// What stops when there is enough gives to the bit what it gives of all.
    #[test]
    fn what_stops_early_is_the_same(
        memory in series(),
        part_series in 1..3usize,
        outside in prop::sample::select(vec!["absent(A)", "scalar(A) + m", "limitk(2, A)", "limitk(scalar(n), A)", "group(A)", "limitk(1, A) or A"]),
        input in prop::sample::select(vec!["m", "n offset 90s", r#"{__name__=~"m|n"}"#, r#"{job=~".+"}"#, "m @ 600"]),
        delayed in any::<bool>(),
        step_ms in 20_000..200_000i64,
    ) {
        let engine = engine(delayed);
        let memory = memory.in_parts(part_series);
        let early = shown(&engine, &memory, &outside.replace('A', input), step_ms);
        let whole = shown(&engine, &memory, &outside.replace('A', &format!("({input} or nothing)")), step_ms);
        prop_assert_eq!(early, whole, "{} of {}", outside, input);
    }

    /// The first series of a limited answer are those of the whole one, and whether there are more is known.
    #[test]
    fn limited_is_the_same(memory in series(), limit in 1..6usize, part_series in 1..3usize, step_ms in 20_000..200_000i64) {
        let memory = memory.in_parts(part_series);
        let ask = |limit| {
            let options = QueryOptions { limit, ..QueryOptions::default() };
            let answer = Engine::default().range(&memory, &Scope::all(), r#"{job=~".+"}"#, 0, LENGTH_MS, step_ms, &options);
            let Value::Matrix(matrix) = answer.expect("a selector has an answer").value else { panic!("a range is a matrix") };
            matrix
        };
        let (whole, limited) = (ask(0), ask(limit));
        prop_assert_eq!(limited.len() > limit, whole.len() > limit);
        let n = limit.min(whole.len());
        prop_assert_eq!(format!("{:?}", &limited[..n]), format!("{:?}", &whole[..n]));
    }

    /// What a query has more than once gives to the bit, and with the same notes at the same places, what it gives when it is
    /// evaluated each time.
    #[test]
    fn what_is_shared_is_the_same(
        memory in series(),
        (a, b) in (query(), query()),
        form in prop::sample::select(vec![
            "(A) / on (job, le) ((A) + on (job, le) (B))", "sum by (job) (A) / count by (job) (A)", "(A) or (B) or (A) or (B)",
            "max_over_time((A)[4m:30s]) - min_over_time((A)[4m:30s]) or (A)", "(A) unless  ((A)  > 3)", "-(A) or abs(A)",
            "topk(1, A) or bottomk(1, A) or scalar(A) * (B)", "sum(A) + sum(A @ 600) + sum(A offset 1m)", "avg(rate(m[3m])) / sum(rate(m[3m]))",
        ]),
        (in_parts, delayed) in any::<(bool, bool)>(),
        step_ms in 20_000..200_000i64,
    ) {
        let is_modified = form.contains("A @") || form.contains("A offset");
        let a = if is_modified { "m" } else { a.as_str() };
        let query = form.replace('A', a).replace('B', &b);
        let engine = |shares| Engine::new(EngineOptions {
            syntax: ParseOptions::all(),
            delayed_name_removal: delayed,
            shares,
            ..EngineOptions::default()
        });
        let memory = if in_parts { memory.in_parts(1) } else { memory };
        let ask = |shares| {
            let answer = engine(shares).range(&memory, &Scope::all(), &query, 0, LENGTH_MS, step_ms, &QueryOptions::default());
            (answer.map(|answer| (answer.warnings, answer.infos)).ok(), shown(&engine(shares), &memory, &query, step_ms))
        };
        prop_assert_eq!(ask(true), ask(false), "{}", query);
    }
}
