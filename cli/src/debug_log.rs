//! `relatum debug-log`

use relatum_agent::control::LogLine;

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
    /// Begin with the oldest line that the agent still has
    #[arg(long, conflicts_with = "lines")]
    replay: bool,
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
    global.client().log(if args.replay { LINES_ALL } else { args.lines }, !args.no_tail, print).await?;
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
