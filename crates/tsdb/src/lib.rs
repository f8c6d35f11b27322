//! Keeps samples on disk and gives them back by matcher and time range.
//!
//! A [`Store`] owns one directory. A batch of samples is written to the log first (`wal`, see `docs/formats/wal.md`), then
//! applied to the head in memory (`head`, `series`, `chunk`), then published; a reader (`view`) sees exactly the commits that
//! were published when it was opened. Retention cuts the head, and a checkpoint rewrites what lives so that the log does not
//! outgrow it. The store is reached through the three traits of `relatum_model::storage`; what a sample means, who may see it
//! and where it goes next is for others to know.

mod batch;
mod checkpoint;
mod chunk;
mod core;
mod error;
mod followers;
pub mod fs;
mod head;
mod index;
mod log_files;
mod metrics;
mod options;
mod readers;
mod replay;
mod series;
mod stats;
mod store;
mod tail;
mod view;
mod wal;

pub use error::OpenError;
pub use options::{Clock, Durability, Options, SystemClock};
pub use replay::{Dropped, Recovery};
pub use stats::Stats;
pub use store::Store;
