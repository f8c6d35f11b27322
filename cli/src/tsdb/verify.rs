//! `relatum tsdb verify`

use std::path::Path;
use std::process::ExitCode;

use relatum_tsdb::inspect;
use serde_json::{Value, json};

use super::unreadable;
use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{bad, good};

/// Reads everything and names what is damaged; exit 1 if something is.
pub(crate) fn run(global: &Global, dir: &Path) -> Result<ExitCode, CommandFailure> {
    let found = inspect::verify(dir).map_err(|error| unreadable(dir, &error))?;
    let problems: Vec<Value> =
        found.problems.iter().map(|problem| json!({ "file": problem.file, "reason": problem.reason })).collect();
    let data = json!({
        "files": found.files,
        "blockSamples": found.block_samples,
        "logSamples": found.log_samples,
        "problems": problems,
    });
    global.format.print(&data, |_| {
        let mut text = format!(
            "{} files, {} samples in blocks, {} in the log\n",
            found.files, found.block_samples, found.log_samples
        );
        for problem in &found.problems {
            text += &format!("{} {}: {}\n", bad("DAMAGED"), problem.file, problem.reason);
        }
        if found.problems.is_empty() {
            text += &format!("{}\n", good("everything is as it was written"));
        }
        text
    })?;
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
