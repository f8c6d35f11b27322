//! `relatum tsdb verify`

use std::path::Path;
use std::process::ExitCode;

use relatum_tsdb::inspect;
use serde_json::json;

use super::{damage, unreadable};
use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{bad, counted, good};

/// Reads everything and names what is damaged or was set aside; exit 1 if something is.
pub(crate) fn run(global: &Global, dir: &Path) -> Result<ExitCode, CommandFailure> {
    let found = inspect::verify(dir).map_err(|error| unreadable(dir, &error))?;
    let is_well = found.problems.is_empty() && found.set_aside.is_empty();
    let data = json!({
        "files": found.files,
        "blockSamples": found.block_samples,
        "logSamples": found.log_samples,
        "problems": damage::as_json(&found.problems),
        "setAside": found.set_aside,
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
        for file in &found.set_aside {
            text += &format!(
                "{} {file}: it could not be read once, and nothing of it is in any answer\n",
                bad("SET ASIDE")
            );
        }
        if is_well {
            text += &format!("{}\n", good("everything is as it was written"));
        }
        text
    })?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
