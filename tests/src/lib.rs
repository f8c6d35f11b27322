//! What whole-system tests stand on: processes that are stopped with the test, an HTTP client, and waiting for a condition.

pub mod authority;
pub mod http;
pub mod peers;
pub mod process;
pub mod program;
pub mod python;
pub mod raw_http;
pub mod remote_write;
pub mod server;
pub mod tls_front;

use std::time::{Duration, Instant};

use anyhow::bail;

/// Asks `condition` again and again until it answers, and fails after `patience` with `what` was waited for.
pub fn wait_for<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return Ok(answer);
        }
        if start.elapsed() > patience {
            bail!("waited {patience:?} in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How long a test waits for something that takes well under a second on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
