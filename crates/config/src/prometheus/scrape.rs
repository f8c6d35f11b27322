//! Scrape jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use relatum_model::Labels;

use super::global::{Escaping, Limits, NameValidation};
use super::http::HttpClientConfig;

/// One scrape job, complete: what it does not say itself is filled in from `global`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// The value of the label `job`, unless relabelling changes it.
    pub job_name: String,
    /// Whether a label of the sample wins over a label of the target with the same name.
    pub honor_labels: bool,
    /// Whether timestamps in the body count.
    pub honor_timestamps: bool,
    /// Whether series with timestamps of their own get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// Query parameters; names sorted, as they are sent.
    pub params: BTreeMap<String, Vec<String>>,
    /// How often each target is scraped.
    pub scrape_interval: Duration,
    /// How long a scrape may take; never more than the interval.
    pub scrape_timeout: Duration,
    /// What the target is asked for, most wanted first; never empty.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// What a body without a known content type is read as; `None` fails the scrape.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Whether native histograms are scraped.
    pub scrape_native_histograms: bool,
    /// Whether a classic histogram is scraped although there is a native one.
    pub always_scrape_classic_histograms: bool,
    /// Whether classic histograms become native ones with the same buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Where failed scrapes are logged.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// The path on the target.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Whether the target may compress.
    pub enable_compression: bool,
    /// The bounds of one scrape.
    pub limits: Limits,
    /// The most buckets of a native histogram; 0 is no bound.
    pub native_histogram_bucket_limit: u64,
    /// The smallest factor between its buckets.
    pub native_histogram_min_bucket_factor: f64,
    /// Which names are allowed.
    pub metric_name_validation_scheme: NameValidation,
    /// How the target is asked to write other names.
    pub metric_name_escaping_scheme: Escaping,
    /// Whether each scrape also stores its timeout, sample limit and body size.
    pub extra_scrape_metrics: bool,
    /// How to speak to the target.
    pub http: HttpClientConfig,
    /// Targets that are listed in the file.
    pub static_configs: Vec<StaticConfig>,
}

/// How a target is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// Through TLS.
    Https,
}

impl Scheme {
    /// The word in the URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// A list of targets with the labels they share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StaticConfig {
    /// Addresses, `host:port` or `host`.
    pub targets: Vec<String>,
    /// Labels of each of them; may begin with `__`.
    pub labels: Labels,
}

/// A format in which a target can be asked to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    /// Delimited protobuf.
    PrometheusProto,
    /// The text format as it was for most of its life.
    PrometheusText004,
    /// The text format with quoted names.
    PrometheusText100,
    /// The first OpenMetrics.
    OpenMetricsText001,
    /// OpenMetrics 1.0.
    OpenMetricsText100,
}

impl ScrapeProtocol {
    /// All of them, in the order of their names.
    pub const ALL: [ScrapeProtocol; 5] = [
        ScrapeProtocol::OpenMetricsText001,
        ScrapeProtocol::OpenMetricsText100,
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::PrometheusText004,
        ScrapeProtocol::PrometheusText100,
    ];

    /// What a job asks for that does not say: text, newest first.
    pub const DEFAULT: [ScrapeProtocol; 4] = [
        ScrapeProtocol::OpenMetricsText100,
        ScrapeProtocol::OpenMetricsText001,
        ScrapeProtocol::PrometheusText100,
        ScrapeProtocol::PrometheusText004,
    ];

    /// What a job asks for that scrapes native histograms and does not say.
    pub const DEFAULT_WITH_HISTOGRAMS: [ScrapeProtocol; 5] = [
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::OpenMetricsText100,
        ScrapeProtocol::OpenMetricsText001,
        ScrapeProtocol::PrometheusText100,
        ScrapeProtocol::PrometheusText004,
    ];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => "PrometheusProto",
            ScrapeProtocol::PrometheusText004 => "PrometheusText0.0.4",
            ScrapeProtocol::PrometheusText100 => "PrometheusText1.0.0",
            ScrapeProtocol::OpenMetricsText001 => "OpenMetricsText0.0.1",
            ScrapeProtocol::OpenMetricsText100 => "OpenMetricsText1.0.0",
        }
    }

    /// The media type in the Accept header, without weight and escaping.
    pub fn media_type(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            ScrapeProtocol::PrometheusText004 => "text/plain;version=0.0.4",
            ScrapeProtocol::PrometheusText100 => "text/plain;version=1.0.0",
            ScrapeProtocol::OpenMetricsText001 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::OpenMetricsText100 => "application/openmetrics-text;version=1.0.0",
        }
    }
}
