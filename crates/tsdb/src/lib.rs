//! Keeps samples on disk and gives them back by matcher and time range.
//!
//! A [`Store`] owns one directory. A batch of samples is written to the log first (`wal`, see `docs/formats/wal.md`), then
//! applied to the head in memory (`head`, `series`, `chunk`), then published. What is old enough is cut from the head into
//! blocks (`cut`, `block`, `blocks`, see `docs/formats/block.md`), and a checkpoint rewrites what is left so that the log does
//! not outgrow it. A reader (`view`) sees head and blocks as one, and exactly the commits that were published when it was
//! opened; a follower (`tail`) gets every commit in order. [`prometheus`] reads the files of a Prometheus and writes its blocks.
//! The store is reached through the three traits of `relatum_model::storage`; what a sample means, who may see it and where it
//! goes next is for others to know.

mod batch;
mod block;
mod blocks;
mod changes;
mod checkpoint;
mod chunk;
mod compact;
mod core;
mod cut;
mod delete;
mod durable;
mod error;
mod exemplars;
mod followers;
pub mod fs;
mod head;
mod hints;
mod histogram;
mod history;
mod image;
mod index;
pub mod inspect;
mod log_files;
mod metadata;
mod metrics;
mod options;
mod ordered;
mod parts;
pub mod prometheus;
mod ranks;
mod readers;
mod repair;
mod replay;
mod replaying;
mod series;
mod snapshot;
mod spare;
mod starts;
mod stats;
mod store;
mod stored;
pub mod system;
mod tail;
mod texts;
mod times;
mod view;
mod waiting;
mod wal;

pub use error::OpenError;
pub use exemplars::ExemplarCounts;
pub use history::History;
pub use options::{Clock, Durability, Options, SystemClock, UnknownDurability};
pub use repair::Repair;
pub use replay::{Dropped, Recovery};
pub use replaying::{ReplayState, Replaying};
pub use stats::Stats;
pub use store::Store;
