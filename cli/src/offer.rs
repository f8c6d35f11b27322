//! `relatum offer`

use relatum_agent::control::MakeOffer;

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::faint;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  relatum offer prometheus:receive-remote-write
  relatum offer prometheus:receive-remote-write --format json")]
pub(crate) struct Args {
    /// One of the endpoints that prometheus provides
    #[arg(value_name = "prometheus:ENDPOINT")]
    endpoint: String,
}

/// Makes an offer and prints the one thing that is never printed again.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let made = global.client().make_offer(&MakeOffer { endpoint: args.endpoint.clone() }).await?;
    global.format.print(&made, |made| {
        let note = "keep the secret now: it is not shown again; anybody who has it may write samples and rules here";
        format!("URL     {}\nSecret  {}\n{}\n", made.url, made.secret, faint(note))
    })
}
