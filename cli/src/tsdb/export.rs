//! `relatum tsdb export`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use relatum_model::storage::TimeRange;
use relatum_model::time::parse_duration;
use relatum_tsdb::prometheus::{ExportOptions, ExportedBlock, export};
use serde_json::{Value, json};

use super::{Selection, chain, damage, open_store};
use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{Format, counted, put};

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
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("a block has to be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Writes samples as blocks that Prometheus reads, and names each block; exits with 1 if something could not be read.
pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode, CommandFailure> {
    let (matchers, range) = (args.selection.matchers()?, args.selection.range()?);
    let store = open_store(&args.dir)?;
    let options = ExportOptions { range, matchers, block_range: args.block_duration };
    let mut blocks = Vec::new();
    let mut shown = Ok(());
    let exported = export(&store, &args.to, &options, |block: &ExportedBlock| {
        // Whoever waits for a large store sees each as it is done.
        if global.format == Format::Tabular && shown.is_ok() {
            shown = put(&line(block));
        }
        blocks.push(as_json(block));
    });
    exported.map_err(|error| CommandFailure::failed(chain(&error)))?;
    shown?;
    let problems = damage::found(&store, &args.dir)?;
    let n_blocks = blocks.len();
    global.format.print(&json!({ "blocks": blocks, "problems": damage::as_json(&problems) }), |_| {
        if n_blocks == 0 {
            "no blocks were written: no sample is what was asked for\n".to_owned()
        } else {
            String::new()
        }
    })?;
    Ok(damage::report(&problems))
}

fn line(block: &ExportedBlock) -> String {
    let TimeRange { min_ms, max_ms } = block.range;
    let (series, samples) = (counted(block.series, "series", "series"), counted(block.samples, "sample", "samples"));
    format!("{}  {min_ms} to {max_ms}  {series}  {samples}\n", block.name)
}

fn as_json(block: &ExportedBlock) -> Value {
    json!({
        "name": block.name,
        "minTime": block.range.min_ms,
        "maxTime": block.range.max_ms,
        "series": block.series,
        "samples": block.samples,
    })
}
