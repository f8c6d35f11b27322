//! Carries what waits in a queue to one receiver: in batches, in order, again and again while the receiver is away.

use std::sync::Arc;
use std::time::Duration;

use relatum_config::prometheus::HttpClientConfig;
use relatum_server::outgoing::{Connection, HttpClients, request_failure};
use reqwest::{Response, StatusCode, header};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Key, Telemetry};

/// So many go in one request. With the longest lines that is 2 MiB, which receivers take.
const BATCH_MAX: usize = 256;

/// How long a batch waits for company.
const LINGER: Duration = Duration::from_millis(200);

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Pauses after failures: from the first, doubled each time, to the last. A receiver may ask for a longer one.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const PAUSE_ASKED_MAX: Duration = Duration::from_secs(300);

/// How much of what a receiver says is shown.
const SHOWN_BYTES_MAX: usize = 200;

/// Why a batch was not taken.
#[derive(Debug)]
enum Trouble {
    /// It may be taken later; perhaps the receiver says when.
    Later(String, Option<Duration>),
    /// It will never be taken.
    Never(String),
}

/// Goes to one receiver.
pub(super) struct Courier {
    telemetry: Arc<Telemetry>,
    key: Key,
    connection: Result<Connection, String>,
    stop: CancellationToken,
}

impl Courier {
    pub(super) fn new(telemetry: Arc<Telemetry>, key: Key, clients: &HttpClients, stop: CancellationToken) -> Self {
        let connection = clients.connection(&HttpClientConfig::default()).map_err(|error| crate::chain(&error));
        telemetry.tell(&key, |_| {});
        Courier { telemetry, key, connection, stop }
    }

    /// Until it is told to stop, or nothing comes any more. What waits then is not sent: nobody waits for a log.
    pub(super) async fn carry<T: Clone>(self, mut queue: Receiver<T>, body: impl Fn(&[T]) -> Vec<u8>) {
        let work = async {
            while let Some(batch) = self.collect(&mut queue).await {
                self.deliver(body(&batch), batch.len() as u64).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = self.stop.cancelled() => {}
        }
        self.telemetry.forget(&self.key);
    }

    /// What comes together; at least one, unless nothing will come.
    async fn collect<T: Clone>(&self, queue: &mut Receiver<T>) -> Option<Vec<T>> {
        let mut batch = Vec::new();
        let mut next = async || {
            loop {
                match queue.recv().await {
                    Ok(one) => return Some(one),
                    Err(RecvError::Lagged(lost)) => self.telemetry.tell(&self.key, |standing| standing.lost += lost),
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        batch.push(next().await?);
        // An error says that the time is over, which ends the batch like its being full.
        let _ = tokio::time::timeout(LINGER, async {
            while batch.len() < BATCH_MAX {
                let Some(one) = next().await else { break };
                batch.push(one);
            }
        })
        .await;
        Some(batch)
    }

    async fn deliver(&self, body: Vec<u8>, count: u64) {
        let mut pause = PAUSE_MIN;
        loop {
            let asked = match self.post(body.clone()).await {
                Ok(refused) => {
                    self.went_well(count, refused);
                    return;
                }
                Err(Trouble::Never(reason)) => {
                    self.went_wrong(&reason);
                    self.telemetry.tell(&self.key, |standing| standing.lost += count);
                    return;
                }
                Err(Trouble::Later(reason, asked)) => {
                    self.went_wrong(&reason);
                    asked
                }
            };
            tokio::time::sleep(asked.unwrap_or_default().clamp(pause, PAUSE_ASKED_MAX)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// How many of the batch the receiver took the request for, but not them.
    async fn post(&self, body: Vec<u8>) -> Result<u64, Trouble> {
        let connection = self.connection.as_ref().map_err(|reason| Trouble::Never(reason.clone()))?;
        let url = &self.key.1;
        let lost = |error: &reqwest::Error| {
            let text = request_failure("Post", url, error);
            Trouble::Later(text.rsplit_once("\": ").map_or(text.as_str(), |(_, reason)| reason).to_owned(), None)
        };
        let exchange = async {
            let opened = connection.open().await;
            let (client, headers) = opened.map_err(|error| Trouble::Later(crate::chain(&error), None))?;
            let request = client.post(url).headers(headers).header(header::CONTENT_TYPE, "application/json");
            let response = request.body(body).send().await.map_err(|error| lost(&error))?;
            let status = response.status();
            if status.is_success() {
                return Ok(super::otlp::n_refused(&beginning(response).await));
            }
            let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let said = beginning(response).await;
            let said: String = String::from_utf8_lossy(&said).chars().filter(|c| !c.is_control()).collect();
            let reason = format!("the receiver answers {status}: {said}");
            match status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                    Err(Trouble::Later(reason, asked.map(Duration::from_secs)))
                }
                _ if status.is_server_error() => Err(Trouble::Later(reason, asked.map(Duration::from_secs))),
                _ => Err(Trouble::Never(reason)),
            }
        };
        let late = || Trouble::Later("no answer in time".to_owned(), None);
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| late())?
    }

    fn went_well(&self, count: u64, refused: u64) {
        let mut failure = None;
        self.telemetry.tell(&self.key, |standing| {
            let refused = refused.min(count);
            standing.sent += count - refused;
            standing.lost += refused;
            failure = standing.failure.take();
        });
        if failure.is_some() {
            info!(url = self.key.1, "{} are taken again", self.key.0.word());
        }
    }

    /// Says a new failure once: every line about the log's receiver is one more line for it.
    fn went_wrong(&self, reason: &str) {
        let mut is_new = false;
        self.telemetry.tell(&self.key, |standing| {
            is_new = standing.failure.is_none();
            standing.failure = Some(reason.to_owned());
        });
        if is_new {
            warn!(url = self.key.1, reason, "{} are not taken", self.key.0.word());
        }
    }
}

/// The first bytes of an answer; what breaks off is as good as what ends.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(SHOWN_BYTES_MAX - bytes.len())]);
        if bytes.len() == SHOWN_BYTES_MAX {
            break;
        }
    }
    bytes
}
