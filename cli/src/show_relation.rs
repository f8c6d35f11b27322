//! `relatum show-relation`

use std::collections::BTreeMap;

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{bad, faint, printable, state};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The relation's id, or the two endpoints it connects
    #[arg(required = true, num_args = 1..=2, value_name = "ID | \"a:x b:y\"")]
    relation: Vec<String>,
    /// Print secrets as they are
    #[arg(long)]
    show_secrets: bool,
}

/// Shows both sides of a relation, databag by databag.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let detail = global.client().show_relation(&args.relation.join(" "), args.show_secrets).await?;
    global.format.print(&detail, |detail| {
        let relation = &detail.relation;
        let mut text = format!(
            "{}  {} → {}  {}  {}\n",
            relation.key,
            relation.provider,
            relation.requirer,
            relation.interface,
            state(&relation.status.current)
        );
        for problem in &detail.problems {
            text.push_str(&format!("{} {}\n", bad("problem:"), printable(&problem.to_string())));
        }
        bag(&mut text, &format!("{} (application)", detail.related_application), &detail.application_data);
        for unit in &detail.related_units {
            bag(&mut text, &unit.name, &unit.data);
        }
        bag(&mut text, "ours (application)", &detail.local_application_data);
        bag(&mut text, &format!("ours ({})", detail.local_unit.name), &detail.local_unit.data);
        text
    })
}

fn bag(text: &mut String, owner: &str, data: &BTreeMap<String, String>) {
    text.push_str(&format!("\n{owner}\n"));
    if data.is_empty() {
        text.push_str(&faint("  (empty)\n"));
    }
    let width = data.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in data {
        // Structured values are easier to read over several lines.
        let pretty = serde_json::from_str::<serde_json::Value>(value)
            .ok()
            .filter(|json| json.is_object() || json.is_array())
            .and_then(|json| serde_json::to_string_pretty(&json).ok());
        match pretty {
            Some(pretty) => {
                text.push_str(&format!("  {key}:\n"));
                pretty.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
            }
            None => text.push_str(&format!("  {key:width$}  {}\n", printable(value))),
        }
    }
}
