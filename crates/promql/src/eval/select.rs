//! Selectors: from the samples of series to the values at the steps.

use relatum_model::storage::{Hints, TimeRange};
use relatum_model::{Matcher, Samples, Series, is_stale};

use super::{Block, Column, Evaluator, Row, Steps, When};
use crate::error::QueryError;
use crate::functions::extended;
use crate::syntax::{Edges, VectorSelector};

/// What of the newest sample becomes the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    Value,
    /// Its time in seconds.
    Time,
}

impl Evaluator<'_> {
    /// An instant vector: of each series the newest sample at each step.
    pub(super) fn selector(&mut self, selector: &VectorSelector, steps: Steps) -> Result<Block, QueryError> {
        self.newest_samples(selector, steps, Take::Value)
    }

    /// The newest sample at each step, or its time.
    pub(super) fn newest_samples(
        &mut self,
        selector: &VectorSelector,
        steps: Steps,
        take: Take,
    ) -> Result<Block, QueryError> {
        let when = self.when(selector.at, selector.offset.as_ref())?;
        let is_smoothed = selector.edges == Edges::Smoothed && take == Take::Value;
        self.newest_of(&selector.all_matchers(), when, steps, take, is_smoothed)
    }

    /// As [`Evaluator::newest_samples`], of the series that satisfy `matchers`.
    pub(super) fn newest_of(
        &mut self,
        matchers: &[Matcher],
        when: When,
        steps: Steps,
        take: Take,
        is_smoothed: bool,
    ) -> Result<Block, QueryError> {
        let lookback_ms = self.settings.lookback_ms;
        let range = TimeRange {
            // A sample exactly as old as the lookback is too old.
            min_ms: when.at(steps.start_ms).saturating_sub(lookback_ms).saturating_add(1),
            max_ms: when.at(steps.last_ms()).saturating_add(if is_smoothed { lookback_ms } else { 0 }),
        };
        let hints = Hints { step_ms: if steps.is_instant { 0 } else { steps.step_ms }, ..Hints::default() };
        let mut block = Block::default();
        self.each_series(matchers, range, &hints, |evaluator, series| {
            evaluator.budget.charge(steps.count)?;
            let floats = if is_smoothed {
                smoothed_column(&without_stale(series.samples), steps, when, lookback_ms)
            } else {
                newest_column(&series.samples, steps, when, lookback_ms, take)
            };
            evaluator.budget.release(steps.count - floats.slots());
            if floats.slots() > 0 {
                block.rows.push(Row { labels: series.labels, drop_name: false, floats });
            }
            Ok(())
        })?;
        Ok(block)
    }

    /// Calls `visit` for every series that satisfies `matchers`, one after the other, with its samples in `range`.
    pub(super) fn each_series(
        &mut self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        mut visit: impl FnMut(&mut Self, Series) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        if range.is_empty() {
            return Ok(());
        }
        let reader = self.views.covering(range)?;
        let cancel = self.budget.cancel().clone();
        for series in reader.series(matchers, hints, &cancel)? {
            self.budget.check()?;
            let series = series?;
            let n_samples = series.samples.len();
            self.budget.charge(n_samples)?;
            visit(self, series)?;
            self.budget.release(n_samples);
        }
        Ok(())
    }
}

fn newest_column(samples: &Samples, steps: Steps, when: When, lookback_ms: i64, take: Take) -> Column {
    let (times, values) = (&samples.timestamps, &samples.values);
    let mut column = Column::default();
    // How many samples are not behind the moment.
    let mut seen = 0;
    for step in 0..steps.count {
        let at_ms = when.at(steps.at(step));
        while seen < times.len() && times[seen] <= at_ms {
            seen += 1;
        }
        let Some(newest) = seen.checked_sub(1) else { continue };
        if times[newest] > at_ms.saturating_sub(lookback_ms) && !is_stale(values[newest]) {
            column.push(step, if take == Take::Value { values[newest] } else { times[newest] as f64 / 1000.0 });
        }
    }
    column
}

/// Like [`newest_column`], but on the line between the samples before and behind each moment.
fn smoothed_column(samples: &Samples, steps: Steps, when: When, lookback_ms: i64) -> Column {
    let (times, values) = (&samples.timestamps, &samples.values);
    let mut column = Column::default();
    // How many samples are before the moment.
    let mut before = 0;
    for step in 0..steps.count {
        let at_ms = when.at(steps.at(step));
        while before < times.len() && times[before] < at_ms {
            before += 1;
        }
        let previous = before.checked_sub(1).filter(|at| times[*at] > at_ms.saturating_sub(lookback_ms));
        let next = Some(before).filter(|at| *at < times.len() && times[*at] <= at_ms.saturating_add(lookback_ms));
        let value = match (previous, next) {
            (_, Some(next)) if times[next] == at_ms => values[next],
            (Some(previous), Some(next)) => {
                extended::on_line((times[previous], values[previous]), (times[next], values[next]), at_ms)
            }
            (Some(previous), None) => values[previous],
            (None, _) => continue,
        };
        column.push(step, value);
    }
    column
}

/// The samples that are no staleness markers: ranges do not see those.
pub(super) fn without_stale(mut samples: Samples) -> Samples {
    if samples.values.iter().any(|value| is_stale(*value)) {
        let mut keep = samples.values.iter().map(|value| !is_stale(*value));
        samples.timestamps.retain(|_| keep.next().unwrap_or(false));
        samples.values.retain(|value| !is_stale(*value));
    }
    samples
}
