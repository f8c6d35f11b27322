//! What is left of a body when its request is answered.
//!
//! An answer may be there before the body has come, as for a path that does not exist. If nobody read the rest, the connection would be
//! closed with bytes in it, and the system would tell the client of a reset, before it has read the answer or while it still writes.
//! So a little more is read; who has much to send, or waits with it, is cut off.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// How much is read after the answer, and how long: as much as servers written in Go read.
const BYTES_MAX: usize = 256 << 10;
const READ_FOR: Duration = Duration::from_millis(500);

/// Where a body goes when it is dropped before its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Rest(Arc<Mutex<Option<Incoming>>>);

impl Rest {
    /// Has a task read what is left, if something is.
    pub(super) fn read(&self) {
        let Some(mut body) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        tokio::spawn(tokio::time::timeout(READ_FOR, async move {
            let mut n_bytes = 0;
            while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                n_bytes += frame.data_ref().map_or(0, Bytes::len);
                if n_bytes > BYTES_MAX {
                    return;
                }
            }
        }));
    }
}

/// A body whose rest goes to [`Rest`].
pub(super) struct Kept {
    body: Option<Incoming>,
    rest: Rest,
}

impl Kept {
    pub(super) fn new(body: Incoming, rest: Rest) -> Self {
        Kept { body: Some(body), rest }
    }
}

impl Body for Kept {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.rest.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
