//! The rule files of a `relate --rules`: what is wrong in them is told at once, with its place, instead of by a relation that stands.

use std::borrow::Cow;

use relatum_config::rules::RuleFile;
use relatum_model::yaml;
use serde_json::Value;

use crate::control::{Document, Failure};

/// What stands in expressions for the matchers of the application that brings them, and matchers of the same length.
const PLACEHOLDER: &str = "%%juju_topology%%";
const STAND_IN: &str = "juju_topology=\"\" ";

/// What makes a file of groups of a single rule: whole lines, and blanks before each line of it.
const AROUND: &str = "groups:\n- name: one\n  rules:\n  -\n";
const BEFORE: &str = "    ";

/// How many problems one answer tells.
const TOLD_MAX: usize = 5;

/// Name and text, if the server would take the rules.
pub(super) fn checked(document: &Document) -> Result<(String, String), Failure> {
    let refused = |problems: &[String]| {
        let more = problems.len().saturating_sub(TOLD_MAX);
        let mut told = problems[..problems.len().min(TOLD_MAX)].join("; ");
        if more > 0 {
            told += &format!("; and {more} more");
        }
        Failure::failed(format!("cannot use {}: {told}", document.name))
            .hint("`relatum check rules FILE` tells the same of a file")
    };
    let value: Value = match yaml::from_str(&document.text) {
        Ok(value) => value,
        Err(error) => return Err(Failure::failed(format!("cannot use {}: {error}", document.name))),
    };
    let text = document.text.replace(PLACEHOLDER, STAND_IN);
    // A rule that stands alone, as charms keep them; the other forms have their texts where the bag is made.
    let is_rule = value.get("groups").is_none() && value.get("expr").is_some();
    let (text, lines, columns) = if is_rule {
        let lines = text.lines().map(|line| format!("{BEFORE}{line}\n"));
        (Cow::from(AROUND.to_owned() + &lines.collect::<String>()), AROUND.lines().count(), BEFORE.len())
    } else if value.get("groups").is_some() {
        (Cow::from(text), 0, 0)
    } else {
        return Ok((document.name.clone(), document.text.clone()));
    };
    match RuleFile::parse(&text) {
        Ok(_) => Ok((document.name.clone(), document.text.clone())),
        Err(problems) => {
            let placed = |mut problem: relatum_config::Problem| {
                problem.line = problem.line.saturating_sub(lines as u64);
                problem.column = problem.column.saturating_sub(columns as u64);
                problem.to_string()
            };
            Err(refused(&problems.into_iter().map(placed).collect::<Vec<_>>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let seen = checked(&Document { name: "a.rules".to_owned(), text: text.to_owned() });
        let seen = seen.map(drop).map_err(|failure| failure.message);
        match expected {
            None => assert_eq!(seen, Ok(()), "{text}"),
            Some(part) => assert!(seen.as_ref().is_err_and(|seen| seen.contains(part)), "{text}: {seen:?}"),
        }
    }

    #[test]
    fn files() {
        check("groups:\n- name: a\n  rules:\n  - alert: Down\n    expr: up == 0\n", None);
        check("groups:\n- name: a\n  rules:\n  - alert: Down\n    expr: up{%%juju_topology%%} == 0\n", None);
        check("groups:\n- name: a\n  rules:\n  - alert: Down\n    expr: up{job=\"a\", %%juju_topology%%} == 0\n", None);
        check("alert: Down\nexpr: up == 0\n", None);
        check("groups: []", None);
        check(
            "groups:\n- name: a\n  rules:\n  - alert: Down\n    expr: up == == 0\n",
            Some("cannot use a.rules: 5:11: group \"a\", rule 1"),
        );
        check("alert: Down\nexpr: up == == 0\n", Some("cannot use a.rules: 2:7: group"));
        check("groups: [", Some("cannot use a.rules: "));
    }
}
