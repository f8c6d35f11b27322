//! The section `remote_read`: whom to ask for samples that we do not have.

use std::collections::BTreeMap;
use std::time::Duration;

use relatum_model::Labels;

use super::discovery::read_labels;
use super::http::HttpClientConfig;
use super::remote_write::{AUTHORIZATION_ELSEWHERE, read_headers};
use crate::Url;
use crate::yaml::Cursor;

/// One store that can be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteReadConfig {
    /// Where.
    pub url: Url,
    /// How long one request may take.
    pub remote_timeout: Duration,
    /// The largest frame of a chunked answer, in bytes.
    pub chunked_read_limit_bytes: u64,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Whether it is asked for times too that we have ourselves.
    pub read_recent: bool,
    /// What it is called in metrics; empty when it has no name.
    pub name: String,
    /// How to speak to it.
    pub http: HttpClientConfig,
    /// Labels that a selector must have to be asked of it.
    pub required_matchers: Labels,
    /// Whether the external labels are part of every selector.
    pub filter_external_labels: bool,
}

impl RemoteReadConfig {
    pub(super) fn read(cursor: Cursor<'_>) -> Option<Self> {
        if cursor.is_null() {
            cursor.invalid("empty or null remote read config section");
        }
        let mut section = cursor.section()?;
        let url = section.take("url");
        if url.is_none_or(Cursor::is_null) {
            url.unwrap_or(cursor).invalid("url for remote_read is empty");
        }
        let timeout = section.take("remote_timeout").map_or(Some(Duration::from_secs(60)), Cursor::duration);
        let limit = section.take("chunked_read_limit").map_or(Some(50_000_000), Cursor::unsigned);
        let headers = section.take("headers").map(|headers| read_headers(headers, AUTHORIZATION_ELSEWHERE));
        let filter = section.take("filter_external_labels").map_or(Some(true), Cursor::bool);
        let config = RemoteReadConfig {
            url: url.and_then(Cursor::url).unwrap_or_else(|| Url::new("")),
            remote_timeout: timeout.unwrap_or_default(),
            chunked_read_limit_bytes: limit.unwrap_or_default(),
            headers: headers.unwrap_or_default(),
            read_recent: section.take("read_recent").and_then(Cursor::bool).unwrap_or(false),
            name: section.take("name").and_then(Cursor::string).unwrap_or_default(),
            http: HttpClientConfig::read(&mut section, true),
            required_matchers: section.take("required_matchers").map(read_labels).unwrap_or_default(),
            filter_external_labels: filter.unwrap_or_default(),
        };
        section.finish();
        Some(config)
    }
}
