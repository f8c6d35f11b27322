//! `relatum tsdb`: looking at the files of a store.

mod analyze;
mod dump;
mod list;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    /// Show which labels and metrics have most series, in the newest block
    Analyze(analyze::Args),
    /// Print all samples; not while a process has the store open
    Dump(dump::Args),
}

/// Where the store is.
#[derive(Debug, clap::Args)]
struct StoreDir {
    /// The store's directory: `--storage.tsdb.path` of a server
    #[arg(default_value = "data", value_name = "DIR")]
    dir: PathBuf,
}

/// Carries out one of the commands; `verify` exits with 1 if something is damaged.
pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode, CommandFailure> {
    match &args.what {
        What::List(store) => list::run(global, &store.dir)?,
        What::Verify(store) => return verify::run(global, &store.dir),
        What::Analyze(args) => analyze::run(global, args)?,
        What::Dump(args) => dump::run(args)?,
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
