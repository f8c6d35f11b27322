//! `relatum show-unit`

use relatum_agent::control::ShownUnits;

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{Format, put};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The units
    #[arg(required = true, value_name = "UNIT")]
    units: Vec<String>,
    /// Only the relations of this endpoint
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Only what this unit of the other side wrote
    #[arg(long, value_name = "UNIT")]
    related_unit: Option<String>,
    /// Only what applications wrote
    #[arg(long)]
    app: bool,
    /// Print secrets as they are
    #[arg(long)]
    show_secrets: bool,
}

/// Shows units with their relations, as juju does: YAML where nothing else is asked for.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let mut units = ShownUnits::new();
    for name in &args.units {
        if !name.contains('/') {
            return Err(CommandFailure::usage(format!("invalid unit name {name:?}")));
        }
        let mut unit = global.client().show_unit(name, args.show_secrets).await?;
        if let Some(endpoint) = &args.endpoint {
            unit.relation_info.retain(|relation| relation.endpoint == *endpoint);
        }
        for relation in &mut unit.relation_info {
            if args.app {
                relation.related_units.clear();
                relation.local_unit = None;
            }
            if let Some(related) = &args.related_unit {
                relation.related_units.retain(|name, _| name == related);
            }
        }
        units.insert(name.clone(), unit);
    }
    let format = if global.format == Format::Tabular { Format::Yaml } else { global.format };
    put(&format.text(&units, |_| String::new())?)
}
