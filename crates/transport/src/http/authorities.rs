//! Authorities to trust beside those of the system, for everything that does not name its own: as if they were installed there.
//!
//! They are of the whole process, as the system's are, and are asked at each handshake: clients that are there already need not be
//! made anew when they change.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

use super::certificates::certificates;

static MORE: LazyLock<ArcSwapOption<Authorities>> = LazyLock::new(ArcSwapOption::empty);

/// Authorities that are ready to be trusted.
#[derive(Debug, Clone)]
pub struct Authorities {
    inner: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// Reads them from a text with one certificate or more, all of them usable; else says why not.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        Authorities::new(certificates(pem)?)
    }

    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| match error {
                Error::InvalidCertificate(CertificateError::BadEncoding) => "it is no certificate".to_owned(),
                error => error.to_string(),
            })?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Authorities { inner, certificates })
    }

    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // A certificate that signs itself and is trusted by name, as `openssl req -x509` makes them, is no chain
            // to the library. It gets this far only when it is valid today.
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if self.certificates.iter().any(|authority| authority.as_ref() == end_entity.as_ref()) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }
}

/// Trusts `authorities` from now on, and none of those before them.
pub fn trust_also(authorities: Option<Authorities>) {
    MORE.store(authorities.map(Arc::new));
}

/// Those that are trusted beside the system's.
pub(super) fn more() -> Option<Arc<Authorities>> {
    MORE.load_full()
}
