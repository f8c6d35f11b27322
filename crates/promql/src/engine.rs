//! The engine: reads a query, evaluates it within limits, and gives the answer.

use std::time::{Duration, Instant};

use relatum_model::Series;
use relatum_model::regex::CompileBudget;
use relatum_model::storage::{Cancel, Scope, Select};

use crate::annotation::Annotations;
use crate::error::QueryError;
use crate::eval::{
    Block, BucketUse, Budget, Evaluated, Evaluator, Limits, Settings, Shared, Steps, Views, histogram_sample,
};
use crate::probe::{Measuring, Probe};
use crate::syntax::{DurationContext, Expr, ParseError, ParseOptions, ValueType, parse, parse_within};
use crate::value::{Value, VectorSample};

/// How an engine reads and evaluates. The default is Prometheus'.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How old the newest sample of a series may be, and still be its value.
    pub lookback: Duration,
    /// How long a query may take; zero for any time.
    pub timeout: Duration,
    /// How many samples a query may hold at once.
    pub samples_max: usize,
    /// How many series it may read, those of all its selectors together; `usize::MAX` for any number.
    pub series_max: usize,
    /// About how many bytes of memory it may take at once: values, labels and what is read for them.
    pub bytes_max: usize,
    /// The resolution of subqueries that name none: the evaluation interval of rules.
    pub subquery_step: Duration,
    /// What of the syntax must be switched on.
    pub syntax: ParseOptions,
    /// Keep the names of metrics until the end of the evaluation: `promql-delayed-name-removal`.
    pub delayed_name_removal: bool,
    /// Take the type of a metric from its label `__type__`: `type-and-unit-labels`.
    pub type_and_unit_labels: bool,
    /// Evaluate what a query has more than once only once.
    pub shares: bool,
    /// Let functions of counters look at when samples began to count: `use-start-timestamps`.
    pub start_timestamps: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback: Duration::from_secs(5 * 60),
            timeout: Duration::from_secs(2 * 60),
            samples_max: 50_000_000,
            series_max: usize::MAX,
            bytes_max: usize::MAX,
            subquery_step: Duration::from_secs(60),
            syntax: ParseOptions::default(),
            delayed_name_removal: false,
            type_and_unit_labels: false,
            shares: true,
            start_timestamps: false,
        }
    }
}

/// What one query asks for beside its text. The default is what the engine has.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// In place of the engine's lookback.
    pub lookback: Option<Duration>,
    /// How long this query may take; never longer than the engine allows.
    pub timeout: Option<Duration>,
    /// How many series of the result are of interest, 0 for all. There may be more, but not fewer if there are so many.
    pub limit: usize,
    /// Stops the query from another thread.
    pub cancel: Cancel,
    /// Measures the query.
    pub probe: Option<Probe>,
}

/// The result of a query, and what its author should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// What is probably wrong with the query or with its data. The texts are Prometheus'.
    pub warnings: Vec<String>,
    /// What may be wrong with them.
    pub infos: Vec<String>,
}

/// Evaluates queries; holds no data and no state.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    options: EngineOptions,
}

/// A query, and its text if that is known: it gives annotations their places.
#[derive(Clone, Copy)]
struct Query<'a> {
    expr: &'a Expr,
    text: Option<&'a str>,
}

/// A query that was read and may be evaluated, in parts and more than once: all of that has to be done in its time.
pub(crate) struct Read<'q> {
    pub(crate) expr: Expr,
    text: &'q str,
    budget: Budget,
}

impl Engine {
    /// An engine with these options.
    pub fn new(options: EngineOptions) -> Self {
        Engine { options }
    }

    /// The options of the engine.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Reads a query with the syntax that is switched on.
    pub fn parse(&self, query: &str) -> Result<Expr, ParseError> {
        parse(query, &self.options.syntax)
    }

    /// Evaluates `query` at one moment.
    pub fn instant(
        &self,
        source: &dyn Select,
        scope: &Scope,
        query: &str,
        at_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let budget = self.budget(options);
        let expr = self.parse_measured(query, &budget, options)?;
        self.run_instant(source, scope, Query { expr: &expr, text: Some(query) }, at_ms, budget, options)
    }

    /// Evaluates `expr` at one moment. Annotations have no places, as these need the text.
    pub fn instant_expr(
        &self,
        source: &dyn Select,
        scope: &Scope,
        expr: &Expr,
        at_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        self.run_instant(source, scope, Query { expr, text: None }, at_ms, self.budget(options), options)
    }

    /// Evaluates `query` at `start_ms` and every `step_ms` after it, up to `end_ms`. The value is a matrix.
    #[expect(clippy::too_many_arguments, reason = "a range has three numbers, and all else is asked for every query")]
    pub fn range(
        &self,
        source: &dyn Select,
        scope: &Scope,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let read = self.read(query, options)?;
        self.range_of(source, scope, &read, (start_ms, end_ms, step_ms), options)
    }

    /// Reads a query that is going to be evaluated. Its time begins here.
    pub(crate) fn read<'q>(&self, text: &'q str, options: &QueryOptions) -> Result<Read<'q>, QueryError> {
        let budget = self.budget(options);
        let expr = self.parse_measured(text, &budget, options)?;
        Ok(Read { expr, text, budget })
    }

    /// As [`Engine::range`], for a query that was read by this engine.
    pub(crate) fn range_of(
        &self,
        source: &dyn Select,
        scope: &Scope,
        Read { expr, text, budget }: &Read<'_>,
        bounds_ms: (i64, i64, i64),
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        self.run_range(source, scope, Query { expr, text: Some(text) }, bounds_ms, budget.anew(), options)
    }

    /// As [`Engine::range`], for a query that was read already. Annotations have no places, as these need the text.
    #[expect(clippy::too_many_arguments, reason = "a range has three numbers, and all else is asked for every query")]
    pub fn range_expr(
        &self,
        source: &dyn Select,
        scope: &Scope,
        expr: &Expr,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let query = Query { expr, text: None };
        self.run_range(source, scope, query, (start_ms, end_ms, step_ms), self.budget(options), options)
    }

    /// What bounds a query, whose time begins now.
    fn budget(&self, options: &QueryOptions) -> Budget {
        let own = &self.options;
        let timeout = match options.timeout {
            Some(timeout) if own.timeout.is_zero() => timeout,
            Some(timeout) => timeout.min(own.timeout),
            None => own.timeout,
        };
        let limits = Limits { samples: own.samples_max, bytes: own.bytes_max };
        Budget::new(limits, own.series_max, timeout, options.cancel.clone())
    }

    fn parse_measured(&self, query: &str, budget: &Budget, options: &QueryOptions) -> Result<Expr, QueryError> {
        let start = Instant::now();
        let pace = budget.pace();
        let mut regexes = CompileBudget::while_holds(move || pace.check().is_ok());
        let read = parse_within(query, &self.options.syntax, &mut regexes);
        // Whoever's time is up hears that, and not what could not be read for it.
        budget.check()?;
        let expr = read?;
        Measuring::new(options.probe.clone()).prepared(start.elapsed());
        Ok(expr)
    }

    fn run_instant(
        &self,
        source: &dyn Select,
        scope: &Scope,
        query: Query<'_>,
        at_ms: i64,
        budget: Budget,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let steps = Steps::instant(at_ms);
        let durations = DurationContext { step_ms: 0, range_ms: 0 };
        query.expr.check_durations(&durations)?;
        let mut evaluator = self.evaluator(source, scope, query, (at_ms, at_ms), durations, budget, options);
        evaluator.stop_at(query.expr, options.limit);
        evaluator.measuring.begin_steps(steps);
        let start = Instant::now();
        let value = evaluator.sharing(|evaluator| self.instant_value(evaluator, query, steps));
        evaluator.measuring.finish(start.elapsed(), Duration::ZERO, evaluator.budget.peak());
        let value = value?;
        evaluator.budget.check()?;
        Ok(answer(value, &evaluator.annotations, query.text))
    }

    fn instant_value(
        &self,
        evaluator: &mut Evaluator<'_>,
        query: Query<'_>,
        steps: Steps,
    ) -> Result<Value, QueryError> {
        let at_ms = steps.start_ms;
        Ok(if query.expr.value_type() == ValueType::Matrix {
            Value::Matrix(evaluator.eval_range_vector(query.expr, at_ms)?)
        } else {
            match evaluator.eval(query.expr, steps)? {
                Evaluated::Scalar(scalars) => Value::Scalar { t_ms: at_ms, value: scalars.at(0) },
                Evaluated::Text(text) => Value::String { t_ms: at_ms, text },
                Evaluated::Vector(mut block) => {
                    evaluator.finish(&mut block)?;
                    Value::Vector(vector(block, at_ms))
                }
            }
        })
    }

    fn run_range(
        &self,
        source: &dyn Select,
        scope: &Scope,
        query: Query<'_>,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        budget: Budget,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let kind = query.expr.value_type();
        if kind != ValueType::Scalar && kind != ValueType::Vector {
            return Err(QueryError::Execution(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                kind.documented()
            )));
        }
        if step_ms <= 0 {
            return Err(QueryError::Execution(
                "zero or negative query resolution step widths are not accepted. Try a positive integer".to_owned(),
            ));
        }
        let steps = Steps::range(start_ms, end_ms, step_ms);
        let durations = DurationContext { step_ms, range_ms: end_ms.saturating_sub(start_ms) };
        query.expr.check_durations(&durations)?;
        let mut evaluator = self.evaluator(source, scope, query, (start_ms, end_ms), durations, budget, options);
        evaluator.stop_at(query.expr, options.limit);
        evaluator.measuring.begin_steps(steps);
        let start = Instant::now();
        let series = evaluator.sharing(|evaluator| self.range_series(evaluator, query, steps));
        let evaluated = start.elapsed();
        let series = series.map(|mut series| {
            series.retain(|series| !series.samples.is_empty());
            if !series.is_sorted_by(|a, b| a.labels <= b.labels) {
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            series
        });
        evaluator.measuring.finish(evaluated, start.elapsed() - evaluated, evaluator.budget.peak());
        let series = series?;
        evaluator.budget.check()?;
        Ok(answer(Value::Matrix(series), &evaluator.annotations, query.text))
    }

    fn range_series(
        &self,
        evaluator: &mut Evaluator<'_>,
        query: Query<'_>,
        steps: Steps,
    ) -> Result<Vec<Series>, QueryError> {
        Ok(match evaluator.eval(query.expr, steps)? {
            Evaluated::Scalar(scalars) => {
                evaluator.budget.charge(steps.count)?;
                let mut series = Series::default();
                for (step, value) in scalars.iter(steps.count).enumerate() {
                    series.samples.push(steps.at(step), value);
                }
                vec![series]
            }
            Evaluated::Vector(mut block) => {
                evaluator.finish(&mut block)?;
                matrix(block, steps, &mut evaluator.budget)?
            }
            Evaluated::Text(_) => unreachable!("the type was checked above"),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "an evaluator is put together of all that is known of its query")]
    fn evaluator<'a>(
        &self,
        source: &'a dyn Select,
        scope: &'a Scope,
        query: Query<'_>,
        bounds_ms: (i64, i64),
        durations: DurationContext,
        budget: Budget,
        options: &QueryOptions,
    ) -> Evaluator<'a> {
        let own = &self.options;
        let lookback = options.lookback.filter(|lookback| !lookback.is_zero()).unwrap_or(own.lookback);
        Evaluator {
            settings: Settings {
                lookback_ms: milliseconds(lookback),
                subquery_step_ms: milliseconds(own.subquery_step).max(1),
                delayed_name_removal: own.delayed_name_removal,
                type_and_unit_labels: own.type_and_unit_labels,
                start_timestamps: own.start_timestamps,
            },
            bounds_ms,
            durations,
            views: Views::new(source, scope),
            budget,
            annotations: Annotations::default(),
            buckets_asked: BucketUse::default(),
            sink: None,
            enough: None,
            measuring: Measuring::new(options.probe.clone()),
            shared: if own.shares { Shared::within(query.expr, query.text) } else { Shared::default() },
        }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn vector(block: Block, t_ms: i64) -> Vec<VectorSample> {
    block
        .rows
        .into_iter()
        .filter_map(|row| match row.histograms.get(0) {
            Some(histogram) => {
                let histogram = Some(histogram.clone());
                Some(VectorSample { labels: row.labels, t_ms, value: 0.0, histogram })
            }
            None => row.floats.get(0).map(|value| VectorSample::of_float(row.labels, t_ms, value)),
        })
        .collect()
}

fn matrix(block: Block, steps: Steps, budget: &mut Budget) -> Result<Vec<Series>, QueryError> {
    block
        .rows
        .into_iter()
        .map(|row| {
            budget.step(row.slots())?;
            let mut series = Series { labels: row.labels, ..Series::default() };
            for (step, value) in row.floats.iter() {
                series.samples.push(steps.at(step), value);
            }
            let histograms = row.histograms.iter();
            series.samples.histograms =
                histograms.map(|(step, histogram)| histogram_sample(steps.at(step), histogram)).collect();
            Ok(series)
        })
        .collect()
}

fn answer(value: Value, annotations: &Annotations, text: Option<&str>) -> Answer {
    let (warnings, infos) = annotations.render(text);
    Answer { value, warnings, infos }
}
