//! Aggregations that make one value of all values of a group: `sum`, `avg`, `max`, `quantile` and their like.
//!
//! Rows are folded in one after the other, each into the slots of its group, so only the groups are held beside the input.

use super::groups::Grouping;
use super::{Block, Column, Cost, Evaluator, Row, Scalars, Steps, absent, is_absent, labels_bytes};
use crate::error::QueryError;
use crate::functions::quantile::quantile;
use crate::functions::sum::{Mean, Sum};
use crate::syntax::AggregateOp;

/// What a group holds at one step while its values come in.
pub(super) trait Fold: Clone {
    /// Whether histograms count as values, whatever is in them.
    const TAKES_HISTOGRAMS: bool = false;
    /// With the first value.
    fn start(value: f64) -> Self;
    /// With one more value.
    fn add(&mut self, value: f64);
    /// The result.
    fn finish(self) -> f64;
}

#[derive(Clone)]
pub(super) struct Total(Sum);

impl Fold for Total {
    fn start(value: f64) -> Self {
        Total(Sum::of(value))
    }

    #[inline]
    fn add(&mut self, value: f64) {
        self.0 = self.0.plus(value);
    }

    fn finish(self) -> f64 {
        self.0.value + self.0.lost
    }
}

#[derive(Clone)]
pub(super) struct Average(Mean);

impl Fold for Average {
    fn start(value: f64) -> Self {
        Average(Mean::of(value))
    }

    #[inline]
    fn add(&mut self, value: f64) {
        self.0 = self.0.plus(value);
    }

    fn finish(self) -> f64 {
        self.0.total()
    }
}

#[derive(Clone)]
pub(super) struct Largest(f64);

impl Fold for Largest {
    fn start(value: f64) -> Self {
        Largest(value)
    }

    #[inline]
    fn add(&mut self, value: f64) {
        if self.0 < value || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn finish(self) -> f64 {
        self.0
    }
}

#[derive(Clone)]
pub(super) struct Smallest(f64);

impl Fold for Smallest {
    fn start(value: f64) -> Self {
        Smallest(value)
    }

    #[inline]
    fn add(&mut self, value: f64) {
        if self.0 > value || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn finish(self) -> f64 {
        self.0
    }
}

#[derive(Clone)]
pub(super) struct Count(f64);

impl Fold for Count {
    const TAKES_HISTOGRAMS: bool = true;

    fn start(_: f64) -> Self {
        Count(1.0)
    }

    #[inline]
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn finish(self) -> f64 {
        self.0
    }
}

#[derive(Clone)]
pub(super) struct Presence;

impl Fold for Presence {
    const TAKES_HISTOGRAMS: bool = true;

    fn start(_: f64) -> Self {
        Presence
    }

    fn add(&mut self, _: f64) {}

    fn finish(self) -> f64 {
        1.0
    }
}

/// The population variance by Welford's method.
#[derive(Clone)]
pub(super) struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Variance {
    fn start(value: f64) -> Self {
        let squares = if value.is_finite() { 0.0 } else { f64::NAN };
        Variance { count: 1.0, mean: value, squares }
    }

    #[inline]
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn finish(self) -> f64 {
        self.squares / self.count
    }
}

#[derive(Clone)]
pub(super) struct Deviation(Variance);

impl Fold for Deviation {
    fn start(value: f64) -> Self {
        Deviation(Variance::start(value))
    }

    #[inline]
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn finish(self) -> f64 {
        self.0.finish().sqrt()
    }
}

impl Evaluator<'_> {
    /// Any aggregation without a parameter.
    pub(super) fn fold(
        &mut self,
        op: AggregateOp,
        block: &Block,
        grouping: &Grouping,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        match op {
            AggregateOp::Sum => self.fold_as::<Total>(block, grouping, steps),
            AggregateOp::Avg => self.fold_as::<Average>(block, grouping, steps),
            AggregateOp::Max => self.fold_as::<Largest>(block, grouping, steps),
            AggregateOp::Min => self.fold_as::<Smallest>(block, grouping, steps),
            AggregateOp::Count => self.fold_as::<Count>(block, grouping, steps),
            AggregateOp::Group => self.fold_as::<Presence>(block, grouping, steps),
            AggregateOp::Stdvar => self.fold_as::<Variance>(block, grouping, steps),
            AggregateOp::Stddev => self.fold_as::<Deviation>(block, grouping, steps),
            other => unreachable!("{other} has a parameter"),
        }
    }

    fn fold_as<F: Fold>(&mut self, block: &Block, grouping: &Grouping, steps: Steps) -> Result<Block, QueryError> {
        let members = grouping.members();
        // A sample is a time and a value; what folds values may need more room.
        self.budget.charge(steps.count.saturating_mul(size_of::<Option<F>>() / 16))?;
        let mut slots: Vec<Option<F>> = Vec::new();
        let mut rows = Vec::with_capacity(grouping.labels.len());
        for (members, labels) in members.iter().zip(&grouping.labels) {
            self.budget.check()?;
            self.budget.charge(Cost::from(steps.count).with_bytes(size_of::<Row>() + labels_bytes(labels)))?;
            slots.clear();
            slots.resize(steps.count, None);
            let mut drop_name = false;
            for row in members.iter().map(|at| &block.rows[*at]) {
                drop_name |= row.drop_name;
                let (first, values) = row.floats.slots_from();
                self.budget.step(values.len())?;
                for (slot, value) in slots[first..].iter_mut().zip(values) {
                    if is_absent(*value) {
                        continue;
                    }
                    match slot {
                        Some(fold) => fold.add(*value),
                        None => *slot = Some(F::start(*value)),
                    }
                }
                for (step, _) in row.histograms.iter().filter(|_| F::TAKES_HISTOGRAMS) {
                    match &mut slots[step] {
                        Some(fold) => fold.add(0.0),
                        slot => *slot = Some(F::start(0.0)),
                    }
                }
            }
            let mut floats = Column::default();
            for (step, slot) in slots.iter_mut().enumerate() {
                if let Some(fold) = slot.take() {
                    floats.push(step, fold.finish());
                }
            }
            if floats.slots() > 0 {
                rows.push(Row { drop_name, ..Row::of_floats(labels.clone(), floats) });
            }
        }
        Ok(Block { rows })
    }

    /// `quantile`: needs all values of a group at once.
    pub(super) fn fold_quantile(
        &mut self,
        block: Block,
        grouping: &Grouping,
        q: &Scalars,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        let mut rows = Vec::with_capacity(grouping.labels.len());
        let mut scratch = Vec::new();
        for (members, labels) in grouping.members().iter().zip(&grouping.labels) {
            self.budget.check()?;
            self.budget.charge(Cost::from(steps.count).with_bytes(size_of::<Row>() + labels_bytes(labels)))?;
            let mut floats = Column::default();
            for step in 0..steps.count {
                self.budget.step(members.len())?;
                scratch.clear();
                scratch.extend(members.iter().filter_map(|at| block.rows[*at].floats.get(step)));
                let value = if scratch.is_empty() { absent() } else { quantile(q.at(step), &mut scratch) };
                if !is_absent(value) {
                    floats.push(step, value);
                }
            }
            if floats.slots() > 0 {
                let drop_name = members.iter().any(|at| block.rows[*at].drop_name);
                rows.push(Row { drop_name, ..Row::of_floats(labels.clone(), floats) });
            }
        }
        Ok(Block { rows })
    }
}
