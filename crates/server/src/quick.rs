//! Which questions take hardly any time, so that they are answered on the thread that reads their requests. To hand one over to another
//! thread and its answer back wakes several threads, which takes longer than to look at a few series.
//!
//! That a question was quick the last time is no promise, so it gets a moment only, and nothing but what is at hand: if that is not enough
//! it is asked anew on a thread of its own. What the disk takes to bring a page of a block back into memory it does wait for.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;
use relatum_model::exposition::{MetricFamily, MetricKind};
use tokio::runtime::Handle;

/// What took no longer than this is quick.
const QUICK_MAX: Duration = Duration::from_millis(1);
/// What a question gets that was quick the last time. What else the thread has to do waits meanwhile.
pub(crate) const MOMENT: Duration = Duration::from_millis(5);
/// How many questions are remembered.
const REMEMBERED: usize = 4096;

/// The questions that were quick when they were asked last; of two that share a place, the later one.
#[derive(Debug)]
pub(crate) struct Quick {
    hasher: RandomState,
    places: Box<[AtomicU64]>,
    // How many are answered now on threads that read requests.
    here: AtomicUsize,
    answered: AtomicU64,
    given_up: AtomicU64,
}

/// Stands for what is asked, whenever it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question(u64);

/// The moment was not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotQuick;

/// One is answered on a thread that reads requests, until this is dropped.
#[derive(Debug)]
pub(crate) struct Here<'q>(&'q AtomicUsize);

impl Quick {
    pub(crate) fn new() -> Self {
        let places = (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect();
        Quick {
            hasher: RandomState::default(),
            places,
            here: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }

    /// The question that asks for `what`.
    pub(crate) fn question(&self, what: impl Hash) -> Question {
        Question(self.hasher.hash_one(what).max(1))
    }

    /// Remembers how long it took to answer.
    pub(crate) fn took(&self, question: Question, time: Duration) {
        let is_quick = time <= QUICK_MAX;
        if is_quick != self.was_quick(question) {
            self.place(question).store(if is_quick { question.0 } else { 0 }, Ordering::Relaxed);
        }
    }

    /// Remembers what came of a try that took so long.
    pub(crate) fn tried(&self, question: Question, time: Duration, is_answered: bool) {
        self.took(question, if is_answered { time } else { Duration::MAX });
        let outcome = if is_answered { &self.answered } else { &self.given_up };
        outcome.fetch_add(1, Ordering::Relaxed);
    }

    /// What came of tries, for `/metrics`.
    pub(crate) fn metrics(&self) -> MetricFamily {
        let help = "Requests that were tried on the thread that reads them, as they were quick the last time.";
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        MetricFamily::new(MetricKind::Counter, "relatum_quick_tries_total", help)
            .with(&[("outcome", "answered")], count(&self.answered))
            .with(&[("outcome", "given_up")], count(&self.given_up))
    }

    /// Leave to answer on this thread of the runtime, if the question was quick the last time. One thread stays free of this, which the
    /// others wake when there is more than one thing to do.
    pub(crate) fn here(&self, question: Question) -> Option<Here<'_>> {
        let threads = Handle::try_current().map_or(0, |runtime| runtime.metrics().num_workers());
        if !self.was_quick(question) || threads < 2 {
            return None;
        }
        let others = self.here.fetch_add(1, Ordering::Relaxed);
        let here = Here(&self.here);
        (others + 1 < threads).then_some(here)
    }

    fn was_quick(&self, question: Question) -> bool {
        self.place(question).load(Ordering::Relaxed) == question.0
    }

    fn place(&self, question: Question) -> &AtomicU64 {
        &self.places[question.0 as usize % self.places.len()]
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_counts() {
        let quick = Quick::new();
        let up = quick.question("up");
        let is_apart = |other: &Question| !std::ptr::eq(quick.place(*other), quick.place(up));
        let longer = (0..).map(|n| quick.question(("up", n))).find(is_apart).unwrap();
        assert!(!quick.was_quick(up));
        for (question, micros, expected) in [(up, 1000, true), (longer, 1001, false), (up, 1001, false), (up, 1, true)]
        {
            quick.took(question, Duration::from_micros(micros));
            assert_eq!(quick.was_quick(question), expected, "{question:?} took {micros} us");
        }
        assert!(!quick.was_quick(longer), "each is known by itself");
        for (is_answered, micros, expected) in [(true, 1, true), (true, 1001, false), (false, 1, false)] {
            quick.tried(up, Duration::from_micros(micros), is_answered);
            assert_eq!(quick.was_quick(up), expected);
        }
        let counts: Vec<f64> = quick.metrics().samples.iter().map(|sample| sample.value).collect();
        assert_eq!(counts, [2.0, 1.0]);
    }

    #[test]
    fn one_thread_is_left() {
        let quick = Quick::new();
        let question = quick.question("up");
        let ask = |threads: usize| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).build().unwrap();
            runtime.block_on(async {
                let all: Vec<_> = (0..threads + 1).map_while(|_| quick.here(question)).collect();
                all.len()
            })
        };
        assert_eq!(ask(3), 0, "nobody knows yet");
        quick.took(question, Duration::ZERO);
        assert_eq!((ask(1), ask(3), ask(2)), (0, 2, 1));
        assert!(quick.here(question).is_none(), "no runtime");
    }
}
