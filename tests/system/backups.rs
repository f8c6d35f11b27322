//! An agent is copied while it runs, and what the copy is restored to goes on from there.

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_model::{Labels, Sample};
use relatum_tests::program::Agent;
use relatum_tests::remote_write::send;
use relatum_tests::{PATIENCE, http, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::plain("a_running_agent_is_backed_up_and_restored", running)]
}

fn sample(name: &str, value: f64) -> anyhow::Result<Vec<(Labels, Vec<Sample>)>> {
    let t_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    Ok(vec![(Labels::from_pairs([("__name__", name)]), vec![Sample { t_ms, value }])])
}

fn running() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(&dir.path().join("old"))?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100"])?;
    send(&agent.url, &sample("before", 7.0)?)?;
    let backup = dir.path().join("backup");
    let backup = backup.to_str().expect("temporary folders have plain names");
    agent.must(["backup", backup])?;
    // It goes on, and that is not in the copy.
    agent.must(["relate", "metrics-endpoint", "10.0.0.2:9100"])?;
    send(&agent.url, &sample("after", 8.0)?)?;
    let again = agent.run(["backup", backup])?;
    ensure!(!again.status.success(), "a backup was overwritten");
    agent.nothing_unexpected()?;

    let data = dir.path().join("new").join("data");
    agent.must(["--data-dir", data.to_str().expect("temporary folders have plain names"), "restore", backup])?;
    drop(agent);
    let restored = Agent::start(&dir.path().join("new"))?;
    let targets = restored.must(["targets"])?;
    ensure!(targets.contains("10.0.0.1:9100") && !targets.contains("10.0.0.2:9100"), "{targets}");
    let found = |name: &str| http::query(&restored.url, &format!("last_over_time({name}[1h])"));
    let value = wait_for("the sample of before", PATIENCE, || found("before").ok()?.first().cloned())?;
    ensure!(value["value"][1] == "7", "{value}");
    ensure!(found("after")?.is_empty(), "a sample came from nowhere");
    restored.nothing_unexpected()
}
