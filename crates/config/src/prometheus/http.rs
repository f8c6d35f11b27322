//! How to speak HTTP to somebody: the keys that scrape jobs, Alertmanagers and remote writes share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Secret;

/// The options of an HTTP client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// The header `Authorization`; also what `bearer_token` and `bearer_token_file` mean.
    pub authorization: Option<Authorization>,
    /// How TLS is done.
    pub tls: TlsConfig,
    /// Which proxy to go through.
    pub proxy: ProxyConfig,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be used.
    pub enable_http2: bool,
    /// Further headers by name; names are never those that HTTP itself needs.
    pub headers: BTreeMap<String, Header>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        HttpClientConfig {
            basic_auth: None,
            authorization: None,
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            headers: BTreeMap::new(),
        }
    }
}

/// User and password. Of a value and its file at most one is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// A file with the user.
    pub username_file: Option<PathBuf>,
    /// The password.
    pub password: Option<Secret>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

/// A header `Authorization: KIND CREDENTIALS`. Of the credentials and their file at most one is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The scheme, mostly `Bearer`; never `basic`.
    pub kind: String,
    /// The credentials.
    pub credentials: Option<Secret>,
    /// A file with the credentials, read anew for each request or when it changes.
    pub credentials_file: Option<PathBuf>,
}

/// How TLS is done. Of a text and its file at most one is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Certificates of the authorities to trust, PEM; none are the system's.
    pub ca: Option<String>,
    /// Our certificate, PEM.
    pub cert: Option<String>,
    /// Its key, PEM.
    pub key: Option<Secret>,
    /// A file with the authorities.
    pub ca_file: Option<PathBuf>,
    /// A file with our certificate.
    pub cert_file: Option<PathBuf>,
    /// A file with its key.
    pub key_file: Option<PathBuf>,
    /// The name the other side must prove, if not the host of the URL.
    pub server_name: Option<String>,
    /// Whether it need not prove any.
    pub insecure_skip_verify: bool,
    /// The oldest version to speak.
    pub min_version: Option<TlsVersion>,
    /// The newest version to speak.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS; ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// 1.0
    Tls10,
    /// 1.1
    Tls11,
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// Which proxy to go through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyConfig {
    /// Its URL.
    pub url: Option<String>,
    /// Hosts that are reached directly, comma-separated.
    pub no_proxy: Option<String>,
    /// Whether `HTTP_PROXY` and its relatives decide.
    pub from_environment: bool,
    /// Headers for the proxy's CONNECT.
    pub connect_headers: BTreeMap<String, Vec<Secret>>,
}

/// The values of one header, from three sources; all are sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Values to show.
    pub values: Vec<String>,
    /// Values to hide.
    pub secrets: Vec<Secret>,
    /// Files with values.
    pub files: Vec<PathBuf>,
}
