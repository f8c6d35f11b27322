//! `relatum datasource`

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{Format, put};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who wants to find us
    #[arg(value_enum)]
    program: Program,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Program {
    /// A file for Grafana's provisioning/datasources
    Grafana,
}

/// Prints the provisioning file, ready to paste.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let Program::Grafana = args.program;
    let datasource = global.client().datasource().await?;
    match global.format {
        // The file is YAML for people and programs alike.
        Format::Tabular | Format::Yaml => put(&datasource.yaml),
        Format::Json => {
            let value = relatum_model::yaml::from_json_or_yaml(&datasource.yaml)
                .map_err(|error| CommandFailure::failed(format!("cannot read the provisioning file: {error}")))?;
            global.format.print(&value, |_| String::new())
        }
    }
}
