//! What is found in several places, each of which has it in order and mostly the same: texts of labels in indexes, label sets in blocks.
//!
//! It is one sorted list that is walked beside each place. What is there already costs a comparison. A place that is not in order after
//! all, as a block that somebody made up, may have things in the list twice.

use std::cmp::Ordering;

/// The first of what was found, in order, each once.
pub(crate) struct Ordered<T> {
    found: Vec<T>,
    limit: usize,
}

impl<T: Ord> Ordered<T> {
    /// Keeps the first `limit`, or all if that is 0.
    pub(crate) fn first(limit: usize) -> Self {
        Ordered { found: Vec::new(), limit: if limit == 0 { usize::MAX } else { limit } }
    }

    /// Calls `walk` to go through a place in order, and takes what it added.
    pub(crate) fn walk<R>(&mut self, walk: impl FnOnce(&mut Run<'_, T>) -> R) -> R {
        let mut run = Run { found: &self.found, limit: self.limit, at: 0, missing: Vec::new() };
        let walked = walk(&mut run);
        let missing = run.missing;
        if self.found.is_empty() {
            self.found = missing;
        } else if !missing.is_empty() {
            // Two sorted runs, which this sort takes as they are.
            self.found.extend(missing);
            self.found.sort();
        }
        self.found.truncate(self.limit);
        walked
    }

    /// What was kept.
    pub(crate) fn in_order(self) -> Vec<T> {
        self.found
    }
}

/// Where something stands to what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is there.
    There,
    /// It is not there, and would be kept.
    Missing,
    /// There is enough before it, and so before all that comes behind it.
    Beyond,
}

/// A walk through one place in order, beside what was found.
pub(crate) struct Run<'f, T> {
    found: &'f [T],
    limit: usize,
    // How many of those found are before what was asked for last.
    at: usize,
    // What was added, in order.
    missing: Vec<T>,
}

impl<T: Ord> Run<'_, T> {
    /// Where something stands that is behind all that was asked for before. `order` says how what was found stands to it.
    pub(crate) fn place(&mut self, order: impl Fn(&T) -> Ordering) -> Place {
        let mut next = None;
        while let Some(found) = self.found.get(self.at) {
            let order = order(found);
            if order != Ordering::Less {
                next = Some(order);
                break;
            }
            self.at += 1;
        }
        if self.at + self.missing.len() >= self.limit {
            Place::Beyond
        } else if next == Some(Ordering::Equal) {
            Place::There
        } else {
            Place::Missing
        }
    }

    /// Adds what is missing and was asked for last.
    pub(crate) fn add(&mut self, missing: T) {
        self.missing.push(missing);
    }

    /// Adds something that is behind all that was asked for before, if it is to be kept. Where it stands is the answer.
    pub(crate) fn offer(&mut self, one: T) -> Place {
        let place = self.place(|found| found.cmp(&one));
        if place == Place::Missing {
            self.add(one);
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_of_all_places(
            places in proptest::collection::vec(proptest::collection::btree_set(0u32..40, 0..20), 0..5),
            limit in 0usize..30,
        ) {
            let mut found = Ordered::first(limit);
            for place in &places {
                found.walk(|run| {
                    for one in place {
                        match run.place(|found: &u32| found.cmp(one)) {
                            Place::There => {}
                            Place::Missing => run.add(*one),
                            Place::Beyond => break,
                        }
                    }
                });
            }
            let all: BTreeSet<u32> = places.iter().flatten().copied().collect();
            let first = all.into_iter().take(if limit == 0 { usize::MAX } else { limit });
            prop_assert_eq!(found.in_order(), first.collect::<Vec<_>>());
        }
    }
}
