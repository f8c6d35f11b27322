//! Tries the certificates and keys that peers put into their jobs, so that a bad one costs its job and not the relation's whole file.

use relatum_config::prometheus::TlsConfig;
use relatum_relations::prometheus_scrape::client_tls::Fault;
use relatum_server::outgoing::{HttpError, check_tls};

/// What the server would say when it loads a job with this.
pub(super) fn attempt(tls: &TlsConfig) -> Result<(), Fault> {
    check_tls(tls).map_err(|error| Fault { key: key(&error), message: error.to_string() })
}

/// The key of `tls_config` at fault.
fn key(error: &HttpError) -> &'static str {
    let HttpError::Certificate { what, .. } = error else { return "" };
    let keys = ["ca", "cert", "key", "server_name", "min_version", "max_version"];
    keys.into_iter().find(|key| key == what).unwrap_or_default()
}
