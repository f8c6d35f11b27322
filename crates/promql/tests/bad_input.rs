//! Queries that ask for more than anybody should have: an error that says which limit it met, or an answer, and soon.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use relatum_model::Labels;
use relatum_model::storage::Scope;
use relatum_promql::memory::Memory;
use relatum_promql::syntax::ParseOptions;
use relatum_promql::{Engine, EngineOptions, QueryOptions};

/// Ten series with a sample every 15 seconds for ten minutes.
fn samples() -> Memory {
    let mut memory = Memory::new();
    for instance in 0..10 {
        let instance = instance.to_string();
        let labels = Labels::from_pairs([("__name__", "load"), ("instance", instance.as_str())]);
        for step in 0..=40 {
            memory.add(&labels, step * 15_000, step as f64);
        }
    }
    memory
}

const YEAR_MS: i64 = 365 * 86_400_000;

/// `expected` is part of the error; nothing for a query that has an answer.
#[track_caller]
fn check(memory: &Memory, query: &str, expected: &str) {
    let engine =
        Engine::new(EngineOptions { samples_max: 5_000_000, syntax: ParseOptions::all(), ..EngineOptions::default() });
    let (scope, options) = (Scope::all(), QueryOptions::default());
    let shown: String = query.chars().take(60).collect();
    let begun = Instant::now();
    let instant = engine.instant(memory, &scope, query, 600_000, &options);
    let took = begun.elapsed();
    let error = instant.as_ref().map_or_else(ToString::to_string, |_| String::new());
    assert!(
        error.contains(expected) && error.is_empty() == expected.is_empty(),
        "{shown}: {error:?}, not {expected:?}"
    );
    assert!(took < Duration::from_secs(4), "{shown} took {took:?}");
}

#[test]
fn queries_that_ask_for_too_much() {
    let memory = samples();
    let check = |query: &str, expected: &str| check(&memory, query, expected);
    check(&("(".repeat(100_000) + "load" + &")".repeat(100_000)), "parse error");
    check(&("-".repeat(100_000) + "load"), "parse error");
    check(&("load".to_owned() + &" + load".repeat(20_000)), "parse error");
    check(&("1".to_owned() + &" ^ 1".repeat(20_000)), "parse error");
    let regex = format!(r#"load{{instance=~"({})"}}"#, "(a{1000}){1000}|".repeat(100));
    check(&regex, "parse error");
    check(r#"load{instance=~"(((((x{100}){100}){100}){100}){100})"}"#, "parse error");
    // Each doubles the label.
    let bomb = (0..40).fold("load".to_owned(), |inner, _| {
        format!(r#"label_replace({inner}, "instance", "$1$1", "instance", "(.*)")"#)
    });
    check(&bomb, "longer than 65536 bytes");
    let bomb = (0..40)
        .fold("load".to_owned(), |inner, _| format!(r#"label_join({inner}, "instance", "", "instance", "instance")"#));
    check(&bomb, "longer than 65536 bytes");
    let too_many = "too many samples";
    check("count_over_time(vector(1)[1y:1ms])", too_many);
    check("max_over_time((max_over_time((max_over_time(load[1d:1ms]))[1d:1ms]))[1d:1ms])", too_many);
    check("sum_over_time(load[1000000y])", "duration out of range");
    check("sum_over_time(load[200y])", "");
    // Whatever a number is.
    for number in ["NaN", "Inf", "-Inf", "1e308", "-0", "9223372036854775808"] {
        check(&format!("quantile({number}, load) or clamp(load, {number}, -({number})) or round(load, {number})"), "");
        check(&format!("histogram_quantile({number}, load) or load ^ {number} or load % {number}"), "");
        check(&format!("predict_linear(load[5m], {number}) or quantile_over_time({number}, load[5m])"), "");
        check(&format!("day_of_year(vector({number})) or limit_ratio(0.5, load * {number})"), "");
    }
    check("topk(NaN, load)", "Parameter value is NaN");
    check("topk(1e30, load)", "overflows int64");
    check("limitk(Inf, load)", "overflows int64");
    check("limit_ratio(NaN, load)", "Ratio value is NaN");
}

/// Not every element of 20,000 meets each of the others before that is refused.
#[test]
fn many_that_meet_many() {
    let mut memory = Memory::new();
    for instance in 0..20_000 {
        memory.add(&Labels::from_pairs([("__name__", "load"), ("instance", &instance.to_string())]), 600_000, 1.0);
    }
    for query in ["load * on () group_left () load", "load == on () load", "load + on () group_right () load"] {
        check(&memory, query, "found duplicate series for the match group {}");
    }
}

/// The same over a range, where the first step is not the one at which they are too many, or where they never are.
#[test]
fn many_that_meet_many_later() {
    let mut memory = Memory::new();
    for instance in 0..20_000 {
        let instance = instance.to_string();
        let mut add = |name, at_ms| {
            memory.add(&Labels::from_pairs([("__name__", name), ("instance", instance.as_str())]), at_ms, 1.0)
        };
        add("load", 600_000);
        add("late", 600_000);
        add("early", 0);
    }
    memory.add(&Labels::from_pairs([("__name__", "load"), ("instance", "first")]), 0, 1.0);
    let engine = Engine::new(EngineOptions { samples_max: 5_000_000, ..EngineOptions::default() });
    let duplicate = "found duplicate series for the match group {}";
    for (query, expected) in [
        ("load * on () group_left () load", duplicate),
        ("load == on () load", duplicate),
        ("load + on () group_right () load", duplicate),
        ("late * on () group_left () early", ""),
    ] {
        let options = QueryOptions::default();
        let begun = Instant::now();
        let answer = engine.range(&memory, &Scope::all(), query, 0, 600_000, 600_000, &options);
        let took = begun.elapsed();
        let error = answer.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{query}: {error:?}");
        assert!(took < Duration::from_secs(4), "{query} took {took:?}");
    }
}

#[test]
fn a_year_in_steps_of_a_millisecond() {
    let engine = Engine::default();
    for query in ["1", "load", "rate(load[5m])", "load + load", "sum(load)", "absent(load)", "time()"] {
        let begun = Instant::now();
        let options = QueryOptions::default();
        let answer = engine.range(&samples(), &Scope::all(), query, 0, YEAR_MS, 1, &options);
        let error = answer.expect_err("a year has too many milliseconds").to_string();
        assert!(error.contains("too many samples"), "{query}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{query} took {:?}", begun.elapsed());
    }
}

/// Queries of every kind, to be torn apart.
const SEEDS: &[&str] = &[
    "sum by (instance) (rate(load[5m] offset 1m))",
    "topk(3, load) or bottomk(1, load @ start())",
    r#"label_replace(load, "a", "$1-$2", "instance", "(.)(.*)")"#,
    "histogram_quantile(0.9, sum without (instance) (load{le=~\".+\"}))",
    "max_over_time((load + 1)[5m:30s] @ 300)",
    "load / on (instance) group_left (x) (load > bool 3)",
    "quantile_over_time(scalar(load{instance=\"1\"}), load[2m])",
    "predict_linear(load[3m], 60) unless absent_over_time(nothing[1h])",
    "count_values(\"v\", round(load, 0.5)) == ignoring (v) group_right load",
    "double_exponential_smoothing(load[5m], 0.5, 0.5) ^ -load % 7",
    "sort_by_label_desc(load, \"instance\") and limitk(2, load)",
    "info(load, {__name__=\"target_info\"})",
    "clamp(load, -Inf, 1e308) * NaN atan2 vector(time())",
    "load[5m:10s] offset -1d",
    "{\"load\", instance!~\"[0-4]\"} fill(0) + load smoothed",
    "limit_ratio(-0.5, deriv(load[5m] anchored)) >= start()",
];

/// What is put where something was torn out.
const SCRAPS: &[&str] = &[
    "",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "`",
    "-",
    "^",
    "load",
    "[1y:1ms]",
    "[5m]",
    " offset 9223372036854775807s",
    "@",
    "@ 1e300",
    "Inf",
    "NaN",
    "0x",
    "1e999",
    " by ",
    " without ",
    " on ",
    " group_left ",
    " bool ",
    "\u{0}",
    "\u{e4}",
    "\\xff",
    "topk(",
    "sum(",
    "[:]",
    "rate(",
    "-1",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is made of pieces of queries gives an answer or an error of bearable length, soon, and never a panic.
    #[test]
    fn torn_queries(
        first in prop::sample::select(SEEDS),
        second in prop::sample::select(SEEDS),
        cuts in prop::collection::vec((0usize..80, 0usize..20, prop::sample::select(SCRAPS)), 0..4),
        joint in 0usize..80,
        is_range in any::<bool>(),
    ) {
        let char_at = |text: &str, at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let mut query = format!("{}{}", &first[..char_at(first, joint)], &second[char_at(second, joint)..]);
        for (at, length, scrap) in cuts {
            let (from, to) = (char_at(&query, at), char_at(&query, at + length));
            query.replace_range(from..to, scrap);
        }
        let engine =
            Engine::new(EngineOptions { samples_max: 20_000, syntax: ParseOptions::all(), ..EngineOptions::default() });
        let (memory, scope, options) = (few_samples(), Scope::all(), QueryOptions::default());
        let begun = Instant::now();
        let answer = if is_range {
            engine.range(memory, &scope, &query, 0, 600_000, 60_000, &options)
        } else {
            engine.instant(memory, &scope, &query, 600_000, &options)
        };
        prop_assert!(begun.elapsed() < Duration::from_secs(4), "{} took {:?}", query, begun.elapsed());
        if let Err(error) = answer {
            prop_assert!(error.to_string().len() < 4000, "{}: {}", query, error);
        }
    }
}

/// The samples of all torn queries: made once.
fn few_samples() -> &'static Memory {
    static MEMORY: std::sync::OnceLock<Memory> = std::sync::OnceLock::new();
    MEMORY.get_or_init(samples)
}
