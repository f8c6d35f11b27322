//! Certificates as text.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error, PemObject};

/// The certificates in `pem`, at least one; else says why there is none. Whether each is one shows where it is used.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("it holds no certificate".to_owned()),
        Ok(found) => Ok(found),
        // The library shows the line at fault as a list of bytes.
        Err(Error::MissingSectionEnd { .. }) => Err("it ends before the -----END line of a certificate".to_owned()),
        Err(Error::IllegalSectionStart { .. }) => Err("a line that begins a section does not end in -----".to_owned()),
        Err(Error::Base64Decode(_)) => Err("what stands between its -----BEGIN and -----END is not base64".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
