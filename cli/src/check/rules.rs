//! `relatum check rules`

use std::path::PathBuf;

use relatum_config::rules::RuleFile;

use super::{LintArgs, Verdict, report_rules, unreadable};
use crate::failure::CommandFailure;
use crate::output::put;

/// Checks each file, or standard input where none is named.
pub(super) fn check_all(files: &[PathBuf], lint: &LintArgs, verdict: &mut Verdict) -> Result<(), CommandFailure> {
    if files.is_empty() {
        return check("standard input", std::io::read_to_string(std::io::stdin()), lint, verdict);
    }
    for file in files {
        check(&file.display().to_string(), std::fs::read_to_string(file), lint, verdict)?;
    }
    Ok(())
}

fn check(
    name: &str,
    text: std::io::Result<String>,
    lint: &LintArgs,
    verdict: &mut Verdict,
) -> Result<(), CommandFailure> {
    put(&format!("Checking {name}\n"))?;
    let text = match text {
        Ok(text) => text,
        Err(error) => return unreadable(name, &error, verdict),
    };
    match RuleFile::parse(&text) {
        Ok(file) => report_rules(&file, lint, verdict),
        Err(problems) => {
            verdict.refused = true;
            eprintln!("  FAILED:");
            problems.iter().for_each(|problem| eprintln!("{name}:{problem}"));
            put("\n")
        }
    }
}
