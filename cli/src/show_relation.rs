//! `relatum show-relation`

use std::collections::BTreeMap;

use relatum_agent::control::RelationDetail;
use serde_json::Value;

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{bad, faint, printable, screen, state, strong};
use crate::table::visible;

/// What stands between the two sides.
const GAP: &str = " │ ";

/// A side narrower than this is not readable; then one stands below the other.
const SIDE_COLUMNS_MIN: usize = 50;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The relation's id, or the two endpoints it connects
    #[arg(required = true, num_args = 1..=2, value_name = "ID | \"a:x b:y\"")]
    relation: Vec<String>,
    /// Show values as they were written, without laying open what is encoded in them
    #[arg(long)]
    raw: bool,
    /// Print secrets as they are
    #[arg(long)]
    show_secrets: bool,
}

/// Shows both sides of a relation beside each other, databag by databag, with what is encoded in them laid open.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let mut detail = global.client().show_relation(&args.relation.join(" "), args.show_secrets).await?;
    if args.raw {
        detail.decoded.clear();
    }
    global.format.print(&detail, |detail| tabular(detail, screen().0))
}

fn tabular(detail: &RelationDetail, columns: usize) -> String {
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
    text.push('\n');
    let bag = |owner: &str, title: String, data: &BTreeMap<String, String>| {
        let nothing = Value::Null;
        bag(&title, data, detail.decoded.get(owner).unwrap_or(&nothing))
    };
    let application = &detail.related_application;
    let theirs: Vec<Vec<String>> =
        std::iter::once(bag(application, format!("{application} (application)"), &detail.application_data))
            .chain(detail.related_units.iter().map(|unit| bag(&unit.name, unit.name.clone(), &unit.data)))
            .collect();
    let local = &detail.local_unit;
    let our_application = local.name.split('/').next().unwrap_or_default();
    let ours = [
        bag(our_application, "ours (application)".to_owned(), &detail.local_application_data),
        bag(&local.name, format!("ours ({})", local.name), &local.data),
    ];
    let side = columns.saturating_sub(GAP.chars().count()) / 2;
    if side < SIDE_COLUMNS_MIN {
        let below: Vec<String> = theirs.iter().chain(&ours).map(|lines| lines.join("\n") + "\n").collect();
        return text + &below.join("\n");
    }
    // Application beside application, units beside units; whoever has more goes on alone.
    for at in 0..theirs.len().max(ours.len()) {
        let nothing = Vec::new();
        let left = theirs.get(at).unwrap_or(&nothing);
        let right = ours.get(at).unwrap_or(&nothing);
        let left = if right.is_empty() { left.clone() } else { folded(left, side) };
        let right = folded(right, side);
        if at > 0 {
            text.push('\n');
        }
        for line in 0..left.len().max(right.len()) {
            let (a, b) = (left.get(line).map_or("", String::as_str), right.get(line).map_or("", String::as_str));
            let gap = match (right.is_empty(), b.is_empty()) {
                (true, _) => String::new(),
                (false, true) => faint(GAP.trim_end()),
                (false, false) => faint(GAP),
            };
            let fill = if right.is_empty() { 0 } else { side.saturating_sub(visible(a)) };
            text.push_str(format!("{a}{}{gap}{b}", " ".repeat(fill)).trim_end());
            text.push('\n');
        }
    }
    text
}

/// The lines of one databag; what is laid open in `decoded` stands there instead of its text.
fn bag(title: &str, data: &BTreeMap<String, String>, decoded: &Value) -> Vec<String> {
    let mut lines = vec![strong(&printable(title))];
    if data.is_empty() {
        lines.push(faint("  (empty)"));
    }
    for (key, value) in data {
        let key = printable(key);
        match decoded.get(key.as_str()).map(relatum_model::yaml::to_string) {
            Some(Ok(text)) => {
                lines.push(format!("  {key}:"));
                lines.extend(text.lines().map(|line| format!("    {}", printable(line))));
            }
            _ => lines.push(format!("  {key}: {}", printable(value))),
        }
    }
    lines
}

/// The lines folded to `columns`; what goes on stands a little further in.
fn folded(lines: &[String], columns: usize) -> Vec<String> {
    let mut out = Vec::new();
    for line in lines {
        if visible(line) <= columns {
            out.push(line.clone());
            continue;
        }
        let indent = line.len() - line.trim_start().len() + 2;
        let indent = if indent * 2 > columns { 0 } else { indent };
        let mut rest: Vec<char> = line.chars().collect();
        let mut is_first = true;
        while !rest.is_empty() {
            let blanks = if is_first { 0 } else { indent };
            let taken: String = rest.drain(..rest.len().min(columns - blanks)).collect();
            out.push(format!("{}{taken}", " ".repeat(blanks)));
            is_first = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded() {
        let lines = ["  short".to_owned(), "  0123456789abcdef".to_owned()];
        assert_eq!(folded(&lines, 12), ["  short", "  0123456789", "    abcdef"]);
    }
}
