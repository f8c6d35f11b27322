//! Loads series, makes evaluations, and compares.

use relatum_model::storage::Scope;
use relatum_model::{Labels, Series, is_stale};
use relatum_promql::memory::Memory;
use relatum_promql::notation::{Described, Point};
use relatum_promql::syntax::{At, Expr, selectors};
use relatum_promql::{Answer, Engine, QueryError, QueryOptions, Value};

use crate::script::{Command, Eval, Expected, Kind, Moments};

/// How an evaluation went.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// It needs kinds of samples that are not kept yet.
    Skipped,
}

/// What was loaded.
#[derive(Default)]
pub(crate) struct World {
    memory: Memory,
    // Series that cannot be loaded as they were meant.
    left_out: Vec<Labels>,
}

impl World {
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
            Kind::Eval(eval) => Some(if self.needs_more_than_floats(engine, eval) {
                Outcome::Skipped
            } else {
                self.eval(engine, eval)
                    .map_or_else(|reason| Outcome::Failed(format!("{}: {reason}", eval.query)), |()| Outcome::Passed)
            }),
        }
    }

    fn load(&mut self, step_ms: i64, with_nhcb: bool, series: &[Described]) {
        for described in series {
            if described.has_histograms() || described.is_start_timestamps {
                self.left_out.push(described.labels.clone());
            }
            if let (true, Some(name)) = (with_nhcb, described.labels.metric_name()) {
                for suffix in ["_bucket", "_count", "_sum"] {
                    if let Some(base) = name.strip_suffix(suffix) {
                        let mut builder = described.labels.to_builder();
                        builder.set("__name__", base).remove("le");
                        self.left_out.push(builder.build());
                    }
                }
            }
            for (at, point) in described.points.iter().enumerate() {
                if let Point::Float(value) = point {
                    self.memory.add(&described.labels, at as i64 * step_ms, *value);
                }
            }
        }
    }

    fn needs_more_than_floats(&self, engine: &Engine, eval: &Eval) -> bool {
        let expected = match &eval.expected {
            Expected::Series(series) | Expected::RangeVector { series, .. } => series.as_slice(),
            _ => &[],
        };
        if expected.iter().any(Described::has_histograms) {
            return true;
        }
        let Ok(expr) = engine.parse(&eval.query) else { return false };
        selectors(&expr).iter().any(|selector| {
            let matchers = selector.all_matchers();
            self.left_out.iter().any(|labels| matchers.iter().all(|matcher| matcher.matches_labels(labels)))
        })
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
        let answer = engine.instant(&self.memory, &Scope::all(), query, at_ms, &QueryOptions::default());
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
                let value = series.samples.iter().find(|sample| sample.t_ms == at_ms)?.value;
                Some((series.labels, value))
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
        engine.range(&self.memory, &Scope::all(), query, start_ms, end_ms, step_ms, &QueryOptions::default())
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

fn check_value(eval: &Eval, value: &Value) -> Result<(), String> {
    match (value, &eval.expected) {
        (Value::Scalar { value, .. }, _) => check_vector(eval, &[(Labels::empty(), *value)]),
        (Value::String { text, .. }, Expected::Text(expected)) if text == expected => Ok(()),
        (Value::Vector(vector), _) => {
            let found: Vec<(Labels, f64)> = vector.iter().map(|sample| (sample.labels.clone(), sample.value)).collect();
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

fn check_vector(eval: &Eval, found: &[(Labels, f64)]) -> Result<(), String> {
    let expected: Vec<(Labels, f64)> = match &eval.expected {
        Expected::Scalar(value) => vec![(Labels::empty(), *value)],
        Expected::Series(series) => series
            .iter()
            .filter_map(|described| match described.points.first() {
                Some(Point::Float(value)) => Some((described.labels.clone(), *value)),
                _ => None,
            })
            .collect(),
        other => return Err(format!("gives {found:?}, not {other:?}")),
    };
    let is_right = found.len() == expected.len()
        && found.iter().enumerate().all(|(at, (labels, value))| {
            expected.iter().enumerate().any(|(expected_at, (expected_labels, expected_value))| {
                labels == expected_labels && is_near(*value, *expected_value) && (!eval.is_ordered || at == expected_at)
            })
        });
    if is_right { Ok(()) } else { Err(format!("gives {found:?}, not {expected:?}")) }
}

fn check_matrix(found: &[Series], expected: &[Described], start_ms: i64, step_ms: i64) -> Result<(), String> {
    if !found.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err(format!("is not sorted: {found:?}"));
    }
    let expected: Vec<(&Labels, Vec<(i64, f64)>)> = expected
        .iter()
        .map(|described| {
            let points = described.points.iter().enumerate().filter_map(|(at, point)| match point {
                Point::Float(value) => Some((start_ms + at as i64 * step_ms, *value)),
                _ => None,
            });
            (&described.labels, points.collect())
        })
        .collect();
    let is_right = found.len() == expected.len()
        && found.iter().all(|series| {
            expected.iter().any(|(labels, points)| {
                **labels == series.labels
                    && points.len() == series.samples.len()
                    && points
                        .iter()
                        .zip(series.samples.iter())
                        .all(|((t_ms, value), sample)| *t_ms == sample.t_ms && is_near(sample.value, *value))
            })
        });
    if is_right { Ok(()) } else { Err(format!("gives {found:?}, not {expected:?}")) }
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
