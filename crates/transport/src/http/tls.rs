//! TLS towards those we ask: whom to trust, what to show.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use relatum_config::prometheus::{TlsConfig, TlsVersion};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};

use super::HttpError;
use super::authorities::{self, Authorities};
use super::certificates::certificates;

/// The texts of certificates and key, wherever they come from, to be compared with what they were before.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Material {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Holds a private key.
        f.write_str("Material")
    }
}

impl Material {
    pub(super) fn read(config: &TlsConfig) -> Result<Self, HttpError> {
        let either = |text: Option<&str>, file: Option<&Path>| match (text, file) {
            (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
            (None, Some(path)) => match fs::read(path) {
                Ok(content) => Ok(Some(content)),
                Err(source) => Err(HttpError::ReadFile { path: path.to_owned(), source }),
            },
            (None, None) => Ok(None),
        };
        Ok(Material {
            ca: either(config.ca.as_deref(), config.ca_file.as_deref())?,
            cert: either(config.cert.as_deref(), config.cert_file.as_deref())?,
            key: either(config.key.as_ref().map(|key| key.expose()), config.key_file.as_deref())?,
        })
    }
}

/// The files from which [`Material`] is read.
pub(super) fn files(config: &TlsConfig) -> impl Iterator<Item = &Path> {
    [&config.ca_file, &config.cert_file, &config.key_file].into_iter().flatten().map(|path| path.as_path())
}

/// Whether a client can be built with `config`: its certificates and key are what they should be and belong together.
pub fn check_tls(config: &TlsConfig) -> Result<(), HttpError> {
    client_config(config, &Material::read(config)?, false).map(drop)
}

/// What `config` and `material` mean for the TLS library.
pub(super) fn client_config(config: &TlsConfig, material: &Material, http2: bool) -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(config)?)
        .map_err(|error| HttpError::Certificate { what: "min_version".to_owned(), reason: error.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(verifier(config, material, provider)?);
    let mut client = match (&material.cert, &material.key) {
        (Some(cert), Some(key)) => {
            let cert_name = name_of("cert", config.cert_file.as_deref());
            let chain = certificates(cert).map_err(|reason| HttpError::Certificate { what: cert_name, reason })?;
            let key_name = name_of("key", config.key_file.as_deref());
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| HttpError::Certificate {
                what: key_name.clone(),
                reason: "it holds no private key".to_owned(),
            })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| HttpError::Certificate { what: key_name, reason: error.to_string() })?
        }
        _ => builder.with_no_client_auth(),
    };
    client.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(client)
}

fn versions(config: &TlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, HttpError> {
    let min = config.min_version.unwrap_or(TlsVersion::Tls12);
    let max = config.max_version.unwrap_or(TlsVersion::Tls13);
    let mut versions = Vec::new();
    for (version, supported) in
        [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)]
    {
        if min <= version && version <= max {
            versions.push(supported);
        }
    }
    if versions.is_empty() {
        return Err(HttpError::Certificate {
            what: "max_version".to_owned(),
            reason: "TLS before 1.2 is not supported".to_owned(),
        });
    }
    Ok(versions)
}

fn name_of(key: &str, file: Option<&Path>) -> String {
    file.map_or_else(|| key.to_owned(), |path| path.display().to_string())
}

fn verifier(
    config: &TlsConfig,
    material: &Material,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, HttpError> {
    let trust = if config.insecure_skip_verify {
        Trust::Anyone
    } else if let Some(pem) = &material.ca {
        let name = name_of("ca", config.ca_file.as_deref());
        let authorities = Authorities::read(pem).map_err(|reason| HttpError::Certificate { what: name, reason })?;
        Trust::Authorities(authorities)
    } else {
        Trust::System
    };
    let server_name = match &config.server_name {
        None => None,
        Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_| HttpError::Certificate {
            what: "server_name".to_owned(),
            reason: format!("{name:?} is not the name of a host"),
        })?),
    };
    Ok(Arc::new(Verifier { trust, server_name, provider }))
}

/// Decides whether the other side is who we mean.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    // The name to expect instead of the host we connect to.
    server_name: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trust {
    Anyone,
    System,
    Authorities(Authorities),
}

/// The authorities of the system, loaded when the first handshake needs them: most of what we ask speaks plain HTTP, and
/// starting should not wait for some hundred certificates.
fn system(provider: &Arc<CryptoProvider>) -> Result<&'static rustls_platform_verifier::Verifier, Error> {
    static SYSTEM: OnceLock<Result<rustls_platform_verifier::Verifier, Error>> = OnceLock::new();
    SYSTEM.get_or_init(|| rustls_platform_verifier::Verifier::new(Arc::clone(provider))).as_ref().map_err(Clone::clone)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let server_name = self.server_name.as_ref().unwrap_or(server_name);
        match &self.trust {
            Trust::Anyone => Ok(ServerCertVerified::assertion()),
            Trust::System => {
                let verify = |system: &'static rustls_platform_verifier::Verifier| {
                    system.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                };
                let verdict = system(&self.provider).and_then(verify);
                match authorities::more().filter(|_| verdict.is_err()) {
                    Some(more) => more.verify(end_entity, intermediates, server_name, ocsp_response, now).or(verdict),
                    None => verdict,
                }
            }
            Trust::Authorities(authorities) => {
                authorities.verify(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
