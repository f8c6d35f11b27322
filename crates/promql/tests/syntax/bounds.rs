//! Queries without end: an error with a position, in bounded time and stack. Tests run on threads of 2 MiB, as queries do.

use relatum_promql::syntax::{HEIGHT_MAX, NESTING_MAX, ParseOptions, QUERY_BYTES_MAX, parse};

use crate::{check_stable, read};

#[track_caller]
fn check_refused(text: &str, message: &str) {
    let error = parse(text, &ParseOptions::all()).expect_err("longer than the bound");
    assert!(error.message.starts_with(message), "{error}");
    assert!(error.line > 0 && error.span.start <= text.len(), "{error:?}");
}

#[test]
fn depth() {
    const DEEP: usize = 100_000;
    let deep = "expressions are nested deeper than";
    check_refused(&"(".repeat(DEEP), deep);
    check_refused(&"-".repeat(DEEP), deep);
    check_refused(&"sum(".repeat(DEEP), deep);
    check_refused(&"1^".repeat(DEEP), deep);
    check_refused(&format!("a[{}", "(".repeat(DEEP)), deep);
    check_refused(&format!("a[{}", "max_of(".repeat(50_000)), deep);
    check_refused(&format!("a offset {}", "-".repeat(DEEP)), deep);
    let wide = "expression has more than";
    check_refused(&"1+".repeat(20_000), wide);
    check_refused(&format!("a[{}", "1+".repeat(20_000)), wide);
    check_refused(&format!("a{}", "[5m:]".repeat(20_000)), wide);
    // Chains in brackets in chains: what counts is the height of the whole.
    check_refused(&format!("{}1{}", "(".repeat(90), format!("{})", "+1".repeat(40)).repeat(90)), wide);
}

#[test]
fn just_within() {
    for text in [
        format!("{}1{}", "(".repeat(NESTING_MAX), ")".repeat(NESTING_MAX)),
        format!("{}1", "1^".repeat(NESTING_MAX)),
        format!("{}a", "-".repeat(NESTING_MAX)),
        format!("{}a{}", "sum(".repeat(NESTING_MAX), ")".repeat(NESTING_MAX)),
        format!("a[{}5m{}]", "max_of(5m,".repeat(NESTING_MAX), ")".repeat(NESTING_MAX)),
        vec!["a"; HEIGHT_MAX].join(" or "),
        format!("a[{}]", vec!["1m"; HEIGHT_MAX].join("+")),
    ] {
        check_stable(&read(&text).unwrap(), &text);
    }
}

#[test]
fn length() {
    let fitting = format!("a{{b=\"{}\"}}", "x".repeat(QUERY_BYTES_MAX - 8));
    assert!(read(&(fitting.clone() + " ")).is_ok());
    check_refused(&(fitting + "  "), "query is longer than");
}
