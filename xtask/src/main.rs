//! Every chore of the project, as `cargo xtask CHORE`.

mod bench;
mod check;
mod peers;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask CHORE

  check            format, lints, tidiness, tests: what has to pass before a change is handed over
  tidy             the crates' arrows, file headers and words, against ARCHITECTURE.md
  test [--strict] [--long]
                   bring the real peers if possible, then run all tests; the last line counts them
                   (--strict: a skipped test whose peer or corpus is there is a failure; --long: ten times as many kills and
                   random inputs, and the store under the address sanitizer)
  bench crowd      how fast an agent with very many relations begins and follows, and what it takes
  bench relate     how fast the agent starts, and a relation becomes a scraped target
  bench http [large]
                   what writing and asking over HTTP takes, beside the peers
  bench promql [large]
                   how long queries take with 10,000 series, or 100,000, beside the peers
  bench tsdb [large]
                   what the store alone costs with 10,000 series, or 100,000
  bench texts      how fast queries, expositions and configurations are read
  peers            bring the real peers and print where they are
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["check"] => check::run(),
        ["tidy"] => tidy::run(),
        ["test", ref flags @ ..] if flags.iter().all(|flag| ["--strict", "--long"].contains(flag)) => {
            test::run(flags.contains(&"--strict"), flags.contains(&"--long"))
        }
        ["bench", "http"] => bench::http::run(10),
        ["bench", "http", "large"] => bench::http::run(100),
        ["bench", "promql"] => bench::promql::run(10),
        ["bench", "promql", "large"] => bench::promql::run(100),
        ["bench", "crowd"] => bench::crowd::run(),
        ["bench", "relate"] => bench::relate::run(),
        ["bench", "tsdb"] => bench::tsdb::run(10),
        ["bench", "tsdb", "large"] => bench::tsdb::run(100),
        ["bench", "texts"] => bench::texts::run(),
        ["peers"] => peers::bring().map(|peers| print!("{peers}")),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace").to_owned()
}

/// The folder cargo builds into.
fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A cargo command in the workspace's folder.
fn cargo(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Runs a command to its end; fails unless it succeeds.
fn run(command: &mut std::process::Command) -> anyhow::Result<()> {
    use anyhow::Context;
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
