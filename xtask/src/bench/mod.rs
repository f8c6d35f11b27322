//! `cargo xtask bench`: numbers with their targets, always of the release build; a file is one bench.

pub(crate) mod relate;
pub(crate) mod tsdb;
