//! `relatum rollback`

use relatum_agent::control::{Rehearse, RollBack, RolledBack};

use crate::Global;
use crate::dry_run::DryRun;
use crate::failure::CommandFailure;
use crate::history::{changes_of, revision};
use crate::output::{printable, warning};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Applications, units, relations, options and databags that were handed over become as they were right after the \
revision. What other agents wrote stays, and what files of relations.d declare. Going back is a revision itself, so \
that it can be taken back: `relatum rollback` with the revision before it.")]
pub(crate) struct Args {
    /// The revision to go back to, as `relatum history` lists them
    #[arg(value_name = "REV", value_parser = revision)]
    revision: u64,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Makes what operators wrote as it was at a revision.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let request = RollBack { revision: args.revision };
    if args.dry_run.was_asked(global, Rehearse::RollBack(request.clone())).await? {
        return Ok(());
    }
    let done = global.client().roll_back(&request).await?;
    global.format.print(&done, |done| tabular(done, args.revision))
}

fn tabular(done: &RolledBack, revision: u64) -> String {
    let mut text = match &done.made {
        Some(made) => {
            format!("rolled back to {revision}, as revision {}\n{}", made.revision, changes_of(made))
        }
        None => format!("nothing to do: all is as at revision {revision}\n"),
    };
    for left in &done.left {
        text.push_str(&format!("{} {}\n", warning("note:"), printable(left)));
    }
    text
}
