//! The remote-write receiver: `POST /api/v1/write`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use relatum_transport::remote_write::{Version, Written};

use super::front;
use crate::Engine;

/// Takes one request. The store's writes block, so they run on a thread of their own.
pub(crate) async fn receive(State(engine): State<Arc<Engine>>, headers: HeaderMap, body: Body) -> Response {
    let body = match engine.inflow().take(&headers, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    // What is no snappy takes no more memory.
    let room = engine.inflow().decompress(snap::raw::decompress_len(&body.bytes).unwrap_or(0)).await;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (content_type, encoding) = (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
    let received = tokio::task::spawn_blocking(move || {
        let received = engine.receiver().receive(engine.store(), &content_type, &encoding, &body.bytes);
        drop((body, room));
        received
    });
    match received.await {
        Ok(Ok(written)) => accepted(&written),
        Ok(Err(error)) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if status.is_server_error() {
                tracing::error!(error = %crate::chain(&error), "a remote write could not be stored");
            }
            front::plain(status, format!("{error}\n"))
        }
        Err(_) => front::plain(StatusCode::INTERNAL_SERVER_ERROR, "the write ended unexpectedly\n"),
    }
}

/// The answer to a request that is stored, at least in part. Senders of 2.0 compare the numbers with what they sent.
fn accepted(written: &Written) -> Response {
    let mut response = if written.refusals.is_empty() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        front::plain(StatusCode::BAD_REQUEST, format!("{}\n", written.refusals))
    };
    if written.version == Version::V2 {
        for (name, number) in [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ] {
            response.headers_mut().insert(name, number.into());
        }
    }
    response
}
