//! The task that posts the parcels of one remote, one after the other, again and again if need be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use relatum_model::remote_write::Version;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Route;
use super::parcel::{Parcel, oldest_ms};
use super::traffic::Traffic;
use crate::http::{complaint, request_failure};
use crate::time::now_ms;

/// How a receiver of 2.0 tells what it stored.
const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// The longest pause that a receiver can ask for. One that needs longer says so again; one that is mistaken does not silence
/// us for a year.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// How long a shutdown may take altogether; longer would look like a process that hangs.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// How often descriptions are tried. They are told again before long, and samples wait behind them.
const DESCRIPTION_TRIES: u32 = 3;

/// Why a parcel was not taken.
#[derive(Debug)]
struct Failure {
    text: String,
    /// Whether it may go better next time.
    retry: bool,
    /// When, if the receiver says so.
    after: Option<Duration>,
}

/// What became of a parcel.
enum Outcome {
    /// Taken, or given up for good.
    Done,
    /// Nobody waits for it any more.
    Stopped,
}

/// The task; see the module.
pub(super) struct Carrier {
    parcels: mpsc::UnboundedReceiver<Parcel>,
    route: watch::Receiver<Arc<Route>>,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
    shutdown: CancellationToken,
    // In a run of failures, of which only the first is said aloud.
    failing: bool,
}

impl Carrier {
    pub(super) fn new(
        parcels: mpsc::UnboundedReceiver<Parcel>,
        route: watch::Receiver<Arc<Route>>,
        traffic: Arc<Traffic>,
        stop: CancellationToken,
        shutdown: CancellationToken,
    ) -> Self {
        Carrier { parcels, route, traffic, stop, shutdown, failing: false }
    }

    pub(super) async fn run(mut self) {
        let (stop, shutdown) = (self.stop.clone(), self.shutdown.clone());
        let too_late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(FLUSH_TIMEOUT).await;
        };
        tokio::select! {
            () = self.carry() => {}
            () = stop.cancelled() => {}
            () = too_late => {}
        }
        let n_left = self.traffic.pending.load(Ordering::Relaxed);
        if n_left > 0 && !stop.is_cancelled() {
            let url = self.route.borrow().config.url.to_string();
            warn!(remote = url, samples = n_left, "samples not delivered before the end");
        }
        // The reader has nobody to read for.
        stop.cancel();
    }

    async fn carry(&mut self) {
        while let Some(parcel) = self.parcels.recv().await {
            if !parcel.body.is_empty() {
                match self.deliver(&parcel).await {
                    Outcome::Done => {}
                    Outcome::Stopped => return,
                }
            }
            self.traffic.settle(&parcel);
        }
    }

    /// Posts one parcel until it is taken or refused for good; descriptions a few times only, and while they are wanted.
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        let mut backoff = None;
        let mut n_tries = 0;
        loop {
            let route = Arc::clone(&self.route.borrow_and_update());
            let describes = parcel.n_descriptions > 0;
            if describes && !route.describes() {
                return Outcome::Done;
            }
            n_tries += 1;
            if parcel.n_samples > 0 && parcel.newest_ms < oldest_ms(&route, now_ms()) {
                self.traffic.too_old.fetch_add(parcel.n_samples, Ordering::Relaxed);
                return Outcome::Done;
            }
            let Err(failure) = post(&route, parcel).await else {
                self.traffic.sent(parcel);
                if self.failing {
                    info!(remote = %route.config.url, "samples are delivered again");
                    self.failing = false;
                }
                return Outcome::Done;
            };
            self.say(&route, parcel, &failure);
            if !failure.retry || describes && n_tries >= DESCRIPTION_TRIES {
                self.traffic.failed.fetch_add(parcel.n_samples, Ordering::Relaxed);
                self.traffic.failed_descriptions.fetch_add(parcel.n_descriptions, Ordering::Relaxed);
                return Outcome::Done;
            }
            self.traffic.retried.fetch_add(parcel.n_samples, Ordering::Relaxed);
            self.traffic.retried_descriptions.fetch_add(parcel.n_descriptions, Ordering::Relaxed);
            if self.shutdown.is_cancelled() {
                // The rest would fare no better, and the process wants to end.
                return Outcome::Stopped;
            }
            let queue = &route.config.queue;
            let pause = backoff.unwrap_or(queue.min_backoff).min(queue.max_backoff);
            backoff = Some(pause.saturating_mul(2));
            // However long the receiver asks to wait: the samples behind will ask it themselves.
            let asked = failure.after.filter(|_| !describes);
            tokio::select! {
                // One last attempt, without waiting.
                () = self.shutdown.cancelled() => {}
                // Another way to reach it may work at once.
                Ok(()) = self.route.changed() => backoff = None,
                () = tokio::time::sleep(asked.unwrap_or(pause)) => {}
            }
        }
    }

    fn say(&mut self, route: &Route, parcel: &Parcel, failure: &Failure) {
        let (remote, samples, error) = (&route.config.url, parcel.n_samples, &failure.text);
        self.traffic.fail(error);
        let retried = failure.retry;
        if self.failing {
            debug!(%remote, samples, retried, error, "samples not delivered");
        } else {
            warn!(%remote, samples, retried, error, "samples not delivered");
        }
        self.failing = true;
    }
}

async fn post(route: &Route, parcel: &Parcel) -> Result<(), Failure> {
    let shown = route.config.url.to_string();
    let again = |text: String| Failure { text, retry: true, after: None };
    let request = async {
        // A file with credentials may be there again the next time.
        let opened = route.connection.open().await;
        let (client, mut headers) = opened.map_err(|error| again(error.to_string()))?;
        for (name, value) in &route.headers {
            headers.insert(name, value.clone());
        }
        let (content_type, version) = match parcel.version {
            Version::V1 => ("application/x-protobuf", "0.1.0"),
            Version::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(VERSION, HeaderValue::from_static(version));
        let response = client.post(route.url.clone()).headers(headers).body(parcel.body.clone()).send().await;
        let response = response.map_err(|error| again(request_failure("Post", &shown, &error)))?;
        let status = response.status();
        if status.is_success() {
            // A receiver that takes any message for 1.0 finds nothing in ours, and says that all went well.
            if parcel.version == Version::V2 && !response.headers().contains_key(SAMPLES_WRITTEN) {
                let text = "the receiver does not say how many samples it took, as one that knows 1.0 only; \
                            set protobuf_message: prometheus.WriteRequest";
                return Err(Failure { text: text.to_owned(), retry: false, after: None });
            }
            return Ok(());
        }
        let busy = status == StatusCode::TOO_MANY_REQUESTS && route.config.queue.retry_on_http_429;
        let retry = busy || status.is_server_error();
        let after = retry_after(response.headers(), now_ms()).filter(|_| retry);
        let text = format!("server returned HTTP status {status}{}", complaint(response).await);
        Err(Failure { text, retry, after })
    };
    match tokio::time::timeout(route.config.remote_timeout, request).await {
        Ok(result) => result,
        Err(_) => Err(again(format!("Post \"{shown}\": context deadline exceeded"))),
    }
}

/// How long the receiver asks to wait: a number of seconds or a date. `None` when it does not, or asks for something odd.
fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until: Timestamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::from_millis(u64::try_from(until.as_millisecond().saturating_sub(now_ms)).ok()?)
        }
    };
    (!pause.is_zero()).then_some(pause.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected_secs: Option<u64>) {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
        // 2015-10-21 07:28:00 UTC.
        assert_eq!(retry_after(&headers, 1_445_412_480_000), expected_secs.map(Duration::from_secs), "text {text:?}");
    }

    #[test]
    fn pauses_that_receivers_ask_for() {
        check("7", Some(7));
        check("Wed, 21 Oct 2015 07:28:30 GMT", Some(30));
        // No pause, one in the past, and no sense at all: our own backoff.
        check("0", None);
        check("Wed, 21 Oct 2015 07:27:00 GMT", None);
        check("soon", None);
        check("-1", None);
        // A year.
        check("31536000", Some(300));
        check("99999999999999999999999", None);
    }
}
