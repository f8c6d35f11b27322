//! Samples that travel from one server to the next: all of them, in order, also when the receiver was away.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_model::{Labels, Sample};
use relatum_tests::peers::Peer;
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::binary;
use relatum_tests::remote_write::send;
use relatum_tests::{PATIENCE, http, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::plain("remote_write_outlives_a_receiver_that_restarts", restart),
        crate::with("prometheus_takes_our_remote_write", &[Peer::Prometheus], false, to_prometheus),
    ]
}

/// Starts `relatum serve`, or a Prometheus by the same flags, on `port` with the configuration `config`.
fn serve(mut command: Command, dir: &Path, port: u16, config: &str) -> anyhow::Result<Running> {
    fs::create_dir_all(dir)?;
    let file = dir.join("prometheus.yml");
    fs::write(&file, config)?;
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.enable-remote-write-receiver");
    let mut process = Running::start("server", &mut command)?;
    process.wait_ready(&format!("http://127.0.0.1:{port}/-/ready"))?;
    Ok(process)
}

fn relatum() -> Command {
    let mut command = Command::new(binary());
    command.arg("serve");
    command
}

/// A sender's configuration: what arrives here goes on to `port`, with the label `tier`, and but for what is named `quiet`.
fn sender_config(port: u16) -> String {
    format!(
        "global: {{external_labels: {{tier: lower}}}}\n\
         remote_write:\n\
         - url: http://127.0.0.1:{port}/api/v1/write\n  \
           name: upper\n  \
           queue_config: {{capacity: 60, max_samples_per_send: 20, max_backoff: 100ms}}\n  \
           write_relabel_configs: [{{source_labels: [__name__], regex: quiet, action: drop}}]\n"
    )
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is past 1970").as_millis() as i64
}

const N_SERIES: i64 = 10;

/// One sample of each series, and of one that stays here; the value is the batch's number.
fn batch(number: i64, start_ms: i64) -> Vec<(Labels, Vec<Sample>)> {
    let samples = vec![Sample { t_ms: start_ms + number * 100, value: number as f64 }];
    let labels = |n: i64| Labels::from_pairs([("__name__", "forwarded".to_owned()), ("series", n.to_string())]);
    let quiet = (Labels::from_pairs([("__name__", "quiet")]), samples.clone());
    (0..N_SERIES).map(|n| (labels(n), samples.clone())).chain([quiet]).collect()
}

/// Waits until batches 0 to `n_batches` - 1 are at `url`.
fn all_arrive(url: &str, n_batches: i64) -> anyhow::Result<()> {
    let expected = (N_SERIES * n_batches).to_string();
    wait_for(&format!("{expected} samples at {url}"), PATIENCE, || {
        let result = http::query(url, r#"sum(count_over_time(forwarded{tier="lower"}[10m]))"#).ok()?;
        (result.first()?["value"][1] == expected.as_str()).then_some(())
    })
}

/// The value of a metric of the server at `url`, summed over its labels.
fn metric(url: &str, name: &str) -> anyhow::Result<f64> {
    let text = http::get(&format!("{url}/metrics"))?.body;
    let values = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

fn restart() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (lower_port, upper_port) = (free_port()?, free_port()?);
    let [lower, upper] = [lower_port, upper_port].map(|port| format!("http://127.0.0.1:{port}"));
    let start_upper = || serve(relatum(), &dir.path().join("upper"), upper_port, "");
    let mut receiver = start_upper()?;
    let mut sender = serve(relatum(), &dir.path().join("lower"), lower_port, &sender_config(upper_port))?;
    let start_ms = now_ms() - 60_000;
    for number in 0..20 {
        send(&lower, &batch(number, start_ms))?;
    }
    all_arrive(&upper, 20)?;
    // Away: more comes than the queue holds, and the lower server takes it all the same.
    receiver.kill()?;
    for number in 20..60 {
        send(&lower, &batch(number, start_ms))?;
    }
    wait_for("an attempt that failed", PATIENCE, || {
        metric(&lower, "prometheus_remote_storage_samples_retried_total").ok().filter(|retried| *retried > 0.0)
    })?;
    let pending = metric(&lower, "prometheus_remote_storage_samples_pending")?;
    ensure!(pending > 0.0 && pending <= 60.0, "{pending} samples wait in memory");
    let _receiver = start_upper()?;
    all_arrive(&upper, 60)?;
    // The receiver refuses a request with a sample that is out of order.
    let failed = metric(&lower, "prometheus_remote_storage_samples_failed_total")?;
    ensure!(failed == 0.0, "{failed} samples were refused:\n{}", sender.output());
    let left_out = metric(&lower, "prometheus_remote_storage_samples_dropped_total")?;
    ensure!(left_out == 60.0, "relabelling dropped {left_out} samples");
    ensure!(http::query(&upper, "quiet")?.is_empty(), "a series that was to stay has left");
    // What is committed is sent before the sender ends.
    send(&lower, &batch(60, start_ms))?;
    sender.stop()?;
    all_arrive(&upper, 61)
}

fn to_prometheus() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (lower_port, upper_port) = (free_port()?, free_port()?);
    let _receiver = serve(Peer::Prometheus.command()?, &dir.path().join("upper"), upper_port, "")?;
    let _sender = serve(relatum(), &dir.path().join("lower"), lower_port, &sender_config(upper_port))?;
    let start_ms = now_ms() - 60_000;
    for number in 0..20 {
        send(&format!("http://127.0.0.1:{lower_port}"), &batch(number, start_ms))?;
    }
    all_arrive(&format!("http://127.0.0.1:{upper_port}"), 20)
}
