//! The parts of the format that a server may lack, and where a file asks for them.
//!
//! Reading knows the whole format and refuses only what is wrong. What a program can act on is for the program to say: it gives
//! the features it has, and each use of another one is a problem with its place and key, so that nothing is silently ignored.

use std::fmt;

use super::discovery::DiscoveryKind;
use crate::Problem;
use crate::problem::Kind;

/// A part of the format that a server may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// `remote_write`: sending samples on.
    RemoteWrite,
    /// `remote_read`: asking others for samples.
    RemoteRead,
    /// `tracing`: sending spans.
    Tracing,
    /// `otlp`: how OpenTelemetry metrics are taken in.
    Otlp,
    /// `runtime`: knobs of Go's runtime.
    Runtime,
    /// One of the `…_sd_configs`.
    Discovery(DiscoveryKind),
    /// `oauth2` of an HTTP client.
    OAuth2,
    /// `sigv4`: requests signed for AWS.
    SigV4,
    /// `azuread`: tokens of Microsoft Entra.
    AzureAd,
    /// `google_iam`: tokens of Google's cloud.
    GoogleIam,
    /// `*_ref`: secrets by their name in a secret manager.
    SecretReference,
    /// `query_log_file`.
    QueryLog,
    /// `scrape_failure_log_file`, of `global` or of a job.
    ScrapeFailureLog,
    /// `failed_request_logging` of a remote write.
    FailedRequestLog,
    /// `scrape_native_histograms: true`.
    NativeHistograms,
    /// `convert_classic_histograms_to_nhcb: true`.
    ClassicToNativeHistograms,
    /// Scraping by protobuf where nothing else will do.
    ScrapeProtobuf,
    /// `storage.tsdb.retention.size`.
    RetentionBySize,
    /// `storage.tsdb.retention.percentage`.
    RetentionByPercentage,
    /// `storage.tsdb.chunk_encoding.floats`.
    ChunkEncoding,
    /// `storage.tsdb.stale_series_compaction_threshold`.
    StaleSeriesCompaction,
    /// TLS 1.0 and 1.1.
    OldTls,
}

impl Feature {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Feature> {
        const OTHERS: [Feature; 21] = [
            Feature::RemoteWrite,
            Feature::RemoteRead,
            Feature::Tracing,
            Feature::Otlp,
            Feature::Runtime,
            Feature::OAuth2,
            Feature::SigV4,
            Feature::AzureAd,
            Feature::GoogleIam,
            Feature::SecretReference,
            Feature::QueryLog,
            Feature::ScrapeFailureLog,
            Feature::FailedRequestLog,
            Feature::NativeHistograms,
            Feature::ClassicToNativeHistograms,
            Feature::ScrapeProtobuf,
            Feature::RetentionBySize,
            Feature::RetentionByPercentage,
            Feature::ChunkEncoding,
            Feature::StaleSeriesCompaction,
            Feature::OldTls,
        ];
        OTHERS.into_iter().chain(DiscoveryKind::ALL.iter().copied().map(Feature::Discovery))
    }

    /// What people call it: its key where it has one.
    pub fn name(self) -> &'static str {
        match self {
            Feature::RemoteWrite => "remote_write",
            Feature::RemoteRead => "remote_read",
            Feature::Tracing => "tracing",
            Feature::Otlp => "otlp",
            Feature::Runtime => "runtime",
            Feature::Discovery(kind) => kind.key(),
            Feature::OAuth2 => "oauth2",
            Feature::SigV4 => "sigv4",
            Feature::AzureAd => "azuread",
            Feature::GoogleIam => "google_iam",
            Feature::SecretReference => "a reference to a secret manager",
            Feature::QueryLog => "query_log_file",
            Feature::ScrapeFailureLog => "scrape_failure_log_file",
            Feature::FailedRequestLog => "failed_request_logging",
            Feature::NativeHistograms => "scrape_native_histograms",
            Feature::ClassicToNativeHistograms => "convert_classic_histograms_to_nhcb",
            Feature::ScrapeProtobuf => "scrape protocol PrometheusProto",
            Feature::RetentionBySize => "retention by size",
            Feature::RetentionByPercentage => "retention by percentage",
            Feature::ChunkEncoding => "chunk_encoding",
            Feature::StaleSeriesCompaction => "stale_series_compaction_threshold",
            Feature::OldTls => "a TLS version before 1.2",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A place where a file asks for a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The feature.
    pub feature: Feature,
    /// The line, counted from 1.
    pub line: u64,
    /// The column in characters, counted from 1.
    pub column: u64,
    /// The path to the key, such as `scrape_configs[2].oauth2`.
    pub key: String,
}

impl Use {
    /// What a server says that does not have the feature.
    pub fn refusal(&self) -> Problem {
        Problem {
            line: self.line,
            column: self.column,
            key: self.key.clone(),
            kind: Kind::Unsupported,
            message: format!("{} is not supported yet", self.feature),
        }
    }
}

/// The refusals of all `uses` of features that are not among `supported`.
pub fn refusals(uses: &[Use], supported: &[Feature]) -> Vec<Problem> {
    uses.iter().filter(|found| !supported.contains(&found.feature)).map(Use::refusal).collect()
}
