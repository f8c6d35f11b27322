//! `relatum history`

use crate::Global;
use crate::failure::CommandFailure;
use crate::table::Table;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  relatum history -n 5")]
pub(crate) struct Args {
    /// How many revisions to show
    #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
    lines: usize,
}

/// Lists what was changed when, newest first.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let history = global.client().history(args.lines).await?;
    global.format.print(&history, |history| {
        let mut table = Table::new(&[">Revision", "Time", ">Changes", "Command"]);
        for revision in &history.revisions {
            let time = jiff::Timestamp::from_millisecond(revision.at_ms)
                .map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
            let changes = revision.touched.len().to_string();
            table.row([revision.revision.to_string(), time, changes, revision.description.clone()]);
        }
        if table.is_empty() { "nothing was changed yet\n".to_owned() } else { table.render() }
    })
}
