//! A Prometheus-compatible HTTP API as a client.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::Global;
use crate::failure::CommandFailure;

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
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(150))
            .build()
            .map_err(|error| CommandFailure::failed(format!("cannot set up HTTP: {error}")))?;
        Ok(Api { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// The API of the agent this command talks to.
    pub(crate) async fn of_agent(global: &Global) -> Result<Self, CommandFailure> {
        Api::at(&global.client().status().await?.api_url)
    }

    /// Asks for `path` below `/api/v1`.
    pub(crate) async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Answer, CommandFailure> {
        let url = format!("{}/api/v1/{path}", self.base);
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
        let response = self.client.get(&url).query(parameters).send().await.map_err(failed)?;
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
