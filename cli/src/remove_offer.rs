//! `relatum remove-offer`

use relatum_agent::control::{Rehearse, RemoveOffer};

use crate::Global;
use crate::dry_run::DryRun;
use crate::failure::CommandFailure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The offer's id or its URL
    #[arg(value_name = "ID | URL")]
    offer: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Removes an offer; the relations that others made to it end on both sides.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let request = RemoveOffer { offer: args.offer.clone() };
    if args.dry_run.was_asked(global, Rehearse::RemoveOffer(request.clone())).await? {
        return Ok(());
    }
    let removed = global.client().remove_offer(&request).await?;
    global.format.print(&removed, |removed| {
        let mut text = format!("removed offer {} of {}\n", removed.id, removed.endpoint);
        for relation in &removed.relations {
            text.push_str(&format!("  - {}  {}  {}\n", relation.key, relation.provider, relation.requirer));
        }
        text
    })
}
