//! Subqueries: an expression evaluated at steps of its own, whose values are then samples.

use relatum_model::Samples;

use super::{Block, Column, Evaluator, Steps, When, execution};
use crate::error::QueryError;
use crate::syntax::Subquery;

impl Evaluator<'_> {
    /// The values inside a subquery for all windows at `steps`, and the steps they are at.
    pub(super) fn subquery_block(&mut self, node: &Subquery, steps: Steps) -> Result<(Block, Steps), QueryError> {
        let range_ms = node.range.length_ms(&self.durations).map_err(execution)?;
        let step_ms = match &node.step {
            None => self.settings.subquery_step_ms,
            Some(step) => step.length_ms(&self.durations).map_err(execution)?,
        };
        let when: When = self.when(node.at, node.offset.as_ref())?;
        let end_ms = when.at(steps.last_ms());
        let start_ms = after(when.at(steps.start_ms).saturating_sub(range_ms), step_ms.max(1));
        let inner = Steps::range(start_ms, end_ms, step_ms);
        let block = self.vector(&node.expr, inner)?;
        Ok((block, inner))
    }
}

/// The first multiple of `step_ms` behind `t_ms`: subqueries look at the same moments whenever they are asked.
fn after(t_ms: i64, step_ms: i64) -> i64 {
    let aligned = step_ms * (t_ms / step_ms);
    if aligned <= t_ms { aligned.saturating_add(step_ms) } else { aligned }
}

/// The values of a column as samples.
pub(super) fn samples(column: &Column, steps: Steps) -> Samples {
    let mut samples = Samples::default();
    for (step, value) in column.iter() {
        samples.push(steps.at(step), value);
    }
    samples
}
