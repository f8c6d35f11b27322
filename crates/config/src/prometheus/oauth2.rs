//! How a token is asked for by OAuth 2: the section `oauth2`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::feature::Feature;
use super::http::{ProxyConfig, several};
use super::tls::TlsConfig;
use crate::Secret;
use crate::yaml::Cursor;

/// How a token is asked for. Of a text, its file and its reference at most one is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OAuth2Config {
    /// Who we are; not empty.
    pub client_id: String,
    /// Our secret.
    pub client_secret: Option<Secret>,
    /// A file with our secret.
    pub client_secret_file: Option<PathBuf>,
    /// The name of our secret in a secret manager.
    pub client_secret_ref: Option<String>,
    /// The id of the key that signs.
    pub client_certificate_key_id: String,
    /// The key that signs, PEM.
    pub client_certificate_key: Option<Secret>,
    /// A file with the key; as it is written.
    pub client_certificate_key_file: String,
    /// The name of the key in a secret manager.
    pub client_certificate_key_ref: Option<String>,
    /// Whether we show a signed statement rather than a secret.
    pub jwt_bearer: bool,
    /// `RS256`, `RS384` or `RS512`; empty is the first.
    pub signature_algorithm: String,
    /// Who says it; empty is the client id.
    pub issuer: String,
    /// Whom we say it to; empty is the URL.
    pub audience: String,
    /// What else we say.
    pub claims: BTreeMap<String, serde_json::Value>,
    /// What the token is for.
    pub scopes: Vec<String>,
    /// Where to ask; not empty.
    pub token_url: String,
    /// Further parameters of the request.
    pub endpoint_params: BTreeMap<String, String>,
    /// How TLS is done.
    pub tls: TlsConfig,
    /// Which proxy to go through.
    pub proxy: ProxyConfig,
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn read_claims(cursor: Cursor<'_>) -> BTreeMap<String, serde_json::Value> {
    cursor.entries().into_iter().map(|(name, _, value)| (name, value.json())).collect()
}

impl OAuth2Config {
    pub(super) fn read(cursor: Cursor<'_>) -> Option<Self> {
        let mut section = cursor.section()?;
        let mut string = |key| section.take(key).and_then(Cursor::string).unwrap_or_default();
        let (client_id, token_url) = (string("client_id"), string("token_url"));
        let (key_id, key_file) = (string("client_certificate_key_id"), string("client_certificate_key_file"));
        let (signature_algorithm, issuer, audience) =
            (string("signature_algorithm"), string("iss"), string("audience"));
        let jwt_bearer = string("grant_type") == JWT_BEARER;
        let [client_secret_ref, client_certificate_key_ref] = ["client_secret_ref", "client_certificate_key_ref"]
            .map(|key| section.take_feature(key, Feature::SecretReference).and_then(Cursor::non_empty));
        let config = OAuth2Config {
            client_id,
            client_secret: section.take("client_secret").and_then(Cursor::secret),
            client_secret_file: section.take("client_secret_file").and_then(Cursor::path),
            client_secret_ref,
            client_certificate_key_id: key_id,
            client_certificate_key: section.take("client_certificate_key").and_then(Cursor::secret),
            client_certificate_key_file: key_file,
            client_certificate_key_ref,
            jwt_bearer,
            signature_algorithm,
            issuer,
            audience,
            claims: section.take("claims").map(read_claims).unwrap_or_default(),
            scopes: section.take("scopes").map(Cursor::strings).unwrap_or_default(),
            token_url,
            endpoint_params: section.take("endpoint_params").map(Cursor::string_map).unwrap_or_default(),
            tls: section.take("tls_config").map(TlsConfig::read).unwrap_or_default(),
            proxy: ProxyConfig::read(&mut section),
        };
        section.finish();
        config.check(cursor);
        Some(config)
    }

    fn check(&self, cursor: Cursor<'_>) {
        if self.client_id.is_empty() {
            cursor.invalid("oauth2 client_id must be configured");
        }
        if self.token_url.is_empty() {
            cursor.invalid("oauth2 token_url must be configured");
        }
        if self.jwt_bearer {
            if several([
                self.client_certificate_key.is_some(),
                !self.client_certificate_key_file.is_empty(),
                self.client_certificate_key_ref.is_some(),
            ]) {
                cursor.invalid(format!(
                    "at most one of oauth2 client_certificate_key, client_certificate_key_file & \
                     client_certificate_key_ref must be configured using grant-type={JWT_BEARER}"
                ));
            }
            if !["", "RS256", "RS384", "RS512"].contains(&self.signature_algorithm.as_str()) {
                cursor.invalid("valid signature algorithms are RS256, RS384 and RS512");
            }
        } else if several([
            self.client_secret.is_some(),
            self.client_secret_file.is_some(),
            self.client_secret_ref.is_some(),
        ]) {
            cursor.invalid(
                "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured \
                 using grant-type=client_credentials",
            );
        }
    }

    /// Every path in it that is relative to the file.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.client_secret_file.iter_mut().chain(self.tls.paths())
    }
}
