//! Unit tests of rules, as `promtool test rules` reads them.
//!
//! Here is what a file says, and whether it says it right; expressions and series stay texts, because a wrong one is a test
//! that fails, not a file that cannot be read.

use std::collections::BTreeMap;
use std::time::Duration;

use relatum_model::{Labels, LabelsBuilder};

use crate::Problem;
use crate::yaml::{self, Cursor, Findings};

/// A file of unit tests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuleTestFile {
    /// Patterns of the rule files under test.
    pub rule_files: Vec<String>,
    /// How often rules are evaluated.
    pub evaluation_interval: Duration,
    /// Groups in the order in which they are evaluated; others come after them.
    pub group_eval_order: Vec<String>,
    /// Whether values may differ a little.
    pub fuzzy_compare: bool,
    /// The tests.
    pub tests: Vec<RuleTest>,
}

/// One test: series, and what comes of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuleTest {
    /// Its name; may be empty.
    pub name: String,
    /// The distance of the samples.
    pub interval: Duration,
    /// The series.
    pub input_series: Vec<InputSeries>,
    /// Which alerts are expected.
    pub alert_rule_tests: Vec<AlertRuleTest>,
    /// What expressions are expected to give.
    pub expr_tests: Vec<ExprTest>,
    /// The external labels that templates see.
    pub external_labels: Labels,
    /// The URL that templates see.
    pub external_url: String,
    /// When the first sample is, in milliseconds since the epoch.
    pub start_ms: i64,
}

/// A series in the notation of tests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputSeries {
    /// Name and labels.
    pub series: String,
    /// Its samples, such as `0+1x10 _ stale`.
    pub values: String,
}

/// Which alerts are firing or pending at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertRuleTest {
    /// The moment, from the start.
    pub eval_time: Duration,
    /// The alert.
    pub alertname: String,
    /// What it must be; nothing when it must not be.
    pub expected: Vec<ExpectedAlert>,
    /// The line of the test.
    pub line: u64,
}

/// One expected alert.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectedAlert {
    /// Its labels, without the name.
    pub labels: BTreeMap<String, String>,
    /// Its texts.
    pub annotations: BTreeMap<String, String>,
}

/// What an expression gives at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExprTest {
    /// The expression.
    pub expr: String,
    /// The moment, from the start.
    pub eval_time: Duration,
    /// The samples, in any order.
    pub expected: Vec<ExpectedSample>,
    /// The line of the test.
    pub line: u64,
}

/// One expected sample.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpectedSample {
    /// Name and labels, as a selector has them.
    pub labels: String,
    /// The value, if it is a number.
    pub value: f64,
    /// The value as a histogram in the notation of tests; empty for a number.
    pub histogram: String,
}

const MINUTE: Duration = Duration::from_secs(60);

impl RuleTestFile {
    /// Reads a file of unit tests.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (root, more) = yaml::parse(text).map_err(|problem| vec![problem])?;
        let findings = Findings::default();
        let mut file = RuleTestFile { evaluation_interval: MINUTE, ..RuleTestFile::default() };
        if let Some(root) = &root {
            file.read(Cursor::new(root, &findings));
        }
        if more {
            findings.general("the file has more than one YAML document");
        }
        let found = findings.finish(root.as_ref());
        if found.problems.is_empty() { Ok(file) } else { Err(found.problems) }
    }

    fn read(&mut self, cursor: Cursor<'_>) {
        let Some(mut section) = cursor.section() else { return };
        self.rule_files = section.take("rule_files").map(Cursor::strings).unwrap_or_default();
        let interval = section.take("evaluation_interval").and_then(Cursor::duration);
        self.evaluation_interval = interval.filter(|interval| !interval.is_zero()).unwrap_or(MINUTE);
        self.fuzzy_compare = section.take("fuzzy_compare").and_then(Cursor::bool).unwrap_or(false);
        for item in section.take("group_eval_order").map(Cursor::items).unwrap_or_default() {
            let Some(name) = item.string() else { continue };
            if self.group_eval_order.contains(&name) {
                item.invalid(format!("group name repeated in evaluation order: {name}"));
            }
            self.group_eval_order.push(name);
        }
        let tests = section.take("tests").map(Cursor::items).unwrap_or_default();
        self.tests = tests.into_iter().map(|test| RuleTest::read(test, self.evaluation_interval)).collect();
        section.finish();
    }
}

/// The texts under `key` in each item of a list.
fn string(section: &mut yaml::Section<'_>, key: &'static str) -> String {
    section.take(key).and_then(Cursor::string).unwrap_or_default()
}

impl RuleTest {
    fn read(cursor: Cursor<'_>, interval: Duration) -> Self {
        let mut test = RuleTest { interval, ..RuleTest::default() };
        let Some(mut section) = cursor.section() else { return test };
        if let Some(own) = section.take("interval").and_then(Cursor::duration).filter(|own| !own.is_zero()) {
            test.interval = own;
        }
        test.name = string(&mut section, "name");
        test.external_url = string(&mut section, "external_url");
        let mut labels = LabelsBuilder::new();
        for (name, value) in section.take("external_labels").map(Cursor::string_map).unwrap_or_default() {
            labels.set(name, value);
        }
        test.external_labels = labels.build();
        test.start_ms = section.take("start_timestamp").and_then(read_time).unwrap_or(0);
        for item in section.take("input_series").map(Cursor::items).unwrap_or_default() {
            let Some(mut series) = item.section() else { continue };
            let (name, values) = (string(&mut series, "series"), string(&mut series, "values"));
            test.input_series.push(InputSeries { series: name, values });
            series.finish();
        }
        let alerts = section.take("alert_rule_test").map(Cursor::items).unwrap_or_default();
        test.alert_rule_tests = alerts.into_iter().filter_map(AlertRuleTest::read).collect();
        let exprs = section.take("promql_expr_test").map(Cursor::items).unwrap_or_default();
        test.expr_tests = exprs.into_iter().filter_map(ExprTest::read).collect();
        section.finish();
        test
    }
}

impl AlertRuleTest {
    fn read(cursor: Cursor<'_>) -> Option<Self> {
        let mut section = cursor.section()?;
        let mut test = AlertRuleTest {
            eval_time: section.take("eval_time").and_then(Cursor::duration).unwrap_or_default(),
            alertname: string(&mut section, "alertname"),
            expected: Vec::new(),
            line: cursor.line(),
        };
        for item in section.take("exp_alerts").map(Cursor::items).unwrap_or_default() {
            let mut alert = ExpectedAlert::default();
            if let Some(mut section) = item.section() {
                alert.labels = section.take("exp_labels").map(Cursor::string_map).unwrap_or_default();
                alert.annotations = section.take("exp_annotations").map(Cursor::string_map).unwrap_or_default();
                section.finish();
            }
            test.expected.push(alert);
        }
        section.finish();
        Some(test)
    }
}

impl ExprTest {
    fn read(cursor: Cursor<'_>) -> Option<Self> {
        let mut section = cursor.section()?;
        let mut test = ExprTest {
            expr: string(&mut section, "expr"),
            eval_time: section.take("eval_time").and_then(Cursor::duration).unwrap_or_default(),
            expected: Vec::new(),
            line: cursor.line(),
        };
        for item in section.take("exp_samples").map(Cursor::items).unwrap_or_default() {
            let mut sample = ExpectedSample::default();
            if let Some(mut section) = item.section() {
                sample.labels = string(&mut section, "labels");
                sample.histogram = string(&mut section, "histogram");
                sample.value = section.take("value").and_then(Cursor::float).unwrap_or(0.0);
                section.finish();
            }
            test.expected.push(sample);
        }
        section.finish();
        Some(test)
    }
}

/// Seconds since the epoch, or a moment by RFC 3339; in milliseconds.
fn read_time(cursor: Cursor<'_>) -> Option<i64> {
    let text = cursor.non_empty()?;
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        return Some((seconds * 1000.0) as i64);
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Some(at.as_millisecond()),
        Err(_) => {
            let text = relatum_model::text::quote(&text);
            cursor.invalid(format!("cannot parse {text} to a valid timestamp"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_tests() {
        let file = RuleTestFile::parse(
            "rule_files: [a.yml]\ntests:\n- name: t\n  interval: 30s\n  start_timestamp: 2020-01-01T00:00:00Z\n  \
             external_labels: {site: n}\n  input_series: [{series: 'up{a=\"b\"}', values: '1x3'}]\n  \
             alert_rule_test:\n  - {eval_time: 5m, alertname: A, exp_alerts: [{exp_labels: {a: b}, exp_annotations: {c: d}}]}\n  \
             promql_expr_test:\n  - {expr: up, eval_time: 1m, exp_samples: [{labels: up, value: 1.5}, {histogram: '{{}}'}]}\n",
        )
        .unwrap();
        let test = &file.tests[0];
        assert_eq!((file.evaluation_interval, test.interval.as_secs()), (MINUTE, 30));
        assert_eq!((test.start_ms, test.external_labels.to_string().as_str()), (1_577_836_800_000, "{site=\"n\"}"));
        assert_eq!((test.input_series[0].values.as_str(), test.alert_rule_tests[0].line), ("1x3", 9));
        assert_eq!(test.alert_rule_tests[0].expected[0].annotations["c"], "d");
        assert_eq!((test.expr_tests[0].expected[0].value, test.expr_tests[0].expected.len()), (1.5, 2));
    }

    #[test]
    fn refuses_by_name() {
        for (text, expected) in [
            ("test: []\n", "1:1: field test not found, did you mean tests? (in test)"),
            (
                "tests: [{alert_rule_test: [{eval_tim: 1m}]}]\n",
                "1:29: field eval_tim not found, did you mean eval_time? (in tests[0].alert_rule_test[0].eval_tim)",
            ),
            ("group_eval_order: [a, a]\n", "1:23: group name repeated in evaluation order: a (in group_eval_order[1])"),
            (
                "tests: [{start_timestamp: soon}]\n",
                "1:27: cannot parse \"soon\" to a valid timestamp (in tests[0].start_timestamp)",
            ),
        ] {
            assert_eq!(RuleTestFile::parse(text).unwrap_err()[0].to_string(), expected);
        }
    }
}
