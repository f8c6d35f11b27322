//! Discovery that needs no service of its own: records of the domain name system, files, a URL.

use std::path::PathBuf;
use std::time::Duration;

use relatum_model::text::quote;

use super::require;
use crate::go_url;
use crate::prometheus::field::{keys, section};
use crate::prometheus::http::HttpClientConfig;
use crate::yaml::Cursor;

section! {
    /// `dns_sd_configs`: targets from records of the domain name system.
    pub struct DnsSdConfig {
        /// The names to ask for; not empty.
        names: Vec<String> = Vec::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(30),
        /// The type of the records: `SRV`, `A`, `AAAA`, `MX` or `NS`, in any case.
        record as "type": String = "SRV".to_owned(),
        /// The port of the targets, for all records but `SRV`.
        port: i64 = 0,
    }
}

keys!(DnsSdConfig, |config, cursor| {
    require(cursor, !config.names.is_empty(), "DNS-SD config must contain at least one SRV record name");
    match config.record.to_uppercase().as_str() {
        "SRV" => {}
        "A" | "AAAA" | "MX" | "NS" => {
            let message = "a port is required in DNS-SD configs for all record types except SRV";
            require(cursor, config.port != 0, message);
        }
        _ => cursor.invalid(format!("invalid DNS-SD records type {}", config.record)),
    }
});

section! {
    /// `file_sd_configs`: targets from files that are read again when they change.
    pub struct FileSdConfig {
        /// Patterns of files, whose last component may hold one wildcard; not empty.
        files: Vec<PathBuf> = Vec::new(),
        /// How often they are read even without a notice of a change.
        refresh_interval: Duration = Duration::from_secs(300),
    }
}

keys!(FileSdConfig, |config, cursor| {
    let message = "file service discovery config must contain at least one path name";
    require(cursor, !config.files.is_empty(), message);
    for pattern in config.files.iter().filter_map(|pattern| pattern.to_str()) {
        let stem = ["json", "yml", "yaml", "JSON", "YML", "YAML"]
            .iter()
            .find_map(|extension| pattern.strip_suffix(extension)?.strip_suffix('.'));
        let fits = stem.is_some_and(|stem| stem.split_once('*').is_none_or(|(_, after)| !after.contains('/')));
        if !fits {
            cursor.invalid(format!("path name {} is not valid for file discovery", quote(pattern)));
        }
    }
});

section! {
    /// `http_sd_configs`: targets from a URL that answers with JSON.
    pub struct HttpSdConfig {
        /// How to speak to it.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The URL; not empty.
        url: String = String::new(),
    }
}

keys!(HttpSdConfig, |config, cursor| check_web_url(cursor, &config.url));

/// A URL that can be asked by HTTP.
pub(super) fn check_web_url(cursor: Cursor<'_>, url: &str) {
    if url.is_empty() {
        cursor.invalid("URL is missing");
        return;
    }
    match go_url::parse(url) {
        Err(message) => cursor.invalid(message),
        Ok(parts) if !["http", "https"].contains(&parts.scheme.to_ascii_lowercase().as_str()) => {
            cursor.invalid("URL scheme must be 'http' or 'https'");
        }
        Ok(parts) => require(cursor, !parts.host.is_empty(), "host is missing in URL"),
    }
}
