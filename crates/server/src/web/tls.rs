//! From what the web configuration says of TLS to what the TLS library needs.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use relatum_config::prometheus::TlsVersion;
use relatum_config::web::{ClientAuth, ServerTlsConfig};
use relatum_transport::http as outgoing;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, NamedGroup, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::WebError;
use super::client_auth::Verifier;

/// A file larger than this holds no certificates that a handshake could carry.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// What the TLS library needs, our certificate and those above it, and what can have no effect here.
type Made = (ServerConfig, Vec<CertificateDer<'static>>, Vec<String>);

/// What `config` and the files it names ask for.
pub(super) fn server_config(config: &ServerTlsConfig, http2: bool) -> Result<Made, WebError> {
    let mut warnings = Vec::new();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    suites(config, &mut provider.cipher_suites, &mut warnings)?;
    groups(config, &mut provider.kx_groups, &mut warnings)?;
    let provider = Arc::new(provider);
    let chain = certificates("cert", config.cert_file.as_deref(), config.cert.as_deref())?;
    let key = pem("key", config.key_file.as_deref(), config.key.as_ref().map(|key| key.expose()))?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| WebError::Unusable { field: "key", reason: "it holds no private key".to_owned() })?;
    let has_authorities = config.client_ca.is_some() || config.client_ca_file.is_some();
    let authorities = match has_authorities {
        true => certificates("client_ca", config.client_ca_file.as_deref(), config.client_ca.as_deref())?,
        false => Vec::new(),
    };
    if matches!(config.client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify) && !has_authorities {
        let reason = "certificates of clients cannot be verified without client_ca_file".to_owned();
        return Err(WebError::Unusable { field: "client_auth_type", reason });
    }
    let names = config.client_allowed_sans.clone();
    let verifier = Verifier::new(config.client_auth, authorities, names, Arc::clone(&provider))?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(config)?)
        .map_err(|error| WebError::Unusable { field: "cipher_suites", reason: error.to_string() })?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain.clone(), key)
        .map_err(|error| WebError::Unusable { field: "key", reason: error.to_string() })?;
    server.ignore_client_order = config.prefer_server_cipher_suites;
    server.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok((server, chain, warnings))
}

/// Whether a server can be made of a chain of certificates and a key, both PEM; else why not.
pub fn check_pair(chain: &str, key: &str) -> Result<(), String> {
    let config = ServerTlsConfig {
        cert: Some(chain.to_owned()),
        key: Some(relatum_config::Secret::new(key)),
        ..ServerTlsConfig::default()
    };
    server_config(&config, false).map(drop).map_err(|error| crate::chain(&error))
}

fn versions(config: &ServerTlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, WebError> {
    let min = config.min_version.unwrap_or(TlsVersion::Tls12);
    let max = config.max_version.unwrap_or(TlsVersion::Tls13);
    let known = [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)];
    let versions: Vec<_> =
        known.into_iter().filter(|(version, _)| min <= *version && *version <= max).map(|(_, known)| known).collect();
    if versions.is_empty() {
        let reason = "no version between min_version and max_version is 1.2 or later".to_owned();
        return Err(WebError::Unusable { field: "max_version", reason });
    }
    Ok(versions)
}

/// Keeps those of TLS 1.2 that are asked for, in that order; those of TLS 1.3 cannot be chosen.
fn suites(
    config: &ServerTlsConfig,
    suites: &mut Vec<SupportedCipherSuite>,
    warnings: &mut Vec<String>,
) -> Result<(), WebError> {
    if config.cipher_suites.is_empty() {
        return Ok(());
    }
    let named = |name: &str| suites.iter().find(|suite| go_name(suite.suite()) == Some(name)).copied();
    let mut kept: Vec<SupportedCipherSuite> = suites.iter().filter(|suite| suite.tls13().is_some()).copied().collect();
    for name in &config.cipher_suites {
        match named(name) {
            Some(suite) if suite.tls13().is_none() => kept.push(suite),
            Some(_) => {}
            None => warnings.push(format!("cipher suite {name} is not used: it is too weak for this server")),
        }
    }
    if kept.iter().all(|suite| suite.tls13().is_some()) && config.max_version.is_some_and(|max| max < TlsVersion::Tls13)
    {
        let reason = "none of them is strong enough for this server".to_owned();
        return Err(WebError::Unusable { field: "cipher_suites", reason });
    }
    *suites = kept;
    Ok(())
}

fn go_name(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}

fn groups(
    config: &ServerTlsConfig,
    groups: &mut Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
    warnings: &mut Vec<String>,
) -> Result<(), WebError> {
    if config.curve_preferences.is_empty() {
        return Ok(());
    }
    let mut kept = Vec::new();
    for name in &config.curve_preferences {
        let wanted = match name.as_str() {
            "CurveP256" => NamedGroup::secp256r1,
            "CurveP384" => NamedGroup::secp384r1,
            "CurveP521" => NamedGroup::secp521r1,
            _ => NamedGroup::X25519,
        };
        match groups.iter().find(|group| group.name() == wanted) {
            Some(group) => kept.push(*group),
            None => warnings.push(format!("curve {name} is not used: this server does not have it")),
        }
    }
    if kept.is_empty() {
        let reason = "this server has none of them".to_owned();
        return Err(WebError::Unusable { field: "curve_preferences", reason });
    }
    *groups = kept;
    Ok(())
}

fn certificates(
    field: &'static str,
    file: Option<&Path>,
    text: Option<&str>,
) -> Result<Vec<CertificateDer<'static>>, WebError> {
    let pem = pem(field, file, text)?;
    outgoing::certificates(&pem).map_err(|reason| WebError::Unusable { field, reason })
}

/// The text of one of the parts; a file wins over a text.
fn pem<'a>(field: &'static str, file: Option<&Path>, text: Option<&'a str>) -> Result<Cow<'a, [u8]>, WebError> {
    use std::io::Read;
    let Some(path) = file else { return Ok(text.unwrap_or_default().as_bytes().into()) };
    let failed = |source| WebError::Read { field, path: path.to_owned(), source };
    let mut content = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(PEM_BYTES_MAX).read_to_end(&mut content).map_err(failed)?;
    Ok(content.into())
}
