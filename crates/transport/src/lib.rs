//! Moves things between processes: samples from scrape targets and remote writers to the store, alerts to Alertmanager.
//!
//! What is to be reached comes from [`relatum_config`]; where samples go is an [`Append`](relatum_model::storage::Append).
//! A reload is two-phase everywhere here: `prepare` reads files and builds clients and may fail, `commit` cannot, and it
//! leaves alone what did not change.

pub mod alertmanager;
mod http;
#[cfg(test)]
mod memory;
pub mod remote_write;
pub mod scrape;

use std::time::{SystemTime, UNIX_EPOCH};

pub use http::HttpError;

/// The time of the machine, milliseconds since 1970.
fn now_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // A clock before 1970 is not set; nothing sensible can be said.
        Err(_) => 0,
    }
}
