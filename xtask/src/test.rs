//! Runs every test once, and counts.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};

use crate::{cargo, peers, run as run_command, target_dir};

#[derive(Debug, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Brings the peers, builds the program once, runs all tests; the last line printed counts passed, failed and skipped.
pub(crate) fn run(strict: bool, long: bool) -> anyhow::Result<()> {
    let peers = peers::bring()?;
    run_command(&mut cargo(&["build", "--package", "relatum-cli", "--bin", "relatum"]))?;
    let program = target_dir().join("debug").join("relatum");
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.env("RELATUM_BIN", &program).envs(peers.environment()).stdin(Stdio::null()).stdout(Stdio::piped());
    if long {
        command.env("RELATUM_LONG", "1").env("PROPTEST_CASES", "2560");
    }
    let mut child = command.spawn().context("cannot run cargo test")?;
    let output = child.stdout.take().expect("stdout was asked for");
    let (mut counts, mut skips) = (Counts::default(), Vec::new());
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what cargo test prints")?;
        println!("{line}");
        counts.add(&line);
        if let Some(name) = skip(&line) {
            skips.push(name.to_owned());
        }
    }
    let status = child.wait()?;
    let corpora = std::env::var_os("RELATUM_CORPORA").filter(|dir| Path::new(dir).is_dir());
    let unexcused: Vec<&String> = skips
        .iter()
        .filter(|name| {
            let needs_corpus = name.contains("RELATUM_CORPORA");
            (needs_corpus && corpora.is_some()) || peers.environment().any(|(variable, _)| name.contains(variable))
        })
        .collect();
    for name in &unexcused {
        println!("skipped, though what it needs is here: {name}");
    }
    // The count is to be the last line, whatever comes of this.
    let sanitized = if long && cfg!(target_arch = "x86_64") { run_command(&mut sanitized_store()) } else { Ok(()) };
    if long && !cfg!(target_arch = "x86_64") {
        println!("the address sanitizer runs on x86_64 only");
    }
    println!("\n{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if !status.success() || counts.failed > 0 {
        bail!("there are failed tests");
    }
    sanitized.context("the store is at fault under the address sanitizer")?;
    if strict && !unexcused.is_empty() {
        bail!("{} tests were skipped without need", unexcused.len());
    }
    Ok(())
}

/// The tests of the store, whose few lines of unsafe code are run under the address sanitizer, in a folder of their own as everything is
/// built anew for it.
fn sanitized_store() -> std::process::Command {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let mut command = cargo(&["test", "--package", "relatum-tsdb", "--lib", "--test", "tsdb", "--target", TARGET]);
    // The sanitizer belongs to the compiler; only its flag is not stable yet.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    command.env("CARGO_TARGET_DIR", target_dir().join("sanitized"));
    command
}

// A skipped test names what it misses in its name: `[needs RELATUM_CORPORA] …`, or the peer's variable.
fn skip(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... ignored")
}

impl Counts {
    // "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s"
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split_whitespace().collect();
        for pair in words.windows(2) {
            let Ok(n) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed;" => self.passed += n,
                "failed;" => self.failed += n,
                "ignored;" => self.skipped += n,
                _ => {}
            }
        }
    }
}
