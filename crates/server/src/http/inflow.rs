//! Bodies of the remote protocols on their way in: how much memory all of them may take, as they come and decompressed.
//!
//! A body is counted as it arrives, not as it is announced, so that a client that sends nothing takes nothing. When there is no
//! room for the next piece the request is refused, as waiting would let those that are half here wait for each other; senders try
//! again. Whoever is whole here waits for room to be decompressed, which only others that end by themselves can take.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use relatum_model::exposition::MetricFamily;
use relatum_transport::remote_write::BODY_BYTES_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::front;
use crate::web::later;

/// How much all bodies may take, and how much all of them decompressed; as semaphores count.
const BYTES_MAX: u32 = 256 << 20;

const COME_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Counts bodies.
#[derive(Debug)]
pub(crate) struct Inflow {
    bodies: Arc<Semaphore>,
    messages: Arc<Semaphore>,
}

impl Default for Inflow {
    fn default() -> Self {
        let room = || Arc::new(Semaphore::new(BYTES_MAX as usize));
        Inflow { bodies: room(), messages: room() }
    }
}

/// A whole body. Its bytes count until it is dropped.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    TooLarge,
    /// Others take all the room.
    NoRoom,
    /// The client went away, or sent no body.
    EndedEarly,
}

impl IntoResponse for NotTaken {
    fn into_response(self) -> Response {
        match self {
            NotTaken::TooLarge => {
                let text = format!("request body exceeds the {BODY_BYTES_MAX} bytes limit\n");
                front::plain(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            NotTaken::NoRoom => {
                let text = "too many bytes of requests are waiting to be stored\n";
                later(StatusCode::SERVICE_UNAVAILABLE, text, COME_AGAIN_AFTER)
            }
            NotTaken::EndedEarly => front::plain(StatusCode::BAD_REQUEST, "the body ended early\n"),
        }
    }
}

impl Inflow {
    /// Reads the body of a request with these headers.
    pub(crate) async fn take(&self, headers: &HeaderMap, mut body: Body) -> Result<Arrived, NotTaken> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
            return Err(NotTaken::TooLarge);
        }
        // Most bodies are smaller than this, and come in one piece of memory without growing.
        let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(1 << 18));
        let mut room = self.room(0)?;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Ok(piece) = frame.map_err(|_| NotTaken::EndedEarly)?.into_data() else { continue };
            if bytes.len() + piece.len() > BODY_BYTES_MAX {
                return Err(NotTaken::TooLarge);
            }
            room.merge(self.room(piece.len())?);
            bytes.extend_from_slice(&piece);
        }
        Ok(Arrived { bytes: bytes.into(), _room: room })
    }

    fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, NotTaken> {
        let n = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.bodies).try_acquire_many_owned(n).map_err(|_| NotTaken::NoRoom)
    }

    /// Waits until so many bytes may be decompressed; they count until the result is dropped.
    pub(crate) async fn decompress(&self, bytes: usize) -> OwnedSemaphorePermit {
        // More than this is refused by whoever decompresses.
        let n = bytes.min(BODY_BYTES_MAX) as u32;
        Arc::clone(&self.messages).acquire_many_owned(n).await.expect("the semaphore is never closed")
    }

    /// As families for `/metrics`.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        let taken = |room: &Semaphore| f64::from(BYTES_MAX) - room.available_permits() as f64;
        vec![
            MetricFamily::gauge(
                "relatum_http_inflow_bytes",
                "Bytes of remote writes and of OpenTelemetry that are here and not stored yet.",
                taken(&self.bodies),
            ),
            MetricFamily::gauge(
                "relatum_http_inflow_decompressed_bytes",
                "The same decompressed, of those that are being stored.",
                taken(&self.messages),
            ),
            MetricFamily::gauge(
                "relatum_http_inflow_bytes_max",
                "How many of either there may be.",
                f64::from(BYTES_MAX),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(inflow: &Inflow, announced: Option<usize>, bytes: usize) -> Result<Arrived, NotTaken> {
        let mut headers = HeaderMap::new();
        if let Some(announced) = announced {
            headers.insert(header::CONTENT_LENGTH, announced.into());
        }
        inflow.take(&headers, Body::from(vec![1; bytes])).await
    }

    #[tokio::test]
    async fn memory_has_a_bound() {
        let inflow = Inflow::default();
        for (announced, bytes, expected) in [
            (Some(5), 5, Ok(5)),
            (None, 5, Ok(5)),
            (None, 0, Ok(0)),
            (Some(BODY_BYTES_MAX + 1), 0, Err(NotTaken::TooLarge)),
            (Some(usize::MAX), 0, Err(NotTaken::TooLarge)),
            (None, BODY_BYTES_MAX, Ok(BODY_BYTES_MAX)),
            (None, BODY_BYTES_MAX + 1, Err(NotTaken::TooLarge)),
        ] {
            let taken = take(&inflow, announced, bytes).await.map(|arrived| arrived.bytes.len());
            assert_eq!(taken, expected, "{announced:?} {bytes}");
        }
        let mut kept = Vec::new();
        for _ in 0..8 {
            kept.push(take(&inflow, None, BODY_BYTES_MAX).await.unwrap());
        }
        assert_eq!(take(&inflow, Some(1), 1).await.unwrap_err(), NotTaken::NoRoom);
        kept.pop();
        assert_eq!(take(&inflow, Some(1), 1).await.unwrap().bytes.len(), 1);
        // What is announced and does not come takes nothing.
        drop(kept);
        assert_eq!(inflow.bodies.available_permits(), BYTES_MAX as usize);
    }
}
