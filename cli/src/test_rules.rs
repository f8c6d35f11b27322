//! `relatum test rules`: are rules what their unit tests say? Words and exit codes are promtool's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use relatum_config::rule_tests::RuleTestFile;
use relatum_config::rules::RuleFile;
use relatum_model::regex::SearchRegex;
use relatum_rules::unit_test;

use crate::failure::CommandFailure;
use crate::output::put;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    /// Carry out unit tests of rules
    Rules {
        /// The files with the tests
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Carry out only tests whose name has a match; may be given more than once
        #[arg(long, value_name = "REGEX")]
        run: Vec<String>,
        /// Of what differs, show the lines that do
        #[arg(long)]
        diff: bool,
    },
}

/// Carries out every file and says of each how it went; one that fails does not end the run.
pub(crate) fn run(args: &Args) -> Result<ExitCode, CommandFailure> {
    let Kind::Rules { files, run, diff } = &args.kind;
    let only = (!run.is_empty()).then(|| SearchRegex::new(&run.join("|"))).transpose();
    let only = only.map_err(|error| CommandFailure::usage(format!("--run: {error}")))?;
    let mut has_failed = false;
    for path in files {
        put(&format!("Unit Testing:  {}\n", path.display()))?;
        match test(path, only.as_ref(), *diff) {
            Ok(()) => put("  SUCCESS\n")?,
            Err(failures) => {
                has_failed = true;
                anstream::eprintln!("  FAILED:\n{}", failures.join("\n"));
            }
        }
        put("\n")?;
    }
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Carries out one file; fails with what is wrong with the file, with its rules, or with what they give.
fn test(path: &Path, only: Option<&SearchRegex>, diff: bool) -> Result<(), Vec<String>> {
    let text = read(path)?;
    let file = RuleTestFile::parse(&text).map_err(|problems| placed(path, &problems))?;
    let rules = load_rules(path.parent().unwrap_or(Path::new("")), &file.rule_files);
    let mut failures = Vec::new();
    for test in file.tests.iter().filter(|test| only.is_none_or(|only| only.is_match(&test.name))) {
        // Rules that cannot be read fail the tests: without any test nobody asks for them, as in promtool.
        let rules = rules.as_deref().map_err(Vec::clone)?;
        let found = unit_test::run(&file, test, rules);
        failures.extend(found.iter().map(|failure| if diff { failure.diff() } else { failure.to_string() }));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// Reads the rule files that the patterns name, relative to `folder`.
fn load_rules(folder: &Path, patterns: &[String]) -> Result<Vec<(String, RuleFile)>, Vec<String>> {
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for pattern in patterns {
        let pattern = folder.join(pattern).display().to_string();
        let found = glob::glob(&pattern).map_err(|error| vec![format!("{pattern}: {error}")])?;
        let mut n_found = 0;
        for path in found {
            n_found += 1;
            let path = path.map_err(|error| vec![error.to_string()])?;
            match read(&path).and_then(|text| RuleFile::parse(&text).map_err(|problems| placed(&path, &problems))) {
                Ok(file) => rules.push((path.display().to_string(), file)),
                Err(more) => problems.extend(more),
            }
        }
        if n_found == 0 {
            anstream::eprintln!("  WARNING: no file match pattern {pattern}");
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

fn read(path: &Path) -> Result<String, Vec<String>> {
    std::fs::read_to_string(path).map_err(|error| vec![format!("cannot read {}: {error}", path.display())])
}

fn placed(path: &Path, problems: &[relatum_config::Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect()
}
