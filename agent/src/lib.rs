//! The daemon: it makes the running server match the relations.
//!
//! State comes in through the control socket and the agent's own file, is kept in SQLite ([`store`]), and flows one way:
//! observe, desire, render, plan, check, apply, publish. What the server runs is only ever what was rendered to
//! disk. The meaning of a databag is left to `relations`, the meaning of a rendered file to `config` and `server`.

mod actions;
pub mod agent_file;
pub mod charm_config;
pub mod control;
mod daemon;
pub mod declared;
mod decode;
pub mod dialect;
mod embedded;
pub mod events;
mod explain;
pub mod external;
mod history;
mod host;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod offers;
pub mod options;
pub mod packed;
pub mod pipeline;
pub mod relate;
pub mod replay;
mod run;
mod secrets;
mod show_unit;
pub mod status;
pub mod store;
mod telemetry;
pub mod templates;
mod watch;
pub mod workload;

pub use daemon::{Running, StartError, Wiring, run_until_signal, start_with};
pub use embedded::start;
pub use options::Options;
pub use run::run;

use relatum_server::chain;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Locks `mutex`. What it guards is changed in one step or in a transaction, so a thread that panicked left it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970. Only the two ends of a pass, the log and answers ask for it.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The day of a time, for people.
fn day(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "no day".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}
