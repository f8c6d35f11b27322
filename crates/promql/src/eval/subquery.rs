//! Subqueries: an expression evaluated at steps of its own, whose values are then samples.

use std::sync::Arc;

use relatum_model::histogram::CounterReset;
use relatum_model::{HistogramSample, NativeHistogram, Samples};

use super::{Block, Evaluator, Row, Steps, When, is_absent};
use crate::error::QueryError;
use crate::histogram::FloatHistogram;
use crate::syntax::Subquery;

/// What an expression is at the steps of a subquery.
pub(super) struct SubqueryValues {
    pub(super) block: Block,
    pub(super) steps: Steps,
    /// How many samples were looked at for that, which is not counted yet.
    pub(super) looked_at: usize,
}

impl Evaluator<'_> {
    /// The values inside a subquery for all windows at `steps`.
    pub(super) fn subquery_values(&mut self, node: &Subquery, steps: Steps) -> Result<SubqueryValues, QueryError> {
        let range_ms = node.range.length_ms(&self.durations)?;
        let step_ms = match &node.step {
            None => self.settings.subquery_step_ms,
            Some(step) => step.length_ms(&self.durations)?,
        };
        let when: When = self.when(node.at, node.offset.as_ref())?;
        let end_ms = when.at(steps.last_ms());
        let start_ms = after(when.at(steps.start_ms).saturating_sub(range_ms), step_ms.max(1));
        let inner = Steps::range(start_ms, end_ms, step_ms);
        let outside = self.buckets_asked;
        self.buckets_asked = outside.needing_buckets();
        let before = self.measuring.before_subquery();
        let block = self.vector(&node.expr, inner);
        let looked_at = self.measuring.end_subquery(before);
        self.buckets_asked = outside;
        Ok(SubqueryValues { block: block?, steps: inner, looked_at })
    }
}

/// The first multiple of `step_ms` behind `t_ms`: subqueries look at the same moments whenever they are asked.
fn after(t_ms: i64, step_ms: i64) -> i64 {
    let aligned = step_ms * (t_ms / step_ms);
    if aligned <= t_ms { aligned.saturating_add(step_ms) } else { aligned }
}

/// The values of a row as samples. The floats are taken from the row: of a subquery there may be tens of millions.
pub(super) fn samples(row: &mut Row, steps: Steps) -> Samples {
    let (first, values) = std::mem::take(&mut row.floats).into_slots();
    let at_steps = (first..first + values.len()).map(|step| steps.at(step));
    let mut samples = Samples::default();
    samples.timestamps.reserve_exact(values.len());
    if values.iter().any(|value| is_absent(*value)) {
        for (t_ms, value) in at_steps.zip(values).filter(|(_, value)| !is_absent(*value)) {
            samples.push(t_ms, value);
        }
    } else {
        samples.timestamps.extend(at_steps);
        samples.values = values;
    }
    samples.histograms =
        row.histograms.iter().map(|(step, histogram)| histogram_sample(steps.at(step), histogram)).collect();
    samples
}

/// The samples with nothing said of resets: the moments of a subquery may leave one out, or show one again and again.
pub(super) fn without_hints(mut samples: Samples) -> Samples {
    for sample in &mut samples.histograms {
        if let NativeHistogram::Float(histogram) = Arc::make_mut(&mut sample.histogram)
            && histogram.counter_reset != CounterReset::Gauge
        {
            histogram.counter_reset = CounterReset::Unknown;
        }
    }
    samples
}

/// A histogram that was calculated, as a sample.
pub(crate) fn histogram_sample(t_ms: i64, histogram: &Arc<FloatHistogram>) -> HistogramSample {
    HistogramSample { t_ms, start_ms: 0, histogram: Arc::new(NativeHistogram::Float(FloatHistogram::clone(histogram))) }
}
