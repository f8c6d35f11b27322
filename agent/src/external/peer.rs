//! What a Prometheus says over HTTP of itself, and how it is told to reload.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, redirect};
use serde_json::Value;

use super::reload::without_password;
use crate::dialect::Version;

/// How long a question may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a reload may take; one of many thousand targets and rules takes seconds.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// How much of an answer is read. The configuration of thousands of jobs is some megabytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How much of what a peer says is shown.
const SHOWN_CHARS_MAX: usize = 2000;

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answers, or not in time.
    Unreachable(String),
    /// It does not reload by HTTP.
    NoLifecycle(String),
    /// It looked at the files and refuses them, in its own words.
    Refused(String),
    /// What answers is something else.
    Strange(String),
}

impl Trouble {
    pub(super) fn message(&self) -> &str {
        let (Trouble::Unreachable(text) | Trouble::NoLifecycle(text) | Trouble::Refused(text) | Trouble::Strange(text)) =
            self;
        text
    }
}

/// How the last reload went, by the peer's own metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LastReload {
    pub(super) successful: bool,
    /// When the last good one was, in seconds since 1970.
    pub(super) success_at: f64,
}

/// One Prometheus by its URL.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    base: String,
    client: Client,
}

impl Peer {
    pub(super) fn new(base: &str) -> Peer {
        // A redirect would take a reload, and perhaps a password, to somewhere nobody named.
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build();
        Peer { base: base.to_owned(), client: client.expect("a client without options of its own can be built") }
    }

    /// `/api/v1/status/buildinfo`
    pub(super) async fn version(&self) -> Result<Version, Trouble> {
        let data = self.api("status/buildinfo").await?;
        let version = data["version"].as_str().unwrap_or_default();
        version.parse().map_err(|reason: String| Trouble::Strange(format!("{} says: {reason}", self.name())))
    }

    /// When it began, as it says it; different after a restart.
    pub(super) async fn incarnation(&self) -> Result<String, Trouble> {
        let data = self.api("status/runtimeinfo").await?;
        Ok(data["startTime"].as_str().unwrap_or_default().to_owned())
    }

    /// The main file that it reads.
    pub(super) async fn config_file(&self) -> Result<String, Trouble> {
        let data = self.api("status/flags").await?;
        Ok(data["config.file"].as_str().unwrap_or_default().to_owned())
    }

    /// The configuration that it runs, as YAML of its own.
    pub(super) async fn config(&self) -> Result<String, Trouble> {
        let data = self.api("status/config").await?;
        Ok(data["yaml"].as_str().unwrap_or_default().to_owned())
    }

    /// The two gauges of `/metrics`; `None` if there are none.
    pub(super) async fn last_reload(&self) -> Result<Option<LastReload>, Trouble> {
        let (status, text) = self.ask("/metrics").await?;
        if status != StatusCode::OK {
            return Err(self.strange(status, &text));
        }
        let gauge = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<f64>().ok())
        };
        let successful = gauge("prometheus_config_last_reload_successful");
        let at = gauge("prometheus_config_last_reload_success_timestamp_seconds");
        Ok(successful.zip(at).map(|(successful, success_at)| LastReload { successful: successful == 1.0, success_at }))
    }

    /// Has it read its files again; returns when it runs them.
    pub(super) async fn reload(&self) -> Result<(), Trouble> {
        let sent = self.client.post(format!("{}/-/reload", self.base)).timeout(RELOAD_TIMEOUT).send();
        let (status, text) = self.read(sent.await).await?;
        match status {
            StatusCode::OK => Ok(()),
            // The text is its own: a file and what is wrong in it.
            StatusCode::INTERNAL_SERVER_ERROR => Err(Trouble::Refused(shown(&text))),
            StatusCode::FORBIDDEN => Err(Trouble::NoLifecycle(shown(&text))),
            status => Err(self.strange(status, &text)),
        }
    }

    async fn api(&self, path: &str) -> Result<Value, Trouble> {
        let (status, text) = self.ask(&format!("/api/v1/{path}")).await?;
        let body: Option<Value> = serde_json::from_str(&text).ok();
        match body.filter(|body| body["status"] == "success") {
            Some(mut body) => Ok(body["data"].take()),
            None => Err(self.strange(status, &text)),
        }
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, String), Trouble> {
        let sent = self.client.get(format!("{}{path}", self.base)).timeout(TIMEOUT).send();
        self.read(sent.await).await
    }

    async fn read(&self, sent: reqwest::Result<Response>) -> Result<(StatusCode, String), Trouble> {
        let failed = |error: reqwest::Error| {
            Trouble::Unreachable(format!("{} does not answer: {}", self.name(), crate::chain(&error.without_url())))
        };
        let mut response = sent.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Trouble::Strange(format!("{} answers more than {ANSWER_BYTES_MAX} bytes", self.name())));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), String::from_utf8_lossy(&body).into_owned()))
    }

    fn strange(&self, status: StatusCode, text: &str) -> Trouble {
        Trouble::Strange(format!("{} answers HTTP {}: {}", self.name(), status.as_u16(), shown(text)))
    }

    fn name(&self) -> String {
        without_password(&self.base)
    }
}

/// As one line of bounded length.
fn shown(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(SHOWN_CHARS_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}
