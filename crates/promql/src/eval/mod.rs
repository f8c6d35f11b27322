//! Evaluates the tree of a query over all its steps at once: every node gives columns, one for each series.
//!
//! Each selector reads its series once for the whole range and hands on one series at a time; what matches what is decided once
//! for each series, never at each step. The order of rows is kept wherever Prometheus keeps the order of elements, as an instant
//! query shows it.

mod aggregate;
mod binary;
mod binary_histograms;
mod block;
mod bucket_use;
mod budget;
mod call;
mod count_values;
mod enough;
mod fold;
mod fold_histograms;
mod fold_streaming;
mod frames;
mod groups;
mod histogram_column;
mod histograms;
mod in_parts;
mod info;
mod invariant;
mod matching;
mod names;
mod range_functions;
mod rank;
mod relabel;
mod select;
mod set;
mod shared;
mod steps;
mod subquery;
mod views;
mod window;
mod window_parts;

use relatum_model::Series;
use relatum_model::windows::Windows;

pub(crate) use block::{Block, Column, Row, Scalars, absent, is_absent, labels_bytes};
pub(crate) use bucket_use::BucketUse;
pub(crate) use budget::{Budget, Cost, Limits};
pub(crate) use enough::{Enough, may_stop_early};
pub(crate) use fold_streaming::Sink;
pub(crate) use histogram_column::HistogramColumn;
pub(crate) use shared::Shared;
pub(crate) use steps::Steps;
use subquery::SubqueryValues;
pub(crate) use subquery::histogram_sample;
pub(crate) use views::Views;
pub(crate) use window::{HistogramPoint, Notes, Outcome, Window};

use crate::annotation::Annotations;
use crate::error::QueryError;
use crate::histogram;
use crate::probe::Measuring;
use crate::syntax::{At, DurationContext, DurationExpr, Expr, UnaryOp, ValueType};

/// What a query takes from the engine and from its options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How old the newest sample of a series may be, and still be its value.
    pub(crate) lookback_ms: i64,
    /// The resolution of subqueries that name none.
    pub(crate) subquery_step_ms: i64,
    /// Whether metric names go at the end of the evaluation instead of at each function.
    pub(crate) delayed_name_removal: bool,
    /// Whether the type of a metric is in its labels.
    pub(crate) type_and_unit_labels: bool,
    /// Whether functions of counters look at when samples began to count.
    pub(crate) start_timestamps: bool,
}

/// One evaluation of one query.
pub(crate) struct Evaluator<'a> {
    pub(crate) settings: Settings,
    /// The first and the last moment of the query, for `@ start()`, `@ end()`, `start()` and `end()`.
    pub(crate) bounds_ms: (i64, i64),
    pub(crate) durations: DurationContext,
    pub(crate) views: Views<'a>,
    pub(crate) budget: Budget,
    pub(crate) annotations: Annotations,
    pub(crate) buckets_asked: BucketUse,
    /// Where the rows of the next selector or range function go instead of into a block.
    pub(crate) sink: Option<Sink>,
    /// How many rows of the next selector are enough.
    pub(crate) enough: Option<Enough>,
    pub(crate) measuring: Measuring,
    pub(crate) shared: Shared,
}

/// The value of an expression that is not a range vector.
#[derive(Debug, Clone)]
pub(crate) enum Evaluated {
    Scalar(Scalars),
    Text(String),
    Vector(Block),
}

impl Evaluated {
    /// What it takes.
    fn cost(&self) -> Cost {
        match self {
            Evaluated::Scalar(scalars) => scalars.slots().into(),
            Evaluated::Text(text) => Cost::default().with_bytes(text.len()),
            Evaluated::Vector(block) => block.cost(),
        }
    }

    /// The vector that it is.
    fn into_vector(self) -> Block {
        match self {
            Evaluated::Vector(block) => block,
            other => unreachable!("types were checked by the parser, but here is {other:?} for a vector"),
        }
    }

    /// How many series it has.
    fn rows(&self) -> Option<usize> {
        match self {
            Evaluated::Vector(block) => Some(block.rows.len()),
            Evaluated::Scalar(_) | Evaluated::Text(_) => None,
        }
    }
}

/// Where in time a selector or subquery looks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    /// So long before the moment of the evaluation.
    Offset(i64),
    /// Always here.
    Fixed(i64),
}

impl When {
    /// Where to look when evaluating at `t_ms`.
    #[inline]
    pub(crate) fn at(self, t_ms: i64) -> i64 {
        match self {
            When::Offset(offset_ms) => t_ms.saturating_sub(offset_ms),
            When::Fixed(at_ms) => at_ms,
        }
    }

    /// The windows that end where to look at `steps`; `None` where some of them would lie outside of all times.
    pub(crate) fn windows(self, steps: Steps, range_ms: i64) -> Option<Windows> {
        let (first_ms, last_ms) = (steps.start_ms, steps.last_ms());
        let (first_end_ms, count) = match self {
            When::Offset(offset_ms) => {
                last_ms.checked_sub(offset_ms)?;
                (first_ms.checked_sub(offset_ms)?, steps.count)
            }
            When::Fixed(at_ms) => (at_ms, 1),
        };
        first_end_ms.checked_sub(range_ms)?;
        Some(Windows { first_end_ms, step_ms: steps.step_ms, count, range_ms })
    }
}

impl Evaluator<'_> {
    /// The value of `expr`, which is not a range vector, at `steps`.
    pub(crate) fn eval(&mut self, expr: &Expr, steps: Steps) -> Result<Evaluated, QueryError> {
        self.budget.check()?;
        if steps.count == 0 {
            return Ok(match expr.value_type() {
                ValueType::Scalar => Evaluated::Scalar(Scalars::Each(Vec::new())),
                ValueType::String => Evaluated::Text(String::new()),
                ValueType::Vector | ValueType::Matrix => Evaluated::Vector(Block::default()),
            });
        }
        match self.shared_value(expr, steps)? {
            Some(value) => Ok(value),
            None => self.eval_anew(expr, steps),
        }
    }

    /// As [`Evaluator::eval`], whether the value is at hand or not.
    fn eval_anew(&mut self, expr: &Expr, steps: Steps) -> Result<Evaluated, QueryError> {
        let held = self.budget.held();
        let value = if steps.count > 1 && invariant::is_worth_one_step(expr) {
            let before = self.measuring.before();
            let value = self.node(expr, Steps::instant(steps.start_ms))?;
            self.measuring.repeat_since(&before, steps.count);
            self.repeat(value, steps)?
        } else {
            self.node(expr, steps)?
        };
        self.budget.settle(held.plus(value.cost()))?;
        Ok(value)
    }

    fn node(&mut self, expr: &Expr, steps: Steps) -> Result<Evaluated, QueryError> {
        let begun = self.measuring.begin(expr);
        let value = self.node_unmeasured(expr, steps);
        self.measuring.end(begun, value.as_ref().ok().and_then(Evaluated::rows));
        value
    }

    fn node_unmeasured(&mut self, expr: &Expr, steps: Steps) -> Result<Evaluated, QueryError> {
        match expr {
            Expr::Number(number) => Ok(Evaluated::Scalar(Scalars::Constant(number.value))),
            Expr::String(literal) => Ok(Evaluated::Text(literal.value.clone())),
            Expr::Selector(selector) => self.selector(selector, steps).map(Evaluated::Vector),
            Expr::Paren(paren) => self.eval(&paren.expr, steps),
            Expr::Unary(unary) => {
                let value = self.eval(&unary.expr, steps)?;
                if unary.op == UnaryOp::Plus { Ok(value) } else { self.negate(value) }
            }
            Expr::Binary(binary) => self.binary_chain(binary, steps),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, steps).map(Evaluated::Vector),
            Expr::Call(call) => self.call(call, steps),
            Expr::Matrix(_) | Expr::Subquery(_) => {
                unreachable!("range vectors are evaluated by the functions that take them")
            }
        }
    }

    /// The value of a range vector at a single moment: all its samples.
    pub(crate) fn eval_range_vector(&mut self, expr: &Expr, at_ms: i64) -> Result<Vec<Series>, QueryError> {
        let steps = Steps::instant(at_ms);
        match expr {
            Expr::Paren(paren) => self.eval_range_vector(&paren.expr, at_ms),
            Expr::Matrix(matrix) => self.raw_window(matrix, steps),
            Expr::Subquery(subquery) => {
                let SubqueryValues { block, steps: inner, looked_at } = self.subquery_values(subquery, steps)?;
                let mut counted = self.measuring.looked_at(1);
                counted.add_at(0, looked_at);
                self.measuring.meter.count(&counted);
                let mut series: Vec<Series> = Vec::with_capacity(block.rows.len());
                for mut row in block.rows {
                    self.finish_labels(&mut row);
                    let samples = subquery::samples(&mut row, inner);
                    series.push(Series { labels: row.labels, samples });
                }
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
                Ok(series)
            }
            _ => unreachable!("the other expressions are not range vectors"),
        }
    }

    /// An instant vector at `steps`.
    pub(crate) fn vector(&mut self, expr: &Expr, steps: Steps) -> Result<Block, QueryError> {
        self.eval(expr, steps).map(Evaluated::into_vector)
    }

    /// A number for each of `steps`.
    pub(crate) fn scalars(&mut self, expr: &Expr, steps: Steps) -> Result<Scalars, QueryError> {
        match self.eval(expr, steps)? {
            Evaluated::Scalar(scalars) => Ok(scalars),
            other => unreachable!("types were checked by the parser, but here is {other:?} for a scalar"),
        }
    }

    /// Makes a value at one step into one at all `steps`.
    fn repeat(&mut self, value: Evaluated, steps: Steps) -> Result<Evaluated, QueryError> {
        match value {
            Evaluated::Scalar(scalars) => Ok(Evaluated::Scalar(Scalars::Constant(scalars.at(0)))),
            Evaluated::Text(text) => Ok(Evaluated::Text(text)),
            Evaluated::Vector(mut block) => {
                block.rows.retain(|row| row.has(0));
                for row in &mut block.rows {
                    self.budget.charge(steps.count)?;
                    if let Some(histogram) = row.histograms.get(0) {
                        let (histogram, count) = (std::sync::Arc::clone(histogram), steps.count);
                        *row = row.with_values(Column::default(), HistogramColumn::constant(&histogram, count));
                    } else {
                        row.floats = Column::constant(row.floats.at(0), steps.count);
                    }
                }
                Ok(Evaluated::Vector(block))
            }
        }
    }

    fn negate(&mut self, value: Evaluated) -> Result<Evaluated, QueryError> {
        match value {
            Evaluated::Scalar(scalars) => Ok(Evaluated::Scalar(scalars.map(|value| -value))),
            Evaluated::Vector(mut block) => {
                for row in &mut block.rows {
                    row.floats.map(|value| -value);
                    row.histograms.map(|_, mut value| {
                        histogram::scale(std::sync::Arc::make_mut(&mut value), -1.0);
                        Some(value)
                    });
                    self.forget_name(row);
                }
                self.settle_names(&mut block)?;
                Ok(Evaluated::Vector(block))
            }
            Evaluated::Text(_) => unreachable!("a text has no sign"),
        }
    }

    /// Where a selector or subquery with these modifiers looks.
    fn when(&self, at: Option<At>, offset: Option<&DurationExpr>) -> Result<When, QueryError> {
        let offset_ms = match offset {
            None => 0,
            Some(offset) => offset.offset_ms(&self.durations)?,
        };
        let fixed_ms = match at {
            None => return Ok(When::Offset(offset_ms)),
            Some(At::Time(at_ms)) => at_ms,
            Some(At::Start) => self.bounds_ms.0,
            Some(At::End) => self.bounds_ms.1,
        };
        Ok(When::Fixed(fixed_ms.saturating_sub(offset_ms)))
    }
}

/// An error that the data or the values of parameters cause.
pub(crate) fn execution(message: impl ToString) -> QueryError {
    QueryError::Execution(message.to_string())
}
