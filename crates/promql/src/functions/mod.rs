//! What the functions of PromQL compute, on plain numbers: they know nothing of labels, steps or queries.

pub(crate) mod buckets;
pub(crate) mod clock;
pub(crate) mod counter;
pub(crate) mod extended;
pub(crate) mod math;
pub(crate) mod mixed;
pub(crate) mod natural;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod rate;
pub(crate) mod regression;
pub(crate) mod sum;
