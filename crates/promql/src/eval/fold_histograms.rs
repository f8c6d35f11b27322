//! `sum` and `avg` of native histograms, and what becomes of groups that have floats as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use relatum_model::Labels;
use relatum_model::histogram::CounterReset;

use super::groups::Grouping;
use super::histogram_column::cost;
use super::{Block, Column, Evaluator, Row, absent};
use crate::annotation::texts;
use crate::error::QueryError;
use crate::functions::sum::Sum;
use crate::histogram::{Accumulator, Combined, FloatHistogram, HistogramMean, Incompatible};
use crate::syntax::Span;

enum Total {
    Sum(Accumulator<Sum>),
    Mean(HistogramMean),
    /// Exponential and custom buckets met.
    Nothing,
}

impl Total {
    fn of(histogram: &FloatHistogram, is_mean: bool) -> Self {
        if is_mean { Total::Mean(HistogramMean::of(histogram)) } else { Total::Sum(Accumulator::of(histogram)) }
    }

    fn add(&mut self, histogram: &FloatHistogram) -> Result<Combined, Incompatible> {
        let added = match self {
            Total::Sum(sum) => sum.add(histogram, 1.0),
            Total::Mean(mean) => mean.add(histogram),
            Total::Nothing => Ok(Combined::default()),
        };
        if added.is_err() {
            *self = Total::Nothing;
        }
        added
    }
}

/// What a group holds at one step.
struct Slot {
    total: Total,
    hints: HintsSeen,
}

/// Which hints were seen: a beginning and a going on do not fit together.
#[derive(Default, Clone, Copy)]
pub(super) struct HintsSeen {
    reset: bool,
    not_reset: bool,
}

impl HintsSeen {
    pub(super) fn see(&mut self, histogram: &FloatHistogram) {
        self.reset |= histogram.counter_reset == CounterReset::Reset;
        self.not_reset |= histogram.counter_reset == CounterReset::NotReset;
    }

    pub(super) fn collide(self) -> bool {
        self.reset && self.not_reset
    }
}

impl Evaluator<'_> {
    /// Adds what the histograms among `rows` come to, to `folded`, which is what the floats came to, a row for each group.
    pub(super) fn fold_histograms(
        &mut self,
        is_mean: bool,
        rows: &[Row],
        grouping: &Grouping,
        mut folded: Block,
        span: Span,
    ) -> Result<Block, QueryError> {
        let members = grouping.members();
        let mut places: HashMap<Labels, usize, RandomState> =
            folded.rows.iter().enumerate().map(|(at, row)| (row.labels.clone(), at)).collect();
        for (members, labels) in members.iter().zip(&grouping.labels) {
            if members.iter().all(|at| rows[*at].histograms.is_empty()) {
                continue;
            }
            let mut slots: BTreeMap<usize, Slot> = BTreeMap::new();
            for row in members.iter().map(|at| &rows[*at]) {
                self.budget.check()?;
                for (step, histogram) in row.histograms.iter() {
                    let Some(slot) = slots.get_mut(&step) else {
                        self.budget.charge(cost(histogram))?;
                        let mut hints = HintsSeen::default();
                        hints.see(histogram);
                        slots.insert(step, Slot { total: Total::of(histogram, is_mean), hints });
                        continue;
                    };
                    slot.hints.see(histogram);
                    match slot.total.add(histogram) {
                        Ok(combined) => {
                            if combined.is_reconciled {
                                self.annotations.inform(span, texts::reconciled("aggregation"));
                            }
                        }
                        Err(Incompatible) => {
                            let name = row.labels.metric_name().unwrap_or_default();
                            self.annotations.warn(span, texts::mixed_schemas(name));
                        }
                    }
                }
            }
            let at = *places.entry(labels.clone()).or_insert_with(|| {
                folded.rows.push(Row::of_floats(labels.clone(), Column::default()));
                folded.rows.len() - 1
            });
            let row = &mut folded.rows[at];
            row.drop_name = members.iter().any(|at| rows[*at].drop_name);
            let mut is_mixed = false;
            row.floats.map_steps(|step, value| {
                let has_histogram = slots.remove(&step).is_some();
                is_mixed |= has_histogram;
                if has_histogram { absent() } else { value }
            });
            if is_mixed {
                self.annotations.warn(span, texts::mixed_aggregation());
            }
            for (step, slot) in slots {
                let histogram = match slot.total {
                    Total::Sum(sum) => sum.finish(),
                    Total::Mean(mean) => mean.finish(),
                    Total::Nothing => continue,
                };
                if slot.hints.collide() {
                    self.annotations.warn(span, texts::collision("aggregation"));
                }
                row.histograms.push(step, Arc::new(histogram));
            }
        }
        folded.rows.retain(|row| !row.is_empty());
        // The order of groups is that of their first members.
        let places: HashMap<&Labels, usize, RandomState> =
            grouping.labels.iter().enumerate().map(|(at, labels)| (labels, at)).collect();
        folded.rows.sort_by_cached_key(|row| places.get(&row.labels));
        Ok(folded)
    }
}
