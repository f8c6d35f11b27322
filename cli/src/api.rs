//! A Prometheus-compatible HTTP API as a client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use relatum_agent::control::Status;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use crate::Global;
use crate::failure::CommandFailure;

/// What is longer goes into the body: servers and what stands before them refuse long URLs.
const QUERY_CHARS_MAX: usize = 2000;

/// What takes its parameters as a form.
const TAKES_FORMS: [&str; 4] = ["query", "query_range", "series", "labels"];

/// An API to ask.
#[derive(Debug)]
pub(crate) struct Api {
    base: String,
    client: reqwest::Client,
}

/// A good answer: the data, and what the server remarks about it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) data: Value,
    pub(crate) notes: Vec<String>,
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

impl Api {
    /// The API at `base`.
    pub(crate) fn at(base: &str) -> Result<Self, CommandFailure> {
        let url = reqwest::Url::parse(base);
        if !url.is_ok_and(|url| url.has_host() && ["http", "https"].contains(&url.scheme())) {
            return Err(CommandFailure::usage(format!("--url: {base:?} is not a URL"))
                .hint("write http://HOST:PORT, or with https"));
        }
        Api::with(base, reqwest::Client::builder())
    }

    fn with(base: &str, client: reqwest::ClientBuilder) -> Result<Self, CommandFailure> {
        let failed = |error| CommandFailure::failed(format!("cannot set up HTTP: {error}"));
        let client = client.timeout(Duration::from_secs(150)).build().map_err(failed)?;
        Ok(Api { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// The API of the agent this command talks to.
    pub(crate) async fn of_agent(global: &Global) -> Result<Self, CommandFailure> {
        Api::of(&global.client().status().await?)
    }

    /// The API of the agent with this status.
    pub(crate) fn of(status: &Status) -> Result<Self, CommandFailure> {
        let mut client = reqwest::Client::builder();
        if !status.api_authority.is_empty() {
            let failed = |error| CommandFailure::failed(format!("cannot use the agent's authority: {error}"));
            let authority = reqwest::Certificate::from_pem(status.api_authority.as_bytes()).map_err(failed)?;
            client = client.tls_certs_only([authority]);
            // The certificate is for a name, which need not lead here from every machine.
            let host = status.api_url.trim_start_matches("https://").rsplit_once(':').map(|(host, _)| host);
            if let (Some(host), Ok(listen)) = (host, status.listen.parse::<SocketAddr>()) {
                let ip = match listen.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                    ip => ip,
                };
                client = client.resolve(host, SocketAddr::new(ip, listen.port()));
            }
        }
        Api::with(&status.api_url, client)
    }

    /// Asks for `path` below `/api/v1`.
    pub(crate) async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Answer, CommandFailure> {
        let url = format!("{}/api/v1/{path}", self.base);
        let form = encoded(parameters);
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            let mut text = format!("cannot ask {url}: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(deeper) = cause {
                text = format!("{text}: {deeper}");
                cause = deeper.source();
            }
            CommandFailure::failed(text)
        };
        let request = if form.len() > QUERY_CHARS_MAX && TAKES_FORMS.contains(&path) {
            self.client.post(&url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
        } else {
            self.client.get(&url).query(parameters)
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = response.text().await.map_err(failed)?;
        let envelope: Envelope = serde_json::from_str(&body).map_err(|_| {
            let start: String = body.trim().chars().take(200).collect();
            CommandFailure::failed(format!("{url} answered {status} and no JSON of Prometheus: {start}"))
        })?;
        if envelope.status != "success" {
            return Err(CommandFailure::failed(envelope.error));
        }
        let notes = envelope.warnings.into_iter().chain(envelope.infos).collect();
        Ok(Answer { data: envelope.data, notes })
    }
}

/// Parameters as a form, which is also how they stand in a URL.
fn encoded(parameters: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://localhost").expect("a URL");
    url.query_pairs_mut().extend_pairs(parameters);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// The first line of what is sent for `expr`.
    async fn sent(expr: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let api = Api::at(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a URL");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = vec![0; 1 << 16];
            let n = stream.read(&mut request).expect("a request");
            let body = r#"{"status":"success","data":1}"#;
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
                .expect("an answer");
            String::from_utf8_lossy(&request[..n]).lines().next().unwrap_or_default().to_owned()
        });
        api.ask("query", &[("query", expr)]).await.expect("a good answer");
        server.join().expect("a request was read")
    }

    #[tokio::test]
    async fn long_expressions_go_into_the_body() {
        assert_eq!(sent("up == 0").await, "GET /api/v1/query?query=up+%3D%3D+0 HTTP/1.1");
        assert_eq!(sent(&"up + ".repeat(1000)).await, "POST /api/v1/query HTTP/1.1");
    }
}
