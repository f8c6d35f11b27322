//! The web configuration: TLS, headers, users and the rate limit of our own listener.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relatum_model::text::quote;

use crate::prometheus::TlsVersion;
use crate::yaml::{self, Cursor, Findings};
use crate::{Problem, Secret};

/// The file behind `--web.config.file`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebConfig {
    /// How TLS is done; plain HTTP without it.
    pub tls: Option<ServerTlsConfig>,
    /// Whether HTTP/2 may be used; only with TLS.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: BTreeMap<String, String>,
    /// Who may come in, with the bcrypt hash of the password; everybody if there is nobody.
    pub users: BTreeMap<String, Secret>,
    /// How many requests are served.
    pub rate_limit: Option<RateLimit>,
}

/// How many requests are served: one each interval, and as many at once as the burst says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many at once.
    pub burst: i64,
    /// The time between two; not zero.
    pub interval: Duration,
}

/// How our listener does TLS. A file wins over its text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerTlsConfig {
    /// Our certificate, PEM.
    pub cert: Option<String>,
    /// Its key, PEM.
    pub key: Option<Secret>,
    /// Authorities of clients, PEM.
    pub client_ca: Option<String>,
    /// A file with our certificate.
    pub cert_file: Option<PathBuf>,
    /// A file with its key.
    pub key_file: Option<PathBuf>,
    /// A file with the authorities of clients.
    pub client_ca_file: Option<PathBuf>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Names of which a client's certificate must have one; any will do if there are none.
    pub client_allowed_sans: Vec<String>,
    /// The cipher suites of TLS 1.2, by Go's names; all good ones if there are none.
    pub cipher_suites: Vec<String>,
    /// The curves, by Go's names; all good ones if there are none.
    pub curve_preferences: Vec<String>,
    /// Whether our order of the suites wins.
    pub prefer_server_cipher_suites: bool,
    /// The oldest version to speak.
    pub min_version: Option<TlsVersion>,
    /// The newest version to speak.
    pub max_version: Option<TlsVersion>,
}

/// What is asked of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientAuth {
    /// Nothing.
    #[default]
    None,
    /// A certificate, which they need not have.
    Request,
    /// Any certificate.
    RequireAny,
    /// If they have a certificate, one of ours.
    VerifyIfGiven,
    /// One of our certificates.
    RequireAndVerify,
}

/// Headers that can be set, with the values of those that have few.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

const CIPHER_SUITES: [&str; 23] = [
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_RC4_128_SHA",
];

const CURVES: [&str; 4] = ["CurveP256", "CurveP384", "CurveP521", "X25519"];

impl WebConfig {
    /// Reads the file. An empty text is plain HTTP for everybody.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (root, more) = yaml::parse(text).map_err(|problem| vec![problem])?;
        let findings = Findings::default();
        let mut config = WebConfig { http2: true, ..WebConfig::default() };
        if let Some(root) = &root {
            config.read(Cursor::new(root, &findings));
        }
        if more {
            findings.general("the file has more than one YAML document");
        }
        let found = findings.finish(root.as_ref());
        if found.problems.is_empty() { Ok(config) } else { Err(found.problems) }
    }

    /// Makes relative paths start at `directory`: that of the file.
    pub fn join_directory(&mut self, directory: &Path) {
        if let Some(tls) = &mut self.tls {
            let files = tls.cert_file.iter_mut().chain(&mut tls.key_file).chain(&mut tls.client_ca_file);
            files.for_each(|path| *path = directory.join(&*path));
        }
    }

    fn read(&mut self, cursor: Cursor<'_>) {
        let Some(mut section) = cursor.section() else { return };
        self.tls = section.take("tls_server_config").and_then(ServerTlsConfig::read);
        if let Some(mut http) = section.take("http_server_config").and_then(Cursor::section) {
            self.http2 = http.take("http2").map_or(Some(true), Cursor::bool).unwrap_or(true);
            self.headers = http.take("headers").map(read_headers).unwrap_or_default();
            http.finish();
        }
        if let Some(mut limit) = section.take("rate_limit").and_then(Cursor::section) {
            let burst = limit.take("burst").and_then(Cursor::signed).unwrap_or(0);
            let interval = limit.take("interval").and_then(read_go_duration).unwrap_or_default();
            self.rate_limit = (!interval.is_zero()).then_some(RateLimit { burst, interval });
            limit.finish();
        }
        for (name, _, value) in section.take("basic_auth_users").map(Cursor::entries).unwrap_or_default() {
            let hash = value.secret().unwrap_or_default();
            if let Err(message) = check_bcrypt(hash.expose()) {
                value.invalid(message);
            }
            self.users.insert(name, hash);
        }
        section.finish();
    }
}

fn read_headers(cursor: Cursor<'_>) -> BTreeMap<String, String> {
    for (name, key, value) in cursor.entries() {
        let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            key.invalid(format!("HTTP header {} can not be configured", quote(&name)));
            continue;
        };
        let Some(text) = value.string() else { continue };
        if !allowed.is_empty() && !allowed.contains(&text.as_str()) {
            let names: Vec<String> = allowed.iter().map(|allowed| quote(allowed)).collect();
            let (names, text) = (names.join(" "), quote(&text));
            value.invalid(format!("invalid value for {name}. Expected one of: [{names}], but got: {text}"));
        }
    }
    cursor.string_map()
}

impl ServerTlsConfig {
    /// `None` when nothing in it asks for TLS.
    fn read(cursor: Cursor<'_>) -> Option<Self> {
        let mut section = cursor.section()?;
        let auth = section.take("client_auth_type");
        let auth_text = auth.and_then(Cursor::non_empty);
        let mut names = |key, known: &[&str], what: &str| {
            let items = section.take(key).map(Cursor::items).unwrap_or_default();
            let check = |item: Cursor<'_>| {
                let name = item.string()?;
                if !known.is_empty() && !known.contains(&name.as_str()) {
                    item.invalid(format!("unknown {what}: {name}"));
                }
                Some(name)
            };
            items.into_iter().filter_map(check).collect::<Vec<String>>()
        };
        let cipher_suites = names("cipher_suites", &CIPHER_SUITES, "cipher");
        let curve_preferences = names("curve_preferences", &CURVES, "curve");
        let client_allowed_sans = names("client_allowed_sans", &[], "name");
        let prefer = section.take("prefer_server_cipher_suites").map_or(Some(true), Cursor::bool);
        let tls = ServerTlsConfig {
            cert: section.take("cert").and_then(Cursor::non_empty),
            key: section.take("key").and_then(Cursor::secret),
            client_ca: section.take("client_ca").and_then(Cursor::non_empty),
            cert_file: section.take("cert_file").and_then(Cursor::path),
            key_file: section.take("key_file").and_then(Cursor::path),
            client_ca_file: section.take("client_ca_file").and_then(Cursor::path),
            client_auth: auth.and_then(ClientAuth::read).unwrap_or_default(),
            client_allowed_sans,
            cipher_suites,
            curve_preferences,
            prefer_server_cipher_suites: prefer.unwrap_or(true),
            min_version: section.take("min_version").and_then(TlsVersion::read),
            max_version: section.take("max_version").and_then(TlsVersion::read),
        };
        section.finish();
        let has_cert = tls.cert.is_some() || tls.cert_file.is_some();
        let has_key = tls.key.is_some() || tls.key_file.is_some();
        let has_ca = tls.client_ca.is_some() || tls.client_ca_file.is_some();
        if !(has_cert || has_key || has_ca || auth_text.is_some()) {
            return None;
        }
        if !has_cert {
            cursor.invalid("missing one of cert or cert_file");
        }
        if !has_key {
            cursor.invalid("missing one of key or key_file");
        }
        if has_ca && tls.client_auth == ClientAuth::None {
            cursor.invalid("client CA's have been configured without a Client Auth Policy");
        }
        Some(tls)
    }
}

impl ClientAuth {
    fn read(cursor: Cursor<'_>) -> Option<Self> {
        match cursor.string()?.as_str() {
            "" | "NoClientCert" => Some(ClientAuth::None),
            "RequestClientCert" => Some(ClientAuth::Request),
            "RequireAnyClientCert" | "RequireClientCert" => Some(ClientAuth::RequireAny),
            "VerifyClientCertIfGiven" => Some(ClientAuth::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Some(ClientAuth::RequireAndVerify),
            other => {
                cursor.invalid(format!("invalid ClientAuth: {other}"));
                None
            }
        }
    }
}

/// Whether `hash` looks like one of bcrypt: version, cost, salt and digest.
fn check_bcrypt(hash: &str) -> Result<(), String> {
    let failed = |reason: String| Err(format!("crypto/bcrypt: {reason}"));
    let bytes = hash.as_bytes();
    if bytes.len() < 59 {
        return failed("hashedSecret too short to be a bcrypted password".to_owned());
    }
    if bytes[0] != b'$' {
        let first = char::from(bytes[0]);
        return failed(format!("bcrypt hashes must start with '$', but hashedSecret started with '{first}'"));
    }
    if bytes[1] > b'2' {
        let version = char::from(bytes[1]);
        return failed(format!("bcrypt algorithm version '{version}' requested is newer than current version '2'"));
    }
    let cost = hash.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
    match cost {
        Some(4..=31) => Ok(()),
        Some(cost) => failed(format!("cost {cost} is outside allowed inclusive range 4..31")),
        None => failed("the cost is not a number".to_owned()),
    }
}

/// Go's own durations: numbers with units, which may have fractions; a bare number is nanoseconds.
fn read_go_duration(cursor: Cursor<'_>) -> Option<Duration> {
    let text = cursor.non_empty()?;
    if let Ok(nanoseconds) = text.parse::<u64>() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let parsed = parse_go_duration(&text);
    if parsed.is_none() {
        cursor.invalid(format!("time: invalid duration {}", quote(&text)));
    }
    parsed
}

fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let factor = match &after[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = &after[end..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_whole_file() {
        let hash = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";
        let text = format!(
            "tls_server_config: {{cert_file: c.pem, key_file: k.pem, client_ca_file: ca.pem, client_auth_type: \
             RequireAndVerifyClientCert, min_version: TLS13, cipher_suites: [TLS_AES_128_GCM_SHA256]}}\n\
             http_server_config: {{http2: off, headers: {{X-Frame-Options: deny}}}}\n\
             rate_limit: {{burst: 5, interval: 1.5s}}\nbasic_auth_users: {{me: {hash}}}\n"
        );
        let mut config = WebConfig::parse(&text).unwrap();
        config.join_directory(Path::new("/etc/p"));
        let tls = config.tls.as_ref().unwrap();
        assert_eq!(tls.cert_file.as_deref(), Some(Path::new("/etc/p/c.pem")));
        assert_eq!((tls.client_auth, tls.min_version), (ClientAuth::RequireAndVerify, Some(TlsVersion::Tls13)));
        assert_eq!(config.rate_limit, Some(RateLimit { burst: 5, interval: Duration::from_millis(1500) }));
        assert_eq!((config.http2, config.users["me"].expose()), (false, hash));
        assert!(!format!("{config:?}").contains(hash));
        assert_eq!(WebConfig::parse("").unwrap(), WebConfig { http2: true, ..WebConfig::default() });
    }

    #[test]
    fn refuses_by_name() {
        for (text, expected) in [
            ("tls_config: {}\n", "1:1: field tls_config not found (in tls_config)"),
            ("tls_server_config: {cert_file: a}\n", "1:20: missing one of key or key_file (in tls_server_config)"),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}\n",
                "1:20: client CA's have been configured without a Client Auth Policy (in tls_server_config)",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: Yes}\n",
                "1:66: invalid ClientAuth: Yes (in tls_server_config.client_auth_type)",
            ),
            (
                "http_server_config: {headers: {X: y}}\n",
                "1:32: HTTP header \"X\" can not be configured (in http_server_config.headers.X)",
            ),
            (
                "basic_auth_users: {me: secret}\n",
                "1:24: crypto/bcrypt: hashedSecret too short to be a bcrypted password (in basic_auth_users.me)",
            ),
            ("rate_limit: {interval: soon}\n", "1:24: time: invalid duration \"soon\" (in rate_limit.interval)"),
        ] {
            assert_eq!(WebConfig::parse(text).unwrap_err()[0].to_string(), expected);
        }
    }
}
