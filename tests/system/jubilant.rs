//! Programs written for juju read our answers: its own Python library drives the agent as if the program were juju.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_tests::program::{Agent, binary};
use relatum_tests::python;

const SCRIPT: &str = r#"
import os, sys
import jubilant

juju = jubilant.Juju(cli_binary=sys.argv[1])
status = juju.status()
assert status.model.name == "test", status.model
prometheus, nodes = status.apps["prometheus"], status.apps["nodes"]
assert prometheus.is_active and prometheus.units["prometheus/0"].leader, prometheus
assert prometheus.units["prometheus/0"].juju_status.current == "idle"
assert nodes.charm == "relatum-static" and sorted(nodes.units) == ["nodes/0", "nodes/1"], nodes
assert nodes.units["nodes/1"].address == "10.0.0.2:9100", nodes.units
relation, = nodes.relations["metrics-endpoint"]
assert (relation.related_app, relation.interface) == ("prometheus", "prometheus_scrape"), relation
juju.wait(lambda status: jubilant.all_active(status, "prometheus"), timeout=20, delay=0.1)

unit = juju.show_unit("nodes/1")
related, = unit.relation_info
assert related.endpoint == "metrics-endpoint" and related.related_endpoint == "metrics-endpoint", related
assert related.local_unit.data["prometheus_scrape_unit_address"] == "10.0.0.2:9100", related
assert "prometheus/0" in related.related_units, related
assert juju.show_unit("prometheus/0").leader

assert juju.config("prometheus")["log_level"] == "info"
juju.config("prometheus", {"log_level": "debug"})
assert juju.config("prometheus")["log_level"] == "debug"
juju.config("prometheus", reset="log_level")
assert juju.config("prometheus")["log_level"] == "info"

task = juju.run("prometheus/0", "validate-configuration")
assert task.success and task.results["valid"] == "True" and "SUCCESS" in task.results["result"], task
try:
    juju.run("prometheus/0", "no-such-action")
    raise SystemExit("an action that is not there was run")
except ValueError as error:
    assert "not defined" in str(error), error

juju.integrate("prometheus:self-metrics-endpoint", "prometheus:metrics-endpoint")
assert "self-metrics-endpoint" in juju.status().apps["prometheus"].relations
juju.remove_relation("nodes:metrics-endpoint", "prometheus:metrics-endpoint")
assert "nodes" not in juju.status().apps
print("done")
"#;

pub(crate) fn trials() -> Vec<Trial> {
    let trial = crate::plain("jubilant_takes_the_program_for_juju", jubilant);
    if python::find().is_some() {
        return vec![trial];
    }
    vec![trial.with_kind("needs python3").with_ignored_flag(true)]
}

fn jubilant() -> anyhow::Result<()> {
    let python = python::with_packages(Path::new(env!("CARGO_TARGET_TMPDIR")), &["jubilant==1.14.0"])?;
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100", "10.0.0.2:9100", "--name", "nodes"])?;
    let output =
        Command::new(python).args(["-c", SCRIPT]).arg(binary()).env("RELATUM_DATA_DIR", &agent.data_dir).output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("done"), "{said}");
    Ok(())
}
