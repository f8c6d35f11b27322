//! The section `alerting`: where alerts go.

use std::time::Duration;

use super::http::HttpClientConfig;
use super::scrape::{Scheme, StaticConfig};

/// The section `alerting`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alerting {
    /// Groups of Alertmanagers; every one of them gets every alert.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// A group of Alertmanagers that are reached the same way, by API version 2.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertmanagerConfig {
    /// How to speak to them.
    pub http: HttpClientConfig,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// What stands in front of `/api/v2/alerts`.
    pub path_prefix: String,
    /// How long sending may take.
    pub timeout: Duration,
    /// Alertmanagers that are listed in the file.
    pub static_configs: Vec<StaticConfig>,
}
