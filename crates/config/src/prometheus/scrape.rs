//! Scrape jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::Labels;
use relatum_model::relabel::{NameScheme, RelabelConfig};
use relatum_model::text::quote;

use super::discovery::Discovery;
use super::feature::Feature;
use super::global::{Escaping, GlobalConfig, Limits, read_name_scheme};
use super::http::HttpClientConfig;
use super::{discovery, relabel};
use crate::Network;
use crate::yaml::{Cursor, Section};

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
    pub metric_name_validation_scheme: NameScheme,
    /// How the target is asked to write other names.
    pub metric_name_escaping_scheme: Escaping,
    /// Whether each scrape also stores its timeout, sample limit and body size.
    pub extra_scrape_metrics: bool,
    /// How to speak to the target.
    pub http: Arc<HttpClientConfig>,
    /// Where no connection for the job may go, whatever a name leads to. A key of ours: Prometheus does not have it.
    pub denied_networks: Vec<Network>,
    /// What is done to the labels of a target.
    pub relabel_configs: Arc<[RelabelConfig]>,
    /// What is done to the labels of a sample.
    pub metric_relabel_configs: Arc<[RelabelConfig]>,
    /// Targets that are listed in the file.
    pub static_configs: Vec<StaticConfig>,
    /// Where else targets come from.
    pub discoveries: Vec<Discovery>,
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

impl ScrapeProtocol {
    fn parse(text: &str) -> Result<Self, String> {
        ScrapeProtocol::ALL.into_iter().find(|protocol| protocol.as_str() == text).ok_or_else(|| {
            let supported = ScrapeProtocol::ALL.map(ScrapeProtocol::as_str).join(" ");
            format!("unknown scrape protocol {text}, supported: [{supported}]")
        })
    }

    /// A list without repeats; `whose` ends the messages, and says whose list it is.
    pub(super) fn read_list(cursor: Cursor<'_>, whose: &str) -> Option<Vec<Self>> {
        let texts = cursor.strings();
        let mut protocols: Vec<Self> = Vec::new();
        for text in &texts {
            if protocols.iter().any(|known| known.as_str().eq_ignore_ascii_case(text)) {
                cursor.invalid(format!("duplicated protocol in scrape_protocols, got [{}] {whose}", texts.join(" ")));
                return None;
            }
            match ScrapeProtocol::parse(text) {
                Ok(protocol) => protocols.push(protocol),
                Err(message) => {
                    cursor.invalid(format!("scrape_protocols: {message} {whose}"));
                    return None;
                }
            }
        }
        if protocols.is_empty() {
            cursor.invalid(format!("scrape_protocols cannot be empty {whose}"));
            return None;
        }
        // Among others it is just not asked for; alone there would be nothing to ask for.
        if protocols == [ScrapeProtocol::PrometheusProto] {
            cursor.asks_for(Feature::ScrapeProtobuf);
        }
        Some(protocols)
    }
}

impl Scheme {
    pub(super) fn read(cursor: Cursor<'_>) -> Option<Self> {
        match cursor.string()?.as_str() {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            other => {
                cursor.invalid(format!("scheme must be 'http' or 'https', got {}", quote(other)));
                None
            }
        }
    }
}

impl ScrapeConfig {
    /// Reads a job and fills in from `global` what it leaves open.
    pub(super) fn read(cursor: Cursor<'_>, global: &GlobalConfig) -> Option<Self> {
        if cursor.is_null() {
            cursor.invalid("empty or null scrape config section");
        }
        let mut section = cursor.section()?;
        let job = section.take("job_name");
        let job_name = job.and_then(Cursor::string).unwrap_or_default();
        if job_name.is_empty() {
            job.unwrap_or(cursor).invalid("job_name is empty");
        }
        let whose = format!("for scrape config with job name {}", quote(&job_name));

        let (scrape_interval, scrape_timeout) = read_timing(&mut section, global, &whose);
        let (names, escaping) = read_names(&mut section, global);
        let relabel_configs = section
            .take("relabel_configs")
            .map(|list| relabel::read_list(list, "target relabeling rule in scrape config", names))
            .unwrap_or_default();
        let scrape_native_histograms =
            section.take_switch("scrape_native_histograms", Feature::NativeHistograms, global.scrape_native_histograms);
        let convert_classic_histograms_to_nhcb = section.take_switch(
            "convert_classic_histograms_to_nhcb",
            Feature::ClassicToNativeHistograms,
            global.convert_classic_histograms_to_nhcb,
        );
        let scrape_failure_log_file = section
            .take_feature("scrape_failure_log_file", Feature::ScrapeFailureLog)
            .and_then(Cursor::path)
            .or_else(|| global.scrape_failure_log_file.clone());
        let (static_configs, discoveries) =
            discovery::read(&mut section, relabel_configs.iter().any(relabel::may_change_where));
        let mut bool = |key, default| section.take(key).and_then(Cursor::bool).unwrap_or(default);
        let job = ScrapeConfig {
            honor_labels: bool("honor_labels", false),
            honor_timestamps: bool("honor_timestamps", true),
            track_timestamps_staleness: bool("track_timestamps_staleness", false),
            enable_compression: bool("enable_compression", true),
            extra_scrape_metrics: bool("extra_scrape_metrics", global.extra_scrape_metrics),
            always_scrape_classic_histograms: bool(
                "always_scrape_classic_histograms",
                global.always_scrape_classic_histograms,
            ),
            scrape_native_histograms,
            convert_classic_histograms_to_nhcb,
            params: section.take("params").map(read_params).unwrap_or_default(),
            scrape_interval,
            scrape_timeout,
            scrape_protocols: read_protocols(&mut section, global, scrape_native_histograms, &whose),
            fallback_scrape_protocol: section.take("fallback_scrape_protocol").and_then(|c| read_fallback(c, &whose)),
            scrape_failure_log_file,
            metrics_path: section
                .take("metrics_path")
                .map_or(Some("/metrics".to_owned()), Cursor::string)
                .unwrap_or_default(),
            scheme: section.take("scheme").and_then(Scheme::read).unwrap_or_default(),
            limits: Limits::read(&mut section).or(global.limits),
            native_histogram_bucket_limit: section
                .take("native_histogram_bucket_limit")
                .and_then(Cursor::unsigned)
                .unwrap_or(0),
            native_histogram_min_bucket_factor: section
                .take("native_histogram_min_bucket_factor")
                .and_then(Cursor::float)
                .unwrap_or(0.0),
            metric_name_validation_scheme: names,
            metric_name_escaping_scheme: escaping,
            http: HttpClientConfig::read(&mut section, true).shared(),
            denied_networks: section.take("denied_networks").map(read_networks).unwrap_or_default(),
            static_configs,
            discoveries,
            relabel_configs,
            metric_relabel_configs: section
                .take("metric_relabel_configs")
                .map(|list| relabel::read_list(list, "metric relabeling rule in scrape config", names))
                .unwrap_or_default(),
            job_name,
        };
        section.finish();
        Some(job)
    }
}

impl ScrapeConfig {
    /// Every path in it, for [`super::Config::join_directory`].
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let discoveries = self.discoveries.iter_mut().flat_map(Discovery::paths);
        // What is the default names no file, and stays the one of all jobs.
        let http = (*self.http != HttpClientConfig::default()).then(|| Arc::make_mut(&mut self.http).paths());
        http.into_iter().flatten().chain(discoveries).chain(&mut self.scrape_failure_log_file)
    }
}

fn read_networks(list: Cursor<'_>) -> Vec<Network> {
    let network = |item: Cursor<'_>| {
        let text = item.string()?;
        let read = text.parse();
        if let Err(reason) = read {
            item.invalid(format!("{} {reason}", quote(&text)));
        }
        read.ok()
    };
    list.items().into_iter().filter_map(network).collect()
}

/// Interval and timeout; the timeout that is not given is the global one, or the interval if that is shorter.
fn read_timing(section: &mut Section<'_>, global: &GlobalConfig, whose: &str) -> (Duration, Duration) {
    let given = |cursor: Option<Cursor<'_>>| cursor.and_then(Cursor::duration).filter(|d| !d.is_zero());
    let interval = given(section.take("scrape_interval")).unwrap_or(global.scrape_interval);
    let place = section.take("scrape_timeout");
    let timeout = given(place).unwrap_or(global.scrape_timeout.min(interval));
    if let Some(place) = place.filter(|_| timeout > interval) {
        place.invalid(format!("scrape timeout greater than scrape interval {whose}"));
    }
    (interval, timeout)
}

/// Which names are allowed and how others are asked for. A job that allows only legacy names does not inherit an escaping
/// that would let others through.
fn read_names(section: &mut Section<'_>, global: &GlobalConfig) -> (NameScheme, Escaping) {
    let of = |names| if names == NameScheme::Legacy { Escaping::Underscores } else { Escaping::AllowUtf8 };
    let own_names = section.take("metric_name_validation_scheme").and_then(read_name_scheme);
    let names = own_names.unwrap_or(global.metric_name_validation_scheme);
    let place = section.take("metric_name_escaping_scheme");
    let own_escaping = place.and_then(|cursor| Escaping::read(cursor, "scrape config"));
    let escaping = own_escaping.unwrap_or_else(|| match own_names {
        Some(names) => of(names),
        None => global.metric_name_escaping_scheme.unwrap_or(of(names)),
    });
    if escaping == Escaping::AllowUtf8 && names == NameScheme::Legacy {
        place
            .unwrap_or(section.cursor())
            .invalid("utf8 metric names requested but validation scheme is not set to UTF8");
    }
    (names, escaping)
}

fn read_protocols(section: &mut Section<'_>, global: &GlobalConfig, native: bool, whose: &str) -> Vec<ScrapeProtocol> {
    let own = section.take("scrape_protocols").filter(|cursor| !cursor.is_null());
    match (own, &global.scrape_protocols) {
        (Some(own), _) => ScrapeProtocol::read_list(own, whose).unwrap_or_default(),
        (None, Some(protocols)) => protocols.clone(),
        (None, None) if native => ScrapeProtocol::DEFAULT_WITH_HISTOGRAMS.to_vec(),
        (None, None) => ScrapeProtocol::DEFAULT.to_vec(),
    }
}

fn read_fallback(cursor: Cursor<'_>, whose: &str) -> Option<ScrapeProtocol> {
    match ScrapeProtocol::parse(&cursor.non_empty()?) {
        Ok(ScrapeProtocol::PrometheusProto) => {
            cursor.asks_for(Feature::ScrapeProtobuf);
            Some(ScrapeProtocol::PrometheusProto)
        }
        Ok(protocol) => Some(protocol),
        Err(message) => {
            cursor.invalid(format!("invalid fallback_scrape_protocol {whose}: {message}"));
            None
        }
    }
}

fn read_params(cursor: Cursor<'_>) -> BTreeMap<String, Vec<String>> {
    cursor.entries().into_iter().map(|(name, _, values)| (name, values.strings())).collect()
}
