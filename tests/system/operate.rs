//! The pages of `docs/operate`: every command runs, and prints what stands below it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::{self, Peer};
use relatum_tests::program::{Agent, binary};
use relatum_tests::{PATIENCE, http, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("pages_for_operators_are_true", &[Peer::NodeExporter, Peer::Promtool3], false, pages),
        crate::with("panels_of_dashboards_show_something", &[Peer::NodeExporter], false, dashboards),
    ]
}

const PAGES: [&str; 5] = ["README.md", "datasource.md", "queries.md", "api.md", "troubleshooting.md"];

fn root() -> anyhow::Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie inside the workspace")?.to_owned())
}

/// A command, and what it prints; the latter is empty if the page does not say.
#[derive(Debug, PartialEq)]
struct Snippet {
    command: String,
    prints: Vec<String>,
}

fn snippets(page: &str) -> Vec<Snippet> {
    let mut found: Vec<Snippet> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            found.push(Snippet { command: command.to_owned(), prints: Vec::new() });
        } else if inside && let Some(last) = found.last_mut() {
            last.prints.push(line.to_owned());
        }
    }
    found
}

/// Whether `text` is `pattern`, where `…` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.split('…').collect();
    let [first, between @ .., last] = &parts[..] else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// An agent that scrapes itself and a node exporter, with a rule of each kind.
struct Place {
    _dir: tempfile::TempDir,
    _exporter: relatum_tests::process::Running,
    agent: Agent,
    exporter: String,
    folder: PathBuf,
}

impl Place {
    fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (running, exporter) = peers::node_exporter()?;
        let agent = Agent::start(dir.path())?;
        let folder = dir.path().to_owned();
        Ok(Place { _dir: dir, _exporter: running, agent, exporter, folder })
    }

    fn run(&self, command: &str) -> anyhow::Result<(bool, String)> {
        let authority = self.agent.url.trim_start_matches("http://");
        let line = command.replace("127.0.0.1:9100", &self.exporter).replace("127.0.0.1:9090", authority);
        let folder = binary().parent().context("the program lies in a folder")?.to_owned();
        let promtool = Peer::Promtool3.find().and_then(|path| path.parent().map(Path::to_owned));
        let before = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
        let path = std::env::join_paths(std::iter::once(folder).chain(promtool).chain(before))?;
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &line])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("RELATUM_DATA_DIR", &self.agent.data_dir)
            .output()?;
        let said =
            String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n") + &String::from_utf8_lossy(&output.stderr);
        Ok((
            output.status.success(),
            said.replace(authority, "127.0.0.1:9090").replace(&self.exporter, "127.0.0.1:9100"),
        ))
    }
}

fn pages() -> anyhow::Result<()> {
    let place = Place::start()?;
    let (mut n_commands, mut wrong) = (0, String::new());
    for page in PAGES {
        let text = std::fs::read_to_string(root()?.join("docs/operate").join(page))?;
        for Snippet { command, prints } in snippets(&text) {
            let (succeeded, said) = place.run(&command)?;
            let expected = prints.join("\n");
            if !succeeded || !(expected.is_empty() || fits(expected.trim_end(), said.trim_end())) {
                wrong += &format!("{page}: $ {command}\n  says  {}\n", said.chars().take(600).collect::<String>());
            }
            if command.contains("relate metrics-endpoint") {
                wait_for("all targets", PATIENCE, || {
                    http::query(&place.agent.url, "up == 1").ok().filter(|up| !up.is_empty())
                })?;
            }
            n_commands += 1;
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    // The file for Grafana is YAML with what Grafana looks for.
    let page = std::fs::read_to_string(root()?.join("docs/operate/datasource.md"))?;
    let (_, yaml) = page.split_once("```yaml\n").context("no file")?;
    let file: Value = relatum_model::yaml::from_str(yaml.split("```").next().unwrap_or_default())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(file["datasources"][0]["type"] == "prometheus", "{file}");
    println!("{n_commands} commands print what the pages say");
    Ok(())
}

/// Every panel of every dashboard, on a real node exporter and on ourselves.
fn dashboards() -> anyhow::Result<()> {
    let place = Place::start()?;
    place.agent.must(["relate", "metrics-endpoint", &place.exporter, "--name", "node"])?;
    place.agent.must([
        "relate",
        "metrics-endpoint",
        place.agent.url.trim_start_matches("http://"),
        "--name",
        "self",
    ])?;
    let url = &place.agent.url;
    // A rate needs two scrapes.
    wait_for("two scrapes of both", std::time::Duration::from_secs(150), || {
        let twice = http::query(url, "count_over_time(up[10m]) >= 2").ok()?;
        (twice.len() >= 2).then_some(())
    })?;
    let (mut n_queries, mut wrong) = (0, String::new());
    for entry in std::fs::read_dir(root()?.join("dashboards"))? {
        let path = entry?.path();
        let dashboard: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(dashboard["title"].is_string() && dashboard["uid"].is_string(), "{name} has no title or uid");
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expr = filled(target["expr"].as_str().unwrap_or_default());
                let found = http::query(url, &expr);
                n_queries += 1;
                match found {
                    Err(error) => wrong += &format!("{name}: {}: {error:#}\n", panel["title"]),
                    // What only some hosts or some agents have is as good as shown when it can be asked.
                    Ok(found) if found.is_empty() && name != "relatum.json" && !is_rare(&expr) => {
                        wrong += &format!("{name}: {}: nothing for {expr}\n", panel["title"]);
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    ensure!(n_queries > 40, "only {n_queries} queries");
    println!("{n_queries} queries of panels answered");
    Ok(())
}

/// Devices and file systems that a test machine may not have, as containers have none.
fn is_rare(expr: &str) -> bool {
    ["node_disk_", "node_filesystem_"].iter().any(|part| expr.contains(part))
}

/// An expression with values for Grafana's variables.
fn filled(expr: &str) -> String {
    expr.replace("$__rate_interval", "10m")
        .replace("$__interval", "1m")
        .replace("$__range", "1h")
        .replace("${latency}", "prometheus_http_request_duration_seconds")
        .replace("$requests", "prometheus_http_requests_total")
        .replace("$instance", ".*")
        .replace("$job", ".*")
}
