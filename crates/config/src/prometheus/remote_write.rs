//! The section `remote_write`: where samples are sent on to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::http::HttpClientConfig;

/// One receiver of samples.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWriteConfig {
    /// Where to.
    pub url: String,
    /// How long one request may take.
    pub remote_timeout: Duration,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
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
