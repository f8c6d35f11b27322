//! `relatum remove-unit`

use relatum_agent::control::RemoveUnits;

use crate::Global;
use crate::failure::CommandFailure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The units, such as nodes/1
    #[arg(required = true, value_name = "APP/N")]
    units: Vec<String>,
}

/// Removes units; their targets go, their application and its relations stay.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let removed = global.client().remove_units(&RemoveUnits { units: args.units.clone() }).await?;
    global
        .format
        .print(&removed, |removed| removed.units.iter().map(|unit| format!("removed {}\n", unit.name)).collect())
}
