//! How TLS is done: the section `tls_config`.

use std::path::PathBuf;

use super::feature::Feature;
use super::http::several;
use crate::Secret;
use crate::yaml::Cursor;

/// How TLS is done. Of a text and its file at most one is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Certificates of the authorities to trust, PEM; none are the system's.
    pub ca: Option<String>,
    /// Our certificate, PEM.
    pub cert: Option<String>,
    /// Its key, PEM.
    pub key: Option<Secret>,
    /// A file with the authorities.
    pub ca_file: Option<PathBuf>,
    /// A file with our certificate.
    pub cert_file: Option<PathBuf>,
    /// A file with its key.
    pub key_file: Option<PathBuf>,
    /// The name of the authorities in a secret manager.
    pub ca_ref: Option<String>,
    /// The name of our certificate there.
    pub cert_ref: Option<String>,
    /// The name of its key there.
    pub key_ref: Option<String>,
    /// The name the other side must prove, if not the host of the URL.
    pub server_name: Option<String>,
    /// Whether it need not prove any.
    pub insecure_skip_verify: bool,
    /// The oldest version to speak.
    pub min_version: Option<TlsVersion>,
    /// The newest version to speak.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS; ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// 1.0
    Tls10,
    /// 1.1
    Tls11,
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

impl TlsConfig {
    pub(super) fn read(cursor: Cursor<'_>) -> Self {
        let Some(mut section) = cursor.section() else { return TlsConfig::default() };
        let max_version = section.take("max_version");
        let [ca_ref, cert_ref, key_ref] = ["ca_ref", "cert_ref", "key_ref"]
            .map(|key| section.take_feature(key, Feature::SecretReference).and_then(Cursor::non_empty));
        let tls = TlsConfig {
            ca_ref,
            cert_ref,
            key_ref,
            ca: section.take("ca").and_then(Cursor::non_empty),
            cert: section.take("cert").and_then(Cursor::non_empty),
            key: section.take("key").and_then(Cursor::secret),
            ca_file: section.take("ca_file").and_then(Cursor::path),
            cert_file: section.take("cert_file").and_then(Cursor::path),
            key_file: section.take("key_file").and_then(Cursor::path),
            server_name: section.take("server_name").and_then(Cursor::non_empty),
            insecure_skip_verify: section.take("insecure_skip_verify").and_then(Cursor::bool).unwrap_or(false),
            min_version: section.take("min_version").and_then(TlsVersion::read),
            max_version: max_version.and_then(TlsVersion::read),
        };
        section.finish();
        if several([tls.ca.is_some(), tls.ca_file.is_some(), tls.ca_ref.is_some()]) {
            cursor.invalid("at most one of ca, ca_file & ca_ref must be configured");
        }
        if several([tls.cert.is_some(), tls.cert_file.is_some(), tls.cert_ref.is_some()]) {
            cursor.invalid("at most one of cert, cert_file & cert_ref must be configured");
        }
        if several([tls.key.is_some(), tls.key_file.is_some(), tls.key_ref.is_some()]) {
            cursor.invalid("at most one of key and key_file must be configured");
        }
        let has_cert = tls.cert.is_some() || tls.cert_file.is_some() || tls.cert_ref.is_some();
        let has_key = tls.key.is_some() || tls.key_file.is_some() || tls.key_ref.is_some();
        match (has_cert, has_key) {
            (true, false) => cursor
                .invalid("exactly one of key or key_file must be configured when a client certificate is configured"),
            (false, true) => {
                cursor.invalid("exactly one of cert or cert_file must be configured when a client key is configured");
            }
            _ => {}
        }
        if let (Some(place), Some(min), Some(max)) = (max_version, tls.min_version, tls.max_version)
            && max < min
        {
            place.invalid(
                "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified",
            );
        }
        tls
    }

    /// Every path in it.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.ca_file.iter_mut().chain(&mut self.cert_file).chain(&mut self.key_file)
    }
}

impl TlsVersion {
    pub(crate) fn read(cursor: Cursor<'_>) -> Option<Self> {
        match cursor.non_empty()?.as_str() {
            "TLS13" => Some(TlsVersion::Tls13),
            "TLS12" => Some(TlsVersion::Tls12),
            "TLS11" => {
                cursor.asks_for(Feature::OldTls);
                Some(TlsVersion::Tls11)
            }
            "TLS10" => {
                cursor.asks_for(Feature::OldTls);
                Some(TlsVersion::Tls10)
            }
            unknown => {
                cursor.invalid(format!("unknown TLS version: {unknown}"));
                None
            }
        }
    }
}
