//! What must hold for every text.

use proptest::prelude::*;
use relatum_model::Matcher;
use relatum_promql::syntax::{Expr, Injection, ParseOptions, add_matchers, parse, selectors};

use crate::{check_stable, read};

fn pick(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(words).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = String> {
    pick(&["0", "1", "2.5", "1e6", "1e-9", "0x1f", "0755", "1_000", "Inf", "NaN", "5m", "1h30m", "250ms"])
}

fn duration() -> impl Strategy<Value = String> {
    let leaf = pick(&["5m", "90", "1.5", "36h", "2w", "0.0004", "step()", "range()"]);
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), pick(&["+", "-", "*", "/", "%", "^"]), inner.clone()).prop_map(|(l, op, r)| l + &op + &r),
            (pick(&["max_of", "min_of"]), inner.clone(), inner.clone()).prop_map(|(f, l, r)| format!("{f}({l},{r})")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.prop_map(|inner| format!("-{inner}")),
        ]
    })
}

fn selector() -> impl Strategy<Value = String> {
    let name = pick(&["a", "sum", "by", "fill", "offset", "x:y", "step", "anchored"]);
    let matchers = prop::collection::vec(
        pick(&[r#"a="1""#, r#"b!="\n""#, r#"c=~"x|y""#, "\"d.e\"!~`z`", "on='é'", r#"b!="\xff""#]),
        0..3,
    );
    (name, matchers).prop_map(|(name, matchers)| format!("{name}{{{}}}", matchers.join(",")))
}

fn modifiers() -> impl Strategy<Value = String> {
    let at = pick(&["", " @ 1.5", " @ end()", " @ -7"]);
    let offset = prop_oneof![
        Just(String::new()),
        number().prop_map(|offset| format!(" offset -{offset}")),
        (pick(&["", "+", "--", "("]), duration()).prop_map(|(sign, offset)| match sign.as_str() {
            "(" => format!(" offset ({offset})"),
            sign => format!(" offset {sign}{offset}"),
        }),
    ];
    (at, offset, any::<bool>()).prop_map(|(at, offset, at_first)| if at_first { at + &offset } else { offset + &at })
}

/// Texts that mostly are queries.
fn query() -> impl Strategy<Value = String> {
    let series = (selector(), modifiers()).prop_map(|(selector, modifiers)| selector + &modifiers);
    let rate = (pick(&["rate", "min_over_time"]), selector(), duration(), pick(&["", " anchored"]), modifiers())
        .prop_map(|(f, selector, range, edges, modifiers)| format!("{f}({selector}[{range}]{edges}{modifiers})"));
    let leaf = prop_oneof![3 => series, 2 => rate, 2 => number(), 1 => Just("time()".to_owned())];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let labels = pick(&["", "a", "a,by", "\"b c\",on"]);
        let matching = prop_oneof![
            3 => Just(String::new()),
            1 => (pick(&["on", "ignoring"]), labels.clone(), pick(&["", "group_left", "group_right(z)"]))
                .prop_map(|(word, labels, group)| format!(" {word}({labels}) {group}")),
            1 => (number(), number()).prop_map(|(left, right)| format!(" fill_left(-{left}) fill_right({right})")),
        ];
        let op = pick(&["+", "-", "*", "/", "%", "^", "atan2", "==", "> bool", "</", ">/", "and", "or", "unless"]);
        prop_oneof![
            4 => (inner.clone(), op, matching, inner.clone()).prop_map(|(l, op, m, r)| format!("{l} {op}{m} {r}")),
            2 => (pick(&["sum", "count", "topk"]), pick(&["by", "without"]), labels, inner.clone()).prop_map(
                |(op, word, labels, inner)| {
                    let param = if op == "topk" { "3, " } else { "" };
                    format!("{op} {word} ({labels}) ({param}{inner})")
                }
            ),
            1 => inner.clone().prop_map(|inner| format!("-{inner}")),
            1 => inner.clone().prop_map(|inner| format!("({inner})")),
            1 => inner.clone().prop_map(|inner| format!("clamp_max({inner}, 1)")),
            1 => (inner, duration(), duration(), modifiers())
                .prop_map(|(inner, range, step, m)| format!("max_over_time(({inner})[{range}:{step}]{m})")),
        ]
    })
}

/// Every node stands within its parent and is read as such when cut out.
fn check_spans(text: &str, expr: &Expr) {
    let span = expr.span();
    assert!(span.start < span.end && text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{text}");
    for child in expr.children() {
        assert!(span.start <= child.span().start && child.span().end <= span.end, "{text}: {child}");
        check_spans(text, child);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_keeps_the_tree(text in query()) {
        if let Ok(expr) = read(&text) {
            check_stable(&expr, &text);
            check_spans(&text, &expr);
            let span = expr.span();
            assert_eq!(read(&text[span.start..span.end]).unwrap().to_string(), expr.to_string());
        }
    }

    #[test]
    fn injection_loses_and_widens_nothing(text in query()) {
        if let Ok(before) = read(&text) {
            let mut after = before.clone();
            let wanted = [Matcher::equal("a", "1"), Matcher::equal("tenant", "x")];
            add_matchers(&mut after, &wanted, Injection::And);
            for (old, new) in selectors(&before).into_iter().zip(selectors(&after)) {
                assert!(old.matchers.iter().chain(&wanted).all(|matcher| new.matchers.contains(matcher)));
                assert_eq!((&old.name, &old.offset, old.at), (&new.name, &new.offset, new.at));
            }
            check_stable(&after, &text);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(
        words in prop::collection::vec(
            prop_oneof![query(), pick(&["(", ")", "[", "]", "{", "}", "\"", "'", "`", "\\", ":", ",", "#", "\n", "@", "é", "\0"])],
            0..6,
        ),
        cut in 0usize..200,
    ) {
        let text: String = words.concat().chars().skip(cut % 7).take(cut).collect();
        for options in [ParseOptions::all(), ParseOptions::default()] {
            if let Err(error) = parse(&text, &options) {
                assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{text:?}: {error:?}");
            }
        }
    }
}
