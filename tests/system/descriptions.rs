//! What senders say of metrics is known, also after a restart.

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_model::exposition::{MetricDescription, MetricKind};
use relatum_model::remote_write::{Encoder, Version};
use relatum_model::{Labels, Samples};
use relatum_tests::http;
use relatum_tests::server::Server;
use serde_json::{Value, json};

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::plain("what_senders_say_of_metrics_outlives_a_restart", told)]
}

/// A request of 1.0 that has nothing but `a_total`, a counter with a help.
const OF_1_0: &[u8] = b"\x1a\x13\x08\x01\x12\x07a_total\x22\x06Those.";

fn of_2_0(t_ms: i64) -> Vec<u8> {
    let mut encoder = Encoder::of(Version::V2);
    let meaning =
        MetricDescription { kind: MetricKind::Histogram, help: "How long.".to_owned(), unit: "seconds".to_owned() };
    let mut samples = Samples::default();
    samples.push(t_ms, 1.0);
    encoder.push_series(&Labels::from_pairs([("__name__", "b_seconds_sum")]), &samples, &[], Some(&meaning));
    encoder.finish()
}

fn of_opentelemetry(t_ms: i64) -> Vec<u8> {
    let point = json!({ "timeUnixNano": format!("{t_ms}000000"), "asDouble": 1.0 });
    let metric =
        json!({ "name": "c.level", "unit": "By", "description": "How full.", "gauge": { "dataPoints": [point] } });
    let scope = json!({ "metrics": [metric] });
    json!({ "resourceMetrics": [{ "scopeMetrics": [scope] }] }).to_string().into_bytes()
}

fn check(server: &Server, when: &str) -> anyhow::Result<()> {
    let found: Value = http::api(&server.url, "metadata", &[])?;
    let said = |kind: &str, help: &str, unit: &str| json!([{ "type": kind, "help": help, "unit": unit }]);
    let expected = json!({
        "a_total": said("counter", "Those.", ""),
        "b_seconds": said("histogram", "How long.", "seconds"),
        "c_level_bytes": said("gauge", "How full.", "bytes"),
    });
    ensure!(found == expected, "{when}: {found:#}");
    Ok(())
}

fn told() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let start = || Server::ours(dir.path(), "", &["--web.enable-otlp-receiver"]);
    let mut server = start()?;
    let t_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    for (version, body) in [(Version::V1, OF_1_0.to_vec()), (Version::V2, of_2_0(t_ms))] {
        let content_type = format!("application/x-protobuf;proto={}", version.message());
        let headers = [("content-type", content_type.as_str()), ("content-encoding", "snappy")];
        let body = snap::raw::Encoder::new().compress_vec(&body)?;
        let answer = http::post(&format!("{}/api/v1/write", server.url), &headers, body)?;
        ensure!(answer.status == 204, "{} {}", answer.status, answer.body);
    }
    let headers = [("content-type", "application/json")];
    let answer = http::post(&format!("{}/api/v1/otlp/v1/metrics", server.url), &headers, of_opentelemetry(t_ms))?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
    check(&server, "at once")?;
    server.running.stop()?;
    check(&start()?, "after a restart")
}
