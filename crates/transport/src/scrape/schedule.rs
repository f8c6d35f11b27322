//! When a target is scraped: on a grid of its own, so that many targets with one interval do not come all at once.

use std::time::Duration;

/// How far from its grid point a scrape may start and still be stamped with it. Equal distances between timestamps compress
/// far better than nearly equal ones; the bound is Prometheus'.
const ALIGNMENT_TOLERANCE: Duration = Duration::from_millis(2);

/// How much later each further target of a reload starts. A handful start at once, so that a new target shows at once;
/// thousands are spread.
const FIRST_SCRAPE_SPACING: Duration = Duration::from_millis(1);

/// The moments at which one target is scraped: every `interval`, shifted by an offset that depends on the target alone.
///
/// The grid is fixed to the epoch, so a restart or a reload continues it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

impl Schedule {
    /// The grid of the target with the hash `hash`. `interval` is at least a millisecond.
    pub(crate) fn new(interval: Duration, hash: u64) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let offset_ms = (hash % interval_ms as u64) as i64;
        Schedule { interval_ms, offset_ms }
    }

    /// The first grid point after `now_ms`.
    pub(crate) fn next_after(self, now_ms: i64) -> i64 {
        let since = (now_ms - self.offset_ms).rem_euclid(self.interval_ms);
        now_ms.saturating_add(self.interval_ms - since)
    }

    /// The first regular scrape of a target whose very first one, out of turn, is at `first_ms`.
    ///
    /// Skips a grid point that follows within a quarter of the interval: it would tell nothing new.
    pub(crate) fn next_after_first(self, first_ms: i64) -> i64 {
        self.next_after(first_ms.saturating_add(self.interval_ms / 4))
    }

    /// The timestamp for a scrape that was due at `due_ms` and starts at `now_ms`.
    pub(crate) fn timestamp(self, due_ms: i64, now_ms: i64) -> i64 {
        let tolerance_ms = (ALIGNMENT_TOLERANCE.as_millis() as i64).min(self.interval_ms / 100);
        if (now_ms - due_ms).abs() <= tolerance_ms { due_ms } else { now_ms }
    }
}

/// How long target number `index` of those that a reload adds waits for its first scrape; never longer than its interval.
pub(crate) fn first_delay(index: usize, interval: Duration) -> Duration {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    FIRST_SCRAPE_SPACING.saturating_mul(index).min(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(interval_ms: u64, hash: u64, now_ms: i64, expected_ms: i64) {
        let schedule = Schedule::new(Duration::from_millis(interval_ms), hash);
        assert_eq!(schedule.next_after(now_ms), expected_ms);
    }

    #[test]
    fn grid() {
        check(15_000, 0, 0, 15_000);
        check(15_000, 0, 14_999, 15_000);
        check(15_000, 0, 15_000, 30_000);
        check(15_000, 4_000, 15_000, 19_000);
        check(15_000, 19_000, 3_999, 4_000);
        check(15_000, u64::MAX, 1_000_000, 1_011_615);
        // Before the epoch, and at the end of time.
        check(1_000, 300, -1_000, -700);
        check(1_000, 0, i64::MAX, i64::MAX);
    }

    #[test]
    fn first_scrapes() {
        let schedule = Schedule::new(Duration::from_secs(60), 10_000);
        // The grid point one second later is too close, the next one counts.
        assert_eq!(schedule.next_after_first(9_000), 70_000);
        assert_eq!(schedule.next_after_first(-20_000), 10_000);
        assert_eq!(first_delay(0, Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(first_delay(99, Duration::from_secs(60)), Duration::from_millis(99));
        assert_eq!(first_delay(1_000_000, Duration::from_secs(60)), Duration::from_secs(60));
    }

    #[test]
    fn timestamps_keep_to_the_grid() {
        let schedule = Schedule::new(Duration::from_secs(15), 0);
        assert_eq!(schedule.timestamp(15_000, 15_002), 15_000);
        assert_eq!(schedule.timestamp(15_000, 15_003), 15_003);
        // One per cent of a short interval is less than the two milliseconds.
        assert_eq!(Schedule::new(Duration::from_millis(100), 0).timestamp(100, 102), 102);
    }
}
