//! `kill -9` and restart: every relation and every acknowledged sample is there again.

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_model::{Labels, Sample};
use relatum_tests::http;
use relatum_tests::program::Agent;
use relatum_tests::remote_write::send;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::plain("kill_keeps_relations_and_acknowledged_samples", kill),
        crate::plain("a_damaged_wal_tail_is_dropped_and_named", damaged_tail),
    ]
}

const BATCHES: i64 = 20;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is past 1970").as_millis() as i64
}

/// One sample for each of 50 series; the value is the batch's number.
fn batch(number: i64, start_ms: i64) -> Vec<(Labels, Vec<Sample>)> {
    let sample = Sample { t_ms: start_ms + number * 1000, value: number as f64 };
    let labels = |n: i64| Labels::from_pairs([("__name__", "acknowledged".to_owned()), ("series", n.to_string())]);
    (0..50).map(|n| (labels(n), vec![sample])).collect()
}

fn kill() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100", "10.0.0.2:9100", "--name", "nodes"])?;
    agent.must(["relate", "alertmanager", "10.0.0.3:9093"])?;
    agent.must(["config", "prometheus", "metrics_retention_time=30d"])?;
    let relations_before = relations(&agent)?;
    let start_ms = now_ms() - 60_000;
    for number in 0..BATCHES {
        send(&agent.url, &batch(number, start_ms))?;
    }
    let agent = agent.kill_and_restart()?;
    let relations_after = relations(&agent)?;
    ensure!(relations_before == relations_after, "relations before: {relations_before}\nafter: {relations_after}");
    let value = agent.must(["config", "prometheus", "metrics_retention_time"])?;
    ensure!(value.trim() == "30d", "the option is {value}");
    let result = http::query(&agent.url, "sum(count_over_time(acknowledged[5m]))")?;
    let n_samples = result[0]["value"][1].as_str().unwrap_or_default();
    ensure!(n_samples == (50 * BATCHES).to_string(), "{n_samples} of {} samples are there", 50 * BATCHES);
    Ok(())
}

fn relations(agent: &Agent) -> anyhow::Result<serde_json::Value> {
    let status: serde_json::Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
    Ok(status["relations"].clone())
}

fn damaged_tail() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::start(dir.path())?;
    let start_ms = now_ms() - 60_000;
    for number in 0..BATCHES {
        send(&agent.url, &batch(number, start_ms))?;
    }
    agent.process.kill()?;
    // Half a record at the end, as a power cut leaves it.
    let wal = newest_segment(&agent.data_dir.join("tsdb"))?;
    let mut bytes = std::fs::read(&wal)?;
    let garbage: Vec<u8> = bytes.iter().rev().take(100).map(|byte| byte ^ 0x5a).collect();
    bytes.extend(garbage);
    std::fs::write(&wal, bytes)?;
    let agent = Agent::start(dir.path())?;
    let result = http::query(&agent.url, "sum(count_over_time(acknowledged[5m]))")?;
    ensure!(result[0]["value"][1] == (50 * BATCHES).to_string().as_str(), "{result:?}");
    let log = agent.must(["debug-log", "--no-tail", "-n", "1000"])?;
    ensure!(log.contains("dropped"), "the log does not say what was dropped:\n{log}");
    Ok(())
}

/// The largest file name below the store's WAL folder: segments are numbered.
fn newest_segment(store: &std::path::Path) -> anyhow::Result<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(store.join("wal"))?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.pop().ok_or_else(|| anyhow::anyhow!("the WAL has no segment"))
}
