//! `relatum history`

use relatum_agent::control::{History, HistoryChange, HistoryChangeKind, HistoryEntry};

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{bad, faint, good, printable, warning};
use crate::table::Table;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  relatum history -n 5    the newest five revisions
  relatum history 12      all that revision 12 changed")]
pub(crate) struct Args {
    /// Show all that this revision changed
    #[arg(value_name = "REV", conflicts_with = "lines", value_parser = revision)]
    revision: Option<u64>,
    /// How many revisions to show
    #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT", value_parser = count)]
    lines: usize,
}

/// A revision as typed.
pub(crate) fn revision(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a revision is a number, as `relatum history` shows it".to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one is listed".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("it is not a number of revisions".to_owned()),
    }
}

/// Lists what was changed when, newest first.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    match args.revision {
        Some(revision) => global.format.print(&global.client().revision(revision).await?, one),
        None => global.format.print(&global.client().history(args.lines).await?, all),
    }
}

fn all(history: &History) -> String {
    let mut table = Table::new(&[">Revision", "=Time", "By", "+Command", "~Changes"]);
    for entry in &history.revisions {
        table.row([
            entry.revision.to_string(),
            time(entry.at_ms),
            entry.author.clone(),
            entry.description.clone(),
            summary(entry),
        ]);
    }
    if table.is_empty() { "nothing was changed yet\n".to_owned() } else { table.render() }
}

fn one(entry: &HistoryEntry) -> String {
    let by = if entry.author.is_empty() { String::new() } else { format!(" by {}", entry.author) };
    let head = format!("revision {}, {}{by}\n{}\n", entry.revision, time(entry.at_ms), printable(&entry.description));
    head + &changes_of(entry)
}

/// A line for each thing that a revision changed.
pub(crate) fn changes_of(entry: &HistoryEntry) -> String {
    let more = if entry.left_out > 0 { format!("   and {} more\n", entry.left_out) } else { String::new() };
    changes(&entry.changes) + &more
}

/// A line for each change.
pub(crate) fn changes(changes: &[HistoryChange]) -> String {
    let mut table = Table::new(&["", ""]);
    for change in changes {
        let detail = if change.detail.is_empty() { String::new() } else { faint(&change.detail) };
        table.row([format!("  {} {}", sign(change.kind), change.object), detail]);
    }
    table.render()
}

fn sign(kind: HistoryChangeKind) -> String {
    match kind {
        HistoryChangeKind::Added => good("+"),
        HistoryChangeKind::Changed => warning("~"),
        HistoryChangeKind::Removed => bad("-"),
    }
}

/// `+relation +2 units ~databag`: how many of what.
fn summary(entry: &HistoryEntry) -> String {
    let mut counts: Vec<(HistoryChangeKind, &str, usize)> = Vec::new();
    for change in &entry.changes {
        let noun = change.object.split(' ').next().unwrap_or_default();
        match counts.iter_mut().find(|(kind, known, _)| (*kind, *known) == (change.kind, noun)) {
            Some((.., count)) => *count += 1,
            None => counts.push((change.kind, noun, 1)),
        }
    }
    let mut words: Vec<String> = counts
        .into_iter()
        .map(|(kind, noun, count)| match count {
            1 => format!("{}{noun}", sign(kind)),
            count => format!("{}{count} {noun}s", sign(kind)),
        })
        .collect();
    if entry.left_out > 0 {
        words.push(format!("and {} more", entry.left_out));
    }
    words.join(", ")
}

/// A moment as people write it.
pub(crate) fn time(at_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(at_ms);
    time.map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}
