//! What could not be read of a store that was opened, so that nobody takes what was read for all there is.

use std::path::Path;
use std::process::ExitCode;

use relatum_tsdb::Store;
use relatum_tsdb::inspect::{self, Problem};
use serde_json::{Value, json};

use super::unreadable;
use crate::failure::CommandFailure;
use crate::output::{bad, printable};

/// What a store adds to the name of a block that it set aside.
const SET_ASIDE: &str = ".damaged";

/// Names what is damaged in `store`, once that was read: what was found when it was opened, what was set aside when it was opened
/// before, and the blocks with something in them that could not be read.
pub(super) fn found(store: &Store, dir: &Path) -> Result<Vec<Problem>, CommandFailure> {
    let opened = store.opened();
    let mut problems: Vec<Problem> =
        opened.dropped.iter().map(|d| Problem { file: d.file.clone(), reason: d.reason.clone() }).collect();
    let more = opened.damages.saturating_sub(problems.len() as u64);
    let entries = std::fs::read_dir(dir.join("blocks")).map_err(|error| unreadable(dir, &error))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let set_aside = names.iter().filter_map(|name| name.strip_suffix(SET_ASIDE));
    let set_aside: Vec<&str> = set_aside.filter(|name| problems.iter().all(|known| known.file != *name)).collect();
    problems.extend(set_aside.into_iter().map(|file| Problem {
        file: format!("{file}{SET_ASIDE}"),
        reason: "it was set aside as damaged when the store was opened before".to_owned(),
    }));
    // Which blocks the store met damage in while it was read is asked of all, as it is rare.
    if store.stats().damaged_blocks > 0 {
        let verified = inspect::verify(dir).map_err(|error| unreadable(dir, &error))?;
        let is_of_block = |problem: &Problem| names.contains(&problem.file);
        problems.extend(verified.problems.into_iter().filter(is_of_block));
    }
    if more > 0 {
        problems.push(Problem { file: "wal".to_owned(), reason: format!("{more} more places are damaged") });
    }
    Ok(problems)
}

/// The problems as data.
pub(super) fn as_json(problems: &[Problem]) -> Vec<Value> {
    problems.iter().map(|problem| json!({ "file": problem.file, "reason": problem.reason })).collect()
}

/// Says on stderr what was left out, and gives the exit code: 1 if anything was.
pub(super) fn report(problems: &[Problem]) -> ExitCode {
    for Problem { file, reason } in problems {
        anstream::eprintln!("{} {}", bad("left out:"), printable(&format!("{file}: {reason}")));
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
