//! `relatum remove-application`

use relatum_agent::control::{Rehearse, RemoveApplications};

use crate::Global;
use crate::dry_run::DryRun;
use crate::failure::CommandFailure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The applications
    #[arg(required = true, value_name = "APP")]
    applications: Vec<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Removes applications with their units and all their relations.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let request = RemoveApplications { applications: args.applications.clone() };
    if args.dry_run.was_asked(global, Rehearse::RemoveApplication(request.clone())).await? {
        return Ok(());
    }
    let removed = global.client().remove_applications(&request).await?;
    global.format.print(&removed, |removed| {
        let mut text = String::new();
        for application in &removed.applications {
            text.push_str(&format!("removed {}\n", application.name));
            for unit in &application.units {
                text.push_str(&format!("  - {unit}\n"));
            }
            for relation in &application.relations {
                text.push_str(&format!("  - {}  {}  {}\n", relation.key, relation.provider, relation.requirer));
            }
        }
        text
    })
}
