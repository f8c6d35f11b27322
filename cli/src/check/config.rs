//! `relatum check config`

use std::path::Path;

use relatum_config::prometheus::Config;
use relatum_server::files::{DiskFiles, Loader};

use super::{LintArgs, Verdict, lint, report_rules, unreadable};
use crate::failure::CommandFailure;
use crate::output::put;

/// Reads the file as the server would, with all that it names.
pub(super) fn check(
    path: &Path,
    syntax_only: bool,
    lint_args: &LintArgs,
    verdict: &mut Verdict,
) -> Result<(), CommandFailure> {
    let name = path.display();
    put(&format!("Checking {name}\n"))?;
    let success = format!(" SUCCESS: {name} is valid prometheus config file syntax\n\n");
    if syntax_only {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return unreadable(&name.to_string(), &error, verdict),
        };
        if let Err(problems) = Config::parse(&text) {
            verdict.refused = true;
            problems.iter().for_each(|problem| eprintln!("  FAILED: {name}:{problem}"));
            return put("\n");
        }
        return put(&success);
    }
    let loaded = match Loader::default().load(&DiskFiles, path) {
        Ok(loaded) => loaded,
        Err(problems) => {
            verdict.refused = true;
            problems.iter().for_each(|problem| eprintln!("  FAILED: {problem}"));
            return put("\n");
        }
    };
    if lint_args.wants(lint::Lint::TooLongScrapeInterval) {
        for finding in lint::too_long_intervals(loaded.scrape_jobs()) {
            verdict.linted = true;
            eprintln!("  FAILED: {finding}");
        }
    }
    if !loaded.rule_files.is_empty() {
        put(&format!("  SUCCESS: {} rule files found\n", loaded.rule_files.len()))?;
    }
    put(&success)?;
    for (path, file) in loaded.rule_files.iter() {
        put(&format!("Checking {}\n", path.display()))?;
        report_rules(file, lint_args, verdict)?;
    }
    Ok(())
}
