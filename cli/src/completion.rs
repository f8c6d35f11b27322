//! `relatum completion`

use crate::failure::CommandFailure;
use crate::output::put;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script; `source <(relatum completion bash)` uses it at once.
pub(crate) fn run(args: &Args) -> Result<(), CommandFailure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "relatum", &mut script);
    put(&String::from_utf8_lossy(&script))
}
