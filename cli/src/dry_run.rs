//! `--dry-run`: what a command would do.

use relatum_agent::control::{Difference, FileDifference, Rehearsal, Rehearse};

use crate::Global;
use crate::failure::CommandFailure;
use crate::history::changes;
use crate::line_diff::{Line, diff};
use crate::output::{bad, faint, good, printable, warning};

/// The options of every command that changes something.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DryRun {
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: also show the lines of rendered files that would change
    #[arg(long, requires = "dry_run")]
    diff: bool,
}

impl DryRun {
    /// Tries `request` and shows what would come of it, if that is what was asked for; whether it was.
    pub(crate) async fn was_asked(&self, global: &Global, request: Rehearse) -> Result<bool, CommandFailure> {
        if self.dry_run {
            let rehearsal = global.client().rehearse(&request).await?;
            global.format.print(&rehearsal, |rehearsal| tabular(rehearsal, self.diff))?;
        }
        Ok(self.dry_run)
    }

    /// Whether the command is only to be tried.
    pub(crate) fn is_on(&self) -> bool {
        self.dry_run
    }
}

fn tabular(rehearsal: &Rehearsal, with_lines: bool) -> String {
    if *rehearsal == Rehearsal::default() {
        return "nothing would change\n".to_owned();
    }
    let mut text = String::new();
    if !rehearsal.changes.is_empty() {
        text.push_str("Changes\n");
        text.push_str(&changes(&rehearsal.changes));
    }
    let effects = effects(rehearsal);
    text.push_str(if effects.is_empty() { "no targets, rules or files would change\n" } else { &effects });
    if with_lines && !rehearsal.files.is_empty() {
        text.push('\n');
        text.push_str(&differences(&rehearsal.files));
    }
    text
}

/// What comes, is otherwise, and goes, by name.
pub(crate) fn effects(rehearsal: &Rehearsal) -> String {
    let mut text = String::new();
    section(&mut text, "Targets", &rehearsal.targets);
    section(&mut text, "Rules", &rehearsal.rules);
    if !rehearsal.quarantined.is_empty() || !rehearsal.solved.is_empty() {
        text.push_str("Problems\n");
    }
    for problem in &rehearsal.quarantined {
        text.push_str(&format!("  {} {}\n", bad("+"), printable(&problem.to_string())));
    }
    for problem in &rehearsal.solved {
        text.push_str(&format!("  {} {}\n", good("-"), printable(&problem.to_string())));
    }
    if !rehearsal.files.is_empty() {
        text.push_str("Files\n");
    }
    for file in &rehearsal.files {
        let sign = match (&file.before, &file.after) {
            (None, _) => good("+"),
            (_, None) => bad("-"),
            _ => warning("~"),
        };
        text.push_str(&format!("  {sign} {}\n", printable(&file.path)));
    }
    text
}

fn section(text: &mut String, title: &str, difference: &Difference) {
    let Difference { added, changed, removed } = difference;
    if added.is_empty() && changed.is_empty() && removed.is_empty() {
        return;
    }
    text.push_str(title);
    text.push('\n');
    for (sign, names) in [(good("+"), added), (warning("~"), changed), (bad("-"), removed)] {
        for name in names {
            text.push_str(&format!("  {sign} {}\n", printable(name)));
        }
    }
}

/// The lines that differ in each file.
pub(crate) fn differences(files: &[FileDifference]) -> String {
    let mut text = String::new();
    for file in files {
        let name = |side: &Option<String>| if side.is_some() { printable(&file.path) } else { "(none)".to_owned() };
        text.push_str(&faint(&format!("--- {}\n+++ {}", name(&file.before), name(&file.after))));
        text.push('\n');
        if file.before == file.after {
            text.push_str(&faint("only secrets differ"));
            text.push('\n');
            continue;
        }
        if [&file.before, &file.after].into_iter().flatten().all(String::is_empty) {
            text.push_str(&faint("empty"));
            text.push('\n');
        }
        for line in diff(file.before.as_deref().unwrap_or_default(), file.after.as_deref().unwrap_or_default()) {
            let shown = match line {
                Line::Same(line) => format!(" {}", printable(line)),
                Line::Removed(line) => bad(&format!("-{}", printable(line))),
                Line::Added(line) => good(&format!("+{}", printable(line))),
                Line::Gap => faint("…"),
            };
            text.push_str(&shown);
            text.push('\n');
        }
    }
    text
}
