//! `relatum check web-config`

use std::path::{Path, PathBuf};

use relatum_config::web::{ServerTlsConfig, WebConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Verdict;
use crate::failure::CommandFailure;
use crate::output::put;

/// Checks each file with the certificates it names, and says of each what it is.
pub(super) fn check_all(files: &[PathBuf], verdict: &mut Verdict) -> Result<(), CommandFailure> {
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| CommandFailure::failed(format!("cannot read {name}: {error}")))?;
        let faults = match WebConfig::parse(&text) {
            Ok(config) => {
                let folder = file.parent().unwrap_or(Path::new(""));
                let fault = config.tls.as_ref().and_then(|tls| check_certificates(tls, folder).err());
                fault.into_iter().collect()
            }
            Err(problems) => problems.iter().map(|problem| format!("{name}:{problem}")).collect::<Vec<_>>(),
        };
        if faults.is_empty() {
            put(&format!("{name} SUCCESS\n"))?;
        } else {
            verdict.refused = true;
            faults.iter().for_each(|fault| eprintln!("{name} FAILED: {fault}"));
        }
    }
    Ok(())
}

/// Whether the certificate and its key are there and belong together; paths are relative to `folder`.
fn check_certificates(tls: &ServerTlsConfig, folder: &Path) -> Result<(), String> {
    let cert = pem("cert_file", tls.cert_file.as_deref(), tls.cert.as_deref(), folder)?;
    let key = pem("key_file", tls.key_file.as_deref(), tls.key.as_ref().map(|key| key.expose()), folder)?;
    pem("client_ca_file", tls.client_ca_file.as_deref(), tls.client_ca.as_deref(), folder)?;
    let unusable = |error: &dyn std::error::Error| format!("failed to load X509KeyPair: {error}");
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&cert).collect();
    let chain = chain.map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| unusable(&error))?;
    let pair = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    pair.map(|_| ()).map_err(|error| unusable(&error))
}

/// The text of one of the PEM parts; a file wins over a text.
fn pem(field: &str, file: Option<&Path>, text: Option<&str>, folder: &Path) -> Result<Vec<u8>, String> {
    let Some(file) = file else { return Ok(text.unwrap_or_default().into()) };
    std::fs::read(folder.join(file)).map_err(|error| format!("failed to read {field} ({}): {error}", file.display()))
}
