//! `prometheus.yml` and the files it names under `scrape_config_files`.
//!
//! Defaults are filled in, and what a scrape job does not say it takes from `global`, so that readers of these types never
//! have to ask twice. Relative paths stay as written until [`Config::join_directory`].

mod alerting;
mod global;
mod http;
mod remote_write;
mod scrape;
mod storage;
mod tracing;

pub use alerting::{Alerting, AlertmanagerConfig};
pub use global::{Escaping, GlobalConfig, Limits, NameValidation};
pub use http::{Authorization, BasicAuth, Header, HttpClientConfig, ProxyConfig, TlsConfig, TlsVersion};
pub use remote_write::{MetadataConfig, QueueConfig, RemoteWriteConfig, WriteMessage};
pub use scrape::{Scheme, ScrapeConfig, ScrapeProtocol, StaticConfig};
pub use storage::{Retention, StorageConfig};
pub use tracing::{TracingClient, TracingConfig};

/// The main configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What holds for all jobs and rules that do not say otherwise.
    pub global: GlobalConfig,
    /// Patterns of rule files: a path whose last component may hold wildcards.
    pub rule_files: Vec<String>,
    /// Patterns of files with further scrape jobs.
    pub scrape_config_files: Vec<String>,
    /// The scrape jobs of this file.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Where alerts go.
    pub alerting: Alerting,
    /// Where samples are sent on to.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// How samples are kept.
    pub storage: StorageConfig,
    /// Where spans go.
    pub tracing: Option<TracingConfig>,
}

/// A file that `scrape_config_files` names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScrapeConfigFile {
    /// Its scrape jobs.
    pub scrape_configs: Vec<ScrapeConfig>,
}
