//! Asking a target.

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};

use super::ScrapeError;
use super::body::{Body, accept_header, packed_bytes_max};
use super::job::Job;
use super::target::Target;
use crate::http::{DeniedAddress, is_denied, request_failure};
use relatum_model::text::quote;

const SCRAPE_TIMEOUT_SECONDS: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// Gets the body of `target`, packed as it came, within its timeout.
pub(crate) async fn fetch(job: &Job, target: &Target) -> Result<Body, ScrapeError> {
    if let Some(reason) = &job.forbidden {
        return Err(ScrapeError::Forbidden(reason.clone()));
    }
    let deadline = Instant::now() + target.timeout;
    let request_error = |reason: String| ScrapeError::Request(format!("Get {}: {reason}", quote(&target.url)));
    let url = reqwest::Url::parse(&target.url)
        .map_err(|error| ScrapeError::Request(format!("parse {}: {error}", quote(&target.url))))?;
    let denied_error = |denied: DeniedAddress| ScrapeError::Denied(format!("Get {}: {denied}", quote(&target.url)));
    job.connection.check(&url).map_err(denied_error)?;
    let send = async {
        let (client, headers) = job.connection.open().await.map_err(|error| request_error(chain(&error)))?;
        let encoding = if job.config.enable_compression { "gzip" } else { "identity" };
        let request = client
            .get(url)
            .header(ACCEPT, accept_header(&job.config.scrape_protocols, job.config.metric_name_escaping_scheme))
            .header(ACCEPT_ENCODING, HeaderValue::from_static(encoding))
            .header(SCRAPE_TIMEOUT_SECONDS, target.timeout.as_secs_f64().to_string())
            .headers(headers);
        let failure = |error| {
            let text = request_failure("Get", &target.url, &error);
            if is_denied(&error) { ScrapeError::Denied(text) } else { ScrapeError::Request(text) }
        };
        request.send().await.map_err(failure)
    };
    let mut response =
        timeout_at(deadline, send).await.map_err(|_| request_error("context deadline exceeded".to_owned()))??;
    let status = response.status();
    if status != reqwest::StatusCode::OK {
        let reason = status.canonical_reason().unwrap_or_default();
        let text = format!("{} {reason}", status.as_u16());
        return Err(ScrapeError::Status(text.trim_end().to_owned()));
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut body = Body {
        chunks: Vec::new(),
        gzip: header(CONTENT_ENCODING).eq_ignore_ascii_case("gzip"),
        content_type: header(CONTENT_TYPE).to_owned(),
    };
    let bytes_max = packed_bytes_max(job.body_bytes_max);
    let mut bytes = 0;
    while let Some(chunk) = timeout_at(deadline, response.chunk())
        .await
        .map_err(|_| ScrapeError::Deadline)?
        .map_err(|error| ScrapeError::Request(crate::http::body_failure(&error)))?
    {
        bytes += chunk.len() as u64;
        if bytes > bytes_max {
            return Err(ScrapeError::BodySizeLimit);
        }
        body.chunks.push(chunk);
    }
    Ok(body)
}

/// An error with its causes in one line, as a target's error is shown.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
