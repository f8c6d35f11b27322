//! Real connections to a listener with a web configuration: who gets in, who does not, and what changes while it listens.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use relatum_config::web::RateLimit;
use reqwest::{Certificate, Client, Identity, Response, Version};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::limit::ClientLimiter;
use super::*;
use crate::flags::Flags;
use crate::listen::{Front, bind, serve};

/// The hash of `letmein`, at the lowest cost there is.
static HASH: LazyLock<String> = LazyLock::new(|| bcrypt::hash("letmein", 4).unwrap());

const TLS: &str = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";

/// A listener with a folder for its web configuration.
struct Server {
    folder: TempDir,
    web: Arc<Web>,
    port: u16,
}

fn material(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../transport/testdata/tls").join(name)
}

impl Server {
    /// One with the files of the tests beside `text`.
    async fn start(text: &str) -> Server {
        let folder = TempDir::new().unwrap();
        for name in ["ca.pem", "server.pem", "server.key", "alone.pem", "alone.key"] {
            std::fs::copy(material(name), folder.path().join(name)).unwrap();
        }
        let listener = bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server { folder, web: Arc::default(), port };
        server.write("web.yml", text);
        let prepared = server.web.prepare(&DiskFiles, Some(&server.path("web.yml"))).unwrap();
        server.web.commit(prepared.watched());
        let router = Router::new().route("/", get(async || "in"));
        tokio::spawn(serve(
            listener,
            router,
            Front::new(Arc::clone(&server.web), &Flags::default()),
            std::future::pending(),
        ));
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file as operators should: in one step.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(".new"), text).unwrap();
        std::fs::rename(self.path(".new"), self.path(name)).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(material(from), self.path(".new")).unwrap();
        std::fs::rename(self.path(".new"), self.path(to)).unwrap();
    }

    /// Asks as somebody who trusts the authority that signed the server's certificate, and shows the certificate `identity`.
    async fn ask(&self, identity: Option<&str>) -> Result<Response, reqwest::Error> {
        let ca = Certificate::from_pem(&std::fs::read(material("ca.pem")).unwrap()).unwrap();
        let mut client = Client::builder().tls_certs_only([ca]);
        if let Some(name) = identity {
            let mut pem = std::fs::read(material(&format!("{name}.key"))).unwrap();
            pem.extend(std::fs::read(material(&format!("{name}.pem"))).unwrap());
            client = client.identity(Identity::from_pem(&pem).unwrap());
        }
        let client = client.resolve("exporter.test", ([127, 0, 0, 1], self.port).into()).build().unwrap();
        client.get(format!("https://exporter.test:{}/", self.port)).send().await
    }

    /// Whose certificate the server shows, and in which version of HTTP it answers.
    async fn shown(&self) -> (Vec<u8>, Version) {
        let client = Client::builder().tls_danger_accept_invalid_certs(true).tls_info(true).build().unwrap();
        let answer = client.get(format!("https://127.0.0.1:{}/", self.port)).send().await.unwrap();
        let info = answer.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
        (info.peer_certificate().unwrap().to_vec(), answer.version())
    }

    async fn plain(&self, user: Option<(&str, &str)>) -> Response {
        let mut request = Client::new().get(format!("http://127.0.0.1:{}/", self.port));
        if let Some((user, password)) = user {
            request = request.basic_auth(user, Some(password));
        }
        request.send().await.unwrap()
    }
}

#[tokio::test]
async fn clients_with_and_without_certificates() {
    // By policy: whoever shows no certificate, one of ours, one that nobody knows.
    for (policy, none, ours, unknown) in [
        ("", true, true, true),
        ("client_auth_type: RequestClientCert", true, true, true),
        ("client_auth_type: RequireAnyClientCert", false, true, true),
        ("client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem", true, true, false),
        ("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem", false, true, false),
        // One that signs itself is trusted by name.
        ("client_auth_type: RequireAndVerifyClientCert, client_ca_file: alone.pem", false, false, true),
        ("client_auth_type: RequireAnyClientCert, client_allowed_sans: [alone.test]", false, false, true),
    ] {
        let server =
            Server::start(&format!("tls_server_config: {{cert_file: server.pem, key_file: server.key, {policy}}}\n"))
                .await;
        for (identity, expected) in [(None, none), (Some("client"), ours), (Some("alone"), unknown)] {
            let answer = server.ask(identity).await;
            assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), expected, "{policy}: {identity:?}");
        }
    }
}

#[tokio::test]
async fn a_new_certificate_counts_for_the_next_connection() {
    let of = |name: &str| CertificateDer::from_pem_file(material(name)).unwrap().to_vec();
    let server = Server::start(TLS).await;
    assert_eq!(server.shown().await, (of("server.pem"), Version::HTTP_2));
    // Half of a pair is no pair: what was there stays.
    server.copy("alone.pem", "server.pem");
    assert_eq!(server.shown().await.0, of("server.pem"));
    server.copy("alone.key", "server.key");
    assert_eq!(server.shown().await.0, of("alone.pem"));
    // Neither does a file that cannot be read change anything.
    server.write("web.yml", "tls_server_config: {cert_file: [");
    assert_eq!(server.shown().await.0, of("alone.pem"));
    server.write("web.yml", "http_server_config: {http2: false}\n");
    assert_eq!(server.plain(None).await.status(), 200);
    server.write("web.yml", &format!("{TLS}http_server_config: {{http2: false}}\n"));
    assert_eq!(server.shown().await, (of("alone.pem"), Version::HTTP_11));
}

#[tokio::test]
async fn users_headers_and_the_limit() {
    let hash = HASH.as_str();
    let server = Server::start(&format!(
        "basic_auth_users: {{me: {hash}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    ))
    .await;
    for (user, expected) in [
        (None, 401),
        (Some(("me", "letmein")), 200),
        (Some(("me", "wrong")), 401),
        // From memory.
        (Some(("me", "letmein")), 200),
        (Some(("me", "wrong")), 401),
        (Some(("you", "letmein")), 401),
        (Some(("", "")), 401),
    ] {
        let answer = server.plain(user).await;
        assert_eq!(answer.status(), expected, "{user:?}");
        assert_eq!(answer.headers()["x-frame-options"], "deny", "{user:?}");
        assert_eq!(answer.headers().contains_key("www-authenticate"), expected == 401, "{user:?}");
    }
    // Who is struck off the list is out at once, although the password is remembered.
    server.write("web.yml", &format!("basic_auth_users: {{you: {hash}}}\n"));
    assert_eq!(server.plain(Some(("me", "letmein"))).await.status(), 401);
    assert_eq!(server.plain(Some(("you", "letmein"))).await.status(), 200);
    server.write("web.yml", "rate_limit: {burst: 1, interval: 1h}\n");
    assert_eq!(server.plain(None).await.status(), 200);
    let refused = server.plain(None).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (429, &b"3600"[..]));
}

#[tokio::test]
async fn one_client_has_only_so_many_requests() {
    let server = Server::start("{}\n").await;
    // So slow that nothing is gained meanwhile.
    let limit = RateLimit { burst: 2, interval: Duration::from_secs(3600) };
    server.web.set_door(Door { clients: Some(ClientLimiter::new(limit)), ..Door::default() });
    for expected in [200, 200, 429] {
        let answer = server.plain(None).await;
        assert_eq!(answer.status(), expected);
        assert_eq!(answer.headers().contains_key("retry-after"), expected == 429);
        assert!(answer.headers().contains_key("x-request-id"));
    }
    let shown = relatum_model::exposition::write_text(&server.web.metrics());
    for line in ["relatum_http_requests_over_rate_total 1", "relatum_http_clients 1", "relatum_http_clients_max 10000"]
    {
        assert!(shown.contains(&format!("\n{line}\n")), "{shown}");
    }
    server.web.set_door(Door::new(&Flags::default()));
    assert_eq!(server.plain(None).await.status(), 200);
}

#[tokio::test]
async fn others_do_not_notice_bad_clients() {
    let server = Server::start(TLS).await;
    let connect = || TcpStream::connect(("127.0.0.1", server.port));
    let mut plain = connect().await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut told = String::new();
    plain.read_to_string(&mut told).await.unwrap();
    assert!(
        told.starts_with("HTTP/1.0 400") && told.ends_with("Client sent an HTTP request to an HTTPS server.\n"),
        "{told}"
    );
    // More than may shake hands at once, all of them silent. The oldest are sent away.
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(connect().await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), server.ask(None)).await;
    assert_eq!(answer.expect("nobody waits").unwrap().status(), 200);
    assert_eq!(silent[0].read(&mut [0]).await.unwrap(), 0);
    // Bytes that are no TLS end their own connection.
    let mut noise = connect().await.unwrap();
    noise.write_all(&[22; 4096]).await.unwrap();
    let mut rest = Vec::new();
    let _ = noise.read_to_end(&mut rest).await;
    assert_eq!(server.ask(None).await.unwrap().status(), 200);
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    let web = Web::default();
    for (text, expected) in [
        ("tls_server_config: {cert_file: no.pem, key_file: server.key}", "cannot read cert"),
        (
            "tls_server_config: {cert_file: client.key, key_file: server.key}",
            "cannot use cert: it holds no certificate",
        ),
        ("tls_server_config: {cert_file: server.pem, key_file: client.pem}", "cannot use key: it holds no private key"),
        ("tls_server_config: {cert_file: server.pem, key_file: client.key}", "cannot use key: "),
        (
            "tls_server_config: {cert_file: server.pem, key_file: server.key, max_version: TLS11}",
            "cannot use max_version",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert}",
            "cannot use client_auth_type",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: server.key, curve_preferences: [CurveP521]}",
            "cannot use curve_preferences: this server has none of them",
        ),
        ("http_server_config: {headers: {X-Frame-Options: no}}", "1:49: invalid value for X-Frame-Options"),
        ("basic_auth_user: {}", "1:1: field basic_auth_user not found"),
    ] {
        for name in ["server.pem", "server.key", "client.pem", "client.key"] {
            std::fs::copy(material(name), folder.path().join(name)).unwrap();
        }
        let path = folder.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        let problems = web.prepare(&DiskFiles, Some(&path)).unwrap_err();
        let seen = problems[0].to_string();
        assert!(seen.contains(expected), "{text}: {seen}");
    }
}
