//! Demanding more of selectors.

use relatum_model::{MatchOp, Matcher};
use relatum_promql::syntax::{Injection, add_matchers, selectors};

use crate::read;

#[track_caller]
fn check(text: &str, injection: Injection, expected: &str) {
    let mut expr = read(text).unwrap();
    let matchers = [Matcher::equal("a", "1"), Matcher::new(MatchOp::Regex, "b", "x|y").unwrap()];
    add_matchers(&mut expr, &matchers, injection);
    assert_eq!(expr.to_string(), expected);
    for selector in selectors(&expr) {
        assert!(matchers.iter().all(|matcher| selector.has_matcher_on(matcher.name())));
    }
}

#[test]
fn every_selector_is_found() {
    use Injection::{And, SkipIfPresent};
    check("up", SkipIfPresent, r#"up{a="1",b=~"x|y"}"#);
    check(
        "-sum(topk(scalar(k), rate(v[5m])) / on () max_over_time((w)[5m:] offset 1m))",
        SkipIfPresent,
        r#"-sum(topk(scalar(k{a="1",b=~"x|y"}), rate(v{a="1",b=~"x|y"}[5m])) / on () max_over_time((w{a="1",b=~"x|y"})[5m:] offset 1m))"#,
    );
    check(r#"info(v, {c="2"})"#, And, r#"info(v{a="1",b=~"x|y"}, {a="1",b=~"x|y",c="2"})"#);
    check("1 + time()", And, "1 + time()");
}

#[test]
fn labels_that_are_there() {
    use Injection::{And, SkipIfPresent};
    check(r#"v{a!="2",b=""}"#, SkipIfPresent, r#"v{a!="2",b=""}"#);
    check(r#"v{a!="2",b=""}"#, And, r#"v{a!="2",a="1",b="",b=~"x|y"}"#);
    // Said already, so once is enough.
    check(r#"v{a="1"}"#, And, r#"v{a="1",b=~"x|y"}"#);
}
