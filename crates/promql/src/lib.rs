//! Turns query text into values, given anything that can select series. Owns the syntax of PromQL.
//!
//! [`syntax`] reads, checks, prints and rewrites queries and touches no data; evaluation stands on it and reads samples only
//! through `relatum_model::storage::Select`. Nothing here does I/O of its own or reads a clock.

pub mod syntax;
