//! Lines of the agent's log.

use serde::{Deserialize, Serialize};

/// One line of the agent's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: String,
    /// The module it comes from.
    pub target: String,
    /// The message, then the fields as `key=value`.
    pub message: String,
}

/// How bad a line is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A person must look.
    Error,
    /// Something was unexpected, and the agent went on.
    Warn,
    /// The state changed.
    Info,
    /// What happens inside.
    Debug,
    /// Everything.
    #[default]
    Trace,
}

impl LogLevel {
    /// As in [`LogLine::level`].
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        }
    }

    /// Whether `line` is as bad as this, or worse.
    pub fn includes(self, line: &LogLine) -> bool {
        let all = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
        all.into_iter().find(|level| level.as_str() == line.level).unwrap_or_default() <= self
    }
}
