//! Small tests on small rules. The verdicts on whole files are compared with promtool's by the system tests.

use super::*;

const RULES: &str = r#"
groups:
- name: second
  rules:
  - record: twice
    expr: 2 * once
- name: first
  rules:
  - record: once
    expr: input + 0
  - record: thrice
    expr: 3 * input
  - alert: High
    expr: input > 5
    for: 20m
    labels: {site: "{{ $externalLabels.site }}"}
    annotations: {text: "{{ $labels.a }} is {{ $value }}, see {{ externalURL }}"}
  - alert: Broken
    expr: vector(1) + on() input
"#;

#[track_caller]
fn check(head: &str, test: &str, expected: &[&str]) {
    let rules = [("rules.yaml".to_owned(), RuleFile::parse(RULES).unwrap())];
    let text = format!("{head}\ntests:\n- {test}\n");
    let file = RuleTestFile::parse(&text).unwrap_or_else(|problems| panic!("{problems:?} in {text}"));
    let failures: Vec<String> =
        file.tests.iter().flat_map(|test| run(&file, test, &rules)).map(|f| f.to_string()).collect();
    assert_eq!(failures, expected, "{test}");
}

#[test]
fn expressions() {
    let input = "input_series: [{series: 'input{a=\"x\"}', values: '1+1x60'}]";
    let ask = |expr: &str, at: &str, expected: &str| {
        format!("{input}\n  promql_expr_test: [{{expr: '{expr}', eval_time: {at}, exp_samples: [{expected}]}}]")
    };
    check("", &ask("input", "2m", "{labels: 'input{a=\"x\"}', value: 3}"), &[]);
    check(
        "",
        &ask("input", "2m", "{labels: 'input{a=\"x\"}', value: 4}"),
        &[
            "    expr: \"input\", time: 2m,\n        exp: {__name__=\"input\", a=\"x\"} 4E+00\n        got: {__name__=\"input\", a=\"x\"} 3E+00",
        ],
    );
    // The order of groups decides whether the second one sees this tick of the first, or the one before.
    check("group_eval_order: [first, second]", &ask("twice", "2m", "{labels: 'twice{a=\"x\"}', value: 6}"), &[]);
    check("", &ask("twice", "2m", "{labels: 'twice{a=\"x\"}', value: 4}"), &[]);
    // The future is not there yet.
    check("", &ask("input offset -1m", "2m", "{labels: 'input{a=\"x\"}', value: 3}"), &[]);
    check("", &ask("scalar(input)", "0m", "{value: 1}"), &[]);
    check(
        "",
        &ask("0.1 + 0.2", "0m", "{value: 0.3}"),
        &["    expr: \"0.1 + 0.2\", time: 0s,\n        exp: {} 3E-01\n        got: {} 3.0000000000000004E-01"],
    );
    check("fuzzy_compare: true", &ask("0.1 + 0.2", "0m", "{value: 0.3}"), &[]);
    check(
        "",
        &ask("input[1m]", "0m", ""),
        &["    expr: \"input[1m]\", time: 0s, err: rule result is not a vector or scalar"],
    );
}

#[test]
fn histograms() {
    let ask = |expr: &str, at: &str, expected: &str| {
        format!(
            "input_series: [{{series: input, values: '{{{{sum:3 count:2 buckets:[2]}}}}+{{{{sum:1.5 count:1 buckets:[1]}}}}x2 7'}}]\n  \
             promql_expr_test: [{{expr: '{expr}', eval_time: {at}, exp_samples: [{expected}]}}]"
        )
    };
    let grown = "{{count:4 sum:6 counter_reset_hint:not_reset buckets:[4]}}";
    check("", &ask("input", "2m", &format!("{{labels: input, histogram: '{grown}'}}")), &[]);
    check("", &ask("histogram_count(input)", "1m", "{value: 3}"), &[]);
    // What a rule makes of a histogram is stored like any other.
    let tripled = "{{count:12 sum:18 counter_reset_hint:not_reset buckets:[12]}}";
    check("", &ask("thrice", "2m", &format!("{{labels: thrice, histogram: '{tripled}'}}")), &[]);
    check(
        "",
        &ask("thrice", "2m", "{labels: thrice, value: 1}"),
        &[&format!(
            "    expr: \"thrice\", time: 2m,\n        exp: {{__name__=\"thrice\"}} 1E+00\n        \
             got: {{__name__=\"thrice\"}} {tripled}"
        )],
    );
    check("", &ask("input", "3m", "{labels: input, value: 7}"), &[]);
    check(
        "",
        &ask("input", "3m", "{labels: input, histogram: '1'}"),
        &["    expr: \"input\", time: 3m, err: labels \"input\": expected histogram, got 1"],
    );
}

#[test]
fn alerts() {
    let ask = |at: &str, expected: &str| {
        format!(
            "name: t\n  external_labels: {{site: n}}\n  external_url: http://u\n  input_series: [{{series: 'input{{a=\"x\"}}', values: '6x60'}}]\n  \
             alert_rule_test: [{{eval_time: {at}, alertname: High, exp_alerts: [{expected}]}}]"
        )
    };
    let fired = "{exp_labels: {a: x, site: n}, exp_annotations: {text: 'x is 6, see http://u'}}";
    check("", &ask("19m59s", ""), &[]);
    check("", &ask("20m", fired), &[]);
    // A moment between two ticks sees what the earlier one left.
    check("evaluation_interval: 7m", &ask("20m59s", ""), &[]);
    check("evaluation_interval: 7m", &ask("21m", fired), &[]);
    check(
        "",
        &ask("20m", "{}"),
        &[
            "    name: t,\n    alertname: High, time: 20m, \n        exp:[\n            0:\n              Labels:{alertname=\"High\"}\n              \
           Annotations:{}\n            ], \n        got:[\n            0:\n              Labels:{a=\"x\", alertname=\"High\", site=\"n\"}\n              \
           Annotations:{text=\"x is 6, see http://u\"}\n            ]",
        ],
    );
}

#[test]
fn what_cannot_be_carried_out() {
    check(
        "",
        "{name: t, alert_rule_test: [{eval_time: 1m}]}",
        &["    name: t,\n    an item under alert_rule_test misses required attribute alertname at eval_time 1m"],
    );
    check("", "input_series: [{series: up, values: one}]", &["    not a value: one"]);
    // A rule that fails ends the test.
    check(
        "",
        "{input_series: [{series: 'input{a=\"x\"}', values: 1}, {series: 'input{a=\"y\"}', values: 1}], \
         promql_expr_test: [{expr: input, eval_time: 5m}]}",
        &[
            "    rule: Broken, time: 0s, err: found duplicate series for the match group {} on the right hand-side of the \
           operation: [{__name__=\"input\", a=\"x\"}, {__name__=\"input\", a=\"y\"}];many-to-many matching not allowed: \
           matching labels must be unique on one side",
        ],
    );
}
