//! A remote-write sender for tests.

use anyhow::ensure;
use relatum_model::remote_write::Encoder;
use relatum_model::{Labels, Sample};

use crate::http;

/// Sends series to `base`; returns only when they were acknowledged.
pub fn send(base: &str, series: &[(Labels, Vec<Sample>)]) -> anyhow::Result<()> {
    let mut encoder = Encoder::new();
    for (labels, samples) in series {
        encoder.push(labels, samples);
    }
    let body = snap::raw::Encoder::new().compress_vec(&encoder.finish())?;
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ];
    let answer = http::post(&format!("{base}/api/v1/write"), &headers, body)?;
    ensure!(answer.status / 100 == 2, "the write was refused: {} {}", answer.status, answer.body);
    Ok(())
}
