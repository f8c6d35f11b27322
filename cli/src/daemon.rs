//! `relatum agent`

use std::path::PathBuf;

use relatum_agent::log::LogRing;
use relatum_agent::options::Options;

use crate::Global;
use crate::failure::CommandFailure;
use crate::logging;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the HTTP server listens [default: 0.0.0.0:9090]
    #[arg(long, env = "RELATUM_LISTEN", value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The agent's own configuration [default: relatum.yaml in /etc/relatum for root, else in the XDG config folder]
    #[arg(long, env = "RELATUM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The name of the model [default: the host's name]
    #[arg(long, env = "RELATUM_MODEL", value_name = "NAME")]
    model: Option<String>,
}

/// Runs until it is told to stop.
pub(crate) fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let log = LogRing::default();
    logging::start(&log);
    let options = Options {
        data_dir: global.data_dir.clone(),
        listen: args.listen.clone(),
        config: args.config.clone(),
        model: args.model.clone(),
        log,
        ..Options::default()
    };
    logging::runtime()?.block_on(relatum_agent::run(options)).map_err(CommandFailure::from)
}
