//! Rule files: groups of recording and alerting rules, checked as `promtool check rules` does.
//!
//! A message begins with the group, the number and the name of its rule, as Prometheus writes it. Expressions come out
//! parsed; templates in labels and annotations are parsed to check them and kept as text.

mod expr;
mod format;
mod read;

use std::sync::Arc;
use std::time::Duration;

pub use expr::RuleExpr;
pub use read::RuleOptions;

/// A rule file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuleFile {
    /// Its groups; their names differ. Shared, as whoever evaluates a group keeps it for as long as it runs.
    pub groups: Vec<Arc<RuleGroup>>,
    /// What Prometheus would only warn of.
    pub warnings: Vec<String>,
}

/// Rules that are evaluated one after the other, at the same moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuleGroup {
    /// Its name; not empty.
    pub name: String,
    /// How often it is evaluated; `None` is the global `evaluation_interval`.
    pub interval: Option<Duration>,
    /// How far in the past it is evaluated; `None` is the global `rule_query_offset`.
    pub query_offset: Option<Duration>,
    /// The most series or alerts a rule may make; 0 is no limit.
    pub limit: usize,
    /// Labels of all its rules.
    pub labels: Vec<(String, String)>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it does with its result.
    pub kind: RuleKind,
    /// What it evaluates.
    pub expr: RuleExpr,
    /// Labels that are added to the result, its own and those of the group, sorted by name; templates for an alert.
    pub labels: Arc<[(String, String)]>,
    /// The line it begins on.
    pub line: u64,
}

/// What a rule does with its result.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleKind {
    /// Every series of the result is an alert.
    Alert {
        /// The label `alertname`.
        name: String,
        /// How long it must hold before the alert fires.
        hold_for: Duration,
        /// How long the alert fires on after it holds no more.
        keep_firing_for: Duration,
        /// Texts for people; templates.
        annotations: Arc<[(String, String)]>,
    },
    /// Every series of the result is stored.
    Record {
        /// The name it is stored under.
        name: String,
    },
}

impl Rule {
    /// The alert's name, or that of the recorded metric.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Alert { name, .. } | RuleKind::Record { name } => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_groups() {
        let text = "\
groups:
- name: g
  interval: 30s
  query_offset: 1m
  limit: 10
  labels: {team: a, site: north}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
    labels: {team: b}
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 1m
    labels: {severity: '{{ $labels.job }}'}
    annotations:
      summary: \"{{ $labels.instance }} is down\"
";
        let file = RuleFile::parse(text).unwrap();
        let [group] = &file.groups[..] else { panic!("one group") };
        assert_eq!(
            (group.interval, group.query_offset, group.limit),
            (Some(Duration::from_secs(30)), Some(Duration::from_secs(60)), 10)
        );
        let names: Vec<_> =
            group.rules.iter().map(|rule| format!("{} {} {}", rule.name(), rule.line, rule.expr)).collect();
        assert_eq!(names, ["job:up:sum 8 sum by (job) (up)", "Down 11 up == 0"]);
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(*group.rules[0].labels, [label("site", "north"), label("team", "b")]);
        let RuleKind::Alert { hold_for, keep_firing_for, annotations, .. } = &group.rules[1].kind else {
            panic!("an alert")
        };
        assert_eq!((hold_for.as_secs(), keep_firing_for.as_secs()), (300, 60));
        assert_eq!(**annotations, [label("summary", "{{ $labels.instance }} is down")]);
        assert!(RuleFile::parse("").unwrap().groups.is_empty());
    }

    /// `expected` are all problems as people see them.
    #[track_caller]
    fn refuses(rules: &str, expected: &[&str]) {
        let text = format!("groups:\n- name: g\n  rules:\n{rules}");
        let problems = RuleFile::parse(&text).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{rules}");
    }

    #[test]
    fn an_expression_can_be_read_again_when_it_is_printed() {
        // Each quotation mark is printed as two characters.
        let rule =
            |n: usize| format!("groups: [{{name: g, rules: [{{record: r, expr: '{{a=`{}`}}'}}]}}]", "\"".repeat(n));
        let read = |n: usize| RuleFile::parse(&rule(n)).map(|file| file.groups[0].rules[0].expr.parse().is_ok());
        assert_eq!(read(200_000), Ok(true));
        let refused = read(400_000).unwrap_err();
        assert!(refused[0].message.contains("could not parse expression"), "{}", refused[0].message);
    }

    #[test]
    fn names_every_problem() {
        refuses(
            "  - alert: A\n    expr: up\n    annotation: {}\n  - record: '{x}'\n    expr: up\n    for: 1m\n",
            &[
                "6:5: field annotation not found, did you mean annotations? (in groups[0].rules[0].annotation)",
                "7:13: group \"g\", rule 2, \"{x}\": braces present in the recording rule name; should it be in expr?: {x} (in groups[0].rules[1].record)",
                "9:10: group \"g\", rule 2, \"{x}\": invalid field 'for' in recording rule (in groups[0].rules[1].for)",
            ],
        );
        refuses(
            "  - alert: A\n    expr: up\n    labels:\n      a: '{{ $label.x }}'\n      b: '{{ query \"up\" }}'\n",
            &[
                "7:10: group \"g\", rule 1, \"A\": label \"a\": template: line 1: undefined variable \"$label\" (in groups[0].rules[0].labels.a)",
            ],
        );
        refuses(
            "  - alert: A\n    expr: up\n    for: 5\n  - \n",
            &[
                "6:10: not a valid duration string: \"5\" (in groups[0].rules[0].for)",
                "7:5: group \"g\", rule 2, \"\": one of 'record' or 'alert' must be set (in groups[0].rules[1])",
            ],
        );
    }
}
