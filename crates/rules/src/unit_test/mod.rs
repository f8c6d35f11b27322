//! Carries out unit tests of rules, with the verdicts of `promtool test rules`.
//!
//! The rules are evaluated by the same [`Group`] that a server runs, on series in memory. Which files there are, and how failures
//! are shown, is left to others.

mod failure;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use relatum_config::prometheus::GlobalConfig;
use relatum_config::rule_tests::{AlertRuleTest, ExprTest, RuleTest, RuleTestFile};
use relatum_config::rules::RuleFile;
use relatum_model::storage::{Append, Scope, SeriesRef};
use relatum_model::text::quote;
use relatum_model::{Labels, NativeHistogram};
use relatum_promql::notation::{self, Point};
use relatum_promql::{Engine, EngineOptions, QueryOptions, Value, VectorSample};

use crate::alert::{AlertState, ms};
use crate::group::{Group, GroupSource, Tick};
pub use failure::{AskedSample, Failure, FiredAlert};
use store::Store;

/// How many samples a query of a test may hold, as in promtool: what passes here passes there.
const SAMPLES_MAX: usize = 10_000;

/// Carries out one test of `file` on `rules`, the rule files it names with their paths.
pub fn run(file: &RuleTestFile, test: &RuleTest, rules: &[(String, RuleFile)]) -> Vec<Failure> {
    if let Some(nameless) = test.alert_rule_tests.iter().find(|alert| alert.alertname.is_empty()) {
        let at = relatum_model::time::format_duration(nameless.eval_time);
        let reason = format!("an item under alert_rule_test misses required attribute alertname at eval_time {at}");
        return vec![Failure::Test { test: test.name.clone(), reason }];
    }
    let mut failures = Vec::new();
    let mut run = match Run::new(file, test, rules) {
        Ok(run) => run,
        Err(reason) => return vec![Failure::Test { test: test.name.clone(), reason }],
    };
    if run.evaluate(&mut failures) {
        failures.extend(test.expr_tests.iter().filter_map(|expr_test| run.check_expr(expr_test)));
    }
    failures
}

struct Run<'a> {
    file: &'a RuleTestFile,
    test: &'a RuleTest,
    engine: Engine,
    store: Store,
    groups: Vec<Group>,
    /// The samples that are not loaded yet, the next one of each series last.
    ahead: BTreeMap<Labels, Vec<(Point, i64)>>,
}

impl<'a> Run<'a> {
    fn new(file: &'a RuleTestFile, test: &'a RuleTest, rules: &[(String, RuleFile)]) -> Result<Self, String> {
        let mut ahead = BTreeMap::new();
        for input in &test.input_series {
            let described = notation::parse(&format!("{} {}", input.series, input.values))?;
            let at_ms = (0..).map(|n| test.start_ms.saturating_add(ms(test.interval).saturating_mul(n)));
            let samples = described.points.into_iter().zip(at_ms);
            let mut samples: Vec<(Point, i64)> =
                samples.filter(|(point, _)| !matches!(point, Point::Missing)).collect();
            samples.reverse();
            ahead.insert(described.labels, samples);
        }
        let engine = Engine::new(EngineOptions {
            samples_max: SAMPLES_MAX,
            subquery_step: file.evaluation_interval,
            ..EngineOptions::default()
        });
        Ok(Run { file, test, engine, store: Store::default(), groups: ordered_groups(file, rules), ahead })
    }

    /// Evaluates the groups up to the last moment that a check asks for, and checks alerts on the way. Answers whether it got
    /// there: a rule that fails ends the test.
    fn evaluate(&mut self, failures: &mut Vec<Failure>) -> bool {
        let (test, interval) = (self.test, self.file.evaluation_interval);
        let alert_times = test.alert_rule_tests.iter().map(|alert| alert.eval_time);
        let end = alert_times.chain(test.expr_tests.iter().map(|expr| expr.eval_time)).max().unwrap_or_default();
        let mut alert_tests: Vec<&AlertRuleTest> = test.alert_rule_tests.iter().collect();
        alert_tests.sort_by_key(|alert| alert.eval_time);
        let mut alert_tests = alert_tests.into_iter().peekable();
        let mut since_start = Duration::ZERO;
        while since_start <= end {
            let broken = self.tick(test.start_ms.saturating_add(ms(since_start)));
            if !broken.is_empty() {
                failures.extend(broken);
                return false;
            }
            // A moment between two ticks sees what the earlier one left.
            while let Some(alert_test) = alert_tests.next_if(|alert| alert.eval_time < since_start + interval) {
                failures.extend(self.check_alerts(alert_test));
            }
            since_start += interval;
        }
        true
    }

    /// Loads what lies before `now_ms` and evaluates the groups; returns which rules failed.
    ///
    /// Samples come no sooner than their time, so that rules do not see the future.
    fn tick(&mut self, now_ms: i64) -> Vec<Failure> {
        let mut appender = self.store.appender();
        for (labels, samples) in &mut self.ahead {
            while let Some((point, t_ms)) = samples.pop_if(|(_, t_ms)| *t_ms <= now_ms) {
                // Where a rule records into the same series, the earlier one stays.
                let _ = match point {
                    Point::Missing => Ok(SeriesRef::NONE),
                    Point::Float(value) => appender.append(SeriesRef::NONE, labels, t_ms, value),
                    Point::Histogram(described) => {
                        let histogram = Arc::new(NativeHistogram::Float(described.histogram.clone()));
                        appender.append_histogram(SeriesRef::NONE, labels, t_ms, 0, &histogram)
                    }
                };
            }
        }
        appender.commit().expect("memory takes every batch");
        let tick = Tick {
            now_ms,
            engine: &self.engine,
            select: &self.store,
            append: &self.store,
            external_labels: &self.test.external_labels,
            external_url: &self.test.external_url,
            watch: None,
        };
        let at = Duration::from_millis(now_ms.max(0).unsigned_abs());
        let mut failures = Vec::new();
        for group in &mut self.groups {
            if group.evaluate(&tick).failures == 0 {
                continue;
            }
            for rule in group.view().rules {
                let name = rule.rule().name().to_owned();
                failures.extend(rule.last_error.map(|reason| Failure::Rule { rule: name, at, reason }));
            }
        }
        failures
    }

    fn check_alerts(&self, alert_test: &AlertRuleTest) -> Option<Failure> {
        let name = &alert_test.alertname;
        // Rules of several groups may have the same name.
        let rules = self.groups.iter().flat_map(|group| group.view().rules).filter(|rule| rule.rule().name() == *name);
        let alerts = rules.filter_map(|rule| rule.alerting).flat_map(|alerting| alerting.alerts);
        let firing = alerts.filter(|alert| alert.state == AlertState::Firing);
        let mut got: Vec<FiredAlert> =
            firing.map(|alert| FiredAlert { labels: alert.labels, annotations: alert.annotations }).collect();
        let expected = alert_test.expected.iter().map(|alert| {
            let mut labels = alert.labels.clone();
            labels.insert(relatum_model::labels::ALERT_NAME.to_owned(), name.clone());
            FiredAlert {
                labels: Labels::from_pairs(labels),
                annotations: Labels::from_pairs(alert.annotations.clone()),
            }
        });
        let mut expected: Vec<FiredAlert> = expected.collect();
        got.sort();
        expected.sort();
        (expected != got).then(|| Failure::Alerts {
            test: self.test.name.clone(),
            alertname: name.clone(),
            eval_time: alert_test.eval_time,
            expected,
            got,
        })
    }

    fn check_expr(&self, expr_test: &ExprTest) -> Option<Failure> {
        let (expr, eval_time) = (expr_test.expr.clone(), expr_test.eval_time);
        let (got, expected) = match self.ask(expr_test).and_then(|got| Ok((got, expected_samples(expr_test)?))) {
            Ok(samples) => samples,
            Err(reason) => return Some(Failure::Expr { expr, eval_time, reason }),
        };
        let is_same = expected.len() == got.len()
            && expected.iter().zip(&got).all(|(expected, got)| {
                expected.labels == got.labels
                    && expected.histogram == got.histogram
                    && self.is_equal(expected.value, got.value)
            });
        (!is_same).then_some(Failure::Samples { expr, eval_time, expected, got })
    }

    /// What the expression gives, sorted by labels.
    fn ask(&self, expr_test: &ExprTest) -> Result<Vec<AskedSample>, String> {
        let at_ms = self.test.start_ms.saturating_add(ms(expr_test.eval_time));
        let answer = self
            .engine
            .instant(&self.store, &Scope::all(), &expr_test.expr, at_ms, &QueryOptions::default())
            .map_err(|error| error.to_string())?;
        match answer.value {
            Value::Vector(samples) => {
                let asked = |sample: VectorSample| AskedSample {
                    histogram: sample.histogram.as_deref().map(notation::write_histogram).unwrap_or_default(),
                    labels: sample.labels,
                    value: sample.value,
                };
                let mut got: Vec<AskedSample> = samples.into_iter().map(asked).collect();
                got.sort_by(|a, b| a.labels.cmp(&b.labels));
                Ok(got)
            }
            Value::Scalar { value, .. } => {
                Ok(vec![AskedSample { labels: Labels::empty(), value, histogram: String::new() }])
            }
            Value::String { .. } | Value::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
        }
    }

    /// With `fuzzy_compare` neighbours are equal. NaN is never equal to anything, as in promtool.
    fn is_equal(&self, a: f64, b: f64) -> bool {
        a == b || self.file.fuzzy_compare && (a.next_up() == b || a.next_down() == b)
    }
}

fn expected_samples(expr_test: &ExprTest) -> Result<Vec<AskedSample>, String> {
    let mut expected = Vec::with_capacity(expr_test.expected.len());
    for sample in &expr_test.expected {
        let wrong = |error: String| format!("labels {}: {error}", quote(&sample.labels));
        let labels = notation::parse_labels(&sample.labels).map_err(wrong)?;
        let histogram = if sample.histogram.is_empty() {
            String::new()
        } else {
            expected_histogram(&sample.histogram).map_err(wrong)?
        };
        expected.push(AskedSample { labels, value: sample.value, histogram });
    }
    expected.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(expected)
}

/// The one histogram that `text` describes, in the form in which histograms are compared.
fn expected_histogram(text: &str) -> Result<String, String> {
    let described = notation::parse(&format!("{{}} {text}"))?;
    match described.points.as_slice() {
        [Point::Histogram(described)] => Ok(notation::write_histogram(&described.histogram)),
        [_] => Err(format!("expected histogram, got {text}")),
        points => Err(format!("expected 1 value, got {}", points.len())),
    }
}

/// The groups of all files: those that the test file puts in an order first, and in that order.
fn ordered_groups(file: &RuleTestFile, rules: &[(String, RuleFile)]) -> Vec<Group> {
    let defaults = GlobalConfig { evaluation_interval: file.evaluation_interval, ..GlobalConfig::default() };
    // A file that two patterns name is loaded once.
    let mut seen = BTreeSet::new();
    let files = rules.iter().filter(|(path, _)| seen.insert(path));
    let mut groups: Vec<_> = files
        .flat_map(|(path, file)| file.groups.iter().map(move |definition| (path, definition)))
        .map(|(path, definition)| {
            let place = file.group_eval_order.iter().position(|name| *name == definition.name);
            let source = GroupSource::new(path.as_str().into(), Arc::clone(definition), &defaults);
            let mut group = Group::new(source);
            group.begin_anew();
            (place.unwrap_or(usize::MAX), group)
        })
        .collect();
    groups.sort_by_key(|(place, _)| *place);
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests;
