//! The buckets on one side of a histogram: runs of neighbours, and a count for each.

use super::{Count, HistogramError, Side};

/// A run of neighbouring buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// How many buckets lie between the end of the span before and the beginning of this one; for the first span the index of
    /// its first bucket, which may be negative.
    pub offset: i32,
    /// How many buckets there are.
    pub length: u32,
}

/// The buckets on one side. There should be as many counts as the spans have buckets; [`Histogram::validate`] checks it, and
/// everything here treats what is missing or left over as not there.
///
/// [`Histogram::validate`]: super::Histogram::validate
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Buckets<C> {
    /// Where the buckets are.
    pub spans: Vec<Span>,
    /// How many observations each has.
    pub counts: Vec<C>,
}

/// One bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket<C> {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Whether an observation of the lower bound is in the bucket.
    pub lower_is_included: bool,
    /// Whether an observation of the upper bound is in the bucket.
    pub upper_is_included: bool,
    /// How many observations it has.
    pub count: C,
}

impl<C: Count> Buckets<C> {
    /// The buckets with their indexes, nearest to zero first.
    pub fn iter(&self) -> impl Iterator<Item = (i32, C)> + '_ {
        let mut spans = self.spans.iter();
        let (mut next, mut left) = (0i32, 0u32);
        self.counts.iter().map_while(move |count| {
            while left == 0 {
                let span = spans.next()?;
                next = next.saturating_add(span.offset);
                left = span.length;
            }
            let index = next;
            (next, left) = (next.saturating_add(1), left - 1);
            Some((index, *count))
        })
    }

    /// The buckets with their indexes, farthest from zero first.
    pub(super) fn iter_back(&self) -> impl Iterator<Item = (i32, C)> + '_ {
        let length = self.spans.iter().fold(0u64, |sum, span| sum.saturating_add(span.length.into()));
        let mut next = self
            .spans
            .iter()
            .fold(0i32, |end, span| end.saturating_add(span.offset).saturating_add_unsigned(span.length));
        let mut spans = self.spans.iter().rev();
        let (mut left, mut gap) = (0u32, 0i32);
        // Counts without a bucket and buckets without a count stand at the end.
        let mut missing = length.saturating_sub(self.counts.len() as u64);
        let known = self.counts.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        self.counts[..known].iter().rev().map_while(move |count| {
            loop {
                if left == 0 {
                    next = next.saturating_sub(gap);
                    let span = spans.next()?;
                    (left, gap) = (span.length, span.offset);
                } else if missing > 0 {
                    let skipped = u32::try_from(missing).unwrap_or(u32::MAX).min(left);
                    next = next.saturating_sub_unsigned(skipped);
                    (left, missing) = (left - skipped, missing - u64::from(skipped));
                } else {
                    (next, left) = (next.saturating_sub(1), left - 1);
                    return Some((next, *count));
                }
            }
        })
    }

    /// Adds a bucket behind the last one; `index` must be larger than that of the last.
    pub fn push(&mut self, last_index: Option<i32>, index: i32, count: C) {
        let gap = last_index.map_or(index, |last| index.saturating_sub(last).saturating_sub(1));
        match self.spans.last_mut() {
            Some(span) if gap == 0 && last_index.is_some() => span.length += 1,
            _ => self.spans.push(Span { offset: gap, length: 1 }),
        }
        self.counts.push(count);
    }

    pub(super) fn compact(&mut self) {
        let is_compact = self.counts.iter().all(|count| *count != C::default())
            && self.spans.iter().enumerate().all(|(at, span)| span.length > 0 && (at == 0 || span.offset > 0));
        if !is_compact {
            *self = Self::collected(self.iter().filter(|(_, count)| *count != C::default()));
        }
    }

    /// Joins each `2^steps` buckets that make one of a coarser schema.
    pub(super) fn merge(&mut self, steps: u32) {
        let coarse = |index: i32| i32::try_from(((i64::from(index) - 1) >> steps) + 1).unwrap_or(index);
        *self = Self::collected(self.iter().map(|(index, count)| (coarse(index), count)));
    }

    /// Buckets whose indexes do not fall; those of the same index become one.
    fn collected(buckets: impl Iterator<Item = (i32, C)>) -> Self {
        let mut collected = Self::default();
        let mut last = None;
        for (index, count) in buckets {
            match collected.counts.last_mut() {
                Some(sum) if last == Some(index) => *sum = sum.plus(count),
                _ => {
                    collected.push(last, index, count);
                    last = Some(index);
                }
            }
        }
        collected
    }

    pub(super) fn to_float(&self) -> Buckets<f64> {
        Buckets { spans: self.spans.clone(), counts: self.counts.iter().map(|count| count.to_f64()).collect() }
    }

    /// Whether spans and counts fit together.
    pub(super) fn validate(&self, side: Side) -> Result<(), HistogramError> {
        let mut needed = 0u64;
        let mut end = 0i64;
        for (at, span) in self.spans.iter().enumerate() {
            if span.offset < 0 && (at > 0 || side == Side::Custom) {
                return Err(HistogramError::Offset { side, number: at + 1, offset: span.offset });
            }
            needed = needed.saturating_add(span.length.into());
            end = end.saturating_add(i64::from(span.offset)).saturating_add(span.length.into());
        }
        if needed != self.counts.len() as u64 {
            return Err(HistogramError::Spans { side, needed, given: self.counts.len() });
        }
        if i32::try_from(end).is_err() { Err(HistogramError::Index(side)) } else { Ok(()) }
    }
}
