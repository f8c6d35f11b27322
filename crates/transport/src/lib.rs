//! Moves things between processes: samples from scrape targets and remote writers to the store, alerts to Alertmanager.
//!
//! What is to be reached comes from [`relatum_config`]; where samples go is an [`Append`](relatum_model::storage::Append).
//! A reload is two-phase everywhere here: `prepare` reads files and builds clients and may fail, `commit` cannot, and it
//! leaves alone what did not change.

pub mod alertmanager;
pub mod http;
#[cfg(test)]
mod memory;
pub mod otlp;
pub mod remote_read;
pub mod remote_write;
pub mod scrape;
mod time;

pub use http::HttpError;
