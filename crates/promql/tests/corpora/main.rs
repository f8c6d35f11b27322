//! The syntax against what others have written: Prometheus' own cases, the queries of its evaluation tests, and rules as the
//! charms' tools print them.

use std::fs;
use std::path::Path;

use libtest_mimic::{Arguments, Trial};
use relatum_model::Matcher;
use relatum_promql::syntax::{Injection, ParseOptions, add_matchers, parse};
use serde_json::Value;

#[path = "../syntax/stable.rs"]
mod stable;

use stable::{check_stable, read};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("cases_of_prometheus", cases_of_prometheus),
        trial("queries_of_evaluation_tests", queries_of_evaluation_tests),
        trial("rules_as_charms_print_them", rules_as_charms_print_them),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that reads the folder `RELATUM_CORPORA` names.
fn trial(name: &str, test: fn(&Path)) -> Trial {
    match std::env::var_os("RELATUM_CORPORA") {
        Some(corpora) => Trial::test(name, move || {
            test(Path::new(&corpora));
            Ok(())
        }),
        None => Trial::test(name, || Ok(())).with_kind("needs RELATUM_CORPORA").with_ignored_flag(true),
    }
}

fn cases_of_prometheus(corpora: &Path) {
    let path = corpora.join("conformance/promql-parse/expressions.json");
    // Bytes that are not UTF-8 are lone surrogates there; here they would be what decoding makes of such bytes.
    let text = fs::read_to_string(path).unwrap().replace(r"\udcff", r"\ufffd");
    let cases: Value = serde_json::from_str(&text).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    let mut differences = Vec::new();
    for case in cases {
        let input = case["input"].as_str().unwrap();
        let first = &case["errors"][0];
        match (parse(input, &ParseOptions::all()), case["fail"].as_bool().unwrap()) {
            (Ok(expr), false) => check_stable(&expr, input),
            (Err(error), true) => {
                let (start, message) = (first["start"].as_u64().unwrap() as usize, first["err"].as_str().unwrap());
                if error.message != message || error.span.start != start {
                    differences
                        .push(format!("{input}: {start} {message}, but got {} {}", error.span.start, error.message));
                }
            }
            (Ok(_), true) => differences.push(format!("{input}: accepted, but {}", first["err"])),
            (Err(error), false) => differences.push(format!("{input}: {error}")),
        }
    }
    println!("{} of {} cases agree", cases.len() - differences.len(), cases.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn queries_of_evaluation_tests(corpora: &Path) {
    let path = corpora.join("conformance/promql");
    let mut n_queries = 0;
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines() {
            let words: Vec<&str> = line.trim().splitn(5, ' ').collect();
            let query = match words[..] {
                ["eval" | "eval_fail", "instant", "at", _, query] => query,
                ["eval", "range", "from", ..] => {
                    line.trim().splitn(9, ' ').nth(8).expect("a range has a start, an end, a step and a query")
                }
                _ => continue,
            };
            n_queries += 1;
            let expr = read(query).unwrap_or_else(|error| panic!("{}: {query}: {error}", path.display()));
            check_stable(&expr, query);
        }
    }
    println!("{n_queries} queries read, printed and read again");
    assert!(n_queries > 1000);
}

fn rules_as_charms_print_them(corpora: &Path) {
    let path = corpora.join("fixtures/relations/rules-005-promql-printing.json");
    let fixture: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let bag = fixture["relations"][0]["remote_app_data"]["alert_rules"].as_str().unwrap();
    let written = rules(&serde_json::from_str(bag).unwrap());
    let expected: Vec<_> = fixture["expected"]["alerts"].as_object().unwrap().values().flat_map(rules).collect();
    assert_eq!(written.len(), expected.len());
    for (rule, expected) in written.iter().zip(&expected) {
        let text = rule["expr"].as_str().unwrap();
        // The charm hands these to its tool as if they were options, so they stay as they are.
        if text.starts_with('-') {
            continue;
        }
        let mut expr = parse(text, &ParseOptions::default()).unwrap();
        let matchers = ["juju_model", "juju_model_uuid", "juju_application"]
            .map(|label| Matcher::equal(label, expected["labels"][label].as_str().unwrap()));
        add_matchers(&mut expr, &matchers, Injection::SkipIfPresent);
        assert_eq!(expr.to_string(), expected["expr"].as_str().unwrap(), "{text}");
    }
}

fn rules(groups: &Value) -> Vec<Value> {
    let groups = groups["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}
