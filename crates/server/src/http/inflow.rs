//! Bodies of the remote protocols on their way in: how much memory all of them may take, as they come and decompressed.
//!
//! A body is counted as it arrives, not as it is announced, so that a client that sends nothing takes nothing. When there is no
//! room for the next piece the request is refused, as waiting would let those that are half here wait for each other; senders try
//! again. Whoever is whole here waits for room to be decompressed, which only others that end by themselves can take.
//!
//! Remote reads have room of their own: they may wait long for their turn, and shall not keep samples out.

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
/// How much the bodies of remote reads may take; nearly all of them have a few hundred bytes.
const READ_BYTES_MAX: u32 = 64 << 20;
/// Most bodies are smaller than this, and come in one piece of memory without growing.
const RESERVED_MAX: usize = 1 << 18;

const COME_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Counts bodies.
#[derive(Debug)]
pub(crate) struct Inflow {
    bodies: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    messages: Arc<Semaphore>,
}

impl Default for Inflow {
    fn default() -> Self {
        let room = |bytes: u32| Arc::new(Semaphore::new(bytes as usize));
        Inflow { bodies: room(BYTES_MAX), reads: room(READ_BYTES_MAX), messages: room(BYTES_MAX) }
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
                let text = "too many bytes of requests of this kind are here already\n";
                later(StatusCode::SERVICE_UNAVAILABLE, text, COME_AGAIN_AFTER)
            }
            NotTaken::EndedEarly => front::plain(StatusCode::BAD_REQUEST, "the body ended early\n"),
        }
    }
}

impl Inflow {
    /// Reads the body of a request with these headers that brings samples.
    pub(crate) async fn take(&self, headers: &HeaderMap, body: Body) -> Result<Arrived, NotTaken> {
        arrive(&self.bodies, headers, body).await
    }

    /// Reads the body of a remote read.
    pub(crate) async fn take_read(&self, headers: &HeaderMap, body: Body) -> Result<Arrived, NotTaken> {
        arrive(&self.reads, headers, body).await
    }

    /// Waits until so many bytes may be decompressed; they count until the result is dropped.
    pub(crate) async fn decompress(&self, bytes: usize) -> OwnedSemaphorePermit {
        // More than this is refused by whoever decompresses.
        let n = bytes.min(BODY_BYTES_MAX) as u32;
        Arc::clone(&self.messages).acquire_many_owned(n).await.expect("the semaphore is never closed")
    }

    /// As families for `/metrics`.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        let taken = |room: &Semaphore, max: u32| f64::from(max) - room.available_permits() as f64;
        vec![
            MetricFamily::gauge(
                "relatum_http_inflow_bytes",
                "Bytes of remote writes and of OpenTelemetry that are here and not stored yet.",
                taken(&self.bodies, BYTES_MAX),
            ),
            MetricFamily::gauge(
                "relatum_http_inflow_decompressed_bytes",
                "The same decompressed, of those that are being stored.",
                taken(&self.messages, BYTES_MAX),
            ),
            MetricFamily::gauge(
                "relatum_http_inflow_bytes_max",
                "How many of either there may be.",
                f64::from(BYTES_MAX),
            ),
            MetricFamily::gauge(
                "relatum_http_inflow_read_bytes",
                "Bytes of remote reads that are here and wait for their turn.",
                taken(&self.reads, READ_BYTES_MAX),
            ),
            MetricFamily::gauge(
                "relatum_http_inflow_read_bytes_max",
                "How many of them there may be.",
                f64::from(READ_BYTES_MAX),
            ),
        ]
    }
}

/// Reads a body into memory that `room` has.
async fn arrive(room: &Arc<Semaphore>, headers: &HeaderMap, mut body: Body) -> Result<Arrived, NotTaken> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        return Err(NotTaken::TooLarge);
    }
    let permit = |bytes: usize| {
        let n = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(room).try_acquire_many_owned(n).map_err(|_| NotTaken::NoRoom)
    };
    let mut taken = permit(0)?;
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(piece) = frame.map_err(|_| NotTaken::EndedEarly)?.into_data() else { continue };
        let length = bytes.len() + piece.len();
        if length > BODY_BYTES_MAX {
            return Err(NotTaken::TooLarge);
        }
        // Who began to send will most likely send what was announced, so that much is reserved at once, and counts.
        let wanted = if bytes.is_empty() { length.max(announced.unwrap_or(0).min(RESERVED_MAX)) } else { length };
        if let Some(more @ 1..) = wanted.checked_sub(taken.num_permits()) {
            taken.merge(permit(more)?);
        }
        if bytes.is_empty() {
            bytes.reserve_exact(wanted);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Arrived { bytes: bytes.into(), _room: taken })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::super::stream::pieced;
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
        // Writes do not keep out reads.
        assert_eq!(inflow.take_read(&HeaderMap::new(), Body::from("read")).await.unwrap().bytes.len(), 4);
        drop(kept);
        assert_eq!(inflow.bodies.available_permits(), BYTES_MAX as usize);
    }

    #[tokio::test]
    async fn reads_do_not_keep_out_writes() {
        let inflow = Inflow::default();
        let mut kept = Vec::new();
        while let Ok(read) = inflow.take_read(&HeaderMap::new(), Body::from(vec![1; BODY_BYTES_MAX])).await {
            kept.push(read);
        }
        assert_eq!(kept.len(), READ_BYTES_MAX as usize / BODY_BYTES_MAX);
        assert_eq!(take(&inflow, Some(1), 1).await.unwrap().bytes.len(), 1);
    }

    #[tokio::test]
    async fn what_is_announced_takes_room_once_it_begins_to_come() {
        let inflow = Inflow::default();
        for (announced, pieces, expected) in [
            (Some(BODY_BYTES_MAX), &[][..], 0),
            (Some(1000), &[1], 1000),
            (Some(1000), &[1, 999], 1000),
            // A body may be longer than was said.
            (Some(1000), &[600, 600], 1200),
            (Some(BODY_BYTES_MAX), &[1], RESERVED_MAX),
            (None, &[7, 8], 15),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(announced) = announced {
                headers.insert(header::CONTENT_LENGTH, announced.into());
            }
            let (sender, body) = pieced();
            let mut taken = pin!(inflow.take(&headers, body));
            for piece in pieces {
                sender.try_send(vec![1; *piece].into()).unwrap();
            }
            let is_whole = poll_fn(|cx| Poll::Ready(taken.as_mut().poll(cx).is_ready())).await;
            assert!(!is_whole, "{announced:?} {pieces:?}");
            let room = BYTES_MAX as usize - inflow.bodies.available_permits();
            assert_eq!(room, expected, "{announced:?} {pieces:?}");
            drop(sender);
            let length = taken.await.unwrap().bytes.len();
            assert_eq!(length, pieces.iter().sum::<usize>(), "{announced:?}");
        }
    }
}
