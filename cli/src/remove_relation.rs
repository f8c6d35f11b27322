//! `relatum remove-relation`

use relatum_agent::control::{Rehearse, RemoveRelation};

use crate::Global;
use crate::dry_run::DryRun;
use crate::failure::CommandFailure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The relation's id, or the two endpoints it connects
    #[arg(required = true, num_args = 1..=2, value_name = "ID | \"a:x b:y\"")]
    arguments: Vec<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Removes a relation; its targets, rules and alerts go with it.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let request = RemoveRelation { arguments: args.arguments.clone() };
    if args.dry_run.was_asked(global, Rehearse::RemoveRelation(request.clone())).await? {
        return Ok(());
    }
    let removed = global.client().remove_relation(&request).await?;
    global.format.print(&removed, |removed| {
        let relation = &removed.relation;
        format!("removed {}  {}  {}\n", relation.key, relation.provider, relation.requirer)
    })
}
