//! `relatum tsdb analyze`

use relatum_tsdb::inspect::{self, Cardinality};
use serde_json::{Value, json};

use super::{StoreDir, unreadable};
use crate::Global;
use crate::failure::CommandFailure;
use crate::table::Table;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreDir,
    /// How many lines of each kind
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

/// Shows what the number of series comes from.
pub(crate) fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let dir = &args.store.dir;
    let found = inspect::cardinality(dir, args.limit).map_err(|error| unreadable(dir, &error))?;
    let Some(Cardinality { series, names, metrics, pairs }) = found else {
        return Err(CommandFailure::failed(format!("there is no block in {} yet", dir.display()))
            .hint("samples go into blocks some forty minutes after they came; a server that runs tells of them at /api/v1/status/tsdb"));
    };
    let counted = |list: &[(String, u64)]| -> Vec<Value> {
        list.iter().map(|(name, count)| json!({ "name": name, "count": count })).collect()
    };
    let data = json!({
        "series": series,
        "labelNames": counted(&names),
        "metrics": counted(&metrics),
        "labelPairs": counted(&pairs),
    });
    global.format.print(&data, |_| {
        let mut text = format!("{series} series in the newest block\n");
        for (title, count, list) in
            [("Metric", ">Series", &metrics), ("Label name", ">Values", &names), ("Label pair", ">Series", &pairs)]
        {
            let mut table = Table::new(&[title, count]);
            list.iter().for_each(|(name, n)| table.row([name.clone(), n.to_string()]));
            text += &format!("\n{}", table.render());
        }
        text
    })
}
