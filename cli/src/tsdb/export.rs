//! `relatum tsdb export`

use std::path::PathBuf;
use std::time::Duration;

use relatum_model::storage::TimeRange;
use relatum_model::time::parse_duration;
use relatum_tsdb::prometheus::{ExportOptions, ExportedBlock, export};

use super::{Selection, chain, open_store};
use crate::failure::CommandFailure;
use crate::output::put;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's directory; no process may have it open
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where the blocks go: the data directory of a Prometheus that is not running, or a new one
    #[arg(value_name = "PROMETHEUS-DIR")]
    to: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// How long a block is
    #[arg(long, default_value = "2h", value_name = "DURATION", value_parser = duration)]
    block_duration: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Writes samples as blocks that Prometheus reads, and names each block.
pub(crate) fn run(args: &Args) -> Result<(), CommandFailure> {
    let matchers = args.selection.matchers()?;
    let store = open_store(&args.dir)?;
    let options = ExportOptions { range: args.selection.range(), matchers, block_range: args.block_duration };
    let mut shown = Ok(());
    let exported = export(&store, &args.to, &options, |block: &ExportedBlock| {
        let TimeRange { min_ms, max_ms } = block.range;
        let line =
            format!("{}  {min_ms} to {max_ms}  {} series  {} samples\n", block.name, block.series, block.samples);
        if shown.is_ok() {
            shown = put(&line);
        }
    });
    exported.map_err(|error| CommandFailure::failed(chain(&error)))?;
    shown
}
