//! What changed since a moment: the oldest time that was written or deleted, so that what was computed of older ones may be kept.
//!
//! Each change has a number and the oldest time it touched. Asked is always for the oldest time of all changes behind some
//! number, so a change matters no longer once a later one reached further back: what is left ascends in number and time,
//! and one look finds the answer. Times are told to the second, so those who write in order add a change a second; a list that
//! is long all the same is thinned out where it is old: of two neighbours the later number and the older time stay, which says
//! too much of old moments and never too little.

use std::sync::atomic::{AtomicU64, Ordering};

use relatum_model::storage::Moment;

/// When there are more changes than this, the older half is thinned out to half of it: of those who write as time goes by the
/// last half hour is told to the second, and two hours to half a minute.
const CHANGES_MAX: usize = 4096;
/// Times are told to so many milliseconds.
const GRAIN_MS: i64 = 1000;

/// The number of the next change, of whichever store: a moment of one that was closed is older than all of the next one's.
static NEXT: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    number: u64,
    oldest_ms: i64,
}

/// The changes of a store, as far as they matter.
#[derive(Debug)]
pub(crate) struct Changes {
    // Ascending in both.
    list: Vec<Change>,
    last: u64,
}

impl Default for Changes {
    /// Of a store that is opened: to moments before, all of it is new.
    fn default() -> Self {
        let mut changes = Changes { list: Vec::new(), last: 0 };
        changes.add(i64::MIN);
        changes
    }
}

impl Changes {
    /// Something changed, at `oldest_ms` and later.
    pub(crate) fn add(&mut self, oldest_ms: i64) {
        let oldest_ms = oldest_ms.div_euclid(GRAIN_MS).saturating_mul(GRAIN_MS);
        self.last = NEXT.fetch_add(1, Ordering::Relaxed);
        while self.list.last().is_some_and(|change| change.oldest_ms >= oldest_ms) {
            self.list.pop();
        }
        if self.list.len() >= CHANGES_MAX {
            self.thin_out();
        }
        self.list.push(Change { number: self.last, oldest_ms });
    }

    /// The moment behind all changes so far.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.last)
    }

    /// The oldest time that changed behind `moment`; `i64::MAX` if nothing did.
    pub(crate) fn oldest_since(&self, moment: Moment) -> i64 {
        let behind = self.list.partition_point(|change| change.number <= moment.0);
        self.list.get(behind).map_or(i64::MAX, |change| change.oldest_ms)
    }

    fn thin_out(&mut self) {
        // The first one is older than what any moment of this store needs.
        let recent = self.list.split_off(CHANGES_MAX / 2);
        let (first, old) = self.list.split_at(1);
        let thinner = old.chunks(2).map(|pair| Change { number: pair[pair.len() - 1].number, ..pair[0] });
        self.list = first.iter().copied().chain(thinner).chain(recent).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_store_that_is_opened_is_new_to_older_moments() {
        let before = Changes::default();
        let moment = before.moment();
        assert_eq!(before.oldest_since(moment), i64::MAX);
        let mut after = Changes::default();
        assert_eq!(after.oldest_since(moment), i64::MIN);
        let moment = after.moment();
        after.add(7000);
        after.add(9000);
        assert_eq!((after.oldest_since(moment), after.oldest_since(after.moment())), (7000, i64::MAX));
    }

    #[test]
    fn a_long_list_says_too_much_of_old_moments_and_stays_short() {
        let mut changes = Changes::default();
        let mut moments = vec![changes.moment()];
        // A hundred commits a second for six hours.
        let (commit_ms, end_ms) = (10, 6 * 3_600_000);
        for n in 0..end_ms / commit_ms {
            changes.add(n * commit_ms);
            moments.push(changes.moment());
        }
        assert!(changes.list.len() <= CHANGES_MAX);
        for (n, moment) in (0..).zip(&moments[..moments.len() - 1]) {
            let (t_ms, oldest_ms) = (n * commit_ms, changes.oldest_since(*moment));
            assert!(oldest_ms <= t_ms, "{oldest_ms} after {t_ms}");
            let too_much_ms = match end_ms - t_ms {
                0..1_800_000 => GRAIN_MS,
                1_800_000..7_200_000 => 32 * GRAIN_MS,
                _ => i64::MAX,
            };
            assert!(t_ms - oldest_ms < too_much_ms, "{oldest_ms} after {t_ms}");
        }
    }

    proptest! {
        #[test]
        fn as_all_changes_say(times in proptest::collection::vec(-50i64..50, 0..100)) {
            let mut changes = Changes::default();
            let mut moments = vec![changes.moment()];
            for seconds in &times {
                changes.add(*seconds * GRAIN_MS + 7);
                moments.push(changes.moment());
            }
            for (at, moment) in moments.into_iter().enumerate() {
                let expected = times[at..].iter().min().map_or(i64::MAX, |seconds| seconds * GRAIN_MS);
                prop_assert_eq!(changes.oldest_since(moment), expected);
            }
        }
    }
}
