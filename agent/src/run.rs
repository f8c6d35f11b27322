//! Runs an agent with the workload that flags and file choose.

use crate::agent_file::AgentFile;
use crate::control::Failure;
use crate::external::WorkloadFlags;
use crate::options::Options;
use crate::{daemon, embedded, external};

/// Runs until SIGTERM, SIGINT or `shutdown`. SIGHUP re-reads `relatum.yaml`.
///
/// The failure is one line, ready to be shown.
pub async fn run(mut options: Options, flags: WorkloadFlags) -> Result<(), Failure> {
    let (path, required) = options.config_file();
    let file = AgentFile::read(&path, required).map_err(|error| Failure::failed(crate::chain(&error)))?;
    let chosen = flags.or(file.workload_flags()).external().map_err(|error| Failure::failed(crate::chain(&error)))?;
    options.durability = options.durability.or(file.durability);
    let ended = match chosen {
        None => daemon::run_until_signal(embedded::start(options)).await,
        Some(external) => daemon::run_until_signal(external::start(options, external)).await,
    };
    ended.map_err(|error| Failure::failed(crate::chain(&error)))
}
