//! The main job: what is related is scraped, labelled and alerted on; what is not related any more is gone.

use std::fs;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::{self, Peer};
use relatum_tests::program::Agent;
use relatum_tests::{PATIENCE, http, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("relate_scrape_alert_remove", &[Peer::NodeExporter, Peer::Alertmanager], false, whole),
        crate::with("promtool_accepts_what_is_rendered", &[Peer::NodeExporter, Peer::Promtool3], false, promtool),
        crate::with("a_changed_databag_changes_the_target", &[Peer::NodeExporter], false, changed_databag),
        crate::plain("demo_ends_when_its_targets_are_up", demo),
    ]
}

const UUID: &str = "12de4fae-06cc-4ceb-9089-567be09fec78";

/// The databags of a charm `node` whose one unit exports at `address`, with one rule that fires at once.
fn databags(address: &str) -> Value {
    let (host, port) = address.rsplit_once(':').expect("an address has a port");
    let rules = serde_json::json!({"groups": [{"name": "shop_12de4fae_node_rules", "rules": [{
        "alert": "NodeIsThere",
        "expr": "up{%%juju_topology%%} == 1",
        "labels": {"severity": "info", "juju_model": "shop", "juju_model_uuid": UUID, "juju_application": "node"},
        "annotations": {
            "summary": "{{ $labels.juju_unit }} is there: {{ $value }}",
            "units": "{{ query \"count(up{juju_application='node'})\" | first | value }}",
        },
    }]}]});
    serde_json::json!({
        "app": "node",
        "application-data": {
            "scrape_metadata": serde_json::json!({
                "model": "shop", "model_uuid": UUID, "application": "node", "unit": "node/0", "charm_name": "node-k8s",
            }).to_string(),
            "scrape_jobs": serde_json::json!([{"static_configs": [{"targets": [format!("*:{port}")]}]}]).to_string(),
            "alert_rules": rules.to_string(),
        },
        "units": {"node/0": {"prometheus_scrape_unit_address": host, "prometheus_scrape_unit_name": "node/0"}},
    })
}

fn whole() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (_exporter, exporter) = peers::node_exporter()?;
    let (_alertmanager, alertmanager) = peers::alertmanager(dir.path())?;
    let agent = Agent::start(dir.path())?;

    agent.must(["relate", "alertmanager", &alertmanager])?;
    let bags = dir.path().join("bags.json");
    fs::write(&bags, databags(&exporter).to_string())?;
    agent.must(["relate", "metrics-endpoint", "--databag", &bags.display().to_string()])?;

    let up = r#"up{juju_application="node"} == 1"#;
    wait_for("the exporter to be up", PATIENCE, || http::query(&agent.url, up).ok().filter(|r| r.len() == 1))?;
    // Every CPU has a rate once there are two scrapes.
    let n_cpus = std::thread::available_parallelism()?.get();
    wait_for("a rate for every CPU", PATIENCE, || {
        let expr = r#"count(sum by (cpu) (rate(node_cpu_seconds_total{mode="idle"}[1m])))"#;
        let result = http::query(&agent.url, expr).ok()?;
        (result.first()?["value"][1].as_str()?.parse::<usize>().ok()? == n_cpus).then_some(())
    })?;
    let unlabelled = r#"{__name__!~"ALERTS.*",job!="prometheus",job=~".+",juju_unit=""}"#;
    let unlabelled = http::query(&agent.url, unlabelled)?;
    ensure!(unlabelled.is_empty(), "series without topology: {unlabelled:?}");
    let instance = http::query(&agent.url, up)?[0]["metric"]["instance"].clone();
    ensure!(instance == format!("shop_{UUID}_node_node/0"), "instance is {instance}");

    let arrived = wait_for("the alert to arrive in Alertmanager", PATIENCE, || alert(&alertmanager))?;
    ensure!(arrived["annotations"]["summary"] == "node/0 is there: 1", "annotations: {}", arrived["annotations"]);
    ensure!(arrived["annotations"]["units"] == "1", "annotations: {}", arrived["annotations"]);
    ensure!(arrived["labels"]["juju_unit"] == "node/0", "labels: {}", arrived["labels"]);

    let status = agent.must(["status", "--relations"])?;
    for part in ["node:metrics-endpoint", "prometheus:metrics-endpoint", "prometheus_scrape", "alertmanager"] {
        ensure!(status.contains(part), "no {part} in:\n{status}");
    }

    agent.must(["remove-relation", "node", "prometheus:metrics-endpoint"])?;
    wait_for("the target to go", PATIENCE, || {
        let data = http::api(&agent.url, "targets", &[("state", "active")]).ok()?;
        data["activeTargets"].as_array()?.iter().all(|t| t["labels"]["juju_application"] != "node").then_some(())
    })?;
    let rules = http::api(&agent.url, "rules", &[])?;
    ensure!(!rules.to_string().contains("NodeIsThere"), "the rule is still there: {rules}");
    // Staleness markers end the series at once instead of after five minutes.
    wait_for("the series to end", PATIENCE, || {
        http::query(&agent.url, r#"{juju_application="node"}"#).ok().filter(Vec::is_empty)
    })?;
    wait_for("the alert to be resolved", PATIENCE, || alert(&alertmanager).is_none().then_some(()))?;
    agent.nothing_unexpected()
}

fn alert(alertmanager: &str) -> Option<Value> {
    let answer = http::get(&format!("http://{alertmanager}/api/v2/alerts?active=true")).ok()?;
    let alerts: Vec<Value> = serde_json::from_str(&answer.body).ok()?;
    alerts.into_iter().find(|alert| alert["labels"]["alertname"] == "NodeIsThere")
}

fn promtool() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (_exporter, exporter) = peers::node_exporter()?;
    let agent = Agent::start(dir.path())?;
    let bags = dir.path().join("bags.json");
    fs::write(&bags, databags(&exporter).to_string())?;
    agent.must(["relate", "metrics-endpoint", "--databag", &bags.display().to_string()])?;
    agent.must(["relate", "alertmanager", "127.0.0.1:9093"])?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100", "--label", "odd=a: \"b\" {{ yes"])?;
    let rendered = agent.data_dir.join("rendered");
    let check = |arguments: &[&std::ffi::OsStr]| -> anyhow::Result<()> {
        let output = Peer::Promtool3.command()?.arg("check").args(arguments).output()?;
        ensure!(
            output.status.success(),
            "promtool check {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    };
    check(&["config".as_ref(), rendered.join("prometheus.yml").as_os_str()])?;
    let mut n_rule_files = 0;
    for entry in fs::read_dir(rendered.join("rules"))? {
        check(&["rules".as_ref(), entry?.path().as_os_str()])?;
        n_rule_files += 1;
    }
    ensure!(n_rule_files > 0, "no rule file was rendered");
    Ok(())
}

fn changed_databag() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (_exporter, exporter) = peers::node_exporter()?;
    let agent = Agent::start(dir.path())?;
    let bags = dir.path().join("bags.json");
    // At first a port where nobody listens.
    fs::write(&bags, databags("127.0.0.1:1").to_string())?;
    agent.must(["relate", "metrics-endpoint", "--databag", &bags.display().to_string()])?;
    let health = |wanted: &str| {
        wait_for(&format!("a target that is {wanted}"), PATIENCE, || {
            let data = http::api(&agent.url, "targets", &[("state", "active")]).ok()?;
            let targets = data["activeTargets"].as_array()?;
            targets.iter().any(|t| t["labels"]["juju_unit"] == "node/0" && t["health"] == wanted).then_some(())
        })
    };
    health("down")?;
    fs::write(&bags, databags(&exporter).to_string())?;
    agent.must(["relate", "metrics-endpoint", "--databag", &bags.display().to_string()])?;
    health("up")
}

fn demo() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let output = std::process::Command::new(relatum_tests::program::binary())
        .args(["demo", "--for", "30s"])
        .env("XDG_STATE_HOME", dir.path())
        .env_remove("RELATUM_DATA_DIR")
        .output()
        .context("cannot run the demo")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(stdout.contains("targets are up"), "it says:\n{stdout}");
    Ok(())
}
