//! Loads series, makes evaluations, and compares.

use std::collections::HashMap;

use relatum_model::histogram::Buckets;
use relatum_model::storage::{Scope, Select};
use relatum_model::{Histogram, Labels, Series, is_stale};
use relatum_promql::memory::Memory;
use relatum_promql::notation::{Described, DescribedHistogram, Point};
use relatum_promql::syntax::{At, Expr};
use relatum_promql::{Answer, Engine, QueryError, QueryOptions, Value, VectorSample};

use super::nhcb::custom_bucket_histograms;
use super::script::{Command, Eval, Expected, Kind, Moments};

/// How an evaluation went.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
}

/// Where series are loaded into and selected from.
pub(crate) trait Source {
    /// Adds a float that began to count at `start_ms`, 0 if that is not known.
    fn add(&mut self, labels: &Labels, t_ms: i64, start_ms: i64, value: f64);
    /// Adds a histogram.
    fn add_histogram(&mut self, labels: &Labels, t_ms: i64, start_ms: i64, histogram: Histogram<f64>);
    /// Makes everything added so far visible.
    fn settle(&mut self);
    /// What was added.
    fn select(&self) -> &dyn Select;
}

impl Source for Memory {
    fn add(&mut self, labels: &Labels, t_ms: i64, start_ms: i64, value: f64) {
        self.add_started(labels, t_ms, start_ms, value);
    }

    fn add_histogram(&mut self, labels: &Labels, t_ms: i64, start_ms: i64, histogram: Histogram<f64>) {
        Memory::add_histogram(self, labels, t_ms, start_ms, histogram);
    }

    fn settle(&mut self) {}

    fn select(&self) -> &dyn Select {
        self
    }
}

/// What was loaded.
#[derive(Default)]
pub(crate) struct World<S> {
    source: S,
}

impl<S: Source + Default> World<S> {
    pub(crate) fn run(&mut self, engine: &Engine, command: &Command) -> Option<Outcome> {
        match &command.kind {
            Kind::Clear => {
                *self = World::default();
                None
            }
            Kind::Load { step_ms, with_nhcb, series } => {
                self.load(*step_ms, *with_nhcb, series);
                None
            }
            Kind::Eval(eval) => Some(
                self.eval(engine, eval)
                    .map_or_else(|reason| Outcome::Failed(format!("{}: {reason}", eval.query)), |()| Outcome::Passed),
            ),
        }
    }

    fn load(&mut self, step_ms: i64, with_nhcb: bool, series: &[Described]) {
        // When samples began to count is said in a line of its own.
        let mut starts: HashMap<&Labels, &[Option<i64>]> = HashMap::new();
        for described in series {
            if let Some(of_series) = &described.starts {
                starts.insert(&described.labels, of_series);
            }
        }
        for described in series {
            let starts = starts.get(&described.labels).copied().unwrap_or_default();
            for (at, point) in described.points.iter().enumerate() {
                let t_ms = at as i64 * step_ms;
                let start_ms = starts.get(at).copied().flatten().map_or(0, |from_sample| t_ms + from_sample);
                match point {
                    Point::Float(value) => self.source.add(&described.labels, t_ms, start_ms, *value),
                    Point::Histogram(described_histogram) => {
                        let histogram = described_histogram.histogram.clone();
                        self.source.add_histogram(&described.labels, t_ms, start_ms, histogram);
                    }
                    Point::Missing => {}
                }
            }
        }
        if with_nhcb {
            for (labels, t_ms, histogram) in custom_bucket_histograms(step_ms, series) {
                self.source.add_histogram(&labels, t_ms, 0, histogram);
            }
        }
        self.source.settle();
    }

    fn eval(&self, engine: &Engine, eval: &Eval) -> Result<(), String> {
        match eval.moments {
            Moments::Range { start_ms, end_ms, step_ms } => {
                let answer = self.range(engine, &eval.query, start_ms, end_ms, step_ms);
                let Some(answer) = expect_failure(eval, answer)? else { return Ok(()) };
                check_annotations(eval, &answer)?;
                check_value(eval, &answer.value)
            }
            Moments::Instant(at_ms) => {
                self.eval_instant(engine, eval, &eval.query, at_ms)?;
                for (query, at_ms) in with_at(engine, &eval.query, at_ms) {
                    self.eval_instant(engine, eval, &query, at_ms)
                        .map_err(|reason| format!("as {query} at {at_ms}: {reason}"))?;
                }
                Ok(())
            }
        }
    }

    fn eval_instant(&self, engine: &Engine, eval: &Eval, query: &str, at_ms: i64) -> Result<(), String> {
        let answer = engine.instant(self.source.select(), &Scope::all(), query, at_ms, &QueryOptions::default());
        let Some(answer) = expect_failure(eval, answer)? else { return Ok(()) };
        check_annotations(eval, &answer)?;
        check_value(eval, &answer.value)?;
        let depends_on_range = ["start()", "end()", "range()", "step()"].iter().any(|call| query.contains(call));
        if depends_on_range || eval.is_ordered || matches!(answer.value, Value::Matrix(_) | Value::String { .. }) {
            return Ok(());
        }
        let in_range = self
            .range(engine, query, at_ms - 60_000, at_ms + 60_000, 60_000)
            .map_err(|error| format!("in range mode: {error}"))?;
        let Value::Matrix(series) = in_range.value else { return Err("a range gave no matrix".to_owned()) };
        let middle = series
            .into_iter()
            .filter_map(|series| {
                let float =
                    series.samples.iter().find(|sample| sample.t_ms == at_ms).map(|sample| Found::Float(sample.value));
                let histogram = || {
                    let found = series.samples.histograms.iter().find(|sample| sample.t_ms == at_ms)?;
                    Some(Found::Histogram(Box::new(found.histogram.to_float())))
                };
                Some((series.labels.clone(), float.or_else(histogram)?))
            })
            .collect::<Vec<_>>();
        check_vector(eval, &middle).map_err(|reason| format!("in range mode: {reason}"))
    }

    fn range(
        &self,
        engine: &Engine,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Answer, QueryError> {
        engine.range(self.source.select(), &Scope::all(), query, start_ms, end_ms, step_ms, &QueryOptions::default())
    }
}

/// The query with `@` on all selectors, and moments at which it must give the same.
fn with_at(engine: &Engine, query: &str, at_ms: i64) -> Vec<(String, i64)> {
    const LOOKS_AT_CLOCK: [&str; 14] = [
        "days_in_month",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "end",
        "hour",
        "minute",
        "month",
        "year",
        "predict_linear",
        "range",
        "start",
        "step",
        "time",
    ];
    let Ok(mut expr) = engine.parse(query) else { return Vec::new() };
    let mut looks_at_clock = false;
    expr.walk(&mut |node| {
        if let Expr::Call(call) = node {
            looks_at_clock |= LOOKS_AT_CLOCK.contains(&call.function.name) || call.function.name == "timestamp";
        }
    });
    if looks_at_clock {
        return Vec::new();
    }
    pin(&mut expr, at_ms);
    let query = expr.to_string();
    let moments = if at_ms == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms] };
    moments.into_iter().map(|moment| (query.clone(), moment)).collect()
}

fn pin(expr: &mut Expr, at_ms: i64) {
    let at = Some(At::Time(at_ms));
    match expr {
        Expr::Selector(selector) => selector.at = selector.at.or(at),
        Expr::Matrix(matrix) => matrix.selector.at = matrix.selector.at.or(at),
        // What is inside follows the steps of the subquery.
        Expr::Subquery(subquery) => subquery.at = subquery.at.or(at),
        Expr::Call(call) if call.function.name == "info" => pin(&mut call.args[0], at_ms),
        other => {
            for child in other.children_mut() {
                pin(child, at_ms);
            }
        }
    }
}

/// The answer, if one is expected.
fn expect_failure(eval: &Eval, answer: Result<Answer, QueryError>) -> Result<Option<Answer>, String> {
    match (answer, &eval.fail) {
        (Ok(answer), None) => Ok(Some(answer)),
        (Ok(_), Some(_)) => Err("should fail".to_owned()),
        (Err(error), None) => Err(format!("fails: {error}")),
        (Err(error), Some(pattern)) if pattern.matches(&error.to_string()) => Ok(None),
        (Err(error), Some(pattern)) => Err(format!("fails with {error:?}, not with {pattern:?}")),
    }
}

fn check_annotations(eval: &Eval, answer: &Answer) -> Result<(), String> {
    for (kind, found, expected, none_expected) in [
        ("warnings", &answer.warnings, &eval.warnings, eval.no_warnings),
        ("infos", &answer.infos, &eval.infos, eval.no_infos),
    ] {
        if none_expected && !found.is_empty() {
            return Err(format!("unexpected {kind} {found:?}"));
        }
        if expected.is_empty() {
            continue;
        }
        let all_found = expected.iter().all(|pattern| found.iter().any(|text| pattern.matches(text)));
        let all_expected = found.iter().all(|text| expected.iter().any(|pattern| pattern.matches(text)));
        if !all_found || !all_expected {
            return Err(format!("{kind} are {found:?}, not {expected:?}"));
        }
    }
    Ok(())
}

/// A value that was found.
#[derive(Debug)]
enum Found {
    Float(f64),
    Histogram(Box<Histogram<f64>>),
}

impl Found {
    fn is(&self, expected: &Point) -> bool {
        match (self, expected) {
            (Found::Float(found), Point::Float(expected)) => is_near(*found, *expected),
            (Found::Histogram(found), Point::Histogram(expected)) => is_same_histogram(found, expected),
            _ => false,
        }
    }
}

fn check_value(eval: &Eval, value: &Value) -> Result<(), String> {
    match (value, &eval.expected) {
        (Value::Scalar { value, .. }, _) => check_vector(eval, &[(Labels::empty(), Found::Float(*value))]),
        (Value::String { text, .. }, Expected::Text(expected)) if text == expected => Ok(()),
        (Value::Vector(vector), _) => {
            let found = |sample: &VectorSample| match &sample.histogram {
                Some(histogram) => Found::Histogram(Box::new(Histogram::clone(histogram))),
                None => Found::Float(sample.value),
            };
            let found: Vec<(Labels, Found)> =
                vector.iter().map(|sample| (sample.labels.clone(), found(sample))).collect();
            check_vector(eval, &found)
        }
        (Value::Matrix(found), Expected::RangeVector { start_ms, step_ms, series }) => {
            check_matrix(found, series, *start_ms, *step_ms)
        }
        (Value::Matrix(found), Expected::Series(series)) => match eval.moments {
            Moments::Range { start_ms, step_ms, .. } => check_matrix(found, series, start_ms, step_ms),
            Moments::Instant(_) => Err(format!("gives a matrix: {found:?}")),
        },
        (Value::Matrix(found), Expected::Scalar(expected)) => match found.as_slice() {
            [series] if series.samples.values.iter().all(|value| is_near(*value, *expected)) => Ok(()),
            _ => Err(format!("gives {found:?}, not {expected}")),
        },
        (found, expected) => Err(format!("gives {found:?}, not {expected:?}")),
    }
}

fn check_vector(eval: &Eval, found: &[(Labels, Found)]) -> Result<(), String> {
    let expected: Vec<(Labels, Point)> = match &eval.expected {
        Expected::Scalar(value) => vec![(Labels::empty(), Point::Float(*value))],
        Expected::Series(series) => series
            .iter()
            .filter_map(|described| match described.points.first() {
                None | Some(Point::Missing) => None,
                Some(point) => Some((described.labels.clone(), point.clone())),
            })
            .collect(),
        other => return Err(format!("gives {found:?}, not {other:?}")),
    };
    let is_right = found.len() == expected.len()
        && found.iter().enumerate().all(|(at, (labels, value))| {
            expected.iter().enumerate().any(|(expected_at, (expected_labels, expected_value))| {
                labels == expected_labels && value.is(expected_value) && (!eval.is_ordered || at == expected_at)
            })
        });
    if is_right { Ok(()) } else { Err(format!("gives {found:?}, not {expected:?}")) }
}

fn check_matrix(found: &[Series], expected: &[Described], start_ms: i64, step_ms: i64) -> Result<(), String> {
    if !found.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err(format!("is not sorted: {found:?}"));
    }
    let expected: Vec<(&Labels, Vec<(i64, &Point)>)> = expected
        .iter()
        .map(|described| {
            let points = described.points.iter().enumerate();
            let points = points.filter(|(_, point)| **point != Point::Missing);
            (&described.labels, points.map(|(at, point)| (start_ms + at as i64 * step_ms, point)).collect())
        })
        .collect();
    let values = |series: &Series| {
        let floats = series.samples.iter().map(|sample| (sample.t_ms, Found::Float(sample.value)));
        let histograms = series.samples.histograms.iter();
        let histograms =
            histograms.map(|sample| (sample.t_ms, Found::Histogram(Box::new(sample.histogram.to_float()))));
        let mut values: Vec<(i64, Found)> = floats.chain(histograms).collect();
        values.sort_by_key(|(t_ms, _)| *t_ms);
        values
    };
    let is_right = found.len() == expected.len()
        && found.iter().all(|series| {
            let values = values(series);
            expected.iter().any(|(labels, points)| {
                **labels == series.labels
                    && points.len() == values.len()
                    && points
                        .iter()
                        .zip(&values)
                        .all(|((t_ms, expected), (found_ms, found))| t_ms == found_ms && found.is(expected))
            })
        });
    if is_right { Ok(()) } else { Err(format!("gives {found:?}, not {expected:?}")) }
}

/// Equal but for rounding and empty buckets; what is known of the histogram before counts if the script says something of it.
fn is_same_histogram(found: &Histogram<f64>, described: &DescribedHistogram) -> bool {
    let mut found = found.clone();
    let mut expected = described.histogram.clone();
    found.compact();
    expected.compact();
    let is_same = |found: &Buckets<f64>, expected: &Buckets<f64>| {
        found.counts.len() == expected.counts.len()
            && found.iter().zip(expected.iter()).all(|(a, b)| a.0 == b.0 && is_near(a.1, b.1))
    };
    (!described.hint_is_given || found.counter_reset == expected.counter_reset)
        && found.schema == expected.schema
        && found.zero_threshold == expected.zero_threshold
        && found.custom_bounds == expected.custom_bounds
        && is_near(found.zero_count, expected.zero_count)
        && is_near(found.count, expected.count)
        && is_near(found.sum, expected.sum)
        && is_same(&found.positive, &expected.positive)
        && is_same(&found.negative, &expected.negative)
}

/// Equal but for rounding, as the notation's own runner has it.
fn is_near(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 1e-6;
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < TOLERANCE * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < TOLERANCE
}
