//! Range vectors: a function slides a window over the samples of one series after the other.

use std::sync::Arc;

use relatum_model::storage::{Hints, TimeRange};
use relatum_model::windows::Glimpse;
use relatum_model::{Labels, Samples, Series};

use super::budget::Pace;
use super::frames::Frames;
use super::histogram_column::cost;
use super::select::{histogram_points, without_stale};
use super::subquery::SubqueryValues;
use super::{Block, Column, Cost, Evaluator, Row, Steps, When, execution, is_absent, subquery};
use crate::annotation::{Annotations, texts};
use crate::error::QueryError;
use crate::functions::extended;
use crate::histogram::FloatHistogram;
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
    /// When the floats began to count, 0 where that is not known; empty if nobody asks or nobody knows.
    pub(crate) starts: &'a [i64],
    /// The histograms, oldest first.
    pub(crate) histograms: &'a [HistogramPoint],
}

/// A histogram of a series.
#[derive(Debug, Clone)]
pub(crate) struct HistogramPoint {
    pub(crate) t_ms: i64,
    /// When it began to count; 0 if that is not known.
    pub(crate) start_ms: i64,
    pub(crate) histogram: Arc<FloatHistogram>,
    /// As how many floats it and those of its series before it count.
    pub(crate) size_so_far: usize,
}

/// Takes what a function has to say of the series it looks at.
pub(crate) struct Notes<'a> {
    annotations: &'a mut Annotations,
    /// The name of the metric; empty if it has none any more.
    pub(crate) metric: &'a str,
    span: Span,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(annotations: &'a mut Annotations, metric: &'a str, span: Span) -> Self {
        Notes { annotations, metric, span }
    }

    /// Warns.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.annotations.warn(self.span, text);
    }

    /// Warns of samples that began before the ones they follow.
    pub(crate) fn warn_of_overlap(&mut self) {
        self.annotations.warn_again(self.span, texts::start_overlap(self.metric));
    }

    /// Informs.
    pub(crate) fn inform(&mut self, text: impl Into<String>) {
        self.annotations.inform(self.span, text);
    }
}

impl Window<'_> {
    /// As how many floats its samples count.
    fn size(&self) -> usize {
        let of_histograms = match self.histograms {
            [] => 0,
            [first, .., last] => last.size_so_far - first.size_so_far + cost(&first.histogram),
            [only] => cost(&only.histogram),
        };
        self.times.len() + of_histograms
    }

    /// The length of the range in seconds.
    pub(crate) fn range_seconds(&self) -> f64 {
        (self.end_ms - self.start_ms) as f64 / 1000.0
    }
}

/// What a function makes of a window with floats only; [`absent`] for nothing.
pub(crate) type Kernel<'k> = dyn FnMut(&Window<'_>) -> f64 + 'k;

/// What a function makes of a window in which there may be histograms.
#[derive(Debug)]
pub(crate) enum Outcome {
    Nothing,
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// As [`Kernel`], for windows with histograms, or with floats that know when they began to count.
pub(crate) type MixedKernel<'k> = dyn FnMut(&Window<'_>, &mut Notes<'_>) -> Outcome + 'k;

/// How a function treats windows with histograms.
pub(crate) enum Mixed<'k, 'f> {
    /// It looks at the floats alone, and says so if it would have had a result or there is at least one.
    Ignored,
    /// It knows what to do with them.
    Known(&'f mut MixedKernel<'k>),
}

/// A function on its way over the series of a range vector.
pub(super) struct Slider<'s, 'k, 'f, 'm> {
    pub(super) function: &'s str,
    pub(super) arg: &'s Expr,
    span: Span,
    pub(super) steps: Steps,
    pub(super) keeps_name: bool,
    pub(super) uses_starts: bool,
    kernel: &'s mut Kernel<'k>,
    mixed: &'s mut Mixed<'m, 'f>,
    frames: Frames,
    // The memory of the last column that is not held.
    spare: Column,
}

impl Slider<'_, '_, '_, '_> {
    /// Whether the function is for counters, so that the names of the metrics should look like theirs.
    pub(super) fn doubts_counters(&self) -> bool {
        matches!(self.function, "rate" | "increase")
    }
}

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
    pub(super) histograms: Vec<HistogramPoint>,
}

impl Evaluator<'_> {
    /// Slides `kernel` over the series of the range vector `arg`; `function` is its name. Histograms are left out.
    pub(super) fn over_windows(
        &mut self,
        function: &str,
        arg: &Expr,
        steps: Steps,
        kernel: &mut Kernel<'_>,
    ) -> Result<Block, QueryError> {
        self.over_all_windows(function, arg, steps, kernel, Mixed::Ignored)
    }

    /// As [`Evaluator::over_windows`], with `mixed` for windows that may have histograms.
    pub(super) fn over_all_windows(
        &mut self,
        function: &str,
        arg: &Expr,
        steps: Steps,
        kernel: &mut Kernel<'_>,
        mixed: Mixed<'_, '_>,
    ) -> Result<Block, QueryError> {
        self.over_windows_told_at(place(arg), (function, arg), steps, kernel, mixed)
    }

    /// As [`Evaluator::over_all_windows`], with annotations that point to `span`.
    pub(super) fn over_windows_told_at(
        &mut self,
        span: Span,
        (function, arg): (&str, &Expr),
        steps: Steps,
        kernel: &mut Kernel<'_>,
        mut mixed: Mixed<'_, '_>,
    ) -> Result<Block, QueryError> {
        let keeps_name = matches!(function, "last_over_time" | "first_over_time");
        let has_starts = matches!(function, "rate" | "increase" | "irate" | "resets");
        let mut slider = Slider {
            function,
            arg,
            span,
            steps,
            keeps_name,
            uses_starts: self.settings.start_timestamps && has_starts,
            kernel,
            mixed: &mut mixed,
            frames: Frames::new(self.budget.pace()),
            spare: Column::default(),
        };
        let mut sink = self.sink.take();
        if let Some(block) = self.slide_in_parts(&mut slider, &mut sink)? {
            self.sink = sink;
            return Ok(block);
        }
        let mut block = Block::default();
        let loses_name = !self.settings.delayed_name_removal && !keeps_name;
        self.each_range(function, arg, steps, |evaluator, reach, series| {
            let Some(mut row) = evaluator.slide_row(&mut slider, reach, series)? else { return Ok(()) };
            if let Some(sink) = &mut sink {
                row.drop_name |= evaluator.settings.delayed_name_removal && !keeps_name;
                let taken = sink.take(&row, loses_name);
                slider.spare = row.floats;
                return evaluator.budget.charge(taken);
            }
            evaluator.budget.charge(row.cost())?;
            if !keeps_name {
                evaluator.forget_name(&mut row);
            }
            block.rows.push(row);
            Ok(())
        })?;
        self.sink = sink;
        if !self.settings.delayed_name_removal && block.has_duplicates() {
            return Err(super::block::duplicate_labelset());
        }
        Ok(block)
    }

    /// What a function makes of one series; `None` if that is nothing.
    pub(super) fn slide_row(
        &mut self,
        slider: &mut Slider<'_, '_, '_, '_>,
        reach: Reach,
        mut series: RangeSeries,
    ) -> Result<Option<Row>, QueryError> {
        let steps = slider.steps;
        self.budget.charge(steps.count)?;
        if !slider.uses_starts {
            series.samples.starts.clear();
        }
        let RangeSeries { labels, drop_name, samples, histograms } = &series;
        let mut row = Row { drop_name: *drop_name, ..Row::of_floats(labels.clone(), Column::default()) };
        let mut looked_at = self.measuring.looked_at(steps.count);
        if histograms.is_empty() && samples.starts.is_empty() {
            row.floats = std::mem::take(&mut slider.spare);
            slider.frames.slide(samples, &[], steps, reach, &mut *slider.kernel, &mut row.floats)?;
            slider.frames.tell(&mut looked_at);
        } else {
            let metric = labels.metric_name().unwrap_or_default();
            let mut notes = Notes::new(&mut self.annotations, metric, slider.span);
            let mut pace = self.budget.pace();
            slide_all(samples, histograms, steps, reach, &mut pace, &mut |window| {
                looked_at.add_at(window.step, window.size());
                let outcome = match &mut slider.mixed {
                    Mixed::Known(known) => known(window, &mut notes),
                    Mixed::Ignored if window.times.is_empty() => Outcome::Nothing,
                    Mixed::Ignored => {
                        if !window.histograms.is_empty() {
                            notes.inform(texts::ignored_in_range(notes.metric));
                        }
                        Outcome::Float((slider.kernel)(window))
                    }
                };
                match outcome {
                    Outcome::Float(value) if !is_absent(value) => row.floats.push(window.step, value),
                    Outcome::Histogram(histogram) => row.histograms.push(window.step, histogram),
                    Outcome::Float(_) | Outcome::Nothing => {}
                }
            })?;
        }
        self.measuring.meter.count(&looked_at);
        self.budget.release(steps.count);
        if row.slots() == 0 {
            slider.spare = row.floats;
            return Ok(None);
        }
        if slider.doubts_counters() && row.floats.slots() > 0 {
            self.doubt_counter(&row.labels, slider.arg);
        }
        Ok(Some(row))
    }

    /// At which steps any series of the range vector has a sample in its window.
    pub(super) fn steps_with_samples(&mut self, arg: &Expr, steps: Steps) -> Result<Vec<bool>, QueryError> {
        self.budget.charge(steps.count)?;
        let mut found = vec![false; steps.count];
        let mut pace = self.budget.pace();
        let mut looked_at = self.measuring.looked_at(steps.count);
        self.each_range("absent_over_time", arg, steps, |_, reach, series| {
            let mark = &mut |window: &Window<'_>| {
                found[window.step] = true;
                looked_at.add_at(window.step, window.size());
            };
            slide_all(&series.samples, &series.histograms, steps, reach, &mut pace, mark)
        })?;
        self.measuring.meter.count(&looked_at);
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
                    let samples = without_stale(samples);
                    let histograms = histogram_points(&samples);
                    visit(evaluator, reach, RangeSeries { labels, drop_name: false, samples, histograms })
                })
            }
            Expr::Subquery(node) => {
                let range_ms = node.range.length_ms(&self.durations)?;
                let when = self.when(node.at, node.offset.as_ref())?;
                let reach = Reach { when, range_ms, before_ms: 0, behind_ms: 0 };
                let SubqueryValues { block, steps: inner, .. } = self.subquery_values(node, steps)?;
                for mut row in block.rows {
                    self.budget.check()?;
                    // Where windows lie is found among the times, which are copied for that.
                    let times = Cost::default().with_bytes(row.floats.slots().saturating_mul(size_of::<i64>()));
                    self.budget.charge(times)?;
                    let samples = subquery::without_hints(subquery::samples(&mut row, inner));
                    let histograms = histogram_points(&samples);
                    visit(
                        self,
                        reach,
                        RangeSeries { labels: row.labels, drop_name: row.drop_name, samples, histograms },
                    )?;
                    self.budget.release(times);
                }
                Ok(())
            }
            _ => unreachable!("the other expressions are not range vectors"),
        }
    }

    pub(super) fn reach(
        &self,
        matrix: &MatrixSelector,
        function: &str,
        steps: Steps,
    ) -> Result<(Reach, TimeRange, Hints), QueryError> {
        let range_ms = matrix.range.length_ms(&self.durations)?;
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
        // What stays of a series is counted when the series itself is counted no more, as it was only moved.
        let mut stays = 0;
        let mut looked_at = self.measuring.looked_at(steps.count);
        self.each_series(&matrix.selector.all_matchers(), range, &hints, |evaluator, series| {
            let Series { labels, samples } = series;
            let mut inside = Samples::default();
            let samples = without_stale(samples);
            let histograms = histogram_points(&samples);
            let word = if edges == Edges::Anchored { "anchored" } else { "smoothed" };
            if edges != Edges::Plain && !histograms.is_empty() {
                return Err(execution(format!("{word} modifier is not supported with histograms")));
            }
            slide_all(&samples, &histograms, steps, reach, &mut evaluator.budget.pace(), &mut |window| {
                inside = extended::range_samples(edges, window);
                looked_at.add_at(window.step, window.size());
            })?;
            evaluator.budget.charge(std::mem::take(&mut stays))?;
            if !inside.is_empty() {
                stays = inside.len();
                found.push(Series { labels, samples: inside });
            }
            Ok(())
        })?;
        self.budget.charge(stays)?;
        self.measuring.meter.count(&looked_at);
        Ok(found)
    }

    /// Says so when the name of a metric does not look like that of a counter.
    fn doubt_counter(&mut self, labels: &Labels, arg: &Expr) {
        let Some(name) = labels.metric_name() else { return };
        self.doubt_metric(name, labels.value("__type__"), arg);
    }

    /// As [`Evaluator::doubt_counter`], of a metric with its type, which may be empty.
    pub(super) fn doubt_metric(&mut self, name: &str, kind: &str, arg: &Expr) {
        let quoted = || relatum_model::text::quote(name);
        let span = place(arg);
        if self.settings.type_and_unit_labels {
            if kind != "counter" && kind != "histogram" {
                let found = relatum_model::text::quote(kind);
                self.annotations.inform(
                    span,
                    format!("metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {found}: {}", quoted()),
                );
            }
        } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
            self.annotations.inform(
                span,
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}", quoted()),
            );
        }
    }
}

/// Where annotations about the range vector `arg` point to. Prometheus has forgotten by then where a subquery stood.
fn place(arg: &Expr) -> Span {
    let arg = arg.without_parens();
    if matches!(arg, Expr::Subquery(_)) { Span::default() } else { arg.span() }
}

/// Where the window is at one step.
pub(super) struct Frame {
    pub(super) at_ms: i64,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    // What is shown: behind the first, up to the second.
    pub(super) shown_from_ms: i64,
    pub(super) shown_to_ms: i64,
}

impl Reach {
    /// Up to the moment itself, and so far back.
    #[cfg(test)]
    pub(super) fn plain(range_ms: i64) -> Self {
        Reach { when: When::Offset(0), range_ms, before_ms: 0, behind_ms: 0 }
    }

    /// What is looked at by a function that needs of each window the ends, and maybe where values fall.
    pub(super) fn glimpse(self, steps: Steps, falls: bool) -> Option<Glimpse> {
        let is_plain = self.before_ms == 0 && self.behind_ms == 0;
        let windows = self.when.windows(steps, self.range_ms).filter(|_| is_plain)?;
        Some(Glimpse { windows, first: true, falls })
    }

    pub(super) fn frame(self, at_ms: i64) -> Frame {
        let end_ms = self.when.at(at_ms);
        let start_ms = end_ms.saturating_sub(self.range_ms);
        let shown_from_ms = start_ms.saturating_sub(self.before_ms);
        Frame { at_ms, start_ms, end_ms, shown_from_ms, shown_to_ms: end_ms.saturating_add(self.behind_ms) }
    }
}

/// What it takes to look at a histogram, counted as work on samples that are floats.
pub(super) const HISTOGRAM_WORK: usize = 64;

/// Calls `visit` for the window at each of `steps` that has samples of either kind.
fn slide_all(
    samples: &Samples,
    histograms: &[HistogramPoint],
    steps: Steps,
    reach: Reach,
    pace: &mut Pace,
    visit: &mut dyn FnMut(&Window<'_>),
) -> Result<(), QueryError> {
    for step in 0..steps.count {
        let frame = reach.frame(steps.at(step));
        let from = samples.timestamps.partition_point(|t| *t <= frame.shown_from_ms);
        let to = samples.timestamps.partition_point(|t| *t <= frame.shown_to_ms).max(from);
        let first = histograms.partition_point(|h| h.t_ms <= frame.shown_from_ms);
        let last = histograms.partition_point(|h| h.t_ms <= frame.shown_to_ms).max(first);
        if from < to || first < last {
            pace.step(to - from + HISTOGRAM_WORK * (last - first))?;
            visit(&Window {
                step,
                at_ms: frame.at_ms,
                start_ms: frame.start_ms,
                end_ms: frame.end_ms,
                times: &samples.timestamps[from..to],
                values: &samples.values[from..to],
                starts: if samples.starts.is_empty() { &[] } else { &samples.starts[from..to] },
                histograms: &histograms[first..last],
            });
        }
    }
    Ok(())
}
