//! The series of the head in the order of their labels, kept from query to query.
//!
//! Readers give series in that order, and comparing labels costs much more than anything else a selection does. New series are
//! put in their places when somebody asks next: few at a time come in, so that is a search for each and one walk over the rest.

use std::sync::Arc;

use crate::index::reserve_little;
use crate::series::MemSeries;

/// What stands for a slot without a series.
const NO_RANK: u32 = u32::MAX;

/// Series by rank, and the rank of each slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ranks {
    by_rank: Vec<Arc<MemSeries>>,
    of_slot: Vec<u32>,
}

impl Ranks {
    /// How many series are ranked.
    pub(crate) fn len(&self) -> usize {
        self.by_rank.len()
    }

    /// The series of a rank that [`Ranks::sorted`] gave.
    pub(crate) fn series(&self, rank: u32) -> &Arc<MemSeries> {
        &self.by_rank[rank as usize]
    }

    /// The ranks of `slots`, ascending.
    pub(crate) fn sorted(&self, slots: &[u32]) -> Vec<u32> {
        if slots.len() == self.by_rank.len() {
            return (0..slots.len() as u32).collect();
        }
        let rank_of = |slot: &u32| self.of_slot.get(*slot as usize).copied().filter(|rank| *rank != NO_RANK);
        let mut ranks: Vec<u32> = slots.iter().filter_map(rank_of).collect();
        // Slots are given in the order in which series came, which often is that of their labels.
        if !ranks.is_sorted() {
            ranks.sort_unstable();
        }
        ranks
    }

    /// Puts further series in their places.
    pub(crate) fn add(&mut self, mut new: Vec<Arc<MemSeries>>) {
        new.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        let place = |series: &Arc<MemSeries>| self.by_rank.partition_point(|other| other.labels < series.labels);
        let places: Vec<usize> = new.iter().map(place).collect();
        let Some(first) = places.first().copied() else { return };
        let mut behind = self.by_rank.split_off(first).into_iter();
        self.by_rank.reserve_exact(behind.len() + new.len());
        let mut moved = first;
        for (series, place) in new.into_iter().zip(places) {
            self.by_rank.extend(behind.by_ref().take(place - moved));
            moved = place;
            self.by_rank.push(series);
        }
        self.by_rank.extend(behind);
        self.number_from(first);
    }

    /// Takes the series out whose slots `is_gone` names.
    pub(crate) fn remove(&mut self, is_gone: impl Fn(u32) -> bool) {
        self.by_rank.retain(|series| !is_gone(series.slot));
        self.of_slot.clear();
        self.number_from(0);
    }

    fn number_from(&mut self, first: usize) {
        for (rank, series) in self.by_rank.iter().enumerate().skip(first) {
            let slot = series.slot as usize;
            if self.of_slot.len() <= slot {
                self.of_slot.resize(slot + 1, NO_RANK);
            }
            self.of_slot[slot] = rank as u32;
        }
    }
}

/// The ranks, and what has none yet.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    ranks: Arc<Ranks>,
    unranked: Vec<Arc<MemSeries>>,
}

impl Ranking {
    /// Notes a series that came.
    pub(crate) fn insert(&mut self, series: &Arc<MemSeries>) {
        reserve_little(&mut self.unranked);
        self.unranked.push(Arc::clone(series));
    }

    /// Takes series out; `is_gone` tells by the slot.
    pub(crate) fn remove(&mut self, is_gone: impl Fn(u32) -> bool) {
        self.unranked.retain(|series| !is_gone(series.slot));
        Arc::make_mut(&mut self.ranks).remove(is_gone);
    }

    /// Whether all `n_series` are ranked.
    pub(crate) fn is_complete(&self, n_series: usize) -> bool {
        self.unranked.is_empty() && self.ranks.len() == n_series
    }

    /// The ranks of all `n_series`, which `all` lists if they have to be ranked anew.
    pub(crate) fn complete<'s>(
        &mut self,
        n_series: usize,
        all: impl Iterator<Item = &'s Arc<MemSeries>>,
    ) -> Arc<Ranks> {
        if self.ranks.len() + self.unranked.len() != n_series {
            *self = Ranking { ranks: Arc::default(), unranked: all.cloned().collect() };
        }
        if !self.unranked.is_empty() {
            Arc::make_mut(&mut self.ranks).add(std::mem::take(&mut self.unranked));
        }
        Arc::clone(&self.ranks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use relatum_model::Labels;

    use super::*;

    proptest! {
        #[test]
        fn series_stand_in_order_whatever_comes_and_goes(steps in proptest::collection::vec((0u32..40, any::<bool>()), 0..60)) {
            let mut ranking = Ranking::default();
            let mut there: Vec<Arc<MemSeries>> = Vec::new();
            for (at, is_new) in steps {
                if is_new && there.iter().all(|series| series.slot != at) {
                    // The order of labels is not that of slots.
                    let labels = Labels::from_pairs([("n", ((at * 7) % 40).to_string())]);
                    let series = Arc::new(MemSeries::new(labels, u64::from(at), at));
                    ranking.insert(&series);
                    there.push(series);
                } else if !is_new {
                    there.retain(|series| series.slot != at);
                    ranking.remove(|slot| slot == at);
                }
                if at % 3 == 0 {
                    let ranks = ranking.complete(there.len(), there.iter());
                    let slots: Vec<u32> = there.iter().map(|series| series.slot).collect();
                    let found = ranks.sorted(&slots);
                    let labels: Vec<&Labels> = found.iter().map(|rank| &ranks.series(*rank).labels).collect();
                    let mut expected: Vec<&Labels> = there.iter().map(|series| &series.labels).collect();
                    expected.sort();
                    prop_assert_eq!(labels, expected);
                }
            }
        }
    }
}
