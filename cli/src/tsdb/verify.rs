//! `relatum tsdb verify`

use std::path::Path;
use std::process::ExitCode;

use relatum_tsdb::inspect;
use serde_json::json;

use super::{damage, unreadable};
use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{bad, counted, good};

/// Reads everything and names what is damaged; exit 1 if something is.
pub(crate) fn run(global: &Global, dir: &Path) -> Result<ExitCode, CommandFailure> {
    let found = inspect::verify(dir).map_err(|error| unreadable(dir, &error))?;
    let data = json!({
        "files": found.files,
        "blockSamples": found.block_samples,
        "logSamples": found.log_samples,
        "problems": damage::as_json(&found.problems),
    });
    global.format.print(&data, |_| {
        let mut text = format!(
            "{}, {} in blocks, {} in the log\n",
            counted(found.files, "file", "files"),
            counted(found.block_samples, "sample", "samples"),
            found.log_samples
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
