//! The data directory of a Prometheus, taken over and written back: a Prometheus that runs on either answers the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::binary;
use relatum_tests::{http, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("data_of_prometheus_2_comes_and_goes", &[Peer::Prometheus], false, || {
            comes_and_goes(Peer::Prometheus)
        }),
        crate::with("data_of_prometheus_3_comes_and_goes", &[Peer::Prometheus3], false, || {
            comes_and_goes(Peer::Prometheus3)
        }),
    ]
}

fn comes_and_goes(peer: Peer) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let [theirs, ours, back] = ["theirs", "ours", "back"].map(|name| dir.path().join(name));
    let end = fill(peer, &theirs, dir.path())?;
    for (what, from, to) in [("import", &theirs, &ours), ("export", &ours, &back)] {
        let output = Command::new(binary()).args(["tsdb", what]).arg(from).arg(to).output()?;
        ensure!(output.status.success(), "{what}: {output:?}");
    }
    let before = everything(peer, &theirs, dir.path(), &end)?;
    let after = everything(peer, &back, dir.path(), &end)?;
    ensure!(before.len() == after.len(), "{} series became {}", before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        ensure!(before == after, "{before} became {after}");
    }
    let count = |field: &str| before.iter().filter_map(|series| series[field].as_array()).map(Vec::len).sum::<usize>();
    // The older one shows no native histograms of itself.
    let enough = count("values") > 1000 && (peer == Peer::Prometheus || count("histograms") > 0);
    ensure!(enough, "the data is too small to tell anything");
    let length = |name: &str| {
        let of_name = before.iter().filter(|series| series["metric"]["__name__"] == name);
        of_name.filter_map(|series| series["values"].as_array()).map(Vec::len).sum::<usize>()
    };
    ensure!(length("go_goroutines") < length("go_threads"), "samples were deleted");
    Ok(())
}

/// Lets a Prometheus scrape itself for some rounds, deletes a metric and kills it; returns a moment behind its last sample.
fn fill(peer: Peer, data: &Path, dir: &Path) -> anyhow::Result<String> {
    let port = free_port()?;
    let protocols = if peer == Peer::Prometheus { "" } else { ", scrape_protocols: [PrometheusProto]" };
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms{protocols}}}\n\
         scrape_configs: [{{job_name: itself, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    );
    let (mut prometheus, url) = start(peer, data, dir, port, &config)?;
    wait_for("some scrapes", Duration::from_secs(60), || {
        // Each query is counted in a native histogram.
        let counts = http::query(&url, "count_over_time(up[1m])").ok()?;
        let count: f64 = counts.first()?["value"][1].as_str()?.parse().ok()?;
        (count >= 12.0).then_some(())
    })?;
    http::post(&format!("{url}/api/v1/admin/tsdb/delete_series?match[]=go_goroutines"), &[], Vec::new())?;
    let now = http::query(&url, "time()")?;
    let now = now.first().and_then(Value::as_f64).context("a server knows the time")?;
    prometheus.kill()?;
    Ok((now + 60.0).to_string())
}

/// All samples that a Prometheus finds in `data`, by series.
fn everything(peer: Peer, data: &Path, dir: &Path, end: &str) -> anyhow::Result<Vec<Value>> {
    let (mut prometheus, url) = start(peer, data, dir, free_port()?, "global: {}\n")?;
    let parameters = [("query", r#"{__name__=~".+"}[1h]"#), ("time", end)];
    let answer = http::api(&url, "query", &parameters)?;
    prometheus.stop()?;
    let mut series = answer["result"].as_array().context("it is a matrix")?.clone();
    series.sort_by_key(|series| series["metric"].to_string());
    Ok(series)
}

fn start(peer: Peer, data: &Path, dir: &Path, port: u16, config: &str) -> anyhow::Result<(Running, String)> {
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config)?;
    let mut command = peer.command()?;
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--web.enable-admin-api", "--enable-feature=native-histograms", "--log.level=error"]);
    let mut running = Running::start("prometheus", &mut command)?;
    let url = format!("http://127.0.0.1:{port}");
    running.wait_ready(&format!("{url}/-/ready"))?;
    Ok((running, url))
}
