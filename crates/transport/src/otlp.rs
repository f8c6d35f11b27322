//! Takes metrics of OpenTelemetry: `POST /api/v1/otlp/v1/metrics`.
//!
//! A request is stored whole or not at all, so that a sender may repeat it. Names and labels become what the section `otlp` of the
//! configuration asks for; points that count since the point before are summed up ([`delta`]) or kept as they are, if a feature
//! asks for either, and refused otherwise.
//!
//! ```text
//! bytes --decode--> resources, scopes, metrics, points --delta, names, labels--> samples --> store
//! ```

mod delta;
mod labels;
mod names;
mod points;

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relatum_config::prometheus::OtlpConfig;
use relatum_model::exposition::MetricFamily;
use relatum_model::otlp::{OtlpError, ResourceMetrics, decode, decode_json};
use relatum_model::storage::{Append, AppendError, Refused};
use thiserror::Error;

use crate::remote_write::{BODY_BYTES_MAX, told_why};
use delta::Sums;
use points::Batch;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// What happens to points that count since the point before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deltas {
    /// They are refused.
    #[default]
    Refuse,
    /// They are summed up.
    Sum,
    /// They are stored as they are.
    Keep,
}

/// How points become samples, beside what the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtlpOptions {
    /// What happens to deltas.
    pub deltas: Deltas,
    /// Whether type and unit of a metric become labels.
    pub type_and_unit_labels: bool,
    /// How old the newest sample of a series may be to count in queries; `target_info` is repeated more often than that.
    pub lookback: Duration,
    /// Store when samples began to count.
    pub start_timestamps: bool,
}

/// Why nothing of a request was stored. The text is for the sender; [`std::error::Error::source`] has what is for our log only.
#[derive(Debug, Error)]
pub enum OtlpReceiveError {
    /// It is something else.
    #[error("unsupported content type: {0}, supported: [{JSON}, {PROTOBUF}]")]
    ContentType(String),
    /// It is compressed in another way.
    #[error("unsupported compression: {0}. Only \"gzip\" or no compression supported")]
    Encoding(String),
    /// It is no gzip.
    #[error("gzip: invalid data")]
    Gzip,
    /// It is too large, or would be when decompressed.
    #[error("request body exceeds the {BODY_BYTES_MAX} bytes limit")]
    TooLarge,
    /// The bytes are no request.
    #[error(transparent)]
    Decode(#[from] OtlpError),
    /// A metric cannot become series.
    #[error("{0}")]
    Metric(String),
    /// A sample was refused.
    #[error("{0}")]
    Refused(Refused),
    /// The store takes nothing.
    #[error("cannot store samples{}", told_why(.0))]
    Store(#[source] AppendError),
}

impl OtlpReceiveError {
    /// The HTTP status for the sender: only 503 asks it to try again, and 5xx is ours.
    pub fn status(&self) -> u16 {
        match self {
            OtlpReceiveError::TooLarge => 413,
            OtlpReceiveError::Store(AppendError::Full { .. }) => 503,
            OtlpReceiveError::Store(_) => 500,
            _ => 400,
        }
    }
}

/// Receives metrics and counts.
#[derive(Debug, Default)]
pub struct OtlpReceiver {
    sums: Sums,
    requests: AtomicU64,
    refused_requests: AtomicU64,
    samples: AtomicU64,
    exemplars: AtomicU64,
}

impl OtlpReceiver {
    /// Stores the metrics of one request; returns how many samples that made. Blocks on the store.
    ///
    /// `content_type` and `content_encoding` are the headers as they came, `""` if absent; `body` is the body as it came.
    pub fn receive(
        &self,
        append: &dyn Append,
        (content_type, content_encoding): (&str, &str),
        body: &[u8],
        config: &OtlpConfig,
        options: OtlpOptions,
    ) -> Result<usize, OtlpReceiveError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let stored = parsed(content_type, content_encoding, body)
            .and_then(|resources| self.store(append, &resources, config, options));
        match &stored {
            Ok(samples) => self.samples.fetch_add(*samples as u64, Ordering::Relaxed),
            Err(_) => self.refused_requests.fetch_add(1, Ordering::Relaxed),
        };
        stored
    }

    fn store(
        &self,
        append: &dyn Append,
        resources: &[ResourceMetrics],
        config: &OtlpConfig,
        options: OtlpOptions,
    ) -> Result<usize, OtlpReceiveError> {
        let mut batch = Batch::new(append.appender(), config, options, &self.sums);
        for resource in resources {
            if let Err(error) = batch.resource(resource) {
                batch.appender.rollback();
                return Err(error);
            }
        }
        let (samples, exemplars) = (batch.samples, batch.exemplars);
        batch.appender.commit().map_err(OtlpReceiveError::Store)?;
        self.exemplars.fetch_add(exemplars as u64, Ordering::Relaxed);
        Ok(samples)
    }

    /// What was received so far.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let counter =
            |name, help, counter: &AtomicU64| MetricFamily::counter(name, help, counter.load(Ordering::Relaxed) as f64);
        vec![
            counter("relatum_otlp_requests_total", "Requests with metrics of OpenTelemetry that came.", &self.requests),
            counter(
                "relatum_otlp_refused_requests_total",
                "Requests with metrics of OpenTelemetry of which nothing was stored.",
                &self.refused_requests,
            ),
            counter("relatum_otlp_samples_total", "Samples stored from metrics of OpenTelemetry.", &self.samples),
            counter("relatum_otlp_exemplars_total", "Exemplars stored from metrics of OpenTelemetry.", &self.exemplars),
            MetricFamily::gauge(
                "relatum_otlp_delta_streams",
                "Streams of OpenTelemetry whose deltas are summed up.",
                self.sums.streams() as f64,
            ),
            MetricFamily::gauge(
                "relatum_otlp_delta_streams_max",
                "How many streams there may be.",
                delta::STREAMS_MAX as f64,
            ),
        ]
    }
}

fn parsed(content_type: &str, encoding: &str, body: &[u8]) -> Result<Vec<ResourceMetrics>, OtlpReceiveError> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if ![PROTOBUF, JSON].contains(&media_type) {
        return Err(OtlpReceiveError::ContentType(content_type.to_owned()));
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(OtlpReceiveError::TooLarge);
    }
    let mut decompressed = Vec::new();
    let body = match encoding {
        "" | "identity" => body,
        "gzip" => {
            let bounded = &mut flate2::read::MultiGzDecoder::new(body).take(BODY_BYTES_MAX as u64 + 1);
            bounded.read_to_end(&mut decompressed).map_err(|_| OtlpReceiveError::Gzip)?;
            if decompressed.len() > BODY_BYTES_MAX {
                return Err(OtlpReceiveError::TooLarge);
            }
            &decompressed
        }
        other => return Err(OtlpReceiveError::Encoding(other.to_owned())),
    };
    Ok(if media_type == JSON { decode_json(body)? } else { decode(body)? })
}

#[cfg(test)]
mod tests;
