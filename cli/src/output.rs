//! How results are printed: formats, colours, and the one place that writes to stdout.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

use crate::failure::CommandFailure;

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Tabular,
    /// JSON for programs
    Json,
    /// YAML for both
    Yaml,
}

impl Format {
    /// Prints `data` as JSON or YAML, or else what `tabular` makes of it.
    pub(crate) fn print<T: Serialize>(
        self,
        data: &T,
        tabular: impl FnOnce(&T) -> String,
    ) -> Result<(), CommandFailure> {
        let text = match self {
            Format::Tabular => tabular(data),
            Format::Json => {
                let json = serde_json::to_string_pretty(data).map_err(|e| unprintable(&e))?;
                json + "\n"
            }
            Format::Yaml => relatum_model::yaml::to_string(data).map_err(|e| unprintable(&e))?,
        };
        put(&text)
    }
}

fn unprintable(error: &dyn std::error::Error) -> CommandFailure {
    CommandFailure::failed(format!("cannot print the result: {error}"))
}

/// Writes to stdout. A reader that has gone away, such as `head`, ends the program quietly.
pub(crate) fn put(text: &str) -> Result<(), CommandFailure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(CommandFailure::failed(format!("cannot write the result: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn painted(text: &str, colour: AnsiColor) -> String {
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

/// Text in the colour of what is well.
pub(crate) fn good(text: &str) -> String {
    painted(text, AnsiColor::Green)
}

/// Text in the colour of what needs a look.
pub(crate) fn warning(text: &str) -> String {
    painted(text, AnsiColor::Yellow)
}

/// Text in the colour of what is wrong.
pub(crate) fn bad(text: &str) -> String {
    painted(text, AnsiColor::Red)
}

/// Text that explains the rest.
pub(crate) fn faint(text: &str) -> String {
    let style = Style::new().dimmed();
    format!("{style}{text}{style:#}")
}

/// A status word in juju's colour for it.
pub(crate) fn state(word: &str) -> String {
    match word {
        "active" | "running" | "idle" | "started" | "executing" | "attached" | "joined" | "up" | "ok" | "inactive" => {
            good(word)
        }
        "blocked" | "down" | "error" | "failed" | "terminated" | "firing" | "err" => bad(word),
        "unknown" | "waiting" | "maintenance" | "pending" | "allocating" | "lost" | "rebooting" | "stopped" => {
            warning(word)
        }
        _ => word.to_owned(),
    }
}
