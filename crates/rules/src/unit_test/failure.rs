//! What a unit test finds wrong, in promtool's words.

use std::fmt::{self, Write};
use std::time::Duration;

use relatum_model::Labels;
use relatum_model::text::{is_legacy_label_name, quote};
use relatum_model::time::format_duration;

/// What identifies an alert, and its texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiredAlert {
    /// Its labels, the name included.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
}

/// One element of what an expression gives.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedSample {
    /// What identifies the series.
    pub labels: Labels,
    /// The value; 0 if it is a histogram.
    pub value: f64,
    /// The histogram in the notation of tests, by which it is compared; empty if it is a number.
    pub histogram: String,
}

/// One thing that is not as a test expects it.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The test itself cannot be carried out.
    Test {
        /// The name of the test; may be empty.
        test: String,
        /// Why not.
        reason: String,
    },
    /// A rule cannot be evaluated. The test ends there.
    Rule {
        /// The rule.
        rule: String,
        /// When, from 1970 on.
        at: Duration,
        /// Why not.
        reason: String,
    },
    /// Other alerts fire than expected.
    Alerts {
        /// The name of the test; may be empty.
        test: String,
        /// Which alerts.
        alertname: String,
        /// When, from the start of the test.
        eval_time: Duration,
        /// What should fire, sorted.
        expected: Vec<FiredAlert>,
        /// What fires, sorted.
        got: Vec<FiredAlert>,
    },
    /// An expression cannot be evaluated, or not be compared.
    Expr {
        /// The expression.
        expr: String,
        /// When, from the start of the test.
        eval_time: Duration,
        /// Why not.
        reason: String,
    },
    /// An expression gives other samples than expected.
    Samples {
        /// The expression.
        expr: String,
        /// When, from the start of the test.
        eval_time: Duration,
        /// What it should give, sorted.
        expected: Vec<AskedSample>,
        /// What it gives, sorted.
        got: Vec<AskedSample>,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        match self {
            Failure::Test { reason, .. } => f.write_str(reason),
            Failure::Rule { reason, .. } | Failure::Expr { reason, .. } => write!(f, ", err: {reason}"),
            Failure::Alerts { expected, got, .. } => {
                write!(f, ", \n        exp:{}, \n        got:{}", list(expected), list(got))
            }
            Failure::Samples { expected, got, .. } => {
                write!(f, ",\n        exp: {}\n        got: {}", line(expected), line(got))
            }
        }
    }
}

impl Failure {
    /// As `Display`, but with only the lines in which what is expected and what is there differ: `-` is missing, `+` too much.
    pub fn diff(&self) -> String {
        let (expected, got): (Vec<String>, Vec<String>) = match self {
            Failure::Alerts { expected, got, .. } => {
                (expected.iter().flat_map(lines).collect(), got.iter().flat_map(lines).collect())
            }
            Failure::Samples { expected, got, .. } => {
                (expected.iter().map(sample).collect(), got.iter().map(sample).collect())
            }
            _ => return self.to_string(),
        };
        let mut text = Head(self).to_string();
        text.push_str(",\n        diff:");
        for (mark, ours, theirs) in [('-', &expected, &got), ('+', &got, &expected)] {
            for line in ours.iter().filter(|line| !theirs.contains(line)) {
                let _ = write!(text, "\n            {mark} {line}");
            }
        }
        text
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Test { test, .. } if test.is_empty() => f.write_str("    "),
            Failure::Test { test, .. } => write!(f, "    name: {test},\n    "),
            Failure::Rule { rule, at, .. } => write!(f, "    rule: {rule}, time: {}", format_duration(*at)),
            Failure::Expr { expr, eval_time, .. } | Failure::Samples { expr, eval_time, .. } => {
                write!(f, "    expr: {}, time: {}", quote(expr), format_duration(*eval_time))
            }
            Failure::Alerts { test, alertname, eval_time, .. } => {
                if !test.is_empty() {
                    writeln!(f, "    name: {test},")?;
                }
                write!(f, "    alertname: {alertname}, time: {}", format_duration(*eval_time))
            }
        }
    }
}

struct Head<'a>(&'a Failure);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.head(f)
    }
}

fn lines(alert: &FiredAlert) -> [String; 2] {
    [format!("Labels:{}", braces(&alert.labels)), format!("Annotations:{}", braces(&alert.annotations))]
}

fn list(alerts: &[FiredAlert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let mut text = String::from("[");
    for (at, alert) in alerts.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let [labels, annotations] = lines(alert);
        let _ = write!(text, "{comma}\n            {at}:\n              {labels}\n              {annotations}");
    }
    text + "\n            ]"
}

fn line(samples: &[AskedSample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    samples.iter().map(sample).collect::<Vec<_>>().join(", ")
}

fn sample(sample: &AskedSample) -> String {
    let AskedSample { labels, value, histogram } = sample;
    let value = if histogram.is_empty() { scientific(*value) } else { histogram.clone() };
    format!("{} {value}", braces(labels))
}

/// All labels inside of the braces, the name of the metric too.
fn braces(labels: &Labels) -> String {
    let label = |(name, value): (&str, &str)| {
        let name = if is_legacy_label_name(name) { name.to_owned() } else { quote(name) };
        format!("{name}={}", quote(value))
    };
    format!("{{{}}}", labels.iter().map(label).collect::<Vec<_>>().join(", "))
}

/// The shortest digits that read back the same, always with an exponent.
fn scientific(value: f64) -> String {
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}E{sign}{exponent:0>2}")
        }
        None => relatum_model::text::format_value(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, expected) in
            [(1.0, "1E+00"), (-2.5e-7, "-2.5E-07"), (1e123, "1E+123"), (f64::NAN, "NaN"), (f64::INFINITY, "+Inf")]
        {
            assert_eq!(scientific(value), expected);
        }
    }
}
