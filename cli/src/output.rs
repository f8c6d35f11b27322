//! How results are printed: formats, colours, and the one place that writes to stdout.

use std::io::{IsTerminal, Write};

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

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On terminals that want them
    Auto,
    /// Into files and pipes too
    Always,
    /// Nowhere
    Never,
}

impl Colour {
    /// Decides for all that is printed from now on.
    pub(crate) fn choose(self) {
        let choice = match self {
            Colour::Auto => anstream::ColorChoice::Auto,
            Colour::Always => anstream::ColorChoice::Always,
            Colour::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

impl Format {
    /// Prints `data` as JSON or YAML, or else what `tabular` makes of it.
    pub(crate) fn print<T: Serialize>(
        self,
        data: &T,
        tabular: impl FnOnce(&T) -> String,
    ) -> Result<(), CommandFailure> {
        put(&self.text(data, tabular)?)
    }

    /// What [`Format::print`] prints.
    pub(crate) fn text<T: Serialize>(
        self,
        data: &T,
        tabular: impl FnOnce(&T) -> String,
    ) -> Result<String, CommandFailure> {
        match self {
            Format::Tabular => Ok(tabular(data)),
            Format::Json => Ok(serde_json::to_string_pretty(data).map_err(|e| unprintable(&e))? + "\n"),
            Format::Yaml => relatum_model::yaml::to_string(data).map_err(|e| unprintable(&e)),
        }
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

/// Writes to the terminal that is stdout; `frame` may move the cursor. Colours are left out of `text` where they are unwanted.
pub(crate) fn put_frame(text: &str, frame: impl FnOnce(&str) -> String) -> Result<(), CommandFailure> {
    let mut stdout = std::io::stdout().lock();
    let framed = match anstream::AutoStream::choice(&stdout) {
        anstream::ColorChoice::Never => frame(&anstream::adapter::strip_str(text).to_string()),
        _ => frame(text),
    };
    let written = stdout.write_all(framed.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| CommandFailure::failed(format!("cannot write the result: {error}")))
}

fn painted(text: &str, colour: AnsiColor) -> String {
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

/// `1 sample`, `2 samples`: a number with its noun.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
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

/// Text that the rest is about.
pub(crate) fn strong(text: &str) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}

/// Text in the colour of the series with this place in a chart.
pub(crate) fn in_series_colour(series: usize, text: &str) -> String {
    const COLOURS: [AnsiColor; 6] =
        [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::Red];
    painted(text, COLOURS[series % COLOURS.len()])
}

/// How wide the terminal is that stdout is; `None` for files and pipes, whose readers want all of it.
pub(crate) fn terminal_width() -> Option<usize> {
    std::io::stdout().is_terminal().then(|| screen().0)
}

/// Columns and rows of the terminal, or what files and pipes get.
pub(crate) fn screen() -> (usize, usize) {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let (width, height) = terminal_size::terminal_size()
        .map_or((100, 40), |(width, height)| (usize::from(width.0), usize::from(height.0)));
    (columns.unwrap_or(width).clamp(20, 1000), height.max(10))
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

/// `text` on one line: characters that would steer the terminal are written as escapes, for databags may hold anything.
/// Colours stay, because we put them there ourselves.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(char::is_control) {
        let (plain, control) = rest.split_at(at);
        out.push_str(plain);
        let colour = colour_code(control);
        let first = control.chars().next().expect("a control character was found here");
        match colour {
            0 => out.extend(first.escape_default()),
            length => out.push_str(&control[..length]),
        }
        rest = &control[colour.max(first.len_utf8())..];
    }
    out + rest
}

/// How many bytes of a colour code `text` begins with.
fn colour_code(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters.as_bytes().get(length) == Some(&b'm') { "\x1b[".len() + length + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(printable(text), expected, "{text:?}");
    }

    #[test]
    fn terminals_are_not_steered() {
        check("plain ü", "plain ü");
        check("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m");
        check("a\nb\tc", "a\\nb\\tc");
        check("\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}");
        check("\x1b[31", "\\u{1b}[31");
        check("\u{9b}2J", "\\u{9b}2J");
    }
}
