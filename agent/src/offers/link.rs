//! One question to the agent that made an offer, and what can be wrong with the answer.

use std::time::Duration;

use relatum_config::Secret;
use relatum_config::prometheus::{Authorization, HttpClientConfig, TlsConfig};
use relatum_server::outgoing::{Connection, HttpClients, request_failure};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::protocol::{Answer, BODY_BYTES_MAX, Question, Reason, Refusal, VERSION};
use crate::store::Upstream;

/// How much longer an answer may take than the other side was asked to wait.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a server says to whoever speaks plain HTTP to it.
const WANTS_HTTPS: &str = "Client sent an HTTP request to an HTTPS server.";

/// How much of what another program says is shown.
const SHOWN_CHARS_MAX: usize = 200;

/// Why an upstream did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody answers.
    Unreachable(String),
    /// Something answers, but no agent.
    NotRelatum(String),
    /// An agent answers, and refuses.
    Refused(Refusal),
    /// The agent has a certificate now, and answers only over TLS.
    WantsHttps,
    /// The connection cannot be made from what was given.
    Unusable(String),
}

impl Trouble {
    /// Whether the relation is over.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Trouble::Refused(Refusal { error: Reason::Gone, .. }))
    }

    /// One line.
    pub(crate) fn message(&self) -> String {
        match self {
            Trouble::Unreachable(reason) => format!("the offer cannot be reached: {reason}"),
            Trouble::NotRelatum(reason) => format!("what answers at the URL is not a relatum agent: {reason}"),
            Trouble::Refused(refusal) => match refusal.error {
                Reason::WrongSecret => "the offer's agent does not know this URL with this secret".to_owned(),
                Reason::NotReady => format!("the offer cannot be reached: {}", refusal.message),
                _ => format!("the offer's agent refuses: {}", refusal.message),
            },
            Trouble::WantsHttps => "the offer's agent answers only over HTTPS now".to_owned(),
            Trouble::Unusable(reason) => format!("the offer cannot be used: {reason}"),
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Trouble::Unreachable(_) => {
                "what it said last stays in effect, samples wait in the log; it is asked again and again"
            }
            Trouble::NotRelatum(_) => "is it the URL that `relatum offer` printed, and does a proxy pass /offers/ on?",
            Trouble::Refused(refusal) => match refusal.error {
                Reason::WrongSecret => {
                    "relate to the same URL again with the secret that `relatum offer` printed, or to a new offer"
                }
                Reason::Gone => "ask who made it for a new offer",
                Reason::WrongInterface => "name another endpoint of ours, or ask for an offer of another one",
                Reason::BadRequest | Reason::UnknownVersion => "are both agents of the same version?",
                Reason::NotReady => "it is asked again and again",
            },
            Trouble::WantsHttps => {
                "remove the relation and relate to the same URL with https, the same secret, and --ca-file if its authority is not trusted here"
            }
            Trouble::Unusable(_) => "remove the relation and relate again with another --ca-file",
        }
    }
}

/// A way to one offer.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    url: String,
    connection: Connection,
}

impl Link {
    /// Whether there is a way with these.
    pub(crate) fn check(url: &str, secret: &Secret, ca: Option<&str>) -> Result<(), String> {
        let (consumer, revision) = (String::new(), String::new());
        let (url, secret, ca) = (url.to_owned(), secret.clone(), ca.map(str::to_owned));
        let upstream = Upstream { relation: 0, consumer, url, secret, ca, revision };
        match Link::open(&HttpClients::default(), &upstream) {
            Err(Trouble::Unusable(reason)) => Err(reason),
            _ => Ok(()),
        }
    }

    /// The way to `upstream`; nothing is sent yet.
    pub(crate) fn open(clients: &HttpClients, upstream: &Upstream) -> Result<Link, Trouble> {
        let config = HttpClientConfig {
            authorization: Some(Authorization {
                kind: "Bearer".to_owned(),
                credentials: Some(upstream.secret.clone()),
                credentials_file: None,
                credentials_ref: None,
            }),
            tls: TlsConfig { ca: upstream.ca.clone(), ..TlsConfig::default() },
            // The secret is for this agent alone.
            follow_redirects: false,
            ..HttpClientConfig::default()
        };
        let connection = clients.connection(&config).map_err(|error| Trouble::Unusable(crate::chain(&error)))?;
        let url = format!("{}/v{VERSION}/relations/{}", upstream.url, upstream.consumer);
        Ok(Link { url, connection })
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Answer, Trouble> {
        let body = serde_json::to_vec(question).expect("a question is JSON");
        let body = self.send(Method::PUT, body, question.wait()).await?;
        let answer: Answer =
            parse(&body).map_err(|error| Trouble::NotRelatum(format!("the answer is none: {error}")))?;
        if answer.relatum != VERSION {
            return Err(Trouble::NotRelatum(format!("it answers in version {}", answer.relatum)));
        }
        Ok(answer)
    }

    /// Says that the relation is over here.
    pub(crate) async fn leave(&self) -> Result<(), Trouble> {
        self.send(Method::DELETE, Vec::new(), Duration::ZERO).await.map(drop)
    }

    /// The body of a good answer.
    async fn send(&self, method: Method, body: Vec<u8>, wait: Duration) -> Result<Vec<u8>, Trouble> {
        let shown = if method == Method::PUT { "Put" } else { "Delete" };
        let lost = |error: &reqwest::Error| {
            let text = request_failure(shown, &self.url, error);
            // The URL is known to whoever reads this.
            Trouble::Unreachable(text.rsplit_once("\": ").map_or(text.as_str(), |(_, reason)| reason).to_owned())
        };
        let exchange = async {
            let opened = self.connection.open().await;
            let (client, headers) = opened.map_err(|error| Trouble::Unusable(crate::chain(&error)))?;
            let request = client.request(method, &self.url).headers(headers);
            let request = request.header("content-type", "application/json").body(body);
            let response = request.send().await.map_err(|error| lost(&error))?;
            let status = response.status();
            let body = bounded(response).await.map_err(|error| match error {
                Some(error) => lost(&error),
                None => Trouble::NotRelatum(format!("its answer is longer than {BODY_BYTES_MAX} bytes")),
            })?;
            Ok::<_, Trouble>((status, body))
        };
        let late = || Trouble::Unreachable("no answer in time".to_owned());
        let (status, body) = tokio::time::timeout(wait + TIMEOUT, exchange).await.map_err(|_| late())??;
        if status.is_success() {
            return Ok(body);
        }
        match parse::<Refusal>(&body) {
            Ok(refusal) => Err(Trouble::Refused(refusal)),
            // A proxy in front of an agent that is away says so.
            Err(_) if status.is_server_error() => Err(Trouble::Unreachable(strange(status, &body))),
            Err(_) if strange(status, &body).ends_with(WANTS_HTTPS) => Err(Trouble::WantsHttps),
            Err(_) => Err(Trouble::NotRelatum(strange(status, &body))),
        }
    }
}

/// The body, unless it breaks off (`Some`) or is too long.
async fn bounded(mut response: Response) -> Result<Vec<u8>, Option<reqwest::Error>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Some)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}

/// What another program said, on one line and cut.
fn strange(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN_CHARS_MAX)]);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
    if line.is_empty() { format!("status {status}") } else { format!("status {status}: {line}") }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of asking a server that answers with `status` and `body`; `None` if all is well.
    async fn ask(status: &str, body: &str) -> Option<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/offers/abc", listener.local_addr().unwrap());
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1 << 16];
            let _ = stream.read(&mut request).await;
            // Whoever asks may well hang up before all is written.
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let upstream = Upstream {
            relation: 1,
            consumer: "c".to_owned(),
            url,
            secret: Secret::new("s"),
            ca: None,
            revision: String::new(),
        };
        let question = Question {
            relatum: VERSION,
            tier: String::new(),
            model: String::new(),
            interface: String::new(),
            endpoint: String::new(),
            revision: String::new(),
            bags: None,
            seen: String::new(),
            wait_ms: 0,
            lag_ms: None,
        };
        let link = Link::open(&HttpClients::default(), &upstream).unwrap();
        link.ask(&question).await.err().map(|trouble| trouble.message())
    }

    #[tokio::test]
    async fn what_may_answer() {
        let good = |version: u32| {
            format!(r#"{{"relatum":{version},"tier":"t","model":"m","endpoint":"e","held":"","revision":"1-a"}}"#)
        };
        let refusal = |word: &str| format!(r#"{{"relatum":1,"error":"{word}","message":"because"}}"#);
        let long = "x".repeat(BODY_BYTES_MAX + 1);
        let cases = [
            ("200 OK", good(1), None),
            // Keys that a later version adds are passed over, another version is not.
            ("200 OK", good(1).replace("\"tier\"", "\"later\":1,\"tier\""), None),
            ("200 OK", good(2), Some("not a relatum agent: it answers in version 2")),
            ("200 OK", "<html>".to_owned(), Some("not a relatum agent: the answer is none")),
            ("200 OK", long, Some("not a relatum agent: its answer is longer than")),
            ("404 Not Found", "\n page\u{7} not found\nmore".to_owned(), Some("status 404 Not Found: page not found")),
            ("302 Found", String::new(), Some("not a relatum agent: status 302 Found")),
            ("502 Bad Gateway", "nobody home".to_owned(), Some("cannot be reached: status 502 Bad Gateway: nobody")),
            ("401 Unauthorized", refusal("wrong-secret"), Some("does not know this URL with this secret")),
            ("400 Bad Request", format!("{WANTS_HTTPS}\n"), Some("answers only over HTTPS now")),
            ("401 Unauthorized", "login".to_owned(), Some("not a relatum agent: status 401")),
            ("409 Conflict", refusal("wrong-interface"), Some("refuses: because")),
            ("503 Service Unavailable", refusal("not-ready"), Some("cannot be reached: because")),
            ("400 Bad Request", refusal("some-later-word"), Some("not a relatum agent: status 400")),
        ];
        for (status, body, expected) in cases {
            let shown: String = body.chars().take(60).collect();
            let said = ask(status, &body).await;
            let fits = match (&said, expected) {
                (None, None) => true,
                (Some(said), Some(part)) => said.contains(part),
                _ => false,
            };
            assert!(fits, "{status} {shown}: {said:?}, expected {expected:?}");
        }
    }
}
