//! Every command of the README works, in its order.
//!
//! Commands stand in `console` blocks behind `$ `. What differs on a test machine is replaced: the agent's address and the
//! exporter's. The two commands that build are what runs all this, or are tested by their name.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::{self, Peer};
use relatum_tests::program::{Agent, binary};
use relatum_tests::{PATIENCE, http, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("readme_commands_work", &[Peer::NodeExporter], false, commands)]
}

fn commands() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie inside the workspace")?;
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    let dir = tempfile::tempdir()?;
    let (_exporter, exporter) = peers::node_exporter()?;
    let agent = Agent::start(dir.path())?;
    let address = agent.url.trim_start_matches("http://").to_owned();
    let folder = binary().parent().context("the program lies in a folder")?;
    let path = std::env::join_paths(
        std::iter::once(folder.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut n_commands = 0;
    for command in shell_lines(&readme) {
        if command.starts_with("cargo ") {
            let known = ["cargo run --release --bin relatum -- demo", "cargo xtask test"];
            ensure!(known.contains(&command.as_str()), "nobody tests {command:?}");
            continue;
        }
        if command.starts_with("relatum agent") || command.starts_with("prometheus-node-exporter") {
            // They run already.
            ensure!(command.ends_with('&'), "{command:?} would not return");
            continue;
        }
        let line = command.replace("127.0.0.1:9100", &exporter).replace("127.0.0.1:9090", &address);
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &line])
            .current_dir(dir.path())
            .env("PATH", &path)
            .env("RELATUM_DATA_DIR", &agent.data_dir)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{line}: {}: {said}", output.status);
        if line.contains("relate metrics-endpoint") {
            wait_for("all targets", PATIENCE, || http::query(&agent.url, "up == 0").ok().filter(Vec::is_empty))?;
        }
        n_commands += 1;
    }
    ensure!(n_commands >= 8, "the README has only {n_commands} commands to try");
    Ok(())
}

/// The commands of the `console` blocks; a line that ends with a backslash goes on in the next.
fn shell_lines(readme: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let (mut inside, mut continues) = (false, false);
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        let part = match line.strip_prefix("$ ") {
            Some(part) => {
                commands.push(String::new());
                part
            }
            None if continues => line.trim_start(),
            None => continue,
        };
        continues = part.ends_with('\\');
        let command = commands.last_mut().expect("a command was begun");
        command.push_str(part.trim_end_matches('\\'));
        // What stands behind a comment sign explains the command.
        if let Some((before, _)) = command.split_once("  #") {
            *command = before.to_owned();
        }
        *command = command.trim_end().to_owned() + if continues { " " } else { "" };
    }
    commands
}
