//! Turns query text into values, given anything that can select series. Owns the syntax of PromQL.
//!
//! [`syntax`] reads, checks, prints and rewrites queries and touches no data. [`Engine`] evaluates them and reads samples only
//! through `relatum_model::storage::Select`. Nothing here does I/O of its own or reads a clock, apart from the stopwatch
//! behind the engine's timeout.

mod annotation;
mod engine;
mod error;
mod eval;
mod functions;
mod histogram;
pub mod memory;
pub mod notation;
mod probe;
mod reuse;
pub mod syntax;
mod value;

pub use engine::{Answer, Engine, EngineOptions, QueryOptions};
pub use error::QueryError;
pub use probe::{Node, Probe, QueryStats};
pub use reuse::{RangeQuery, Results, ResultsStats};
pub use value::{Value, VectorSample};
