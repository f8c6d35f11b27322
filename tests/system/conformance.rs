//! Every script in Prometheus' test notation against the running server: series go in by remote write, queries by the HTTP API.
//!
//! The runner is the corpus' own, so that nothing of ours decides what is right.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::program::binary;
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    let trial = crate::with("promql_scripts_over_http", &[], true, promql_scripts);
    if find_python().is_some() {
        return vec![trial];
    }
    vec![trial.with_kind("needs python3").with_ignored_flag(true)]
}

/// The runner needs nothing but the language.
fn find_python() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("python3")).find(|file| file.is_file())
}

fn promql_scripts() -> anyhow::Result<()> {
    let corpora = crate::corpora().context("the corpora are there, or the test would not run")?;
    let dir = tempfile::tempdir()?;
    let verdicts = dir.path().join("verdicts.json");
    let output = Command::new(find_python().context("python3 is there")?)
        .arg(corpora.join("tools").join("promqltest.py"))
        .args(["--preset", "ours", "--jobs", "2", "--out"])
        .arg(&verdicts)
        .arg("--tmp")
        .arg(dir.path())
        .arg(corpora.join("conformance").join("promql"))
        .env("RELATUM", binary())
        .output()?;
    let report = read_report(&verdicts)
        .with_context(|| format!("the runner failed:\n{}", String::from_utf8_lossy(&output.stderr)))?;
    let files = report["files"].as_object().context("the report has files")?;
    ensure!(files.len() > 15, "only {} scripts were run", files.len());
    let mut unexpected = Vec::new();
    for (name, file) in files {
        let number = |key: &str| file[key].as_u64().unwrap_or(0);
        println!("{name:<28} passed {:>4}  failed {:>4}", number("pass"), number("fail"));
        let is_whole = file.get("parse_error").is_none() && file.get("server_error").is_none();
        if number("fail") > 0 || number("load_errors") > 0 || !is_whole {
            unexpected.push(format!("{name}: {} fail: {file:#}", number("fail")));
        }
    }
    let total = |key: &str| report["totals"][key].as_u64().unwrap_or(0);
    println!("{:<28} passed {:>4}  failed {:>4}", "all", total("pass"), total("fail"));
    ensure!(total("evals") > 1400, "only {} evaluations", total("evals"));
    ensure!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    Ok(())
}

fn read_report(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}
