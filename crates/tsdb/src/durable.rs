//! Group commit: batches that wait for the disk at the same time share one sync.
//!
//! A sync costs as much as the rest of a commit, so whoever is first waits a moment for those who are about to write, and for as many
//! as were there the last time, since who was just acknowledged tends to come again: no longer than the last sync took, and not at all
//! when nobody else comes.
//!
//! ```text
//! batch begun --append--> written --first of those that wait--> gathers, syncs --> all that was written is durable
//!                            '------another one syncs already--> waits ----------------------^
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// However long the disk takes, nobody waits longer for company.
const GATHERING_MAX: Duration = Duration::from_millis(2);

/// How far the log is on disk, and who sees to it.
#[derive(Debug)]
pub(crate) struct Durable {
    state: Mutex<State>,
    /// Something was synced, or failed to be.
    synced: Condvar,
    /// All who were waited for have written.
    gathered: Condvar,
    /// Batches that were begun and neither written nor dropped.
    writing: AtomicUsize,
    gathering_max: Duration,
}

#[derive(Debug)]
struct State {
    /// The last commit that is on disk.
    commit: u64,
    is_syncing: bool,
    is_gathering: bool,
    /// The commits for which somebody waits that no sync covers, nor one that began.
    waiting: Vec<u64>,
    /// How many are likely to be there: those whom the last sync served, and those who came meanwhile.
    expected: usize,
    /// How long the last sync took.
    took: Duration,
}

/// A batch that may be written soon.
#[derive(Debug)]
pub(crate) struct Writing<'d>(&'d Durable);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if self.0.writing.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.tell_gatherer(&self.0.state());
        }
    }
}

/// The turn to sync; given back when it is dropped.
struct Turn<'d>(&'d Durable);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().is_syncing = false;
        self.0.synced.notify_all();
    }
}

impl Durable {
    /// A log that is on disk up to `commit`.
    pub(crate) fn new(commit: u64) -> Self {
        Durable {
            state: Mutex::new(State {
                commit,
                is_syncing: false,
                is_gathering: false,
                waiting: Vec::new(),
                expected: 0,
                took: Duration::ZERO,
            }),
            synced: Condvar::new(),
            gathered: Condvar::new(),
            writing: AtomicUsize::new(0),
            gathering_max: GATHERING_MAX,
        }
    }

    /// Says that a batch begins; it is over, one way or the other, when the result is dropped.
    pub(crate) fn begin(&self) -> Writing<'_> {
        self.writing.fetch_add(1, Ordering::Relaxed);
        Writing(self)
    }

    /// Returns when `commit` is on disk. `sync` makes everything durable that is written when it is called, and returns the last
    /// commit of that; `check` fails when no sync can succeed any more.
    pub(crate) fn reach<E>(
        &self,
        commit: u64,
        check: impl Fn() -> Result<(), E>,
        sync: impl FnOnce() -> Result<u64, E>,
    ) -> Result<(), E> {
        let mut state = self.state();
        if state.commit >= commit {
            return Ok(());
        }
        state.waiting.push(commit);
        self.tell_gatherer(&state);
        while state.commit < commit {
            if let Err(reason) = check() {
                let own = state.waiting.iter().position(|waited| *waited == commit);
                own.map(|at| state.waiting.swap_remove(at));
                return Err(reason);
            }
            if !state.is_syncing {
                return self.take_turn(state, sync);
            }
            state = self.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn take_turn<E>(&self, mut state: MutexGuard<'_, State>, sync: impl FnOnce() -> Result<u64, E>) -> Result<(), E> {
        state.is_syncing = true;
        let turn = Turn(self);
        let mut state = self.gather(state);
        let served = state.waiting.len();
        state.waiting.clear();
        drop(state);
        let begun = Instant::now();
        let last_commit = sync()?;
        let mut state = self.state();
        (state.commit, state.took) = (last_commit, begun.elapsed());
        state.expected = served + state.waiting.len();
        // Some of those who came meanwhile had written in time.
        state.waiting.retain(|waited| *waited > last_commit);
        drop(state);
        drop(turn);
        Ok(())
    }

    /// Waits for those who are likely to come.
    fn gather<'d>(&'d self, mut state: MutexGuard<'d, State>) -> MutexGuard<'d, State> {
        let Some(patience) = self.patience(&state) else { return state };
        state.is_gathering = true;
        let waited = self.gathered.wait_timeout_while(state, patience, |state| !self.are_all_there(state));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_gathering = false;
        state
    }

    /// How long company is worth waiting for; `None` if nobody else is likely to come.
    fn patience(&self, state: &State) -> Option<Duration> {
        (!self.are_all_there(state)).then(|| state.took.min(self.gathering_max))
    }

    /// Wakes whoever gathers once nobody is left to wait for.
    fn tell_gatherer(&self, state: &State) {
        if state.is_gathering && self.are_all_there(state) {
            self.gathered.notify_one();
        }
    }

    fn are_all_there(&self, state: &State) -> bool {
        state.waiting.len() >= state.expected && self.writing.load(Ordering::Relaxed) == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Waits, without a clock, until `holds`.
    fn until(durable: &Durable, holds: impl Fn(&State) -> bool) {
        while !holds(&durable.state()) {
            std::thread::yield_now();
        }
    }

    /// One syncs, three more come meanwhile, of whom the sync covers those up to `covered`; returns how many syncs there were.
    fn syncs_of_four(durable: &Durable, covered: u64) -> u64 {
        let (written, syncs) = (AtomicU64::new(0), AtomicU64::new(0));
        let sync = || {
            if syncs.fetch_add(1, Ordering::SeqCst) == 0 {
                until(durable, |state| state.waiting.len() == 3);
                return Ok::<u64, ()>(covered);
            }
            Ok(written.load(Ordering::SeqCst))
        };
        let write = || {
            let writing = durable.begin();
            let commit = written.fetch_add(1, Ordering::SeqCst) + 1;
            drop(writing);
            durable.reach(commit, || Ok(()), sync).unwrap();
            assert!(durable.state().commit >= commit);
        };
        std::thread::scope(|scope| {
            scope.spawn(write);
            until(durable, |state| state.is_syncing && state.waiting.is_empty());
            (0..3).for_each(|_| drop(scope.spawn(write)));
        });
        assert_eq!(durable.state().commit, 4);
        // What is durable is not synced again.
        durable.reach(4, || Ok(()), sync).unwrap();
        syncs.into_inner()
    }

    #[test]
    fn those_who_wait_at_the_same_time_share_the_sync() {
        for (covered, syncs) in [(1, 2), (3, 2), (4, 1)] {
            let durable = Durable::new(0);
            assert_eq!(syncs_of_four(&durable, covered), syncs, "the first sync covers {covered}");
            assert_eq!(durable.state().waiting, [0; 0], "nobody waits any more");
        }
    }

    #[test]
    fn who_is_alone_does_not_wait_for_company() {
        let durable = Durable::new(0);
        let patience = |took| {
            let mut state = durable.state();
            state.took = took;
            durable.patience(&state)
        };
        assert_eq!(patience(GATHERING_MAX), None);
        let other = durable.begin();
        assert_eq!(patience(GATHERING_MAX / 2), Some(GATHERING_MAX / 2));
        assert_eq!(patience(GATHERING_MAX * 9), Some(GATHERING_MAX));
        drop(other);
        // Those whom the last sync served tend to come again.
        durable.state().expected = 2;
        durable.state().waiting.push(1);
        assert_eq!(patience(GATHERING_MAX), Some(GATHERING_MAX));
        durable.state().waiting.push(2);
        assert_eq!(patience(GATHERING_MAX), None);
    }

    #[test]
    fn a_batch_that_is_dropped_is_not_waited_for() {
        const LONG: Duration = Duration::from_secs(60);
        let durable = Durable { gathering_max: LONG, ..Durable::new(0) };
        durable.state().took = LONG;
        let begun = Instant::now();
        let (first, second) = (durable.begin(), durable.begin());
        std::thread::scope(|scope| {
            scope.spawn(|| durable.reach(1, || Ok::<(), ()>(()), || Ok(1)).unwrap());
            until(&durable, |state| state.is_gathering);
            drop(first);
            drop(second);
        });
        assert!(begun.elapsed() < LONG / 2, "it waited for {:?}", begun.elapsed());
    }

    #[test]
    fn a_failure_is_passed_on_and_the_turn_is_free_again() {
        let durable = Durable::new(0);
        assert_eq!(durable.reach(1, || Ok(()), || Err("disk")), Err("disk"));
        assert_eq!(durable.reach(1, || Err("closed"), || Ok(1)), Err("closed"));
        assert_eq!(durable.state().waiting, [0; 0], "who was refused does not wait");
        assert_eq!(durable.reach(1, || Ok(()), || Ok::<u64, &str>(1)), Ok(()));
        assert_eq!(durable.reach(1, || Err("closed"), || Ok(1)), Ok(()), "it is on disk already");
    }

    #[test]
    fn a_batch_that_never_comes_is_not_waited_for() {
        let durable = Durable::new(0);
        let _idle = durable.begin();
        durable.state().took = Duration::from_micros(1);
        assert_eq!(durable.reach(1, || Ok::<(), ()>(()), || Ok(1)), Ok(()));
    }
}
