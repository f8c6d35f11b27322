//! `relatum diff`

use relatum_agent::control::RevisionDifference;

use crate::Global;
use crate::dry_run::{differences, effects};
use crate::failure::CommandFailure;
use crate::history::revision;
use crate::output::faint;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  relatum diff 41        what came after revision 41, up to now
  relatum diff 12 41     what came between the two
  relatum diff 41 40     what going back from 41 would undo

Files are rendered with the templates and the options of relatum.yaml as they are today.")]
pub(crate) struct Args {
    /// The revision to begin with, as `relatum history` lists them
    #[arg(value_name = "REV", value_parser = revision)]
    from: u64,
    /// The revision to compare it with [default: the newest]
    #[arg(value_name = "REV", value_parser = revision)]
    to: Option<u64>,
    /// Only name what differs
    #[arg(long)]
    names: bool,
    /// Print secrets as they are
    #[arg(long)]
    show_secrets: bool,
}

/// Shows how databags, options, relations and rendered files of two revisions differ.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let difference = global.client().difference(args.from, args.to, args.show_secrets).await?;
    global.format.print(&difference, |difference| tabular(difference, args.names))
}

fn tabular(difference: &RevisionDifference, names_only: bool) -> String {
    let RevisionDifference { from, to, state, effect } = difference;
    if state.is_empty() && effect.files.is_empty() {
        return format!("nothing differs between revisions {from} and {to}\n");
    }
    let mut text = format!("revision {from} → {to}\n");
    text.push_str(&effects(effect));
    if names_only {
        return text;
    }
    for (title, files) in [("what was written", state), ("what is rendered", &effect.files)] {
        if !files.is_empty() {
            text.push_str(&format!("\n{}\n{}", faint(&format!("# {title}")), differences(files)));
        }
    }
    text
}
