//! The engine behind HTTP: scraping, storing, querying and alerting as one server with Prometheus' API.
//!
//! [`Engine::open`] opens the store; [`Engine::load`] runs a configuration, wholly or not at all; [`listen::serve`] answers. What
//! the configuration says is read only from files ([`files`]); who writes them is not this crate's business.

mod active_queries;
mod auto_reload;
pub mod clock;
mod descriptions;
mod engine;
mod everywhere;
pub mod files;
pub mod flags;
mod http;
pub mod listen;
pub mod memory;
mod notices;
pub mod parallel;
mod queries;
mod query_log;
mod query_metrics;
mod quick;
mod rule_runner;
mod start;
pub mod web;

/// Clients for what goes out, as the configuration describes them.
pub use relatum_transport::http as outgoing;
pub use relatum_transport::scrape::TargetStatus;

pub use engine::{Engine, Live, OpenError, Prepared, ReloadError};
pub use relatum_transport::remote_write::send::RemoteState;
/// What the machine gives and takes.
pub use rule_runner::RuleRunner;
pub use start::Start;

/// An error with all its causes in one line, for a log or a person.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let deeper_text = deeper.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&deeper_text) {
            text = format!("{text}: {deeper_text}");
        }
        cause = deeper.source();
    }
    text
}
