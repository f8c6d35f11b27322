//! `relatum tsdb import`

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use relatum_tsdb::prometheus::{ImportProgress, Imported, import};
use serde_json::json;

use super::chain;
use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{counted, printable};

/// How often the bar is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);
const BAR_WIDTH: usize = 30;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data directory of a Prometheus that is not running, or a snapshot of one
    #[arg(value_name = "PROMETHEUS-DIR")]
    from: PathBuf,
    /// The store's directory; it is made if it is not there
    #[arg(default_value = "data", value_name = "DIR")]
    to: PathBuf,
}

/// Reads blocks and head of a Prometheus into a store; exits with 1 if something could not be read.
pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode, CommandFailure> {
    let mut bar = Bar::new();
    let imported = import(&args.from, &args.to, |progress| bar.show(progress));
    bar.clear();
    let imported = imported.map_err(|error| CommandFailure::failed(chain(&error)))?;
    let data = json!({
        "blocks": imported.blocks,
        "blocksBefore": imported.blocks_before,
        "blockSamples": imported.block_samples,
        "headSamples": imported.head_samples,
        "headRepeated": imported.head_repeated,
        "problems": imported.problems,
    });
    global.format.print(&data, |_| tabular(&imported))?;
    Ok(if imported.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tabular(imported: &Imported) -> String {
    let samples = |count| counted(count, "sample", "samples");
    let blocks = |count| counted(count, "block", "blocks");
    let mut text = format!("{} with {}", blocks(imported.blocks), samples(imported.block_samples));
    if imported.blocks_before > 0 {
        let were = if imported.blocks_before == 1 { "was" } else { "were" };
        text += &format!(", {} {were} there already", blocks(imported.blocks_before));
    }
    text += &format!("\n{} of the head", samples(imported.head_samples));
    if imported.head_repeated > 0 {
        text += &format!(", {} of them at moments that had one", imported.head_repeated);
    }
    for problem in &imported.problems {
        text += &format!("\nleft out: {}", printable(problem));
    }
    text + "\n"
}

/// A bar on a terminal; nothing anywhere else.
struct Bar {
    is_shown: bool,
    drawn: Option<Instant>,
}

impl Bar {
    fn new() -> Self {
        Bar { is_shown: io::stderr().is_terminal(), drawn: None }
    }

    fn show(&mut self, progress: ImportProgress) {
        if !self.is_shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let share = progress.bytes as f64 / progress.bytes_all.max(1) as f64;
        let full = ((share * BAR_WIDTH as f64) as usize).min(BAR_WIDTH);
        let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR_WIDTH - full));
        // Whoever cannot see the bar does not miss it.
        let _ = write!(io::stderr(), "\r\x1b[K{bar} {:3.0} %  {} samples", share * 100.0, progress.samples);
    }

    fn clear(&self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
