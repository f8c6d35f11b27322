//! Whether anybody will look at the buckets of the histograms that a selector finds.

use crate::syntax::{BinaryOp, Call};

/// What the expressions around the one that is evaluated do with buckets.
///
/// Those that only count or add up need none. Inside a subquery buckets are needed in any case, to see a reset between two of its
/// moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BucketUse {
    only_counts: bool,
    needs_buckets: bool,
}

impl BucketUse {
    /// Inside the arguments of `call`.
    pub(super) fn inside(self, call: &Call) -> Self {
        match call.function.name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => BucketUse { only_counts: true, ..self },
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => self.needing_buckets(),
            _ => self,
        }
    }

    /// Beside `op`.
    pub(super) fn beside(self, op: BinaryOp) -> Self {
        if matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) { self.needing_buckets() } else { self }
    }

    /// Where buckets are looked at.
    pub(super) fn needing_buckets(self) -> Self {
        BucketUse { needs_buckets: true, ..self }
    }

    /// Whether nobody needs the buckets.
    pub(super) fn are_spare(self) -> bool {
        self.only_counts && !self.needs_buckets
    }
}
