//! Prometheus' file formats as types: the main configuration, scrape files, rule files and alert templates.
//!
//! Text in, values or problems out: nothing here opens a file, reads a clock or looks at the environment. Reading is strict. A
//! key that is unknown, repeated or of the wrong type is a [`Problem`] with its line, column and name. The formats are read whole;
//! what a program does not have of them is for it to say, and is then refused by name: see [`prometheus::Feature`]. A text is
//! read to its end, so all its problems come back at once.

mod go_url;
mod problem;
pub mod prometheus;
pub mod rules;
mod secret;
pub mod template;
mod yaml;

pub use problem::{Kind, Problem};
pub use secret::{Secret, Url};
