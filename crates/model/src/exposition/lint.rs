//! Habits of good metrics: what is valid and yet makes trouble later. Rules, words and units are those of Prometheus' `promlint`.

use std::collections::HashMap;

use super::client::{ClientFamily, ClientKind};

/// Something that a family should not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LintProblem {
    /// The family.
    pub metric: String,
    /// What is wrong; a rule that several samples break is named for each of them.
    pub text: String,
}

/// All problems of the families, by name, then by text.
pub fn lint(families: &[ClientFamily]) -> Vec<LintProblem> {
    let of = |family: &ClientFamily| {
        let name = family.name.clone();
        texts(family).into_iter().map(move |text| LintProblem { metric: name.clone(), text })
    };
    let mut problems: Vec<_> = families.iter().flat_map(of).collect();
    problems.sort();
    problems
}

fn texts(family: &ClientFamily) -> Vec<String> {
    let mut texts = Vec::new();
    if family.help.is_none() {
        texts.push("no help text".to_owned());
    }
    texts.extend(unit(&family.name).filter(|(unit, base)| unit != base).map(|(unit, base)| {
        let (unit, base) = (crate::text::quote(unit), crate::text::quote(base));
        format!("use base unit {base} instead of {unit}")
    }));
    texts.extend(name_problems(family).into_iter().map(str::to_owned));
    if family.kind != ClientKind::Untyped && has_word(&family.name, family.kind.as_str()) {
        texts.push(format!("metric name should not include type '{}'", family.kind.as_str()));
    }
    texts.extend(label_problems(family).map(str::to_owned));
    texts.extend(std::iter::repeat_n("metric not unique".to_owned(), n_repeated(family)));
    texts
}

fn name_problems(family: &ClientFamily) -> Vec<&'static str> {
    use ClientKind::{Counter, Histogram, Summary, Untyped};
    let (name, kind) = (family.name.as_str(), family.kind);
    let is_measured = matches!(kind, Histogram | Summary);
    let is_typed = kind != Untyped;
    let abbreviated = ABBREVIATIONS.iter().filter(|word| has_word(name, word)).count();
    let mut problems = vec!["metric names should not contain abbreviated units"; abbreviated];
    for (is_wrong, text) in [
        (kind == Counter && !name.ends_with("_total"), "counter metrics should have \"_total\" suffix"),
        (
            is_typed && kind != Counter && name.ends_with("_total"),
            "non-counter metrics should not have \"_total\" suffix",
        ),
        (
            is_typed && kind != Histogram && name.ends_with("_bucket"),
            "non-histogram metrics should not have \"_bucket\" suffix",
        ),
        (
            is_typed && !is_measured && name.ends_with("_count"),
            "non-histogram and non-summary metrics should not have \"_count\" suffix",
        ),
        (
            is_typed && !is_measured && name.ends_with("_sum"),
            "non-histogram and non-summary metrics should not have \"_sum\" suffix",
        ),
        (name.contains(':'), "metric names should not contain ':'"),
        (is_camel_case(name), "metric names should be written in 'snake_case' not 'camelCase'"),
    ] {
        problems.extend(is_wrong.then_some(text));
    }
    problems
}

fn label_problems(family: &ClientFamily) -> impl Iterator<Item = &'static str> {
    let kind = family.kind;
    let is_reserved =
        move |name: &str, label: &str, owner: ClientKind| name == label && kind != owner && kind != ClientKind::Untyped;
    let names = family.metrics.iter().flat_map(|metric| &metric.labels).map(|(name, _)| name.as_str());
    names.flat_map(move |name| {
        let problems = [
            (is_reserved(name, "le", ClientKind::Histogram), "non-histogram metrics should not have \"le\" label"),
            (
                is_reserved(name, "quantile", ClientKind::Summary),
                "non-summary metrics should not have \"quantile\" label",
            ),
            (is_camel_case(name), "label names should be written in 'snake_case' not 'camelCase'"),
        ];
        problems.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, text)| text)
    })
}

/// How many metrics have the labels of a later one.
fn n_repeated(family: &ClientFamily) -> usize {
    let mut seen: HashMap<&[(String, String)], usize> = HashMap::new();
    for metric in &family.metrics {
        *seen.entry(&metric.labels).or_default() += 1;
    }
    seen.values().map(|n| n - 1).sum()
}

/// Whether `word` is a part of the name behind an underscore, in whatever case.
fn has_word(name: &str, word: &str) -> bool {
    let name = crate::text::to_lower(name);
    name.contains(&format!("_{word}_")) || name.strip_suffix(word).is_some_and(|before| before.ends_with('_'))
}

fn is_camel_case(name: &str) -> bool {
    name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

/// The first unit in the name, with the one to use in its place.
fn unit(name: &str) -> Option<(&str, &'static str)> {
    let base = |unit: &str| UNITS.iter().find(|(known, _)| *known == unit).map(|(_, base)| *base);
    name.split('_').find_map(|part| {
        let prefixed = || PREFIXES.iter().find_map(|prefix| part.strip_prefix(prefix).and_then(base));
        base(part).or_else(prefixed).map(|base| (part, base))
    })
}

const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];

const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi", "giga", "gibi",
    "tera", "tebi", "peta", "pebi",
];

const ABBREVIATIONS: [&str; 14] = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::client::read_families;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let families = read_families(body.as_bytes()).expect("the body is good");
        let found: Vec<_> = lint(&families).into_iter().map(|p| format!("{} {}", p.metric, p.text)).collect();
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn habits() {
        check("# HELP a_bytes_total b\n# TYPE a_bytes_total counter\na_bytes_total 1\n", &[]);
        check(
            "# TYPE a_ms_gauge gauge\na_ms_gauge{aB=\"1\"} 1\na_ms_gauge{aB=\"1\"} 1\n",
            &[
                "a_ms_gauge label names should be written in 'snake_case' not 'camelCase'",
                "a_ms_gauge label names should be written in 'snake_case' not 'camelCase'",
                "a_ms_gauge metric name should not include type 'gauge'",
                "a_ms_gauge metric names should not contain abbreviated units",
                "a_ms_gauge metric not unique",
                "a_ms_gauge no help text",
            ],
        );
        check("# HELP b x\n# TYPE b counter\nb 1\n", &["b counter metrics should have \"_total\" suffix"]);
        check(
            "# HELP a_milliseconds x\na_milliseconds 1\n",
            &["a_milliseconds use base unit \"seconds\" instead of \"milliseconds\""],
        );
    }
}
