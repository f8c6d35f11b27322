//! The section `remote_write`: where samples are sent on to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::relabel::{NameScheme, RelabelConfig};

use super::cloud_auth::{AzureAdConfig, GoogleIamConfig, SigV4Config};
use super::feature::Feature;
use super::field::read_keys;
use super::http::{HttpClientConfig, RESERVED_HEADERS};
use super::relabel;
use crate::Url;
use crate::yaml::Cursor;

/// One receiver of samples.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWriteConfig {
    /// Where to.
    pub url: Url,
    /// How long one request may take.
    pub remote_timeout: Duration,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// What is done to the labels of a sample before it leaves.
    pub write_relabel_configs: Arc<[RelabelConfig]>,
    /// What it is called in metrics; empty when it has no name.
    pub name: String,
    /// Whether exemplars are sent.
    pub send_exemplars: bool,
    /// Whether native histograms are sent.
    pub send_native_histograms: bool,
    /// Whether each connection picks another address of the host.
    pub round_robin_dns: bool,
    /// The version of the protocol.
    pub protobuf_message: WriteMessage,
    /// How to speak to it; HTTP/2 is off unless asked for.
    pub http: HttpClientConfig,
    /// How much is sent at once and how failures are retried.
    pub queue: QueueConfig,
    /// Whether and how often metadata is sent.
    pub metadata: MetadataConfig,
    /// How requests are signed for AWS.
    pub sigv4: Option<SigV4Config>,
    /// How a token is got from Microsoft.
    pub azuread: Option<AzureAdConfig>,
    /// How a token is got from Google.
    pub google_iam: Option<GoogleIamConfig>,
    /// Whether requests that failed are logged.
    pub failed_request_logging: bool,
}

/// The message of the remote-write protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WriteMessage {
    /// `prometheus.WriteRequest`, version 1.
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`, version 2.
    V2,
}

/// How samples wait and are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// How many samples each shard may hold.
    pub capacity: u64,
    /// The most requests at a time.
    pub max_shards: u64,
    /// The fewest.
    pub min_shards: u64,
    /// The most samples of a request.
    pub max_samples_per_send: u64,
    /// How long a sample may wait for others.
    pub batch_send_deadline: Duration,
    /// The first pause after a failure.
    pub min_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// Whether status 429 is retried.
    pub retry_on_http_429: bool,
    /// Older samples are not sent; zero sends all.
    pub sample_age_limit: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: false,
            sample_age_limit: Duration::ZERO,
        }
    }
}

/// Whether and how often metadata is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Whether.
    pub send: bool,
    /// How often.
    pub send_interval: Duration,
    /// The most entries of a request.
    pub max_samples_per_send: u64,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        MetadataConfig { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2_000 }
    }
}

impl RemoteWriteConfig {
    pub(super) fn read(cursor: Cursor<'_>, names: NameScheme) -> Option<Self> {
        if cursor.is_null() {
            cursor.invalid("empty or null remote write config section");
        }
        let mut section = cursor.section()?;
        let url = section.take("url");
        if url.is_none_or(Cursor::is_null) {
            url.unwrap_or(cursor).invalid("url for remote_write is empty");
        }
        let headers = section.take("headers").map(|headers| read_headers(headers, AUTHORIZATION_ELSEWHERE));
        let bools = ["send_exemplars", "send_native_histograms", "round_robin_dns"];
        let [send_exemplars, send_native_histograms, round_robin_dns] =
            bools.map(|key| section.take(key).and_then(Cursor::bool).unwrap_or(false));
        let failed_request_logging = section.take_switch("failed_request_logging", Feature::FailedRequestLog, false);
        let config = RemoteWriteConfig {
            sigv4: section.take_feature("sigv4", Feature::SigV4).and_then(read_keys),
            azuread: section.take_feature("azuread", Feature::AzureAd).and_then(read_keys),
            google_iam: section.take_feature("google_iam", Feature::GoogleIam).and_then(read_keys),
            failed_request_logging,
            url: url.and_then(Cursor::url).unwrap_or_else(|| Url::new("")),
            remote_timeout: section
                .take("remote_timeout")
                .map_or(Some(Duration::from_secs(30)), Cursor::duration)
                .unwrap_or_default(),
            headers: headers.unwrap_or_default(),
            write_relabel_configs: section
                .take("write_relabel_configs")
                .map(|list| relabel::read_list(list, "relabeling rule in remote write config", names))
                .unwrap_or_default(),
            name: section.take("name").and_then(Cursor::string).unwrap_or_default(),
            send_exemplars,
            send_native_histograms,
            round_robin_dns,
            protobuf_message: section.take("protobuf_message").and_then(WriteMessage::read).unwrap_or_default(),
            http: HttpClientConfig::read(&mut section, false),
            queue: section.take("queue_config").map_or_else(QueueConfig::default, QueueConfig::read),
            metadata: section.take("metadata_config").map_or_else(MetadataConfig::default, MetadataConfig::read),
        };
        section.finish();
        let ways = [
            ("basic_auth", config.http.basic_auth.is_some()),
            ("authorization", config.http.authorization.is_some()),
            ("oauth2", config.http.oauth2.is_some()),
            ("sigv4", config.sigv4.is_some()),
            ("azuread", config.azuread.is_some()),
            ("google_iam", config.google_iam.is_some()),
        ];
        let ways: Vec<&str> = ways.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
        if ways.len() > 1 {
            cursor.invalid(format!(
                "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. \
                 Currently configured: [{}]",
                ways.join(" ")
            ));
        }
        Some(config)
    }
}

pub(super) const AUTHORIZATION_ELSEWHERE: &str = "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter";

/// Further headers; `authorization` is what to say about the header of that name.
pub(super) fn read_headers(cursor: Cursor<'_>, authorization: &str) -> BTreeMap<String, String> {
    for (name, key, _) in cursor.entries() {
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            key.invalid(authorization);
        } else if lower != "x-prometheus-scrape-timeout-seconds" && RESERVED_HEADERS.contains(&lower.as_str()) {
            key.invalid(format!("{name} is a reserved header. It must not be changed"));
        }
    }
    cursor.string_map()
}

impl WriteMessage {
    fn read(cursor: Cursor<'_>) -> Option<Self> {
        match cursor.string()?.as_str() {
            "prometheus.WriteRequest" => Some(WriteMessage::V1),
            "io.prometheus.write.v2.Request" => Some(WriteMessage::V2),
            other => {
                cursor.invalid(format!(
                    "invalid protobuf_message value: unknown type for remote write protobuf message {other}, \
                     supported: prometheus.WriteRequest, io.prometheus.write.v2.Request"
                ));
                None
            }
        }
    }
}

impl QueueConfig {
    fn read(cursor: Cursor<'_>) -> Self {
        let defaults = QueueConfig::default();
        let Some(mut section) = cursor.section() else {
            // A section that is there and null zeroes everything, and zero shards send nothing.
            cursor.invalid("remote write queue max_shards must be positive");
            return defaults;
        };
        let mut number = |key: &'static str, default: u64| {
            let Some(place) = section.take(key) else { return default };
            let number = place.signed().unwrap_or(1);
            if number <= 0 {
                place.invalid(format!("remote write queue {key} must be positive"));
            }
            u64::try_from(number).unwrap_or(default)
        };
        let max_shards = number("max_shards", defaults.max_shards);
        let min_shards = number("min_shards", defaults.min_shards);
        let max_samples_per_send = number("max_samples_per_send", defaults.max_samples_per_send);
        let capacity = number("capacity", defaults.capacity);
        let mut duration = |key, default| section.take(key).map_or(Some(default), Cursor::duration).unwrap_or(default);
        let queue = QueueConfig {
            capacity,
            max_shards,
            min_shards,
            max_samples_per_send,
            batch_send_deadline: duration("batch_send_deadline", defaults.batch_send_deadline),
            min_backoff: duration("min_backoff", defaults.min_backoff),
            max_backoff: duration("max_backoff", defaults.max_backoff),
            sample_age_limit: duration("sample_age_limit", defaults.sample_age_limit),
            retry_on_http_429: section.take("retry_on_http_429").and_then(Cursor::bool).unwrap_or(false),
        };
        section.finish();
        if min_shards > max_shards && max_shards > 0 {
            cursor.invalid("remote write queue min_shards must not be greater than max_shards");
        }
        if queue.max_backoff < queue.min_backoff {
            cursor.invalid("remote write queue max_backoff must not be less than min_backoff");
        }
        queue
    }
}

impl MetadataConfig {
    fn read(cursor: Cursor<'_>) -> Self {
        let defaults = MetadataConfig::default();
        let Some(mut section) = cursor.section() else { return MetadataConfig { send: false, ..defaults } };
        let (interval, n_max) = (section.take("send_interval"), section.take("max_samples_per_send"));
        let metadata = MetadataConfig {
            send: section.take("send").map_or(Some(true), Cursor::bool).unwrap_or(true),
            send_interval: interval
                .map_or(Some(defaults.send_interval), Cursor::duration)
                .unwrap_or(defaults.send_interval),
            max_samples_per_send: n_max
                .map_or(Some(defaults.max_samples_per_send), Cursor::unsigned)
                .unwrap_or(defaults.max_samples_per_send),
        };
        section.finish();
        // Prometheus takes both, ends with the first and sends nothing with the second.
        for (key, place, is_none) in [
            ("send_interval", interval, metadata.send_interval.is_zero()),
            ("max_samples_per_send", n_max, metadata.max_samples_per_send == 0),
        ] {
            if let Some(place) = place.filter(|_| is_none && metadata.send) {
                place.invalid(format!("remote write metadata_config {key} must be positive"));
            }
        }
        metadata
    }
}
