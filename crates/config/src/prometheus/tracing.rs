//! The section `tracing`: where spans go.

use std::collections::BTreeMap;
use std::time::Duration;

use super::http::TlsConfig;

/// The section `tracing`.
#[derive(Debug, Clone, PartialEq)]
pub struct TracingConfig {
    /// The protocol.
    pub client: TracingClient,
    /// `host:port` of the collector.
    pub endpoint: String,
    /// The share of traces that is kept, 0 to 1.
    pub sampling_fraction: f64,
    /// Whether the connection is plain.
    pub insecure: bool,
    /// How TLS is done.
    pub tls: TlsConfig,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Whether bodies are compressed by gzip.
    pub gzip: bool,
    /// How long one export may take; zero leaves it to the exporter.
    pub timeout: Duration,
}

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TracingClient {
    /// OTLP over HTTP.
    Http,
    /// OTLP over gRPC.
    #[default]
    Grpc,
}
