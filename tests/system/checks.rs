//! `relatum check` and promtool say the same of the same files: good ones, bad ones, and good ones with lint.

use std::process::{Command, Output};

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::program::binary;

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("checks_agree_with_promtool", &[Peer::Promtool3], false, verdicts)]
}

const FILES: [(&str, &str); 7] = [
    ("good.yml", "rule_files: [twice.rules]\nscrape_configs:\n- job_name: a\n  static_configs: [{targets: ['x:1']}]\n"),
    ("bad.yml", "global: {scrape_interval: soon}\n"),
    ("slow.yml", "scrape_configs: [{job_name: a, scrape_interval: 10m, static_configs: [{targets: ['x:1']}]}]\n"),
    ("twice.rules", "groups:\n- name: a\n  rules:\n  - {alert: X, expr: up == 0}\n  - {alert: X, expr: up == 0}\n"),
    ("bad.rules", "groups:\n- name: a\n  rules:\n  - {alert: X, expr: 'sum('}\n"),
    ("web.yml", "http_server_config: {http2: false}\n"),
    ("bad-web.yml", "http_server_config: {http3: true}\n"),
];

const COMMANDS: [&[&str]; 14] = [
    &["check", "config", "good.yml"],
    &["check", "config", "--lint-fatal", "good.yml"],
    &["check", "config", "--lint=none", "--lint-fatal", "good.yml"],
    &["check", "config", "--syntax-only", "good.yml"],
    &["check", "config", "bad.yml", "good.yml"],
    &["check", "config", "--lint=all", "--lint-fatal", "slow.yml"],
    &["check", "config", "missing.yml"],
    &["check", "rules", "twice.rules"],
    &["check", "rules", "--lint-fatal", "twice.rules"],
    &["check", "rules", "--lint=none", "--lint-fatal", "twice.rules"],
    &["check", "rules", "twice.rules", "bad.rules"],
    &["check", "web-config", "web.yml"],
    &["check", "web-config", "bad-web.yml"],
    &["check", "web-config", "web.yml", "bad-web.yml"],
];

fn verdicts() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (name, text) in FILES {
        std::fs::write(dir.path().join(name), text)?;
    }
    for arguments in COMMANDS {
        let ours = Command::new(binary()).current_dir(&dir).args(arguments).output()?;
        let theirs = Peer::Promtool3.command()?.current_dir(&dir).args(arguments).output()?;
        let said = String::from_utf8_lossy(&ours.stdout) + String::from_utf8_lossy(&ours.stderr);
        ensure!(
            ours.status.code() == theirs.status.code(),
            "{arguments:?}: we end with {}, promtool with {}; we say:\n{said}",
            ours.status,
            theirs.status
        );
        // What is good is said in the same words, though promtool says some of it on stderr.
        let good = |output: &Output| {
            let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            text.lines().filter(|line| line.contains("SUCCESS")).map(str::to_owned).collect::<Vec<_>>()
        };
        let (ours, theirs) = (good(&ours), good(&theirs));
        ensure!(ours == theirs, "{arguments:?}: {ours:?} is not {theirs:?}");
    }
    Ok(())
}
