//! The moments at which an expression is evaluated.

/// Evenly spaced moments. Part of a query is evaluated at those of the query, what is inside a subquery at those of the subquery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    /// The first moment.
    pub(crate) start_ms: i64,
    /// The distance of two moments; at least 1.
    pub(crate) step_ms: i64,
    /// How many there are; may be none.
    pub(crate) count: usize,
    /// Whether the range that was asked for is a single moment. A long range with a longer step has one step, too, but is still a range.
    pub(crate) is_instant: bool,
}

impl Steps {
    /// The single moment `at_ms`.
    pub(crate) fn instant(at_ms: i64) -> Self {
        Steps { start_ms: at_ms, step_ms: 1, count: 1, is_instant: true }
    }

    /// The moments from `start_ms` on that are not behind `end_ms`.
    pub(crate) fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let count = match i128::from(end_ms) - i128::from(start_ms) {
            length_ms if length_ms < 0 => 0,
            length_ms => usize::try_from(length_ms / i128::from(step_ms) + 1).unwrap_or(usize::MAX),
        };
        Steps { start_ms, step_ms, count, is_instant: start_ms == end_ms }
    }

    /// The moment number `step`.
    pub(crate) fn at(&self, step: usize) -> i64 {
        // The product of a very long range may not fit, but the sum does.
        self.start_ms.wrapping_add(self.step_ms.wrapping_mul(step as i64))
    }

    /// The last moment.
    pub(crate) fn last_ms(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }
}
