//! `relatum check`: is a file what the server would take? Words and exit codes are promtool's.
//!
//! Exit 0: all is well; 1: a file is refused; 3: a file is taken, but a lint found something, and `--lint-fatal` was asked for or
//! the file holds metrics.

mod config;
mod lint;
mod metrics;
mod relations;
mod rules;
mod web_config;

use std::path::PathBuf;
use std::process::ExitCode;

use relatum_config::rules::RuleFile;

use crate::Global;
use crate::failure::CommandFailure;
use lint::Lint;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    /// Check configuration files, and the files they name
    Config {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Check only the syntax of the file itself
        #[arg(long)]
        syntax_only: bool,
        #[command(flatten)]
        lint: LintArgs,
    },
    /// Check rule files; without any, standard input
    Rules {
        /// The files
        files: Vec<PathBuf>,
        #[command(flatten)]
        lint: LintArgs,
    },
    /// Check files of relations.d, as the agent reads them
    Relations {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check files that configure how HTTP is served
    WebConfig {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check metrics as a process exposes them, and whether they have the habits of good ones
    Metrics(metrics::Args),
}

#[derive(Debug, clap::Args)]
struct LintArgs {
    /// What to look for in files that are valid
    #[arg(long, value_enum, value_delimiter = ',', default_value = "duplicate-rules")]
    lint: Vec<Lint>,
    /// Exit with 3 when a lint finds something
    #[arg(long)]
    lint_fatal: bool,
}

impl LintArgs {
    fn wants(&self, lint: Lint) -> bool {
        !self.lint.contains(&Lint::None) && (self.lint.contains(&lint) || self.lint.contains(&Lint::All))
    }
}

/// What came of the checks so far.
#[derive(Debug, Default)]
struct Verdict {
    refused: bool,
    linted: bool,
}

/// Checks every file and says of each what it is; one that is refused does not end the run.
pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode, CommandFailure> {
    let mut verdict = Verdict::default();
    let lint_fatal = match &args.kind {
        Kind::Config { files, syntax_only, lint } => {
            for file in files {
                config::check(file, *syntax_only, lint, &mut verdict)?;
            }
            lint.lint_fatal
        }
        Kind::Rules { files, lint } => {
            rules::check_all(files, lint, &mut verdict)?;
            lint.lint_fatal
        }
        Kind::Relations { files } => {
            relations::check_all(global.format, files, &mut verdict)?;
            false
        }
        Kind::WebConfig { files } => {
            web_config::check_all(files, &mut verdict)?;
            false
        }
        Kind::Metrics(args) => {
            metrics::check_all(args, &mut verdict)?;
            true
        }
    };
    Ok(match verdict {
        Verdict { refused: true, .. } => ExitCode::FAILURE,
        Verdict { linted: true, .. } if lint_fatal => ExitCode::from(3),
        _ => ExitCode::SUCCESS,
    })
}

/// Says that a file cannot be read; the others are checked all the same.
fn unreadable(name: &str, error: &std::io::Error, verdict: &mut Verdict) -> Result<(), CommandFailure> {
    verdict.refused = true;
    eprintln!("  FAILED: cannot read {name}: {error}");
    crate::output::put("\n")
}

/// Says what a rule file that was read is.
fn report_rules(file: &RuleFile, lint: &LintArgs, verdict: &mut Verdict) -> Result<(), CommandFailure> {
    if lint.wants(Lint::DuplicateRules) {
        let duplicates = lint::duplicate_rules(file);
        if !duplicates.is_empty() {
            verdict.linted = true;
            eprintln!("  FAILED:\nlint error {} duplicate rule(s) found.", duplicates.len());
            for duplicate in duplicates {
                eprint!("{duplicate}");
            }
            eprintln!("Might cause inconsistency while recording expressions");
            return crate::output::put("\n");
        }
    }
    let n_rules: usize = file.groups.iter().map(|group| group.rules.len()).sum();
    crate::output::put(&format!("  SUCCESS: {n_rules} rules found\n\n"))
}
