//! An agent that drives a real Prometheus: what is related runs there, what it refuses is put back, and what is not there is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_tests::peers::{self, Peer};
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::binary;
use relatum_tests::{PATIENCE, http, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("external_prometheus_2_by_http", &[Peer::Prometheus, Peer::NodeExporter], false, || {
            whole(Peer::Prometheus, true)
        }),
        crate::with("external_prometheus_2_by_signal", &[Peer::Prometheus, Peer::NodeExporter], false, || {
            whole(Peer::Prometheus, false)
        }),
        crate::with("external_prometheus_3_by_http", &[Peer::Prometheus3, Peer::NodeExporter], false, || {
            whole(Peer::Prometheus3, true)
        }),
        crate::with("external_prometheus_3_by_signal", &[Peer::Prometheus3, Peer::NodeExporter], false, || {
            whole(Peer::Prometheus3, false)
        }),
        crate::plain("no_signal_for_what_is_no_prometheus", wrong_process),
    ]
}

/// An agent with an external workload. It is ready before the workload is, which reads what it renders.
struct Driver {
    data_dir: PathBuf,
    process: Running,
}

impl Driver {
    fn start(dir: &Path, reload: &str) -> anyhow::Result<Driver> {
        let (data_dir, config) = (dir.join("data"), dir.join("config/relatum.yaml"));
        fs::create_dir_all(dir.join("config"))?;
        fs::write(
            &config,
            format!(
                "workload: external\nreload: {reload}\noptions: {{scrape_interval: 1s, evaluation_interval: 1s}}\n"
            ),
        )?;
        let mut command = Command::new(binary());
        command.arg("agent").arg("--data-dir").arg(&data_dir).arg("--config").arg(&config);
        command.args(["--listen", "127.0.0.1:0", "--model", "test"]);
        let driver = Driver { process: Running::start("agent", &mut command)?, data_dir };
        wait_for("the agent to answer", PATIENCE, || driver.status().ok())?;
        Ok(driver)
    }

    fn must(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(binary()).env("RELATUM_DATA_DIR", &self.data_dir).args(arguments).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {stderr}\nagent: {}", self.process.output());
        Ok(String::from_utf8(output.stdout)?)
    }

    fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.must(&["status", "--format", "json"])?)?)
    }

    fn problem(&self, part: &str) -> anyhow::Result<()> {
        wait_for(&format!("a problem with {part:?}"), PATIENCE, || {
            self.status().ok().filter(|status| status["problems"].to_string().contains(part))
        })?;
        Ok(())
    }

    fn no_problem(&self) -> anyhow::Result<()> {
        let settled = wait_for("no problem", PATIENCE, || {
            self.status().ok().filter(|status| status["problems"].as_array().is_some_and(Vec::is_empty))
        });
        settled.map(drop).map_err(|error| error.context(format!("{:?}", self.status().map(|s| s["problems"].clone()))))
    }

    fn main_file(&self) -> PathBuf {
        self.data_dir.join("rendered/prometheus.yml")
    }
}

fn prometheus(peer: Peer, dir: &Path, config: &Path, port: u16) -> anyhow::Result<Running> {
    let mut command = peer.command()?;
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.enable-lifecycle");
    let mut prometheus = Running::start("prometheus", &mut command)?;
    prometheus.wait_ready(&format!("http://127.0.0.1:{port}/-/ready"))?;
    Ok(prometheus)
}

fn jobs(url: &str) -> anyhow::Result<String> {
    Ok(http::api(url, "status/config", &[])?["yaml"].as_str().unwrap_or_default().to_owned())
}

fn whole(peer: Peer, by_http: bool) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (_exporter, exporter) = peers::node_exporter()?;
    let port = free_port()?;
    let url = format!("http://127.0.0.1:{port}");
    let pid_file = dir.path().join("prometheus.pid");
    let reload = if by_http { format!("http:{url}") } else { format!("signal:{}", pid_file.display()) };
    let driver = Driver::start(dir.path(), &reload)?;
    driver.problem(if by_http { "does not answer" } else { "cannot read" })?;

    let peer_process = prometheus(peer, dir.path(), &driver.main_file(), port)?;
    fs::write(&pid_file, peer_process.pid().to_string())?;
    driver.no_problem()?;

    let rules = dir.path().join("rules.yaml");
    fs::write(&rules, "alert: NodeIsThere\nexpr: up{%%juju_topology%%} == 1\n")?;
    driver.must(&[
        "relate",
        "metrics-endpoint",
        &exporter,
        "--name",
        "node",
        "--rules",
        &rules.display().to_string(),
    ])?;
    wait_for("the target in Prometheus", PATIENCE, || {
        http::query(&url, r#"up{juju_application="node"} == 1"#).ok().filter(|found| found.len() == 1)
    })?;
    let loaded = http::api(&url, "rules", &[])?.to_string();
    ensure!(loaded.contains("NodeIsThere") && loaded.contains("juju_application"), "rules: {loaded}");
    // The agent beside it is scraped as well.
    wait_for("the agent's own metrics", PATIENCE, || {
        http::query(&url, "relatum_agent_relations").ok().filter(|found| found.len() == 1)
    })?;
    let datasource = fs::read_to_string(driver.data_dir.join("rendered/grafana-datasource.yml"))?;
    if by_http {
        ensure!(datasource.contains(&url), "the data source is not the workload: {datasource}");
    }
    let warnings = driver.status()?["warnings"].to_string();
    let is_old = peer == Peer::Prometheus;
    ensure!(warnings.contains("fallback_scrape_protocol is left out") == is_old, "warnings: {warnings}");
    if Peer::Promtool3.find().is_some() {
        let output = Peer::Promtool3.command()?.args(["check", "config"]).arg(driver.main_file()).output()?;
        ensure!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&output.stderr));
    }

    // An override that reads well here and not there: the peer's word counts, and what ran before goes on.
    let good = fs::read_to_string(driver.main_file())?;
    let folder = dir.path().join("config/templates/prometheus.yml");
    fs::create_dir_all(&folder)?;
    let template = include_str!("../../templates/prometheus.yml/template.hbs");
    // Only the older one lacks a key that we know; the newer one's word is asked for by nothing but a fault of ours.
    let (line, said) = match (is_old, by_http) {
        (true, true) => ("scrape_config_files: [\"x/*.yml\"]", "scrape_config_files not found in type"),
        (true, false) => ("scrape_config_files: [\"x/*.yml\"]", "refuses the files"),
        (false, _) => ("not_known_to_prometheus: true", "not_known_to_prometheus"),
    };
    fs::write(folder.join("template.hbs"), format!("{template}{line}\n"))?;
    driver.must(&["config", "prometheus", "log_level=debug"])?;
    driver.problem(said)?;
    ensure!(fs::read_to_string(driver.main_file())? == good, "the last good file is not back");
    ensure!(jobs(&url)?.contains("node"), "the job is gone");
    fs::remove_dir_all(dir.path().join("config/templates"))?;
    driver.must(&["config", "prometheus", "log_level=info"])?;
    driver.no_problem()?;

    driver.must(&["remove-relation", "node", "prometheus:metrics-endpoint"])?;
    wait_for("the job to go", PATIENCE, || jobs(&url).ok().filter(|text| !text.contains("_node_")))?;
    let loaded = http::api(&url, "rules", &[])?.to_string();
    ensure!(!loaded.contains("NodeIsThere"), "the rule is still there: {loaded}");

    // One that reads another file is told apart, whatever it answers.
    drop(peer_process);
    let other = dir.path().join("other.yml");
    fs::write(&other, "scrape_configs: [{job_name: other}]\n")?;
    let stranger = prometheus(peer, dir.path(), &other, port)?;
    fs::write(&pid_file, stranger.pid().to_string())?;
    driver.problem("other.yml")
}

fn wrong_process() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut sleeper = Running::start("sleep", Command::new("sleep").arg("60"))?;
    let driver = Driver::start(dir.path(), &format!("signal:{}", sleeper.pid()))?;
    driver.problem("not a Prometheus")?;
    driver.must(&["relate", "metrics-endpoint", "10.0.0.1:9100", "--name", "far"])?;
    driver.problem("it gets no signal")?;
    ensure!(fs::read_to_string(driver.main_file())?.contains("10.0.0.1:9100"), "the file waits for it");
    // SIGHUP would have ended it; SIGTERM does now.
    ensure!(sleeper.stop()?.is_none(), "it ended by itself");
    Ok(())
}
