//! `cargo xtask bench`: numbers with their targets, always of the release build; a file is one bench.

pub(crate) mod relate;
pub(crate) mod texts;
pub(crate) mod tsdb;
