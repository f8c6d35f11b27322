//! `relatum check web-config`

use std::path::PathBuf;

use relatum_config::web::WebConfig;

use super::Verdict;
use crate::failure::CommandFailure;
use crate::output::put;

/// Checks each file, and says of each what it is.
pub(super) fn check_all(files: &[PathBuf], verdict: &mut Verdict) -> Result<(), CommandFailure> {
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| CommandFailure::failed(format!("cannot read {name}: {error}")))?;
        match WebConfig::parse(&text) {
            Ok(_) => put(&format!("{name} SUCCESS\n"))?,
            Err(problems) => {
                verdict.refused = true;
                problems.iter().for_each(|problem| eprintln!("{name} FAILED: {name}:{problem}"));
            }
        }
    }
    Ok(())
}
