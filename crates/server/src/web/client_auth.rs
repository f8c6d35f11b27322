//! Which certificates clients must have.

use std::sync::Arc;

use relatum_config::web::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::WebError;
use super::x509;

/// Decides whether a client may come in.
#[derive(Debug)]
pub(super) struct Verifier {
    auth: ClientAuth,
    /// Checks chains; `None` where any certificate will do.
    inner: Option<Arc<dyn ClientCertVerifier>>,
    authorities: Vec<CertificateDer<'static>>,
    allowed_names: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// One for clients whose certificates `authorities` have signed.
    pub(super) fn new(
        auth: ClientAuth,
        authorities: Vec<CertificateDer<'static>>,
        allowed_names: Vec<String>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, WebError> {
        let refused = |reason: String| WebError::Unusable { field: "client_ca_file", reason };
        let inner = match auth {
            ClientAuth::None | ClientAuth::Request | ClientAuth::RequireAny => None,
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
                let mut roots = RootCertStore::empty();
                for authority in &authorities {
                    roots.add(authority.clone()).map_err(|error| refused(error.to_string()))?;
                }
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                let builder = if auth == ClientAuth::VerifyIfGiven { builder.allow_unauthenticated() } else { builder };
                Some(builder.build().map_err(|error| refused(error.to_string()))?)
            }
        };
        Ok(Verifier { auth, inner, authorities, allowed_names, provider })
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.auth != ClientAuth::None
    }

    fn client_auth_mandatory(&self) -> bool {
        matches!(self.auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.as_ref().map_or(&[], |inner| inner.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.inner.as_ref().map(|inner| inner.verify_client_cert(end_entity, intermediates, now)) {
            None | Some(Ok(_)) => {}
            // A certificate that signs itself and is trusted by name, as `openssl req -x509` makes them, is no chain to the library.
            // It gets this far only when it is valid today.
            Some(Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))))
                if self.authorities.iter().any(|authority| authority.as_ref() == end_entity.as_ref()) => {}
            Some(Err(error)) => return Err(error),
        }
        if !self.allowed_names.is_empty() {
            let certificate = x509::Certificate::read(end_entity)
                .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
            if !certificate.names.iter().any(|name| self.allowed_names.contains(name)) {
                return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
            }
        }
        Ok(ClientCertVerified::assertion())
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
