//! The values of expressions while they are evaluated: series by series, each with one column over all steps.
//!
//! A column has a slot for every step between its first and its last value. A slot without a value holds [`ABSENT`], which no
//! calculation gives; so loops over columns need no second array. Histograms stand beside `floats` in [`Row`]: a step has one or
//! the other.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};

use foldhash::fast::RandomState;
use relatum_model::{Labels, is_stale, stale_nan};

use super::budget::Cost;
use super::histogram_column::HistogramColumn;
use crate::error::QueryError;

/// Marks a slot without a value: the staleness marker, which selectors never let through and arithmetic never gives.
pub(crate) fn absent() -> f64 {
    stale_nan()
}

/// Whether a slot is without a value.
#[inline(always)]
pub(crate) fn is_absent(value: f64) -> bool {
    is_stale(value)
}

/// The slots of a column. An instant has one step, and a place in memory for each of so many values costs more than they do.
#[derive(Debug, Clone)]
enum Slots {
    One(f64),
    Many(Vec<f64>),
}

impl Default for Slots {
    fn default() -> Self {
        Slots::Many(Vec::new())
    }
}

impl Slots {
    #[inline]
    fn push(&mut self, value: f64) {
        match self {
            Slots::Many(values) if values.capacity() == 0 => *self = Slots::One(value),
            Slots::Many(values) => values.push(value),
            Slots::One(_) => self.many().push(value),
        }
    }

    /// The same with room for more.
    fn many(&mut self) -> &mut Vec<f64> {
        if let Slots::One(value) = self {
            *self = Slots::Many(vec![*value]);
        }
        match self {
            Slots::Many(values) => values,
            Slots::One(_) => unreachable!("it was made many"),
        }
    }
}

impl Deref for Slots {
    type Target = [f64];

    #[inline]
    fn deref(&self) -> &[f64] {
        match self {
            Slots::One(value) => std::slice::from_ref(value),
            Slots::Many(values) => values,
        }
    }
}

impl DerefMut for Slots {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f64] {
        match self {
            Slots::One(value) => std::slice::from_mut(value),
            Slots::Many(values) => values,
        }
    }
}

/// The values of one series over the steps of an evaluation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Column {
    // The step of the first slot. First and last slot are not absent, unless `set` was not used to build the column.
    first: usize,
    values: Slots,
}

impl Column {
    /// A column from values for the steps from `first` on, with [`absent`] slots.
    pub(crate) fn from_values(first: usize, values: Vec<f64>) -> Self {
        Column { first, values: Slots::Many(values) }
    }

    /// The same value at each of `count` steps.
    pub(crate) fn constant(value: f64, count: usize) -> Self {
        Column::from_values(0, vec![value; count])
    }

    /// Takes all values away, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.first = 0;
        match &mut self.values {
            Slots::Many(values) => values.clear(),
            one @ Slots::One(_) => *one = Slots::default(),
        }
    }

    /// Takes values for the steps from `first` on in place of all there were, none of them [`absent`].
    #[inline]
    pub(crate) fn set(&mut self, first: usize, mut values: impl ExactSizeIterator<Item = f64>) {
        self.clear();
        self.first = first;
        match &mut self.values {
            Slots::Many(room) if room.capacity() == 0 && values.len() == 1 => {
                values.next().into_iter().for_each(|value| self.values = Slots::One(value));
            }
            Slots::Many(room) => room.extend(values),
            Slots::One(_) => unreachable!("it was cleared"),
        }
    }

    /// Appends a value at `step`, which is behind all that were added before.
    #[inline]
    pub(crate) fn push(&mut self, step: usize, value: f64) {
        if self.values.is_empty() {
            self.first = step;
        }
        let at = step - self.first;
        if at > self.values.len() {
            self.values.many().resize(at, absent());
        }
        self.values.push(value);
    }

    /// The value at `step`, or [`absent`].
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        self.values.get(step.wrapping_sub(self.first)).copied().unwrap_or_else(absent)
    }

    /// The value at `step`.
    #[inline]
    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        Some(self.at(step)).filter(|value| !is_absent(*value))
    }

    /// How many slots there are: what the column costs.
    pub(crate) fn slots(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value at any step.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_absent(*value))
    }

    /// The steps that have a value, with it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)).map(|(at, v)| (self.first + at, *v))
    }

    /// The step of the first slot, and the slots.
    pub(crate) fn slots_from(&self) -> (usize, &[f64]) {
        (self.first, &self.values)
    }

    /// As [`Column::slots_from`], without the column.
    pub(crate) fn into_slots(self) -> (usize, Vec<f64>) {
        match self.values {
            Slots::One(value) => (self.first, vec![value]),
            Slots::Many(values) => (self.first, values),
        }
    }

    /// Replaces every value.
    #[inline]
    pub(crate) fn map(&mut self, f: impl Fn(f64) -> f64) {
        for value in self.values.iter_mut() {
            if !is_absent(*value) {
                *value = f(*value);
            }
        }
    }

    /// Replaces every value by one that depends on the step; [`absent`] takes it away.
    #[inline]
    pub(crate) fn map_steps(&mut self, mut f: impl FnMut(usize, f64) -> f64) {
        for (at, value) in self.values.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = f(self.first + at, *value);
            }
        }
    }

    /// Replaces every value by what `f` makes of it and of that of `other` at the same step, [`absent`] for nothing; where
    /// `other` has none, it goes.
    #[inline]
    pub(crate) fn meet(&mut self, other: &Column, f: impl Fn(f64, f64) -> f64) {
        let first = self.first;
        for (at, value) in self.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
            let other = other.at(first + at);
            *value = if is_absent(other) { absent() } else { f(*value, other) };
        }
    }

    /// Takes over the values of `other`; `false` if both have one at the same step.
    fn merge(&mut self, other: &Column) -> bool {
        if other.values.is_empty() || self.values.is_empty() {
            if self.values.is_empty() {
                *self = other.clone();
            }
            return true;
        }
        let first = self.first.min(other.first);
        let end = (self.first + self.values.len()).max(other.first + other.values.len());
        let mut values = Vec::with_capacity(end - first);
        for step in first..end {
            let (a, b) = (self.at(step), other.at(step));
            if !is_absent(a) && !is_absent(b) {
                return false;
            }
            values.push(if is_absent(a) { b } else { a });
        }
        *self = Column::from_values(first, values);
        true
    }
}

/// One series of an instant vector, over all steps.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// Whether the metric's name goes at the end of the evaluation; only with delayed name removal.
    pub(crate) drop_name: bool,
    pub(crate) floats: Column,
    pub(crate) histograms: HistogramColumn,
}

impl Row {
    /// A series that has floats only, and a name to keep if any.
    pub(crate) fn of_floats(labels: Labels, floats: Column) -> Self {
        Row { labels, drop_name: false, floats, histograms: HistogramColumn::default() }
    }

    /// A row like this one with other values.
    pub(crate) fn with_values(&self, floats: Column, histograms: HistogramColumn) -> Self {
        Row { labels: self.labels.clone(), drop_name: self.drop_name, floats, histograms }
    }

    /// Whether there is no value at any step.
    pub(crate) fn is_empty(&self) -> bool {
        self.histograms.is_empty() && self.floats.is_empty()
    }

    /// As how many samples its values count.
    pub(crate) fn slots(&self) -> usize {
        self.floats.slots() + self.histograms.slots()
    }

    /// What the row takes.
    pub(crate) fn cost(&self) -> Cost {
        let values = Cost::from(self.floats.slots()).plus(self.histograms.cost());
        values.with_bytes(size_of::<Row>() + labels_bytes(&self.labels))
    }

    /// Whether there is a value at `step`.
    #[inline]
    pub(crate) fn has(&self, step: usize) -> bool {
        !is_absent(self.floats.at(step)) || self.histograms.get(step).is_some()
    }

    /// The steps that have a value: those of floats, then those of histograms.
    pub(crate) fn steps(&self) -> impl Iterator<Item = usize> + '_ {
        self.floats.iter().map(|(step, _)| step).chain(self.histograms.iter().map(|(step, _)| step))
    }

    /// Takes away the values at steps where `keep` does not hold.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        self.floats.map_steps(|step, value| if keep(step) { value } else { absent() });
        self.histograms.map(|step, histogram| keep(step).then_some(histogram));
    }

    /// Takes over the values of `other`; `false` if both have one at the same step.
    fn merge(&mut self, other: &Row) -> bool {
        let is_mixed = !(self.histograms.is_empty() && other.histograms.is_empty());
        if is_mixed && other.steps().any(|step| self.has(step)) {
            return false;
        }
        self.floats.merge(&other.floats) && self.histograms.merge(&other.histograms)
    }
}

/// An instant vector over all steps. At a single step the order of the rows is that of the elements.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    pub(crate) rows: Vec<Row>,
}

impl Block {
    /// What the block takes.
    pub(crate) fn cost(&self) -> Cost {
        self.rows.iter().map(Row::cost).sum()
    }

    /// Whether two rows have the same labels, and will have them to the end.
    pub(crate) fn has_duplicates(&self) -> bool {
        let mut seen: HashSet<_, RandomState> =
            HashSet::with_capacity_and_hasher(self.rows.len(), RandomState::default());
        self.rows.len() > 1 && !self.rows.iter().all(|row| seen.insert((row.labels.encoded(), row.drop_name)))
    }

    /// Makes one row of all rows with the same labels; an error if two of them have a value at the same step.
    pub(crate) fn merge_duplicates(&mut self) -> Result<(), QueryError> {
        if !self.has_duplicates() {
            return Ok(());
        }
        let mut places: HashMap<(Labels, bool), usize, RandomState> = HashMap::default();
        let mut merged: Vec<Row> = Vec::with_capacity(self.rows.len());
        for row in self.rows.drain(..) {
            let key = (row.labels.clone(), row.drop_name);
            match places.get(&key) {
                None => {
                    places.insert(key, merged.len());
                    merged.push(row);
                }
                Some(&at) => {
                    if !merged[at].merge(&row) {
                        return Err(duplicate_labelset());
                    }
                }
            }
        }
        self.rows = merged;
        Ok(())
    }
}

/// What a set of labels takes; often the store has it, too, but not always.
pub(crate) fn labels_bytes(labels: &Labels) -> usize {
    // Its text behind two counts.
    labels.encoded().len() + 2 * size_of::<usize>()
}

/// Two elements of one vector have the same labels.
pub(crate) fn duplicate_labelset() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// A number at every step.
#[derive(Debug, Clone)]
pub(crate) enum Scalars {
    /// The same at all.
    Constant(f64),
    /// One for each.
    Each(Vec<f64>),
}

impl Scalars {
    /// The number at `step`.
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            Scalars::Constant(value) => *value,
            Scalars::Each(values) => values[step],
        }
    }

    /// What the numbers cost.
    pub(crate) fn slots(&self) -> usize {
        match self {
            Scalars::Constant(_) => 1,
            Scalars::Each(values) => values.len(),
        }
    }

    /// Makes a number of every number.
    pub(crate) fn map(self, f: impl Fn(f64) -> f64) -> Scalars {
        match self {
            Scalars::Constant(value) => Scalars::Constant(f(value)),
            Scalars::Each(values) => Scalars::Each(values.into_iter().map(f).collect()),
        }
    }

    /// The numbers at `count` steps.
    pub(crate) fn iter(&self, count: usize) -> impl Iterator<Item = f64> + '_ {
        (0..count).map(|step| self.at(step))
    }
}
