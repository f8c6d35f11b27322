//! The section `tracing`: where spans go.

use std::collections::BTreeMap;
use std::time::Duration;

use super::remote_write::read_headers;
use super::tls::TlsConfig;
use crate::yaml::Cursor;

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

impl TracingConfig {
    /// Reads the section; `None` when it is null.
    pub(super) fn read(cursor: Cursor<'_>) -> Option<Self> {
        let mut section = cursor.section()?;
        let headers = section
            .take("headers")
            .map(|headers| read_headers(headers, "custom authorization header configuration is not yet supported"));
        let endpoint = section.take("endpoint").and_then(Cursor::string).unwrap_or_default();
        let compression = section.take("compression");
        let compression_name = compression.and_then(Cursor::non_empty);
        let tracing = TracingConfig {
            client: section.take("client_type").and_then(TracingClient::read).unwrap_or_default(),
            endpoint,
            sampling_fraction: section.take("sampling_fraction").and_then(Cursor::float).unwrap_or(0.0),
            insecure: section.take("insecure").and_then(Cursor::bool).unwrap_or(false),
            tls: section.take("tls_config").map(TlsConfig::read).unwrap_or_default(),
            headers: headers.unwrap_or_default(),
            gzip: compression_name.is_some(),
            timeout: section.take("timeout").and_then(Cursor::duration).unwrap_or_default(),
        };
        section.finish();
        if tracing.endpoint.is_empty() {
            cursor.invalid("tracing endpoint must be set");
        }
        if let (Some(place), Some(name)) = (compression, compression_name.filter(|name| name != "gzip")) {
            place.invalid(format!("invalid compression type {name} provided, valid options: gzip"));
        }
        Some(tracing)
    }
}

impl TracingClient {
    fn read(cursor: Cursor<'_>) -> Option<Self> {
        match cursor.string()?.as_str() {
            "http" => Some(TracingClient::Http),
            "grpc" => Some(TracingClient::Grpc),
            other => {
                cursor.invalid(format!("expected tracing client type to be to be http or grpc, but got {other}"));
                None
            }
        }
    }
}
