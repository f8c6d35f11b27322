//! Who reads which commit: what makes a view consistent, and what tells the writer which versions are still needed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use relatum_model::storage::Moment;

use crate::changes::Changes;

/// A place in the log behind which nothing is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct LogEnd {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// The open readers and the newest commit that new ones will see.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    published: u64,
    end: LogEnd,
    next_ticket: u64,
    // By commit, then ticket: the first time the reader was promised.
    open: BTreeMap<(u64, u64), i64>,
    changes: Changes,
    // What is in the head and not published yet: the commits and the oldest times they touch.
    unpublished: VecDeque<(u64, i64)>,
}

/// What a reader was given at its opening; to be returned to [`Readers::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) commit: u64,
    /// All changes up to here are seen.
    pub(crate) moment: Moment,
    number: u64,
}

impl Readers {
    /// Lets new readers see everything up to `commit`, which ends at `end`.
    pub(crate) fn publish(&self, commit: u64, end: LogEnd) {
        let mut inner = self.inner();
        if commit >= inner.published {
            inner.published = commit;
            inner.end = inner.end.max(end);
        }
        while let Some((_, oldest_ms)) = inner.unpublished.pop_front_if(|(applied, _)| *applied <= commit) {
            inner.changes.add(oldest_ms);
        }
    }

    /// Remembers what `commit`, which is about to be published, touches.
    pub(crate) fn touch(&self, commit: u64, oldest_ms: i64) {
        self.inner().unpublished.push_back((commit, oldest_ms));
    }

    /// Says that something changed by another way than a commit, at `oldest_ms` and later. To be called once it is seen.
    pub(crate) fn changed(&self, oldest_ms: i64) {
        self.inner().changes.add(oldest_ms);
    }

    /// The oldest time that changed since `moment`; `i64::MAX` if nothing did.
    pub(crate) fn changed_since(&self, moment: Moment) -> i64 {
        self.inner().changes.oldest_since(moment)
    }

    /// Where the published part of the log ends, and its last commit.
    pub(crate) fn end(&self) -> (LogEnd, u64) {
        let inner = self.inner();
        (inner.end, inner.published)
    }

    /// Admits a reader that may look at samples from `cutoff_ms` on.
    pub(crate) fn open(&self, cutoff_ms: i64) -> Ticket {
        let mut inner = self.inner();
        let (commit, moment) = (inner.published, inner.changes.moment());
        let ticket = Ticket { commit, moment, number: inner.next_ticket };
        inner.next_ticket += 1;
        inner.open.insert((ticket.commit, ticket.number), cutoff_ms);
        ticket
    }

    /// Ends a reader.
    pub(crate) fn close(&self, ticket: Ticket) {
        self.inner().open.remove(&(ticket.commit, ticket.number));
    }

    /// A moment: see [`Readers::all_since`].
    pub(crate) fn moment(&self) -> u64 {
        self.inner().next_ticket
    }

    /// Whether all open readers were opened after `moment`.
    pub(crate) fn all_since(&self, moment: u64) -> bool {
        self.inner().open.keys().all(|(_, number)| *number >= moment)
    }

    /// The oldest commit that a reader sees, now or when it opens before the next publication.
    pub(crate) fn oldest_commit(&self) -> u64 {
        let inner = self.inner();
        inner.open.first_key_value().map_or(inner.published, |((commit, _), _)| inner.published.min(*commit))
    }

    /// Before which moment no open reader looks.
    pub(crate) fn oldest_cutoff_ms(&self) -> Option<i64> {
        self.inner().open.values().min().copied()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
