//! Windows on all cores: functions that look at nothing but their window slide over the parts of a selection at once.

use relatum_model::Series;
use relatum_model::storage::Hints;
use relatum_model::windows::Shown;

use super::fold_streaming::Sink;
use super::frames::Frames;
use super::in_parts::{Made, Plan};
use super::range_functions::{Pure, looks_at_falls, pure_function};
use super::select::{forget_stale, histogram_points, without_stale};
use super::window::{RangeSeries, Slider};
use super::{Block, Column, Evaluator};
use crate::error::QueryError;
use crate::probe::LookedAt;
use crate::syntax::{Edges, Expr};

impl Evaluator<'_> {
    /// The function of all series; `None` if it has to be done one series after the other. If it goes into the sink, and that
    /// cannot take it, the sink is gone.
    pub(super) fn slide_in_parts(
        &mut self,
        slider: &mut Slider<'_, '_, '_, '_>,
        sink: &mut Option<Sink>,
    ) -> Result<Option<Block>, QueryError> {
        let (Expr::Matrix(matrix), Some(function)) = (slider.arg.without_parens(), pure_function(slider.function))
        else {
            return Ok(None);
        };
        let is_typed = self.settings.type_and_unit_labels;
        if slider.uses_starts || is_typed || matrix.selector.edges != Edges::Plain {
            return Ok(None);
        }
        let steps = slider.steps;
        let (reach, range, hints) = self.reach(matrix, slider.function, steps)?;
        let glimpse = looks_at_falls(slider.function).and_then(|falls| reach.glimpse(steps, falls));
        let hints = Hints { glimpse, ..hints };
        let make = |frames: &mut Frames, shown: &mut Shown, column: &mut Column, looked_at: &mut LookedAt| {
            forget_stale(shown);
            let Shown { samples, numbers } = shown;
            match function {
                Pure::Change(kind) => frames.slide_change(samples, numbers, steps, reach, kind, column),
                Pure::Of(f) => frames.slide(samples, numbers, steps, reach, f, column),
            }?;
            frames.tell(looked_at);
            Ok(())
        };
        let later = self.settings.delayed_name_removal;
        let plan = Plan {
            make: &make,
            loses_name: !later && !slider.keeps_name,
            drops_name_later: later && !slider.keeps_name,
            wants_metrics: slider.doubts_counters(),
            n_steps: steps.count,
        };
        let arg = slider.arg;
        let mut block = Block::default();
        let done = self.with_parts(&matrix.selector.all_matchers(), range, &hints, |evaluator, parts| {
            if let Some(sink) = sink {
                return evaluator
                    .fold_parts(parts, &plan, sink, |evaluator, metric| evaluator.doubt_metric(metric, "", arg));
            }
            evaluator.rows_of_parts(parts, &plan, 0, |evaluator, made| {
                let row = match made {
                    Made::Row { row, metric } => {
                        metric.iter().for_each(|metric| evaluator.doubt_metric(metric, "", arg));
                        row
                    }
                    Made::Whole(series) => {
                        let Series { labels, samples } = evaluator.bare(series);
                        let samples = without_stale(samples);
                        let histograms = histogram_points(&samples);
                        let series = RangeSeries { labels, drop_name: false, samples, histograms };
                        let Some(mut row) = evaluator.slide_row(slider, reach, series)? else { return Ok(true) };
                        if !slider.keeps_name {
                            evaluator.forget_name(&mut row);
                        }
                        row
                    }
                };
                evaluator.budget.charge(row.cost())?;
                block.rows.push(row);
                Ok(true)
            })?;
            Ok(true)
        })?;
        match done {
            None => return Ok(None),
            Some(false) => *sink = None,
            Some(true) => {}
        }
        if !later && block.has_duplicates() {
            return Err(super::block::duplicate_labelset());
        }
        Ok(Some(block))
    }
}
