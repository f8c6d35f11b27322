//! `cargo xtask bench`: numbers with their targets, always of the release build; a file is one bench.

pub(crate) mod crowd;
pub(crate) mod http;
pub(crate) mod promql;
pub(crate) mod relate;
pub(crate) mod texts;
mod tiers;
pub(crate) mod tsdb;
