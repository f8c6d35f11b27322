//! `relatum agent`

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use relatum_agent::external::WorkloadFlags;
use relatum_agent::log::LogRing;
use relatum_agent::options::Options;

use crate::Global;
use crate::failure::CommandFailure;
use crate::logging;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the HTTP server listens [default: 0.0.0.0:9090, with an external workload 127.0.0.1:9096]
    #[arg(long, env = "RELATUM_LISTEN", value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The agent's own configuration [default: relatum.yaml in /etc/relatum for root, else in the XDG config folder]
    #[arg(long, env = "RELATUM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The name of the model [default: the host's name]
    #[arg(long, env = "RELATUM_MODEL", value_name = "NAME")]
    model: Option<String>,
    /// Which unit of the application this agent is [default: prometheus/0]
    #[arg(long, env = "RELATUM_UNIT", value_name = "prometheus/N")]
    unit: Option<String>,
    /// Whether it leads the application and speaks for it in relations, which one of its units does [default: true]
    #[arg(long, env = "RELATUM_LEADER", value_name = "true|false", action = clap::ArgAction::Set)]
    leader: Option<bool>,
    /// When samples are acknowledged: process, once written, or fsync, once on disk [default: process]
    #[arg(long, env = "RELATUM_DURABILITY", value_name = "process|fsync")]
    durability: Option<String>,
    /// Tell how this host does on /metrics, as a node exporter would
    #[arg(long, env = "RELATUM_HOST_METRICS", value_parser = BoolishValueParser::new())]
    host_metrics: bool,
    /// What runs the rendered files: the server in this process, or a Prometheus beside it [default: embedded]
    #[arg(long, env = "RELATUM_WORKLOAD", value_name = "embedded|external")]
    workload: Option<String>,
    /// How an external workload is told that the files are new: signal:PID, signal:/path/of/a/pid/file or http:URL
    #[arg(long, env = "RELATUM_RELOAD", value_name = "HOW")]
    reload: Option<String>,
    /// Where others reach an external workload [default: the URL of --reload, else as the process's own flags say]
    #[arg(long, env = "RELATUM_WORKLOAD_URL", value_name = "URL")]
    workload_url: Option<String>,
    /// The version of an external workload, where it cannot be asked
    #[arg(long, env = "RELATUM_WORKLOAD_VERSION", value_name = "VERSION")]
    workload_version: Option<String>,
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
        unit: args.unit.clone(),
        leader: args.leader,
        durability: args.durability.clone(),
        host_metrics: args.host_metrics,
        log,
        ..Options::default()
    };
    let flags = WorkloadFlags {
        workload: args.workload.clone(),
        reload: args.reload.clone(),
        url: args.workload_url.clone(),
        version: args.workload_version.clone(),
    };
    logging::runtime()?.block_on(relatum_agent::run(options, flags)).map_err(CommandFailure::from)
}
