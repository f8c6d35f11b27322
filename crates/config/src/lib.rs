//! Prometheus' file formats as types: the main configuration, scrape files, rule files and alert templates.
//!
//! Text in, values or problems out: nothing here opens a file, reads a clock or looks at the environment. Reading is strict. A
//! key that is unknown, repeated or of the wrong type is a [`Problem`] with its line, column and name, and so is a valid key that
//! this program cannot honour yet: whatever is accepted has an effect. A text is read to its end, so all its problems come
//! back at once.

mod problem;
pub mod prometheus;
pub mod rules;
mod secret;
pub mod template;
mod yaml;

pub use problem::{Kind, Problem};
pub use secret::{Secret, Url};
