//! `sum` and `avg` of native histograms, and what becomes of groups that have floats as well.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use relatum_model::Labels;
use relatum_model::histogram::CounterReset;

use super::groups::Grouping;
use super::histogram_column::cost;
use super::window::HISTOGRAM_WORK;
use super::{Block, Column, Evaluator, Row, absent};
use crate::annotation::texts;
use crate::error::QueryError;
use crate::functions::sum::Sum;
use crate::histogram::{Accumulator, Combined, FloatHistogram, HistogramMean, Incompatible};
use crate::syntax::Span;

enum Total {
    /// Of a single histogram.
    One(Arc<FloatHistogram>),
    Sum(Accumulator<Sum>),
    Mean(HistogramMean),
}

impl Total {
    fn add(&mut self, histogram: &FloatHistogram, is_mean: bool) -> Result<Combined, Incompatible> {
        if let Total::One(first) = self {
            *self = if is_mean { Total::Mean(HistogramMean::of(first)) } else { Total::Sum(Accumulator::of(first)) };
        }
        match self {
            Total::Sum(sum) => sum.add(histogram, 1.0),
            Total::Mean(mean) => mean.add(histogram),
            Total::One(_) => unreachable!("it was replaced above"),
        }
    }

    fn finish(self) -> FloatHistogram {
        match self {
            Total::One(histogram) => {
                let mut histogram = Arc::unwrap_or_clone(histogram);
                histogram.compact();
                histogram
            }
            Total::Sum(sum) => sum.finish(),
            Total::Mean(mean) => mean.finish(),
        }
    }
}

/// What a group with histograms holds at one step, as far as its members were looked at.
enum Slot {
    /// Floats, and maybe histograms behind the first of them, which then come to nothing: these are not even looked at.
    Floats { has_histogram: bool },
    /// Histograms, and maybe floats behind the first of them.
    Histograms { total: Total, hints: HintsSeen, has_float: bool },
    /// Exponential and custom buckets met, and whether there was a float before. What comes behind is not looked at.
    Incompatible { has_float: bool },
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
            let rows_of = || members.iter().map(|at| &rows[*at]);
            let steps: HashSet<usize, RandomState> =
                rows_of().flat_map(|row| row.histograms.iter()).map(|(step, _)| step).collect();
            for row in rows_of() {
                self.budget.step(HISTOGRAM_WORK * row.slots())?;
                for (step, _) in row.floats.iter().filter(|(step, _)| steps.contains(step)) {
                    match slots.entry(step).or_insert(Slot::Floats { has_histogram: false }) {
                        Slot::Histograms { has_float, .. } => *has_float = true,
                        Slot::Floats { .. } | Slot::Incompatible { .. } => {}
                    }
                }
                for (step, histogram) in row.histograms.iter() {
                    self.take_histogram(&mut slots, (step, histogram), &row.labels, is_mean, span)?;
                }
            }
            let at = *places.entry(labels.clone()).or_insert_with(|| {
                folded.rows.push(Row::of_floats(labels.clone(), Column::default()));
                folded.rows.len() - 1
            });
            let row = &mut folded.rows[at];
            row.drop_name = members.iter().any(|at| rows[*at].drop_name);
            row.floats.map_steps(|step, value| if slots.contains_key(&step) { absent() } else { value });
            for (step, slot) in slots {
                match slot {
                    Slot::Floats { has_histogram: true }
                    | Slot::Histograms { has_float: true, .. }
                    | Slot::Incompatible { has_float: true } => {
                        self.annotations.warn(span, texts::mixed_aggregation());
                    }
                    Slot::Floats { .. } | Slot::Incompatible { .. } => {}
                    Slot::Histograms { total, hints, .. } => {
                        if hints.collide() {
                            self.annotations.warn(span, texts::collision("aggregation"));
                        }
                        row.histograms.push(step, Arc::new(total.finish()));
                    }
                }
            }
        }
        folded.rows.retain(|row| !row.is_empty());
        // The order of groups is that of their first members.
        let places: HashMap<&Labels, usize, RandomState> =
            grouping.labels.iter().enumerate().map(|(at, labels)| (labels, at)).collect();
        folded.rows.sort_by_cached_key(|row| places.get(&row.labels));
        Ok(folded)
    }

    /// Adds a histogram of the row with these labels to what its group holds at its step.
    fn take_histogram(
        &mut self,
        slots: &mut BTreeMap<usize, Slot>,
        (step, histogram): (usize, &Arc<FloatHistogram>),
        labels: &Labels,
        is_mean: bool,
        span: Span,
    ) -> Result<(), QueryError> {
        let Some(slot) = slots.get_mut(&step) else {
            self.budget.charge(cost(histogram))?;
            let mut hints = HintsSeen::default();
            hints.see(histogram);
            let total = Total::One(Arc::clone(histogram));
            slots.insert(step, Slot::Histograms { total, hints, has_float: false });
            return Ok(());
        };
        let added = match slot {
            Slot::Floats { has_histogram } => {
                *has_histogram = true;
                return Ok(());
            }
            Slot::Incompatible { .. } => return Ok(()),
            Slot::Histograms { total, hints, .. } => {
                hints.see(histogram);
                total.add(histogram, is_mean)
            }
        };
        match added {
            Ok(Combined { is_reconciled: true, .. }) => {
                self.annotations.inform(span, texts::reconciled("aggregation"));
            }
            Ok(_) => {}
            Err(Incompatible) => {
                let name = labels.metric_name().unwrap_or_default();
                self.annotations.warn(span, texts::mixed_schemas(name));
                *slot = Slot::Incompatible { has_float: matches!(slot, Slot::Histograms { has_float: true, .. }) };
            }
        }
        Ok(())
    }
}
