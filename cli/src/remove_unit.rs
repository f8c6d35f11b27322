//! `relatum remove-unit`

use relatum_agent::control::{Rehearse, RemoveUnits};

use crate::Global;
use crate::dry_run::DryRun;
use crate::failure::CommandFailure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The units, such as nodes/1
    #[arg(required = true, value_name = "APP/N")]
    units: Vec<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Removes units; their targets go, their application and its relations stay.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let request = RemoveUnits { units: args.units.clone() };
    if args.dry_run.was_asked(global, Rehearse::RemoveUnit(request.clone())).await? {
        return Ok(());
    }
    let removed = global.client().remove_units(&request).await?;
    global
        .format
        .print(&removed, |removed| removed.units.iter().map(|unit| format!("removed {}\n", unit.name)).collect())
}
