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

/// A disk that takes longer is waited for without company.
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
}

#[derive(Debug)]
struct State {
    /// The last commit that is on disk.
    commit: u64,
    is_syncing: bool,
    is_gathering: bool,
    /// How many wait for a sync that did not begin yet.
    waiting: usize,
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
        self.0.writing.fetch_sub(1, Ordering::Relaxed);
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
                waiting: 0,
                expected: 0,
                took: Duration::ZERO,
            }),
            synced: Condvar::new(),
            gathered: Condvar::new(),
            writing: AtomicUsize::new(0),
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
        state.waiting += 1;
        if state.is_gathering && self.are_all_there(&state) {
            self.gathered.notify_one();
        }
        while state.commit < commit {
            check()?;
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
        let served = std::mem::take(&mut self.gather(state).waiting);
        let begun = Instant::now();
        let last_commit = sync()?;
        let mut state = self.state();
        (state.commit, state.took) = (last_commit, begun.elapsed());
        state.expected = served + state.waiting;
        drop(state);
        drop(turn);
        Ok(())
    }

    /// Waits for those who are likely to come.
    fn gather<'d>(&'d self, mut state: MutexGuard<'d, State>) -> MutexGuard<'d, State> {
        if self.are_all_there(&state) {
            return state;
        }
        let patience = state.took.min(GATHERING_MAX);
        state.is_gathering = true;
        let waited = self.gathered.wait_timeout_while(state, patience, |state| !self.are_all_there(state));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_gathering = false;
        state
    }

    fn are_all_there(&self, state: &State) -> bool {
        state.waiting >= state.expected && self.writing.load(Ordering::Relaxed) == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn those_who_are_about_to_write_share_the_sync() {
        let (durable, written, syncs) = (Durable::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let sync = || {
            syncs.fetch_add(1, Ordering::SeqCst);
            Ok::<u64, ()>(written.load(Ordering::SeqCst))
        };
        // As long as the test may take: gathering ends because all have written.
        durable.state().took = GATHERING_MAX;
        let begun: Vec<_> = (0..4).map(|_| durable.begin()).collect();
        std::thread::scope(|scope| {
            for writing in begun {
                scope.spawn(|| {
                    let commit = written.fetch_add(1, Ordering::SeqCst) + 1;
                    drop(writing);
                    durable.reach(commit, || Ok(()), sync).unwrap();
                    assert!(durable.state().commit >= commit);
                });
            }
        });
        assert_eq!(durable.state().commit, 4);
        assert!((1..=4).contains(&syncs.load(Ordering::SeqCst)));
        // What is durable is not synced again, and whoever is alone does not wait.
        let before = syncs.load(Ordering::SeqCst);
        durable.reach(4, || Ok(()), sync).unwrap();
        assert_eq!(syncs.load(Ordering::SeqCst), before);
    }

    #[test]
    fn a_failure_is_passed_on_and_the_turn_is_free_again() {
        let durable = Durable::new(0);
        assert_eq!(durable.reach(1, || Ok(()), || Err("disk")), Err("disk"));
        assert_eq!(durable.reach(1, || Err("closed"), || Ok(1)), Err("closed"));
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
