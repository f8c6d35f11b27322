//! `relatum check web-config`

use std::path::PathBuf;

use relatum_server::files::DiskFiles;
use relatum_server::web::Web;

use super::Verdict;
use crate::failure::CommandFailure;
use crate::output::put;

/// Checks each file with the certificates it names, as the server would begin with it, and says of each what it is.
pub(super) fn check_all(files: &[PathBuf], verdict: &mut Verdict) -> Result<(), CommandFailure> {
    for file in files {
        let name = file.display();
        match Web::default().prepare(&DiskFiles, Some(file)) {
            Ok(_) => put(&format!("{name} SUCCESS\n"))?,
            Err(problems) => {
                verdict.refused = true;
                problems.iter().for_each(|problem| eprintln!("{name} FAILED: {problem}"));
            }
        }
    }
    Ok(())
}
