//! The canonical text and the text for people, as Prometheus gives them.

use crate::{check_stable, read};

#[track_caller]
fn check(text: &str, expected: &str) {
    let expr = read(text).unwrap();
    assert_eq!(expr.to_string(), expected);
    check_stable(&expr, text);
}

#[test]
fn selectors() {
    check("up{ }", "up");
    check("up{job='a', instance!~\"b|c\",}", r#"up{instance!~"b|c",job="a"}"#);
    check(r#"{"my.metric", "my.label"="x", other=~"y"}"#, r#"{"my.label"="x",__name__="my.metric",other=~"y"}"#);
    check(r#"{__name__="",a="x"}"#, r#"{__name__="",a="x"}"#);
    check("SUM", "SUM");
    check("up @ 1609746000.1234 offset 1h", "up @ 1609746000.123 offset 1h");
    check("up offset -1h @ end()", "up @ end() offset -1h");
    check("up offset 0s", "up");
    check("up[300] offset 90", "up[5m] offset 1m30s");
    check("up[36h] anchored @ start()", "up[1d12h] anchored @ start()");
    check("up[4.0185]", "up[4s18ms]");
    // Finer than samples: no duration can say it, so the number stays.
    check("up[0.0005]", "up[0.0005]");
    check("up[5m:] @ 10", "up[5m:] @ 10.000");
    check("rate(up[5m])[1h:5m] offset 1m", "rate(up[5m])[1h:5m] offset 1m");
    check("info(up, {})", "info(up, {})");
}

#[test]
fn durations() {
    check("a[-(step()-10s)*2]", "a[-(step() - 10s) * 2]");
    check("a[(5m):(1m)]", "a[(5m):(1m)]");
    check("a[range():step()]", "a[range():step()]");
    check("a offset +((5))", "a offset (5)");
    check("a offset -min_of(10s, +max_of(step() ^ 2, 2))", "a offset -min_of(10s, max_of(step() ^ 2, 2))");
    // The operator belongs to the expression, unless parentheses say otherwise.
    check("a offset 5s-8", "a offset 5s - 8");
    check("a offset (5s-8)", "a offset (5s - 8)");
    check("a offset (5s)-8", "a offset (5s) - 8");
    check("a offset --5s-8", "a offset (5s - 8)");
    check("a offset +-step()-8 == b", "a offset (-step() - 8) == b");
    check("a @ 1 offset (5s)", "a @ 1.000 offset (5s)");
    check("a offset (5s) @ 1 == b", "a @ 1.000 offset (5s) == b");
    // What ended the offset moves, so another thing must, or the operator becomes part of the offset.
    check("-a offset (5s) @ 1 - 8", "-a @ 1.000 offset +(5s) - 8");
    check("c + a offset (5s)*2 @ 1 - 8", "c + a offset (5s) * 2 @ 1.000 - 8");
}

#[test]
fn operators() {
    check("1e6 + 0x1F - 0755 * .5", "1000000 + 31 - 493 * 0.5");
    check("-Inf < bool nan", "-Inf < bool NaN");
    check("Inf ^ 2", "Inf ^ 2");
    check("5m + -5m", "5m + -5m");
    check("-1 ^ 2", "-1 ^ 2");
    check("- a ^ - b", "-a ^ -b");
    check("a AND on() b", "a and on () b");
    check("a * ignoring() b", "a * b");
    check("a * ignoring() group_right b", "a * ignoring () group_right () b");
    check("a == bool on(x,\"y.z\") group_left(v) b", r#"a == bool on (x, "y.z") group_left (v) b"#);
    check("a + on(x) fill_right(-1) fill_left(1e6) b", "a + on (x) fill_left (1e+06) fill_right (-1) b");
    check("a + fill_left(2) fill_right(2) b", "a + fill (2) b");
    check("fill + fill", "fill + fill");
    check("a </ 5 >/ b # says nothing", "a </ 5 >/ b");
    check("sum by () (a)", "sum(a)");
    check("sum without () (a)", "sum without () (a)");
    check("topk(5, a) by (b, \"c d\",)", r#"topk by (b, "c d") (5, a)"#);
    check(r#"label_join(a, 'b"', `\c`, "\u00e9\n")"#, r#"label_join(a, "b\"", "\\c", "é\n")"#);
    // Bytes that are not UTF-8 stay what they are, although no label can have them.
    check(r#"count_values("a\xffb", c)"#, r#"count_values("a\xffb", c)"#);
}

#[test]
fn for_people() {
    let x = "x".repeat(50);
    let y = "y".repeat(60);
    for (text, expected) in [
        ("sum by(a)(b)".to_owned(), "sum by (a) (b)".to_owned()),
        (format!("{x}+on(a){y}"), format!("  {x}\n+ on (a)\n  {y}")),
        (format!("topk by(a)(5,{x}-{y})"), format!("topk by (a) (\n  5,\n    {x}\n  -\n    {y}\n)")),
        (format!("-clamp({x}{y},1,2)"), format!("-clamp(\n  {x}{y},\n  1,\n  2\n)")),
        (format!("(({x}{y}))"), format!("(\n  (\n    {x}{y}\n  )\n)")),
        (format!("max_over_time(sum({x}{y})[1h:])"), format!("max_over_time(\n  sum(\n    {x}{y}\n  )[1h:]\n)")),
    ] {
        let expr = read(&text).unwrap();
        assert_eq!(expr.pretty(), expected);
        check_stable(&expr, &text);
    }
}
