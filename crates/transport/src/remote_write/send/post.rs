//! One request to a remote, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use relatum_model::remote_write::Version;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::Route;
use crate::http::{complaint, request_failure};
use crate::time::now_ms;

/// How a receiver of 2.0 tells what it stored.
const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// The longest pause that a receiver can ask for. One that needs longer says so again; one that is mistaken does not silence
/// us for a year.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Why a request was not taken.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) text: String,
    /// Whether it may go better next time.
    pub(super) retry: bool,
    /// When, if the receiver says so.
    pub(super) after: Option<Duration>,
}

/// Posts `body`, which is a compressed message of `version`, once.
pub(super) async fn post(route: &Route, version: Version, body: &Bytes) -> Result<(), Failure> {
    let shown = route.config.url.to_string();
    let again = |text: String| Failure { text, retry: true, after: None };
    let request = async {
        // A file with credentials may be there again the next time.
        let opened = route.connection.open().await;
        let (client, mut headers) = opened.map_err(|error| again(error.to_string()))?;
        for (name, value) in &route.headers {
            headers.insert(name, value.clone());
        }
        let (content_type, number) = match version {
            Version::V1 => ("application/x-protobuf", "0.1.0"),
            Version::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(VERSION, HeaderValue::from_static(number));
        let response = client.post(route.url.clone()).headers(headers).body(body.clone()).send().await;
        let response = response.map_err(|error| again(request_failure("Post", &shown, &error)))?;
        let status = response.status();
        if status.is_success() {
            // A receiver that takes any message for 1.0 finds nothing in ours, and says that all went well.
            if version == Version::V2 && !response.headers().contains_key(SAMPLES_WRITTEN) {
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
