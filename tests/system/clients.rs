//! Programs of others as our clients: they notice no difference.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_model::{Labels, Sample};
use relatum_tests::peers::Peer;
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::binary;
use relatum_tests::server::Server;
use relatum_tests::{PATIENCE, http, python, remote_write, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("promtool_asks_and_pushes", &[Peer::Promtool3], false, promtool),
        crate::with("vmagent_writes_to_us", &[Peer::NodeExporter, Peer::Vmagent], false, vmagent),
        crate::with("vmctl_carries_our_samples_away", &[Peer::Vmctl, Peer::Victoria, Peer::Python], false, vmctl),
        crate::with("prometheus_api_client_reads_from_us", &[Peer::Python], false, api_client),
    ]
}

/// A server that has three samples of one series, the newest of a minute ago.
fn server() -> anyhow::Result<(Running, String, i64, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let Server { running, url, .. } = Server::ours(dir.path(), "global: {}\n", &[])?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let end_s = since.as_secs() as i64 - 60;
    let labels = Labels::from_pairs([("__name__", "m"), ("job", "a")]);
    let samples = (0..3).map(|n| Sample { t_ms: (end_s - 30 + n * 15) * 1000, value: n as f64 }).collect();
    remote_write::send(&url, &[(labels, samples)])?;
    Ok((running, url, end_s, dir))
}

fn promtool() -> anyhow::Result<()> {
    let (_running, url, end_s, dir) = server()?;
    let run = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = Peer::Promtool3.command()?.args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(said)
    };
    let (start, end) = ((end_s - 30).to_string(), end_s.to_string());
    let instant = run(&["query", "instant", &format!("--time={end}"), &url, "m"])?;
    ensure!(instant.trim() == format!("m{{job=\"a\"}} => 2 @[{end_s}]"), "{instant}");
    let range =
        run(&["query", "range", &format!("--start={start}"), &format!("--end={end}"), "--step=15s", &url, "m"])?;
    ensure!(range.lines().filter(|line| line.contains("@[")).count() == 3, "{range}");
    let series = run(&["query", "series", "--match=m", &format!("--start={start}"), &format!("--end={end}"), &url])?;
    ensure!(series.trim() == r#"{__name__="m", job="a"}"#, "{series}");
    let labels = run(&["query", "labels", &format!("--start={start}"), &format!("--end={end}"), &url, "job"])?;
    ensure!(labels.trim() == "a", "{labels}");
    let healthy = run(&["check", "healthy", &format!("--url={url}")])?;
    ensure!(healthy.contains("Healthy"), "{healthy}");
    let ready = run(&["check", "ready", &format!("--url={url}")])?;
    ensure!(ready.contains("Ready"), "{ready}");
    // What it collects lands where it runs.
    let mut collecting = Peer::Promtool3.command()?;
    let collected = collecting.args(["debug", "metrics", &url]).current_dir(dir.path()).output()?;
    ensure!(collected.status.success() && dir.path().join("debug.tar.gz").is_file(), "{collected:?}");
    let file = dir.path().join("metrics.txt");
    std::fs::write(&file, "# TYPE pushed_total counter\npushed_total{x=\"y\"} 7\n")?;
    run(&["push", "metrics", &format!("{url}/api/v1/write"), &file.display().to_string()])?;
    let pushed = http::query(&url, "pushed_total")?;
    ensure!(pushed[0]["value"][1] == "7" && pushed[0]["metric"]["job"] == "promtool", "{pushed:?}");
    Ok(())
}

fn vmagent() -> anyhow::Result<()> {
    let (_running, url, _, dir) = server()?;
    let (_exporter, exporter) = relatum_tests::peers::node_exporter()?;
    let config = dir.path().join("scrape.yml");
    let jobs = format!(
        "scrape_configs: [{{job_name: n, scrape_interval: 1s, static_configs: [{{targets: ['{exporter}']}}]}}]\n"
    );
    std::fs::write(&config, jobs)?;
    let mut command = Peer::Vmagent.command()?;
    command
        .arg(format!("-promscrape.config={}", config.display()))
        .arg(format!("-remoteWrite.url={url}/api/v1/write"))
        .arg(format!("-remoteWrite.tmpDataPath={}", dir.path().join("vmagent").display()))
        .args(["-remoteWrite.flushInterval=1s", &format!("-httpListenAddr=127.0.0.1:{}", free_port()?)]);
    let agent = Running::start("vmagent", &mut command)?;
    wait_for("what vmagent scraped", PATIENCE, || {
        let found = http::query(&url, r#"up{job="n"} == 1 and on() node_uname_info"#).ok()?;
        (!found.is_empty()).then_some(())
    })
    .with_context(|| agent.output())
}

/// It reads blocks of Prometheus, which our tool writes.
fn vmctl() -> anyhow::Result<()> {
    let (mut ours, url, end_s, dir) = server()?;
    let before = http::api(&url, "query", &[("query", "m[1m]"), ("time", &end_s.to_string())])?;
    ours.stop()?;
    let blocks = dir.path().join("blocks");
    let exported =
        Command::new(binary()).args(["tsdb", "export"]).arg(dir.path().join("data")).arg(&blocks).output()?;
    ensure!(exported.status.success(), "{exported:?}");
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Peer::Victoria.command()?;
    command.arg(format!("-storageDataPath={}", dir.path().join("victoria").display()));
    command.args([&format!("-httpListenAddr={address}"), "-search.latencyOffset=0s"]);
    let mut victoria = Running::start("victoria-metrics", &mut command)?;
    let theirs = format!("http://{address}");
    victoria.wait_ready(&format!("{theirs}/health"))?;
    // It works at a terminal only, whatever it is to show there.
    let at_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = Peer::Python.command()?;
    command.args(["-c", at_terminal]).arg(Peer::Vmctl.command()?.get_program());
    command.args(["prometheus", "-s", "--vm-disable-progress-bar", "--vm-addr", &theirs, "--prom-snapshot"]);
    let carried = command.arg(&blocks).output()?;
    ensure!(carried.status.success(), "{carried:?}");
    ensure!(before["result"][0]["values"][2][1] == "2", "{before}");
    // What is new is found there some moments later, flushed or not.
    let mut after = serde_json::Value::Null;
    wait_for("our samples there", PATIENCE, || {
        http::get(&format!("{theirs}/internal/force_flush")).ok()?;
        after = http::api(&theirs, "query", &[("query", "m[1m]"), ("time", &end_s.to_string())]).ok()?;
        (before["result"] == after["result"]).then_some(())
    })
    .with_context(|| format!("{before} {after}"))
}

const ASK: &str = r#"
import datetime, sys
from prometheus_api_client import PrometheusConnect
url, end = sys.argv[1], int(sys.argv[2])
prom = PrometheusConnect(url=url, disable_ssl=True)
assert prom.check_prometheus_connection()
assert "m" in prom.all_metrics(), prom.all_metrics()
assert prom.get_label_values("job") == ["a"]
found = prom.custom_query("m", params={"time": end})
assert found == [{"metric": {"__name__": "m", "job": "a"}, "value": [end, "2"]}], found
at = lambda s: datetime.datetime.fromtimestamp(s)
found = prom.custom_query_range("m", start_time=at(end - 30), end_time=at(end), step="15")
assert [value for _, value in found[0]["values"]] == ["0", "1", "2"], found
found = prom.get_metric_range_data("m", {"job": "a"}, start_time=at(end - 30), end_time=at(end + 1))
# The window is open on its left.
assert len(found[0]["values"]) == 2, found
"#;

fn api_client() -> anyhow::Result<()> {
    let interpreter = python::with_packages(Path::new(env!("CARGO_TARGET_TMPDIR")), &["prometheus-api-client==0.7.0"])?;
    let (_running, url, end_s, _dir) = server()?;
    let output = Command::new(interpreter).args(["-c", ASK, &url, &end_s.to_string()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
