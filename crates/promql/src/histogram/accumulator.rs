//! A histogram to which others are added, plainly or with compensated sums.
//!
//! Before two histograms can be added they must have the same buckets: the coarser schema of the two, the wider zero bucket, or
//! the custom bounds that both have.

use std::sync::Arc;

use relatum_model::histogram::{Buckets, CounterReset, upper_bound};

use super::FloatHistogram;
use crate::functions::sum::Sum;

/// A number to which others are added.
pub(crate) trait Cell: Copy + Default + PartialEq {
    /// With `value` added.
    #[must_use]
    fn plus(self, value: f64) -> Self;
    /// With another number of the kind added.
    #[must_use]
    fn join(self, other: Self) -> Self;
    /// Multiplied.
    #[must_use]
    fn times(self, factor: f64) -> Self;
    /// Divided.
    #[must_use]
    fn over(self, divisor: f64) -> Self;
    /// What it comes to.
    fn total(self) -> f64;
    /// What it comes to without what rounding lost.
    fn rounded(self) -> f64;
}

impl Cell for f64 {
    fn plus(self, value: f64) -> Self {
        self + value
    }

    fn join(self, other: Self) -> Self {
        self + other
    }

    fn times(self, factor: f64) -> Self {
        self * factor
    }

    fn over(self, divisor: f64) -> Self {
        self / divisor
    }

    fn total(self) -> f64 {
        self
    }

    fn rounded(self) -> f64 {
        self
    }
}

impl Cell for Sum {
    fn plus(self, value: f64) -> Self {
        Sum::plus(self, value)
    }

    fn join(self, other: Self) -> Self {
        Sum::plus(Sum::plus(self, other.value), other.lost)
    }

    fn times(self, factor: f64) -> Self {
        Sum { value: self.value * factor, lost: self.lost * factor }
    }

    fn over(self, divisor: f64) -> Self {
        Sum { value: self.value / divisor, lost: self.lost / divisor }
    }

    fn total(self) -> f64 {
        self.value + self.lost
    }

    fn rounded(self) -> f64 {
        self.value
    }
}

/// Exponential and custom buckets cannot be brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What its author may want to know about a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Combined {
    /// One of the two was known to begin anew, the other to go on.
    pub(crate) collides: bool,
    /// Custom bounds differed, so only those that both have are left.
    pub(crate) is_reconciled: bool,
}

/// A sum of histograms. Buckets are kept by index, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Accumulator<C> {
    schema: i32,
    counter_reset: CounterReset,
    zero_threshold: f64,
    zero_count: C,
    count: C,
    sum: C,
    positive: Vec<(i32, C)>,
    negative: Vec<(i32, C)>,
    custom_bounds: Arc<[f64]>,
}

impl<C: Cell> Accumulator<C> {
    /// A sum that starts with `histogram`.
    pub(crate) fn of(histogram: &FloatHistogram) -> Self {
        let cell = |value| C::default().plus(value);
        let cells = |buckets: &Buckets<f64>| buckets.iter().map(|(index, count)| (index, cell(count))).collect();
        Accumulator {
            schema: histogram.schema,
            counter_reset: histogram.counter_reset,
            zero_threshold: histogram.zero_threshold,
            zero_count: cell(histogram.zero_count),
            count: cell(histogram.count),
            sum: cell(histogram.sum),
            positive: cells(&histogram.positive),
            negative: cells(&histogram.negative),
            custom_bounds: Arc::clone(&histogram.custom_bounds),
        }
    }

    fn has_custom_bounds(&self) -> bool {
        self.schema == relatum_model::histogram::CUSTOM_SCHEMA
    }

    /// Adds `sign` times `other`.
    pub(crate) fn add(&mut self, other: &FloatHistogram, sign: f64) -> Result<Combined, Incompatible> {
        if self.has_custom_bounds() != other.has_custom_bounds() {
            return Err(Incompatible);
        }
        let coarse = self.in_my_schema(other)?;
        let other = coarse.as_ref().unwrap_or(other);
        let collides = self.adjust_hint(other.counter_reset);
        if !self.has_custom_bounds() {
            let zero_count = self.widen_zero_buckets(other);
            self.zero_count = self.zero_count.plus(sign * zero_count);
        }
        self.count = self.count.plus(sign * other.count);
        self.sum = self.sum.plus(sign * other.sum);
        if self.has_custom_bounds() && self.custom_bounds != other.custom_bounds {
            self.add_at_shared_bounds(other, sign);
            return Ok(Combined { collides, is_reconciled: true });
        }
        let hidden_to = if self.has_custom_bounds() { f64::NEG_INFINITY } else { self.zero_threshold };
        for (mine, theirs) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            add_buckets(mine, theirs, sign, |index| upper_bound(other.schema, index, &[]) <= hidden_to);
        }
        Ok(Combined { collides, is_reconciled: false })
    }

    /// Brings both to the coarser schema: this one in place, the other as a copy if it has to change.
    fn in_my_schema(&mut self, other: &FloatHistogram) -> Result<Option<FloatHistogram>, Incompatible> {
        if other.schema == self.schema {
            return Ok(None);
        }
        if other.schema > self.schema {
            let mut coarse = other.clone();
            coarse.reduce_resolution(self.schema).map_err(|_| Incompatible)?;
            return Ok(Some(coarse));
        }
        let steps = self.schema.abs_diff(other.schema).min(31);
        for buckets in [&mut self.positive, &mut self.negative] {
            let mut merged: Vec<(i32, C)> = Vec::with_capacity(buckets.len());
            for (index, cell) in buckets.drain(..) {
                let index = i32::try_from(((i64::from(index) - 1) >> steps) + 1).unwrap_or(index);
                match merged.last_mut() {
                    Some((last, sum)) if *last == index => *sum = sum.join(cell),
                    _ => merged.push((index, cell)),
                }
            }
            *buckets = merged;
        }
        self.schema = other.schema;
        Ok(None)
    }

    /// Takes over what both agree on; `true` if they disagree.
    fn adjust_hint(&mut self, other: CounterReset) -> bool {
        use CounterReset::{Gauge, Unknown};
        match (self.counter_reset, other) {
            (mine, theirs) if mine == theirs => false,
            (Gauge | Unknown, theirs) => {
                if theirs == Gauge {
                    self.counter_reset = Gauge;
                }
                false
            }
            (_, Gauge) => {
                self.counter_reset = Gauge;
                false
            }
            (_, Unknown) => {
                self.counter_reset = Unknown;
                false
            }
            _ => {
                self.counter_reset = Unknown;
                true
            }
        }
    }

    /// Makes this zero bucket as wide as the other, and returns what is in the other when it is as wide as this.
    fn widen_zero_buckets(&mut self, other: &FloatHistogram) -> f64 {
        let (mut zero_count, mut threshold) = (other.zero_count, other.zero_threshold);
        // Each turn makes one of them wider, up to a bound of a bucket; NaN is as wide as nothing.
        while threshold != self.zero_threshold && !threshold.is_nan() && !self.zero_threshold.is_nan() {
            if self.zero_threshold > threshold {
                (zero_count, threshold) = other.zero_count_within(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                self.widen_zero_bucket(threshold);
            }
        }
        zero_count
    }

    fn widen_zero_bucket(&mut self, mut threshold: f64) {
        let schema = self.schema;
        let lower = |index: i32| upper_bound(schema, index.saturating_sub(1), &[]);
        let zero_count = 'widened: loop {
            let mut zero_count = self.zero_count;
            for (side, buckets) in [&self.positive, &self.negative].into_iter().enumerate() {
                for &(index, cell) in buckets {
                    if lower(index) >= threshold {
                        break;
                    }
                    zero_count = zero_count.join(cell);
                    let upper = upper_bound(schema, index, &[]);
                    if upper > threshold {
                        if cell.rounded() != 0.0 {
                            threshold = upper;
                            if side == 1 {
                                continue 'widened;
                            }
                        }
                        break;
                    }
                }
            }
            break zero_count;
        };
        (self.zero_count, self.zero_threshold) = (zero_count, threshold);
        for buckets in [&mut self.positive, &mut self.negative] {
            buckets.retain(|(index, cell)| lower(*index) >= threshold && *cell != C::default());
        }
    }

    fn add_at_shared_bounds(&mut self, other: &FloatHistogram, sign: f64) {
        let shared: Vec<f64> = self.custom_bounds.iter().filter(|b| other.custom_bounds.contains(b)).copied().collect();
        let place = |bounds: &[f64], index: i32| {
            let bound = upper_bound(other.schema, index, bounds);
            shared.partition_point(|shared| *shared < bound)
        };
        let mut cells = vec![C::default(); shared.len() + 1];
        for &(index, cell) in &self.positive {
            let at = place(&self.custom_bounds, index);
            cells[at] = cells[at].join(cell);
        }
        for (index, count) in other.positive.iter() {
            let at = place(&other.custom_bounds, index);
            cells[at] = cells[at].plus(sign * count);
        }
        self.positive = (0..).zip(cells).filter(|(_, cell)| *cell != C::default()).collect();
        self.custom_bounds = shared.into();
    }

    /// Changes every number.
    pub(crate) fn map(&mut self, f: impl Fn(C) -> C) {
        for cell in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *cell = f(*cell);
        }
        for (_, cell) in self.positive.iter_mut().chain(&mut self.negative) {
            *cell = f(*cell);
        }
    }

    /// Whether a number has become infinite.
    pub(crate) fn overflows(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, cell)| cell);
        [&self.zero_count, &self.count, &self.sum].into_iter().chain(buckets).any(|cell| cell.rounded().is_infinite())
    }

    /// The sum as a histogram, without empty buckets.
    pub(crate) fn finish(&self) -> FloatHistogram {
        let buckets = |cells: &[(i32, C)]| {
            let mut buckets = Buckets::default();
            let mut last = None;
            for (index, cell) in cells {
                let count = cell.total();
                if count != 0.0 {
                    buckets.push(last, *index, count);
                    last = Some(*index);
                }
            }
            buckets
        };
        FloatHistogram {
            schema: self.schema,
            counter_reset: self.counter_reset,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count.total(),
            count: self.count.total(),
            sum: self.sum.total(),
            positive: buckets(&self.positive),
            negative: buckets(&self.negative),
            custom_bounds: Arc::clone(&self.custom_bounds),
        }
    }
}

/// Adds buckets to buckets, except for the first ones as long as they are hidden by the zero bucket.
fn add_buckets<C: Cell>(
    mine: &mut Vec<(i32, C)>,
    theirs: &Buckets<f64>,
    sign: f64,
    mut is_hidden: impl FnMut(i32) -> bool,
) {
    let mut is_hiding = true;
    let mut theirs = theirs.iter().filter(move |(index, _)| {
        is_hiding = is_hiding && is_hidden(*index);
        !is_hiding
    });
    // Most often all buckets are there already.
    let mut at = 0;
    let mut missing = None;
    for (index, count) in theirs.by_ref() {
        while mine.get(at).is_some_and(|(other, _)| *other < index) {
            at += 1;
        }
        match mine.get_mut(at) {
            Some((other, cell)) if *other == index => *cell = cell.plus(sign * count),
            _ => {
                missing = Some((index, count));
                break;
            }
        }
    }
    let Some(first) = missing else { return };
    let mut rest = mine.split_off(at).into_iter().peekable();
    for (index, count) in std::iter::once(first).chain(theirs) {
        while let Some(before) = rest.next_if(|(other, _)| *other < index) {
            mine.push(before);
        }
        let cell = rest.next_if(|(other, _)| *other == index).map(|(_, cell)| cell).unwrap_or_default();
        mine.push((index, cell.plus(sign * count)));
    }
    mine.extend(rest);
}
