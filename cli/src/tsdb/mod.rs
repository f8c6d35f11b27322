//! `relatum tsdb`: looking at the files of a store, and taking samples from Prometheus and back.

mod analyze;
mod bench;
mod create_blocks;
mod damage;
mod dump;
mod export;
mod import;
mod list;
mod repair;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use relatum_model::Matcher;
use relatum_model::storage::TimeRange;
use relatum_tsdb::{Options, Store};

use crate::Global;
use crate::failure::CommandFailure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the blocks
    List(StoreDir),
    /// Read every byte and name what is damaged
    Verify(StoreDir),
    /// Write what is damaged anew without the damage, and say what was lost
    Repair(repair::Args),
    /// Show which labels and metrics have most series, in the newest block
    Analyze(analyze::Args),
    /// Print all samples; not while a process has the store open, and from a copy if a snapshot has to stay as it is: a log is
    /// written into it
    Dump(dump::Args),
    /// Read the blocks and the head of a Prometheus
    Import(import::Args),
    /// Write blocks that Prometheus reads; from a copy if a snapshot has to stay as it is
    Export(export::Args),
    /// Measure what a store costs on this machine and this disk
    Bench(bench::Args),
    /// Add samples of any age
    CreateBlocksFrom(create_blocks::Args),
}

/// Where the store is.
#[derive(Debug, clap::Args)]
struct StoreDir {
    /// The store's directory: `--storage.tsdb.path` of a server
    #[arg(default_value = "data", value_name = "DIR")]
    dir: PathBuf,
}

/// Which samples are meant.
#[derive(Debug, clap::Args)]
struct Selection {
    /// The time of the first sample, in milliseconds since 1970
    #[arg(long, default_value_t = i64::MIN, value_name = "MS", allow_negative_numbers = true)]
    min_time: i64,
    /// The time of the last sample, in milliseconds since 1970
    #[arg(long, default_value_t = i64::MAX, value_name = "MS", allow_negative_numbers = true)]
    max_time: i64,
    /// Which series
    #[arg(long = "match", default_value = r#"{__name__=~"(?s:.*)"}"#, value_name = "SELECTOR")]
    selector: String,
}

impl Selection {
    fn range(&self) -> Result<TimeRange, CommandFailure> {
        let range = TimeRange { min_ms: self.min_time, max_ms: self.max_time };
        if range.is_empty() {
            return Err(CommandFailure::usage(format!(
                "--min-time {} is after --max-time {}",
                range.min_ms, range.max_ms
            )));
        }
        Ok(range)
    }

    fn matchers(&self) -> Result<Vec<Matcher>, CommandFailure> {
        let selector = relatum_promql::syntax::parse_selector(&self.selector)
            .map_err(|error| CommandFailure::usage(format!("cannot read the selector: {error}")))?;
        Ok(selector.all_matchers())
    }
}

/// Opens the store in `dir`, which must be one, to read all of it. As ever that writes the beginning of a log there.
fn open_store(dir: &Path) -> Result<Store, CommandFailure> {
    // A snapshot has no log.
    if !dir.join("wal").is_dir() && !dir.join("blocks").is_dir() {
        return Err(CommandFailure::failed(format!("there is no store in {}", dir.display()))
            .hint("name the store's directory, which holds the folders blocks and wal"));
    }
    // Nothing goes: what is read must still be there afterwards.
    let options =
        Options { retention: Duration::ZERO, sync_interval: None, maintenance_interval: None, ..Options::default() };
    Store::open(dir, options).map_err(|error| CommandFailure::failed(chain(&error)))
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Carries out one of the commands; those that read all exit with 1 if something is damaged.
pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode, CommandFailure> {
    match &args.what {
        What::List(store) => list::run(global, &store.dir)?,
        What::Verify(store) => return verify::run(global, &store.dir),
        What::Repair(args) => return repair::run(global, args),
        What::Analyze(args) => analyze::run(global, args)?,
        What::Dump(args) => return dump::run(args),
        What::Import(args) => return import::run(global, args),
        What::Export(args) => return export::run(global, args),
        What::Bench(args) => bench::run(global, args)?,
        What::CreateBlocksFrom(args) => create_blocks::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The same for all: the folder may be none of a store.
fn unreadable(dir: &Path, error: &io::Error) -> CommandFailure {
    let failure = CommandFailure::failed(format!("cannot read the store in {}: {error}", dir.display()));
    if error.kind() == io::ErrorKind::NotFound {
        return failure.hint("name the store's directory, which holds the folders blocks and wal");
    }
    failure
}
