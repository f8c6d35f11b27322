//! TLS with real handshakes on loopback. The certificates are made by `testdata/tls/make.sh`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use relatum_config::Secret;
use relatum_config::prometheus::TlsVersion;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls").join(name)
}

fn pem(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// Serves one connection at a time with the certificate `name`; returns the URL.
fn serve(name: &str, asks_for_certificate: bool) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = if asks_for_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem("ca.pem").as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let cert = CertificateDer::from_pem_slice(pem(&format!("{name}.pem")).as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem(&format!("{name}.key")).as_bytes()).unwrap();
    let config = Arc::new(builder.with_single_cert(vec![cert], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp);
            let mut request = Vec::new();
            let mut chunk = [0; 1024];
            // A client that refuses us ends the connection: the next one may be served.
            while !request.ends_with(b"\r\n\r\n") {
                match tls.read(&mut chunk) {
                    Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
                    _ => break,
                }
            }
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    url
}

async fn get(url: &str, tls: TlsConfig) -> Result<String, String> {
    let config = HttpClientConfig { tls, ..HttpClientConfig::default() };
    let connection = HttpClients::default().connection(&config).map_err(|error| error.to_string())?;
    let (client, headers) = connection.open().await.map_err(|error| error.to_string())?;
    let response =
        client.get(url).headers(headers).send().await.map_err(|error| request_failure("Get", "URL", &error))?;
    response.text().await.map_err(|error| body_failure(&error))
}

#[track_caller]
fn check(url: &str, tls: TlsConfig, expected: Result<(), &str>) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let result = get(url, tls).await;
        let expected = expected.map(|()| "ok".to_owned()).map_err(|text| format!("Get \"URL\": {text}"));
        assert_eq!(result, expected, "{caller}");
    }
}

#[tokio::test]
async fn whom_to_trust() {
    let (server, alone) = (serve("server", false), serve("alone", false));
    let trusting = |ca: &str| TlsConfig { ca_file: Some(path(ca)), ..TlsConfig::default() };
    let named = |ca: &str, name: &str| TlsConfig { server_name: Some(name.to_owned()), ..trusting(ca) };
    check(&server, trusting("ca.pem"), Ok(())).await;
    check(&server, named("ca.pem", "exporter.test"), Ok(())).await;
    check(&server, TlsConfig { ca: Some(pem("ca.pem")), ..TlsConfig::default() }, Ok(())).await;
    check(&server, TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() }, Ok(())).await;
    let stranger = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    check(&server, trusting("alone.pem"), Err(stranger)).await;
    let other =
        "tls: failed to verify certificate: x509: certificate is valid for exporter.test, 127.0.0.1, not other.test";
    check(&server, named("ca.pem", "other.test"), Err(other)).await;
    // Signed by itself and trusted by name, but still held to its name.
    check(&alone, named("alone.pem", "alone.test"), Ok(())).await;
    let elsewhere = "tls: failed to verify certificate: x509: certificate is valid for alone.test, not 127.0.0.1";
    check(&alone, trusting("alone.pem"), Err(elsewhere)).await;
    let old = TlsConfig { max_version: Some(TlsVersion::Tls12), ..trusting("ca.pem") };
    check(&server, old, Ok(())).await;
}

#[tokio::test]
async fn what_to_show() {
    let url = serve("server", true);
    let trusting = TlsConfig { ca_file: Some(path("ca.pem")), ..TlsConfig::default() };
    let showing =
        TlsConfig { cert: Some(pem("client.pem")), key: Some(Secret::new(pem("client.key"))), ..trusting.clone() };
    check(&url, showing, Ok(())).await;
    check(&url, trusting.clone(), Err("remote error: tls: certificate required")).await;
    let mismatched = TlsConfig { cert_file: Some(path("client.pem")), key_file: Some(path("alone.key")), ..trusting };
    let error = get(&url, mismatched).await.unwrap_err();
    assert!(error.starts_with(&format!("cannot use {}: ", path("alone.key").display())), "{error}");
}

#[tokio::test]
async fn a_rotated_authority_counts_without_a_reload() {
    let url = serve("server", false);
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, pem("alone.pem")).unwrap();
    let tls = TlsConfig { ca_file: Some(ca_file.clone()), ..TlsConfig::default() };
    let connection =
        HttpClients::default().connection(&HttpClientConfig { tls, ..HttpClientConfig::default() }).unwrap();
    let look_again = || {
        let long_ago = Instant::now().checked_sub(CERTIFICATES_CHECKED_EVERY).expect("the machine runs that long");
        connection.client.current.lock().unwrap().checked = long_ago;
    };
    let works = async || {
        look_again();
        connection.open().await.unwrap().0.get(&url).send().await.is_ok()
    };
    assert!(!works().await);
    std::fs::write(&ca_file, pem("ca.pem")).unwrap();
    assert!(works().await);
    // Half written: the old one stays.
    std::fs::write(&ca_file, "-----BEGIN CERT").unwrap();
    assert!(works().await);
}

#[test]
fn equal_options_share_a_client() {
    let clients = HttpClients::default();
    let plain = clients.client(&[], &HttpClientConfig::default()).unwrap();
    let again = clients.client(&[], &HttpClientConfig::default()).unwrap();
    assert!(Arc::ptr_eq(&plain, &again));
    let other =
        clients.client(&[], &HttpClientConfig { follow_redirects: false, ..HttpClientConfig::default() }).unwrap();
    assert!(!Arc::ptr_eq(&plain, &other));
    drop((plain, again, other));
    assert!(clients.client(&[], &HttpClientConfig { enable_http2: false, ..HttpClientConfig::default() }).is_ok());
    assert_eq!(clients.open.lock().unwrap().len(), 1);
}

#[test]
fn bad_files_are_named() {
    let tls = TlsConfig { ca_file: Some(PathBuf::from("/nonexistent/ca.pem")), ..TlsConfig::default() };
    let error =
        HttpClients::default().client(&[], &HttpClientConfig { tls, ..HttpClientConfig::default() }).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/ca.pem");
    let tls = TlsConfig { ca: Some("no certificate".to_owned()), ..TlsConfig::default() };
    let error =
        HttpClients::default().client(&[], &HttpClientConfig { tls, ..HttpClientConfig::default() }).unwrap_err();
    assert_eq!(error.to_string(), "cannot use ca: it holds no certificate");
}
