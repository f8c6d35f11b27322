//! Tries the certificates and keys that peers put into their jobs, so that a bad one costs its job and not the relation's whole file.

use relatum_config::prometheus::TlsConfig;
use relatum_relations::prometheus_scrape::client_tls::Fault;
use relatum_server::outgoing::{HttpError, check_tls};

/// What the server would say when it loads a job with this.
pub(super) fn attempt(tls: &TlsConfig) -> Result<(), Fault> {
    check_tls(tls).map_err(|error| Fault { key: key(&error), message: error.to_string() })
}

/// The key of a job's `tls_config` at fault.
fn key(error: &HttpError) -> &'static str {
    let HttpError::Certificate { what, .. } = error else { return "" };
    match what.as_str() {
        "ca" => "ca_file",
        "cert" => "cert_file",
        "key" => "key_file",
        "server_name" => "server_name",
        _ => "",
    }
}
