//! `relatum check relations`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use relatum_agent::declared::file::{self, Fault};

use super::Verdict;
use crate::failure::CommandFailure;
use crate::output::put;

/// Reads each file as the agent would, with all that it names. Files that are checked together are taken for one folder's, so what
/// two of them declare is found too.
pub(super) fn check_all(files: &[PathBuf], verdict: &mut Verdict) -> Result<(), CommandFailure> {
    let mut owners = BTreeMap::new();
    for path in files {
        let name = path.display();
        put(&format!("Checking {name}\n"))?;
        let text = std::fs::read_to_string(path)
            .map_err(|error| CommandFailure::failed(format!("cannot read {name}: {error}")))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let declared = file::parse(&text, folder).and_then(|declared| {
            let mut faults = Vec::new();
            for one in &declared {
                let key = (one.endpoint.clone(), one.application.clone());
                match owners.get(&key) {
                    None => drop(owners.insert(key, path.clone())),
                    Some(other) => faults.push(Fault {
                        line: one.line,
                        column: 0,
                        message: format!(
                            "{} with {} is declared in {} already",
                            one.endpoint,
                            one.application,
                            other.display()
                        ),
                    }),
                }
            }
            if faults.is_empty() { Ok(declared.len()) } else { Err(faults) }
        });
        match declared {
            Ok(n_relations) => put(&format!("  SUCCESS: {n_relations} relations found\n\n"))?,
            Err(faults) => {
                verdict.refused = true;
                for Fault { line, column, message } in faults {
                    let place = [line, column].into_iter().filter(|number| *number > 0);
                    let place: String = place.map(|number| format!(":{number}")).collect();
                    eprintln!("  FAILED: {name}{place}: {message}");
                }
                put("\n")?;
            }
        }
    }
    Ok(())
}
