//! Prometheus' file formats as types: the main configuration, scrape files, lists of targets, rule files and their unit tests,
//! the web configuration, and the templates of alerts.
//!
//! Text in, values or problems out: nothing here opens a file, reads a clock or looks at the environment. Reading is strict. A
//! key that is unknown, repeated or of the wrong type is a [`Problem`] with its line, column and name. The formats are read whole;
//! what a program does not have of them is for it to say, and is then refused by name: see [`prometheus::Feature`]. A text is
//! read to its end, so all its problems come back at once.

mod file_set;
mod go_url;
mod network;
mod problem;
pub mod prometheus;
pub mod rule_tests;
pub mod rules;
mod secret;
mod shared;
pub mod spelling;
mod targets;
pub mod template;
pub mod web;
mod yaml;

pub use file_set::{FileChange, FilePlace, FileSet};
pub use network::Network;
pub use problem::{Kind, Problem};
pub use secret::{Secret, Url};
pub use targets::{TargetFormat, parse_targets};
