//! Range vectors: a function slides a window over the samples of one series after the other.

use relatum_model::storage::{Hints, TimeRange};
use relatum_model::{Labels, Samples, Series};

use super::select::without_stale;
use super::{Block, Column, Evaluator, Row, Steps, When, absent, execution, is_absent, subquery};
use crate::error::QueryError;
use crate::functions::extended;
use crate::syntax::{Edges, Expr, MatrixSelector, Span};

/// The samples of one series that a function sees at one step, oldest first; at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// The number of the step.
    pub(crate) step: usize,
    /// The moment of the evaluation.
    pub(crate) at_ms: i64,
    /// The range: a sample at its start is outside, one at its end inside.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// The samples. With `anchored` and `smoothed` also those around the range.
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
}

impl Window<'_> {
    /// The length of the range in seconds.
    pub(crate) fn range_seconds(&self) -> f64 {
        (self.end_ms - self.start_ms) as f64 / 1000.0
    }
}

/// What a function makes of a window; [`absent`] for nothing.
pub(crate) type Kernel<'k> = dyn FnMut(&Window<'_>) -> f64 + 'k;

/// Where the windows of a range vector are, and how wide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    when: When,
    range_ms: i64,
    // How much the window shows before and behind the range.
    before_ms: i64,
    behind_ms: i64,
}

/// One series of a range vector.
pub(super) struct RangeSeries {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) samples: Samples,
}

impl Evaluator<'_> {
    /// Slides `kernel` over the series of the range vector `arg`; `function` is its name.
    pub(super) fn over_windows(
        &mut self,
        function: &str,
        arg: &Expr,
        steps: Steps,
        kernel: &mut Kernel<'_>,
    ) -> Result<Block, QueryError> {
        let keeps_name = matches!(function, "last_over_time" | "first_over_time");
        let mut block = Block::default();
        self.each_range(function, arg, steps, |evaluator, reach, series| {
            evaluator.budget.charge(steps.count)?;
            let floats = slide(&series.samples, steps, reach, kernel);
            evaluator.budget.release(steps.count - floats.slots());
            if floats.slots() > 0 {
                let mut row = Row { labels: series.labels, drop_name: series.drop_name, floats };
                if matches!(function, "rate" | "increase") {
                    evaluator.doubt_counter(&row.labels, arg);
                }
                if !keeps_name {
                    evaluator.forget_name(&mut row);
                }
                block.rows.push(row);
            }
            Ok(())
        })?;
        if !self.settings.delayed_name_removal && block.has_duplicates() {
            return Err(super::block::duplicate_labelset());
        }
        Ok(block)
    }

    /// At which steps any series of the range vector has a sample in its window.
    pub(super) fn steps_with_samples(&mut self, arg: &Expr, steps: Steps) -> Result<Vec<bool>, QueryError> {
        self.budget.charge(steps.count)?;
        let mut found = vec![false; steps.count];
        self.each_range("absent_over_time", arg, steps, |_, reach, series| {
            slide(&series.samples, steps, reach, &mut |window| {
                found[window.step] = true;
                absent()
            });
            Ok(())
        })?;
        Ok(found)
    }

    fn each_range(
        &mut self,
        function: &str,
        arg: &Expr,
        steps: Steps,
        mut visit: impl FnMut(&mut Self, Reach, RangeSeries) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        match arg {
            Expr::Paren(paren) => self.each_range(function, &paren.expr, steps, visit),
            Expr::Matrix(matrix) => {
                extended::check_edges(matrix.selector.edges, function)?;
                let (reach, range, hints) = self.reach(matrix, function, steps)?;
                self.each_series(&matrix.selector.all_matchers(), range, &hints, |evaluator, series| {
                    let Series { labels, samples } = series;
                    visit(evaluator, reach, RangeSeries { labels, drop_name: false, samples: without_stale(samples) })
                })
            }
            Expr::Subquery(node) => {
                let range_ms = node.range.length_ms(&self.durations).map_err(execution)?;
                let when = self.when(node.at, node.offset.as_ref())?;
                let reach = Reach { when, range_ms, before_ms: 0, behind_ms: 0 };
                let (block, inner) = self.subquery_block(node, steps)?;
                for row in block.rows {
                    self.budget.check()?;
                    let samples = subquery::samples(&row.floats, inner);
                    visit(self, reach, RangeSeries { labels: row.labels, drop_name: row.drop_name, samples })?;
                }
                Ok(())
            }
            _ => unreachable!("the other expressions are not range vectors"),
        }
    }

    fn reach(
        &self,
        matrix: &MatrixSelector,
        function: &str,
        steps: Steps,
    ) -> Result<(Reach, TimeRange, Hints), QueryError> {
        let range_ms = matrix.range.length_ms(&self.durations).map_err(execution)?;
        let when = self.when(matrix.selector.at, matrix.selector.offset.as_ref())?;
        let lookback_ms = self.settings.lookback_ms;
        let (before_ms, behind_ms) = match matrix.selector.edges {
            Edges::Plain => (0, 0),
            Edges::Anchored => (lookback_ms, 0),
            Edges::Smoothed => (lookback_ms, lookback_ms),
        };
        let range = TimeRange {
            min_ms: when.at(steps.start_ms).saturating_sub(range_ms).saturating_sub(before_ms).saturating_add(1),
            max_ms: when.at(steps.last_ms()).saturating_add(behind_ms),
        };
        let step_ms = if steps.is_instant { 0 } else { steps.step_ms };
        let hints = Hints { function: function.to_owned(), step_ms, range_ms, ..Hints::default() };
        Ok((Reach { when, range_ms, before_ms, behind_ms }, range, hints))
    }

    /// The samples of a range vector that is itself the query.
    pub(super) fn raw_window(&mut self, matrix: &MatrixSelector, steps: Steps) -> Result<Vec<Series>, QueryError> {
        let (reach, range, hints) = self.reach(matrix, "", steps)?;
        let edges = matrix.selector.edges;
        let mut found = Vec::new();
        self.each_series(&matrix.selector.all_matchers(), range, &hints, |evaluator, series| {
            let Series { labels, samples } = series;
            let mut inside = Samples::default();
            slide(&without_stale(samples), steps, reach, &mut |window| {
                inside = extended::range_samples(edges, window);
                absent()
            });
            if !inside.is_empty() {
                // These stay.
                evaluator.budget.charge(inside.len())?;
                found.push(Series { labels, samples: inside });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Says so when the name of a metric does not look like that of a counter.
    fn doubt_counter(&mut self, labels: &Labels, arg: &Expr) {
        let Some(name) = labels.metric_name() else { return };
        let quoted = relatum_model::text::quote(name);
        // Prometheus has forgotten by then where a subquery stood.
        let arg = arg.without_parens();
        let span = if matches!(arg, Expr::Subquery(_)) { Span::default() } else { arg.span() };
        if self.settings.type_and_unit_labels {
            let kind = labels.value("__type__");
            if kind != "counter" && kind != "histogram" {
                let found = relatum_model::text::quote(kind);
                self.annotations.inform(
                    span,
                    format!("metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {found}: {quoted}"),
                );
            }
        } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
            self.annotations.inform(
                span,
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {quoted}"),
            );
        }
    }
}

/// Calls `kernel` for the window at each of `steps` that has samples.
fn slide(samples: &Samples, steps: Steps, reach: Reach, kernel: &mut Kernel<'_>) -> Column {
    let times = &samples.timestamps;
    let mut column = Column::default();
    let (mut from, mut to) = (0, 0);
    for step in 0..steps.count {
        let at_ms = steps.at(step);
        let end_ms = reach.when.at(at_ms);
        let start_ms = end_ms.saturating_sub(reach.range_ms);
        let shown_to_ms = end_ms.saturating_add(reach.behind_ms);
        let shown_from_ms = start_ms.saturating_sub(reach.before_ms);
        while to < times.len() && times[to] <= shown_to_ms {
            to += 1;
        }
        while from < to && times[from] <= shown_from_ms {
            from += 1;
        }
        if from < to {
            let (times, values) = (&times[from..to], &samples.values[from..to]);
            let value = kernel(&Window { step, at_ms, start_ms, end_ms, times, values });
            if !is_absent(value) {
                column.push(step, value);
            }
        }
    }
    column
}
