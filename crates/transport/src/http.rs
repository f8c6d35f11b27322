//! HTTP clients as the configuration describes them, for all that goes out: scrapes, samples, alerts, and what agents say to each other.
//!
//! A client owns its connections, so everything that is reached in the same way shares one. Files that hold certificates or
//! credentials are read anew while running: whoever rotates them need not tell us.

mod authorities;
mod certificates;
mod credentials;
mod denied;
mod failure;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use relatum_config::Network;
use relatum_config::prometheus::{HttpClientConfig, ProxyConfig, TlsConfig};
use reqwest::header::HeaderMap;
use thiserror::Error;
use tracing::warn;

pub use authorities::{Authorities, trust_also};
pub use certificates::certificates;
use credentials::Credentials;
pub(crate) use denied::DeniedAddress;
use denied::DeniedNetworks;
pub use failure::request_failure;
pub(crate) use failure::{body_failure, complaint, is_denied};
pub use tls::check_tls;

/// What we call ourselves to those we ask.
pub(crate) const USER_AGENT: &str = concat!("relatum/", env!("CARGO_PKG_VERSION"));

/// How long certificates are taken for unchanged after they were looked at. Reading three small files costs more than a
/// scrape of a small target, and a rotated certificate overlaps with the old one by far more than this.
const CERTIFICATES_CHECKED_EVERY: Duration = Duration::from_secs(5);

/// How long an unused connection stays open: longer than most scrape intervals, as in Prometheus.
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(300);

/// How many redirects are followed; as many as Go follows.
const REDIRECTS_MAX: usize = 10;

/// Why a client cannot be built.
#[derive(Debug, Error)]
pub enum HttpError {
    /// A file that the configuration names cannot be read.
    #[error("cannot read {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A certificate or key is not one, or the two do not belong together.
    #[error("cannot use {what}: {reason}")]
    Certificate {
        /// The file, or the key of the configuration.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy's URL is none.
    #[error("cannot use proxy {url}")]
    Proxy {
        /// What the configuration says, without the password.
        url: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// A header's name or value may not be sent.
    #[error("cannot send header {name}: its value has characters that a header must not have")]
    Header {
        /// Its name.
        name: String,
    },
    /// The client itself cannot be built.
    #[error("cannot build an HTTP client")]
    Build {
        /// The cause.
        source: reqwest::Error,
    },
}

/// What two clients must agree in to be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClientOptions {
    tls: TlsConfig,
    proxy: ProxyConfig,
    follow_redirects: bool,
    enable_http2: bool,
    denied: DeniedNetworks,
}

/// The headers that a configuration lists by name and value.
pub(crate) fn header_map(headers: &BTreeMap<String, String>) -> Result<HeaderMap, HttpError> {
    let pair = |(name, value): (&String, &String)| {
        Ok((credentials::header_name(name)?, credentials::header_value(name, value)?))
    };
    headers.iter().map(pair).collect()
}

/// All clients in use.
#[derive(Debug, Default)]
pub struct HttpClients {
    open: Mutex<Vec<Weak<HttpClient>>>,
}

impl HttpClients {
    /// A way to speak as `config` says. Reads the files that it names, so that a missing one shows now.
    pub fn connection(&self, config: &HttpClientConfig) -> Result<Connection, HttpError> {
        self.connection_outside(&[], config)
    }

    /// The same, to no address in one of the networks `denied`. Whoever goes through a proxy is held back from the proxy alone.
    pub fn connection_outside(&self, denied: &[Network], config: &HttpClientConfig) -> Result<Connection, HttpError> {
        Ok(Connection { client: self.client(denied, config)?, credentials: Arc::new(Credentials::open(config)?) })
    }

    /// The client for `config`: one that is open already, if it has the same options.
    fn client(&self, denied: &[Network], config: &HttpClientConfig) -> Result<Arc<HttpClient>, HttpError> {
        let options = ClientOptions {
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            follow_redirects: config.follow_redirects,
            enable_http2: config.enable_http2,
            denied: DeniedNetworks::new(denied),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|client| client.strong_count() > 0);
        if let Some(client) = open.iter().filter_map(Weak::upgrade).find(|client| client.options == options) {
            return Ok(client);
        }
        let client = Arc::new(HttpClient::open(options)?);
        open.push(Arc::downgrade(&client));
        Ok(client)
    }
}

/// A client together with who we are towards those it reaches.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Arc<HttpClient>,
    credentials: Arc<Credentials>,
}

impl Connection {
    /// Whether a request to `url` may be made at all.
    pub(crate) fn check(&self, url: &reqwest::Url) -> Result<(), DeniedAddress> {
        self.client.options.denied.check_url(url)
    }

    /// What the next request needs: the client as of now, and headers.
    pub async fn open(&self) -> Result<(reqwest::Client, HeaderMap), HttpError> {
        match self.credentials.fixed() {
            Some(headers) if !self.client.reads_files => Ok((self.client.get(), headers.clone())),
            _ => {
                let connection = self.clone();
                let opened =
                    tokio::task::spawn_blocking(move || Ok((connection.client.get(), connection.credentials.read()?)));
                match opened.await {
                    Ok(result) => result,
                    Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
                    // The runtime is shutting down, and with it whoever waits here.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }
}

/// A client that follows the certificates on disk.
#[derive(Debug)]
struct HttpClient {
    options: ClientOptions,
    reads_files: bool,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    client: reqwest::Client,
    material: tls::Material,
    checked: Instant,
}

impl HttpClient {
    fn open(options: ClientOptions) -> Result<Self, HttpError> {
        let material = tls::Material::read(&options.tls)?;
        let client = build(&options, &material)?;
        let reads_files = tls::files(&options.tls).next().is_some();
        Ok(HttpClient {
            options,
            reads_files,
            current: Mutex::new(Current { client, material, checked: Instant::now() }),
        })
    }

    /// The client as of now. May read files, so it is not for asynchronous code when `reads_files`.
    ///
    /// When a certificate changed into something unusable, the client with the old one stays.
    fn get(&self) -> reqwest::Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if self.reads_files && current.checked.elapsed() >= CERTIFICATES_CHECKED_EVERY {
            current.checked = Instant::now();
            let renewed = tls::Material::read(&self.options.tls).and_then(|material| {
                if material == current.material {
                    return Ok(None);
                }
                Ok(Some((build(&self.options, &material)?, material)))
            });
            match renewed {
                Ok(None) => {}
                Ok(Some((client, material))) => (current.client, current.material) = (client, material),
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "changed certificates not used, keeping the old ones"
                    );
                }
            }
        }
        current.client.clone()
    }
}

fn build(options: &ClientOptions, material: &tls::Material) -> Result<reqwest::Client, HttpError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        // Bodies are unpacked on blocking threads, where their size can be bounded.
        .gzip(false)
        .referer(false)
        .pool_idle_timeout(IDLE_CONNECTION_KEPT)
        .redirect(match options.follow_redirects {
            true if options.denied.is_empty() => reqwest::redirect::Policy::limited(REDIRECTS_MAX),
            true => options.denied.clone().redirects(REDIRECTS_MAX),
            false => reqwest::redirect::Policy::none(),
        })
        .tls_backend_preconfigured(tls::client_config(&options.tls, material, options.enable_http2)?);
    if !options.enable_http2 {
        builder = builder.http1_only();
    }
    if !options.denied.is_empty() {
        builder = builder.dns_resolver(options.denied.clone());
    }
    builder = match proxy(&options.proxy)? {
        Some(proxy) => builder.proxy(proxy),
        None => builder.no_proxy(),
    };
    builder.build().map_err(|source| HttpError::Build { source })
}

/// The proxy to go through: the one that is named, or those of `HTTP_PROXY` and its relatives if the configuration asks for them.
fn proxy(config: &ProxyConfig) -> Result<Option<reqwest::Proxy>, HttpError> {
    if let Some(url) = &config.url {
        let source_error =
            |source: reqwest::Error| HttpError::Proxy { url: url.to_string(), source: source.without_url() };
        let mut headers = HeaderMap::new();
        for (name, values) in &config.connect_headers {
            for value in values {
                headers.append(credentials::header_name(name)?, credentials::header_value(name, value.expose())?);
            }
        }
        let mut proxy = reqwest::Proxy::all(url.expose()).map_err(source_error)?.headers(headers);
        if let Some(hosts) = &config.no_proxy {
            proxy = proxy.no_proxy(reqwest::NoProxy::from_string(hosts));
        }
        return Ok(Some(proxy));
    }
    if !config.from_environment {
        return Ok(None);
    }
    let [http, https] = ["http_proxy", "https_proxy"].map(|name| {
        [name.to_owned(), name.to_uppercase()]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .and_then(|value| {
                let url = if value.contains("://") { value } else { format!("http://{value}") };
                reqwest::Url::parse(&url).ok()
            })
    });
    let chosen = reqwest::Proxy::custom(move |url| match url.scheme() {
        "https" => https.clone(),
        _ => http.clone(),
    });
    Ok(Some(chosen.no_proxy(reqwest::NoProxy::from_env())))
}

#[cfg(test)]
mod tests;
