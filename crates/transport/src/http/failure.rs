//! Why a request failed, in the words in which Prometheus shows it: people search for them, and tools match them.

use std::error::Error as StdError;
use std::io;

use relatum_model::text::quote;
use reqwest::Url;
use rustls::CertificateError;

use super::DeniedAddress;

/// How much of a receiver's complaint is logged.
const COMPLAINT_BYTES_MAX: usize = 256;

/// The text for a request that got no answer, for instance
/// `Get "http://a:1/metrics": dial tcp a:1: connect: connection refused`.
///
/// `method` is as Go writes it here, `Get` or `Post`.
pub fn request_failure(method: &str, url: &str, error: &reqwest::Error) -> String {
    format!("{method} {}: {}", quote(url), cause(error))
}

/// The text for an answer that broke off.
pub(crate) fn body_failure(error: &reqwest::Error) -> String {
    cause(error)
}

/// The beginning of what a receiver says about a request that it refused.
pub(crate) async fn complaint(mut response: reqwest::Response) -> String {
    match response.chunk().await {
        Ok(Some(chunk)) if !chunk.is_empty() => {
            let beginning = &chunk[..chunk.len().min(COMPLAINT_BYTES_MAX)];
            format!(": {}", String::from_utf8_lossy(beginning).trim())
        }
        _ => String::new(),
    }
}

/// Whether the request would have gone where it may not.
pub(crate) fn is_denied(error: &reqwest::Error) -> bool {
    denied(error).is_some()
}

fn denied(error: &reqwest::Error) -> Option<DeniedAddress> {
    find(error, |cause| cause.downcast_ref::<DeniedAddress>().cloned())
}

fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "context deadline exceeded".to_owned();
    }
    if let Some(text) = denied(error).map(|denied| denied.to_string()) {
        // A redirect is refused before anybody connects.
        return if error.is_connect() { format!("dial tcp {}: {text}", address(error)) } else { text };
    }
    if error.is_redirect() {
        return "stopped after 10 redirects".to_owned();
    }
    if let Some(text) = find(error, |cause| cause.downcast_ref::<rustls::Error>().map(tls_failure)) {
        return text;
    }
    let io_failure = find(error, |cause| cause.downcast_ref::<io::Error>().and_then(io_failure));
    match io_failure {
        Some(text) if error.is_connect() => format!("dial tcp {}: connect: {text}", address(error)),
        Some(text) => text,
        None if error.is_connect() && error.is_dns() => {
            format!("dial tcp: lookup {}: no such host", error.url().and_then(Url::host_str).unwrap_or_default())
        }
        None => deepest(error),
    }
}

fn find<T>(error: &reqwest::Error, look: impl Fn(&(dyn StdError + 'static)) -> Option<T>) -> Option<T> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = look(error) {
            return Some(found);
        }
        // An I/O error hides the error it wraps from `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &dyn StdError = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

fn io_failure(error: &io::Error) -> Option<String> {
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset by peer",
        io::ErrorKind::HostUnreachable => "no route to host",
        io::ErrorKind::NetworkUnreachable => "network is unreachable",
        io::ErrorKind::TimedOut => "connection timed out",
        io::ErrorKind::UnexpectedEof => "EOF",
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address",
        _ => return None,
    };
    Some(text.to_owned())
}

const UNKNOWN_AUTHORITY: &str = "x509: certificate signed by unknown authority";

fn tls_failure(error: &rustls::Error) -> String {
    let reason = match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            // A signature that fits no trusted key, and a certificate that signed itself, are what Go calls an unknown authority.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => UNKNOWN_AUTHORITY.to_owned(),
            CertificateError::Other(_) => format!("{UNKNOWN_AUTHORITY} ({reason})"),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "x509: certificate has expired or is not yet valid".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "x509: certificate has expired or is not yet valid".to_owned()
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<&str> = presented.iter().map(|name| bare_name(name)).collect();
                format!("x509: certificate is valid for {}, not {}", names.join(", "), expected.to_str())
            }
            other => format!("x509: {other}"),
        },
        rustls::Error::InvalidMessage(_) => return "tls: first record does not look like a TLS handshake".to_owned(),
        rustls::Error::AlertReceived(alert) => return format!("remote error: tls: {}", words(&format!("{alert:?}"))),
        other => return format!("tls: {other}"),
    };
    format!("tls: failed to verify certificate: {reason}")
}

/// `CertificateRequired` as `certificate required`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// `DnsName("a")` as the library prints a name, without its wrapping.
fn bare_name(printed: &str) -> &str {
    printed.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).map_or(printed, |name| name.trim_matches('"'))
}

/// Where the connection that failed was to go: not where the request began if there was a redirect.
fn address(error: &reqwest::Error) -> String {
    let Some(url) = error.url() else { return String::new() };
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}
