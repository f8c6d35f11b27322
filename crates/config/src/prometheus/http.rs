//! How to speak HTTP to somebody: the keys that scrape jobs, Alertmanagers and remote writes share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use relatum_model::text::quote;

use super::feature::Feature;
use super::oauth2::OAuth2Config;
use super::tls::TlsConfig;
use crate::yaml::{Cursor, Section};
use crate::{Secret, Url};

/// The options of an HTTP client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// The header `Authorization`; also what `bearer_token` and `bearer_token_file` mean.
    pub authorization: Option<Authorization>,
    /// How a token is asked for that goes into the same header.
    pub oauth2: Option<Box<OAuth2Config>>,
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
            oauth2: None,
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
    /// The name of the user in a secret manager.
    pub username_ref: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// The name of the password in a secret manager.
    pub password_ref: Option<String>,
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
    /// The name of the credentials in a secret manager.
    pub credentials_ref: Option<String>,
}

/// Which proxy to go through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyConfig {
    /// Its URL.
    pub url: Option<Url>,
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

/// Headers that HTTP, the protocols or other keys set.
pub(super) const RESERVED_HEADERS: [&str; 17] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    // Reserved only where a scrape sets it.
    "x-prometheus-scrape-timeout-seconds",
];

impl HttpClientConfig {
    /// Takes the keys of an HTTP client out of the section they share with others.
    pub(super) fn read(section: &mut Section<'_>, enable_http2_default: bool) -> Self {
        let whole = section.cursor();
        let basic_auth = section.take("basic_auth").filter(|cursor| !cursor.is_null()).map(BasicAuth::read);
        let mut authorization =
            section.take("authorization").filter(|cursor| !cursor.is_null()).map(Authorization::read);
        let oauth2 = section.take_feature("oauth2", Feature::OAuth2).and_then(OAuth2Config::read).map(Box::new);
        let bearer_token = section.take("bearer_token").and_then(Cursor::secret);
        let bearer_token_file = section.take("bearer_token_file").and_then(Cursor::path);
        let has_bearer = bearer_token.is_some() || bearer_token_file.is_some();
        if bearer_token.is_some() && bearer_token_file.is_some() {
            whole.invalid("at most one of bearer_token & bearer_token_file must be configured");
        }
        if (basic_auth.is_some() || oauth2.is_some()) && has_bearer {
            whole.invalid("at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured");
        }
        if authorization.is_some() && has_bearer {
            whole.invalid("authorization is not compatible with bearer_token & bearer_token_file");
        }
        if several([authorization.is_some(), basic_auth.is_some(), oauth2.is_some()]) {
            whole.invalid("at most one of basic_auth, oauth2 & authorization must be configured");
        }
        if authorization.is_none() && has_bearer {
            authorization = Some(Authorization {
                kind: "Bearer".to_owned(),
                credentials: bearer_token,
                credentials_file: bearer_token_file,
                credentials_ref: None,
            });
        }
        HttpClientConfig {
            basic_auth,
            authorization,
            oauth2,
            tls: section.take("tls_config").map(TlsConfig::read).unwrap_or_default(),
            proxy: ProxyConfig::read(section),
            follow_redirects: section.take("follow_redirects").and_then(Cursor::bool).unwrap_or(true),
            enable_http2: section.take("enable_http2").and_then(Cursor::bool).unwrap_or(enable_http2_default),
            headers: section.take("http_headers").map(read_headers).unwrap_or_default(),
        }
    }

    /// The same in a place of its own, or, for the default that most jobs have, in one for all of them.
    pub(super) fn shared(self) -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<HttpClientConfig>> = LazyLock::new(Arc::default);
        if self == **DEFAULT { Arc::clone(&DEFAULT) } else { Arc::new(self) }
    }

    /// Every path in it, for [`super::Config::join_directory`].
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let basic =
            self.basic_auth.iter_mut().flat_map(|auth| auth.username_file.iter_mut().chain(&mut auth.password_file));
        let bearer = self.authorization.iter_mut().flat_map(|auth| &mut auth.credentials_file);
        let oauth2 = self.oauth2.iter_mut().flat_map(|oauth2| oauth2.paths());
        let headers = self.headers.values_mut().flat_map(|header| &mut header.files);
        basic.chain(bearer).chain(oauth2).chain(self.tls.paths()).chain(headers)
    }
}

impl BasicAuth {
    fn read(cursor: Cursor<'_>) -> Self {
        let Some(mut section) = cursor.section() else { return BasicAuth::default() };
        let auth = BasicAuth {
            username: section.take("username").and_then(Cursor::string).unwrap_or_default(),
            username_file: section.take("username_file").and_then(Cursor::path),
            username_ref: section.take_feature("username_ref", Feature::SecretReference).and_then(Cursor::non_empty),
            password: section.take("password").and_then(Cursor::secret),
            password_file: section.take("password_file").and_then(Cursor::path),
            password_ref: section.take_feature("password_ref", Feature::SecretReference).and_then(Cursor::non_empty),
        };
        section.finish();
        if several([!auth.username.is_empty(), auth.username_file.is_some(), auth.username_ref.is_some()]) {
            cursor.invalid("at most one of basic_auth username, username_file & username_ref must be configured");
        }
        if several([auth.password.is_some(), auth.password_file.is_some(), auth.password_ref.is_some()]) {
            cursor.invalid("at most one of basic_auth password, password_file & password_ref must be configured");
        }
        auth
    }
}

impl Authorization {
    fn read(cursor: Cursor<'_>) -> Self {
        let mut auth = Authorization {
            kind: "Bearer".to_owned(),
            credentials: None,
            credentials_file: None,
            credentials_ref: None,
        };
        let Some(mut section) = cursor.section() else { return auth };
        let kind = section.take("type").and_then(Cursor::string).unwrap_or_default();
        if !kind.trim().is_empty() {
            auth.kind = kind.trim().to_owned();
        }
        auth.credentials = section.take("credentials").and_then(Cursor::secret);
        auth.credentials_file = section.take("credentials_file").and_then(Cursor::path);
        auth.credentials_ref =
            section.take_feature("credentials_ref", Feature::SecretReference).and_then(Cursor::non_empty);
        section.finish();
        if several([auth.credentials.is_some(), auth.credentials_file.is_some(), auth.credentials_ref.is_some()]) {
            cursor.invalid("at most one of authorization credentials & credentials_file must be configured");
        }
        if auth.kind.eq_ignore_ascii_case("basic") {
            cursor.invalid("authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
        }
        auth
    }
}

/// Whether more than one of them is set.
pub(super) fn several<const N: usize>(set: [bool; N]) -> bool {
    set.iter().filter(|is_set| **is_set).count() > 1
}

impl ProxyConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let no_proxy = section.take("no_proxy");
        let from_environment = section.take("proxy_from_environment");
        let connect = section.take("proxy_connect_header");
        let proxy = ProxyConfig {
            url: section.take("proxy_url").and_then(Cursor::url),
            no_proxy: no_proxy.and_then(Cursor::non_empty),
            from_environment: from_environment.and_then(Cursor::bool).unwrap_or(false),
            connect_headers: connect.map(Cursor::entries).unwrap_or_default().into_iter().map(secrets).collect(),
        };
        if let Some(connect) = connect.filter(|_| !proxy.connect_headers.is_empty())
            && proxy.url.is_none()
            && !proxy.from_environment
        {
            connect.invalid(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
            );
        }
        if let Some(from_environment) = from_environment.filter(|_| proxy.from_environment) {
            if proxy.url.is_some() {
                from_environment.invalid("if proxy_from_environment is configured, proxy_url must not be configured");
            }
            if proxy.no_proxy.is_some() {
                from_environment.invalid("if proxy_from_environment is configured, no_proxy must not be configured");
            }
        } else if let Some(no_proxy) = no_proxy.filter(|_| proxy.no_proxy.is_some() && proxy.url.is_none()) {
            no_proxy.invalid("if no_proxy is configured, proxy_url must also be configured");
        }
        proxy
    }
}

fn secrets((name, _, values): (String, Cursor<'_>, Cursor<'_>)) -> (String, Vec<Secret>) {
    (name, values.items().into_iter().filter_map(Cursor::secret).collect())
}

fn read_headers(cursor: Cursor<'_>) -> BTreeMap<String, Header> {
    let mut headers = BTreeMap::new();
    for (name, key, value) in cursor.entries() {
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" || RESERVED_HEADERS.contains(&lower.as_str()) {
            key.invalid(format!("setting header {} is not allowed", quote(&name)));
        }
        let mut header = Header::default();
        if let Some(mut section) = value.section() {
            header.values = section.take("values").map(Cursor::strings).unwrap_or_default();
            let secrets = section.take("secrets").map(Cursor::items).unwrap_or_default();
            header.secrets = secrets.into_iter().filter_map(Cursor::secret).collect();
            let files = section.take("files").map(Cursor::items).unwrap_or_default();
            header.files = files.into_iter().filter_map(Cursor::path).collect();
            section.finish();
        }
        headers.insert(name, header);
    }
    headers
}
