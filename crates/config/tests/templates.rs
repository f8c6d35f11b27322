//! Templates that Go rendered: ours come out the same, and fail where Go's fail.
//!
//! Each line of `templates.jsonl` is a template with what Go's `text/template` and Prometheus' functions made of it; an error
//! says only whether it came from parsing or from rendering.

use relatum_config::template::{Query, QuerySample, Template, TemplateData};
use relatum_model::Labels;
use serde_json::Value;

/// Answers three queries, as the program did that made the file.
struct Answers;

impl Query for Answers {
    fn query(&self, expr: &str) -> Result<Vec<QuerySample>, String> {
        let sample =
            |value, pairs: &[(&str, &str)]| QuerySample { labels: Labels::from_pairs(pairs.iter().copied()), value };
        match expr {
            "none" => Ok(Vec::new()),
            "one" => Ok(vec![sample(42.0, &[("__name__", "m"), ("job", "x y")])]),
            "three" => Ok(vec![
                sample(11.0, &[("__name__", "metric"), ("instance", "b")]),
                sample(21.0, &[("__name__", "metric"), ("instance", "a")]),
                sample(0.5, &[("__name__", "metric"), ("instance", "c"), ("__value__", "str")]),
            ]),
            _ => Err("bad query".to_owned()),
        }
    }

    fn at_ms(&self) -> i64 {
        1_700_000_000_123
    }
}

#[test]
fn same_as_go() {
    let data = TemplateData {
        labels: &Labels::from_pairs([("instance", "web.example.com:9100"), ("job", "node"), ("q", "0.5")]),
        external_labels: &Labels::from_pairs([("site", "north")]),
        external_url: "http://testhost:9090/path/prefix",
        value: 1_234_567.0,
    };
    let (mut n, mut wrong) = (0, Vec::new());
    let path = std::env::var("RELATUM_TEMPLATE_CASES");
    let text = match &path {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("templates.jsonl").to_owned(),
    };
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let template = case["t"].as_str().unwrap();
        let outcome = match Template::parse(template) {
            Err(error) => ("parse", error.message),
            Ok(parsed) => match parsed.render_with(&data, &Answers) {
                Err(error) => ("render", error.message),
                Ok(text) => ("", text),
            },
        };
        let expected = match case.get("err").and_then(Value::as_str) {
            Some(error) => (error.split(':').next().unwrap(), error),
            None => ("", case["out"].as_str().unwrap()),
        };
        n += 1;
        if outcome.0 != expected.0 || (outcome.0.is_empty() && outcome.1 != expected.1) {
            wrong.push(format!("{template}\n  ours {outcome:?}\n  Go's {expected:?}"));
        }
    }
    println!("templates: {} as Go, {} not", n - wrong.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
