//! The section `alerting`: where alerts go.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relatum_model::relabel::{NameScheme, RelabelConfig};

use super::cloud_auth::SigV4Config;
use super::discovery::Discovery;
use super::feature::Feature;
use super::field::read_keys;
use super::http::HttpClientConfig;
use super::scrape::{Scheme, StaticConfig};
use super::{discovery, relabel};
use crate::yaml::Cursor;

/// The section `alerting`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alerting {
    /// What is done to the labels of every alert before it leaves.
    pub alert_relabel_configs: Arc<[RelabelConfig]>,
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
    /// Where else Alertmanagers come from.
    pub discoveries: Vec<Discovery>,
    /// How requests are signed for AWS.
    pub sigv4: Option<SigV4Config>,
    /// What is done to the labels of an Alertmanager's address.
    pub relabel_configs: Arc<[RelabelConfig]>,
    /// What is done to the labels of alerts for this group only.
    pub alert_relabel_configs: Arc<[RelabelConfig]>,
}

impl Alerting {
    pub(super) fn read(cursor: Cursor<'_>, names: NameScheme) -> Self {
        let Some(mut section) = cursor.section() else { return Alerting::default() };
        let alertmanagers = section.take("alertmanagers").map(Cursor::items).unwrap_or_default();
        let alerting = Alerting {
            alert_relabel_configs: section
                .take("alert_relabel_configs")
                .map(|list| relabel::read_list(list, "alert relabeling rule", names))
                .unwrap_or_default(),
            alertmanagers: alertmanagers.into_iter().filter_map(|item| AlertmanagerConfig::read(item, names)).collect(),
        };
        section.finish();
        alerting
    }
}

impl AlertmanagerConfig {
    /// Every path in it, for [`super::Config::join_directory`].
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.http.paths().chain(self.discoveries.iter_mut().flat_map(Discovery::paths))
    }

    fn read(cursor: Cursor<'_>, names: NameScheme) -> Option<Self> {
        if cursor.is_null() {
            cursor.invalid("empty or null alertmanager section");
        }
        let mut section = cursor.section()?;
        if let Some(version) = section.take("api_version")
            && let Some(text) = version.string()
            && text != "v2"
        {
            version.invalid(format!("expected Alertmanager api version to be one of [v2] but got {text}"));
        }
        let relabel = section.take("relabel_configs");
        let timeout = section.take("timeout").map_or(Some(Duration::from_secs(10)), Cursor::duration);
        let (static_configs, discoveries) =
            discovery::read(&mut section, relabel.is_some_and(|list| !list.items().is_empty()));
        let sigv4 = section.take_feature("sigv4", Feature::SigV4).and_then(read_keys);
        let config = AlertmanagerConfig {
            http: HttpClientConfig::read(&mut section, true),
            scheme: section.take("scheme").and_then(Scheme::read).unwrap_or_default(),
            path_prefix: section.take("path_prefix").and_then(Cursor::string).unwrap_or_default(),
            timeout: timeout.unwrap_or_default(),
            static_configs,
            discoveries,
            sigv4,
            relabel_configs: relabel
                .map(|list| relabel::read_list(list, "Alertmanager target relabeling rule", names))
                .unwrap_or_default(),
            alert_relabel_configs: section
                .take("alert_relabel_configs")
                .map(|list| relabel::read_list(list, "Alertmanager alert relabeling rule", names))
                .unwrap_or_default(),
        };
        section.finish();
        let http = &config.http;
        let has_other = http.basic_auth.is_some() || http.authorization.is_some() || http.oauth2.is_some();
        if has_other && config.sigv4.is_some() {
            cursor.invalid("at most one of basic_auth, authorization, oauth2, & sigv4 must be configured");
        }
        Some(config)
    }
}
