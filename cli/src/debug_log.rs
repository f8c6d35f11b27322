//! `relatum debug-log`

use clap::ValueEnum;
use relatum_agent::control::{LogLevel, LogLine};

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{Format, bad, faint, put, warning};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop at the newest line instead of waiting for more
    #[arg(long, overrides_with = "tail")]
    no_tail: bool,
    /// Wait for more lines (the default)
    #[arg(long)]
    tail: bool,
    /// How many lines to begin with
    #[arg(short = 'n', long = "lines", default_value_t = 10)]
    lines: usize,
    /// Only lines of this level and worse
    #[arg(short = 'l', long, value_enum, ignore_case = true, default_value = "trace", value_name = "LEVEL")]
    level: Level,
    /// Begin with the oldest line that the agent still has
    #[arg(long, conflicts_with = "lines")]
    replay: bool,
}

/// `--level`, in juju's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    Debug,
    Trace,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => LogLevel::Error,
            Level::Warning => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug => LogLevel::Debug,
            Level::Trace => LogLevel::Trace,
        }
    }
}

/// More lines than any agent keeps.
const LINES_ALL: usize = u32::MAX as usize;

/// Prints the last lines of the agent's log and, unless told otherwise, all that follow.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let mut failure = None;
    let print = |line: LogLine| match show(global.format, &line) {
        Ok(()) => true,
        Err(error) => {
            failure = Some(error);
            false
        }
    };
    let lines = if args.replay { LINES_ALL } else { args.lines };
    global.client().log(lines, !args.no_tail, args.level.into(), print).await?;
    failure.map_or(Ok(()), Err)
}

fn show(format: Format, line: &LogLine) -> Result<(), CommandFailure> {
    match format {
        // A line an object, so that the stream can be read as it comes.
        Format::Json => put(&(serde_json::json!(line).to_string() + "\n")),
        Format::Yaml => put(&format!("- {}\n", serde_json::json!(line))),
        Format::Tabular => {
            let level = match line.level.as_str() {
                "ERROR" => bad("ERROR"),
                "WARN" => warning("WARN"),
                other => other.to_owned(),
            };
            put(&format!("{} {level} {} {}\n", clock(line.at_ms), faint(&line.target), line.message))
        }
    }
}

fn clock(at_ms: i64) -> String {
    let in_day = at_ms.rem_euclid(86_400_000);
    let (seconds, ms) = (in_day / 1000, in_day % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
