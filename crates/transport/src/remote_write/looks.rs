//! How often is looked at what requests say of metrics whose series are all known.
//!
//! 2.0 says it of each series every time, and nearly always the same. It may come later or change, so it is looked at again, but for a
//! small part of the time only: a minute is long for one sender, and one look a minute would be that of the same sender each time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After a look, so many times as long as it took passes before the next one.
const REST: u32 = 200;

/// When the next look is due; `None` before the first.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<Instant>>);

impl Looks {
    /// Whether it is time to look again.
    pub(super) fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|due| due <= now)
    }

    /// Says how long a look took that has just ended.
    pub(super) fn took(&self, took: Duration) {
        self.took_until(took, Instant::now());
    }

    fn took_until(&self, took: Duration, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now.checked_add(took.saturating_mul(REST));
    }

    /// Has the next look be due.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_take_a_small_part_of_the_time() {
        let (looks, now) = (Looks::default(), Instant::now());
        assert!(looks.is_due_at(now));
        looks.took_until(Duration::from_millis(2), now);
        for (ms, is_due) in [(0, false), (399, false), (400, true), (9999, true)] {
            assert_eq!(looks.is_due_at(now + Duration::from_millis(ms)), is_due, "after {ms} ms");
        }
    }
}
