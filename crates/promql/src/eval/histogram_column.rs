//! The histograms of one series over the steps of an evaluation: only the steps that have one, because most series have none.

use std::sync::Arc;

use super::Cost;
use crate::histogram::FloatHistogram;

/// Histograms by step.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistogramColumn {
    // Sorted by step.
    entries: Vec<(usize, Arc<FloatHistogram>)>,
}

impl HistogramColumn {
    /// The same histogram at each of `count` steps.
    pub(crate) fn constant(histogram: &Arc<FloatHistogram>, count: usize) -> Self {
        HistogramColumn { entries: (0..count).map(|step| (step, Arc::clone(histogram))).collect() }
    }

    /// Appends a histogram at `step`, which is behind all that were added before.
    pub(crate) fn push(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        self.entries.push((step, histogram));
    }

    /// The histogram at `step`.
    #[inline]
    pub(crate) fn get(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        if self.entries.is_empty() {
            return None;
        }
        let at = self.entries.binary_search_by_key(&step, |(step, _)| *step).ok()?;
        Some(&self.entries[at].1)
    }

    /// The steps that have a histogram, with it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Arc<FloatHistogram>)> + '_ {
        self.entries.iter().map(|(step, histogram)| (*step, histogram))
    }

    /// Whether there is none at any step.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// As how many floats its histograms count.
    pub(crate) fn slots(&self) -> usize {
        self.entries.iter().map(|(_, histogram)| cost(histogram)).sum()
    }

    /// What the column takes: a histogram that stands at many steps is one in memory.
    pub(crate) fn cost(&self) -> Cost {
        let mut before: Option<&Arc<FloatHistogram>> = None;
        let mut held = Cost::default();
        for (_, histogram) in &self.entries {
            let samples = cost(histogram);
            let is_again = before.is_some_and(|before| Arc::ptr_eq(before, histogram));
            let bytes =
                size_of::<(usize, Arc<FloatHistogram>)>() + if is_again { 0 } else { Cost::from(samples).bytes };
            held = held.plus(Cost { samples, bytes });
            before = Some(histogram);
        }
        held
    }

    /// What it takes to have a histogram in one more column, which shares it.
    pub(crate) fn cost_of_shared(histogram: &FloatHistogram) -> Cost {
        Cost { samples: cost(histogram), bytes: size_of::<(usize, Arc<FloatHistogram>)>() }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Replaces every histogram, or takes it away.
    pub(crate) fn map(&mut self, mut f: impl FnMut(usize, Arc<FloatHistogram>) -> Option<Arc<FloatHistogram>>) {
        let entries = std::mem::take(&mut self.entries);
        self.entries = entries.into_iter().filter_map(|(step, histogram)| Some((step, f(step, histogram)?))).collect();
    }

    /// Takes over the histograms of `other`; `false` if both have one at the same step.
    pub(crate) fn merge(&mut self, other: &HistogramColumn) -> bool {
        if other.entries.iter().any(|(step, _)| self.get(*step).is_some()) {
            return false;
        }
        self.entries.extend(other.entries.iter().cloned());
        self.entries.sort_by_key(|(step, _)| *step);
        true
    }
}

/// What a histogram costs, in samples that are floats.
pub(crate) fn cost(histogram: &FloatHistogram) -> usize {
    let buckets = histogram.positive.counts.len() + histogram.negative.counts.len();
    let spans = histogram.positive.spans.len() + histogram.negative.spans.len();
    // A float sample has 16 bytes, a histogram 176 and its lists.
    11 + (buckets + spans + histogram.custom_bounds.len()) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_at_many_steps_takes_memory_once() {
        let histogram = || Arc::new(FloatHistogram::default());
        let (one, other) = (histogram(), histogram());
        let entry = size_of::<(usize, Arc<FloatHistogram>)>();
        let whole = Cost::from(cost(&one)).bytes;
        for (entries, n_whole) in [
            (vec![], 0),
            (vec![&one], 1),
            (vec![&one, &one, &one], 1),
            (vec![&one, &one, &other, &other], 2),
            (vec![&one, &other], 2),
        ] {
            let n = entries.len();
            let column = HistogramColumn { entries: entries.into_iter().cloned().enumerate().collect() };
            let expected = Cost { samples: n * cost(&one), bytes: n * entry + n_whole * whole };
            assert_eq!(column.cost(), expected, "{n} steps");
        }
    }
}
