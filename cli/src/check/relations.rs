//! `relatum check relations`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use relatum_agent::declared::file::{self, Fault};
use serde::Serialize;

use super::Verdict;
use crate::failure::CommandFailure;
use crate::output::{Format, counted, printable, put};

/// What one file is.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    /// How many it declares; 0 when it is refused.
    relations: usize,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    /// From 1; none where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    message: String,
}

/// Who declares a relation, by our endpoint and the application at the other side.
type Owners = BTreeMap<(String, String), PathBuf>;

/// Reads each file as the agent would, with all that it names. Files that are checked together are taken for one folder's, so what
/// two of them declare is found too.
pub(super) fn check_all(format: Format, files: &[PathBuf], verdict: &mut Verdict) -> Result<(), CommandFailure> {
    let mut owners = Owners::new();
    let mut all = Vec::new();
    for path in files {
        let checked = check(path, &mut owners);
        verdict.refused |= !checked.problems.is_empty();
        if format == Format::Tabular {
            report(&checked)?;
        }
        all.push(checked);
    }
    format.print(&all, |_| String::new())
}

fn check(path: &Path, owners: &mut Owners) -> Checked {
    let read = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        vec![Fault { line: 0, column: 0, message }]
    });
    let folder = path.parent().unwrap_or(Path::new(""));
    let declared = read.and_then(|text| {
        let declared = file::parse(&text, folder)?;
        let mut faults = Vec::new();
        for one in &declared {
            let key = (one.endpoint.clone(), one.application.clone());
            match owners.get(&key) {
                None => drop(owners.insert(key, path.to_owned())),
                Some(other) => {
                    let (with, other) = (&one.application, other.display());
                    let message = format!("{} with {with} is declared in {other} already", one.endpoint);
                    faults.push(Fault { line: one.line, column: 0, message });
                }
            }
        }
        if faults.is_empty() { Ok(declared.len()) } else { Err(faults) }
    });
    let known = |place: u64| Some(place).filter(|place| *place > 0);
    let problem = |Fault { line, column, message }| Problem { line: known(line), column: known(column), message };
    let (relations, problems) = match declared {
        Ok(relations) => (relations, Vec::new()),
        Err(faults) => (0, faults.into_iter().map(problem).collect()),
    };
    Checked { file: path.display().to_string(), relations, problems }
}

fn report(checked: &Checked) -> Result<(), CommandFailure> {
    let Checked { file, relations, problems } = checked;
    put(&format!("Checking {file}\n"))?;
    if problems.is_empty() {
        return put(&format!("  SUCCESS: {} found\n\n", counted(*relations as u64, "relation", "relations")));
    }
    for Problem { line, column, message } in problems {
        let place: String = [line, column].into_iter().flatten().map(|number| format!(":{number}")).collect();
        eprintln!("  FAILED: {file}{place}: {}", printable(message));
    }
    put("\n")
}
