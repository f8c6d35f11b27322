//! Answers that are sent while they are made: a body of pieces from a bounded queue.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// How many pieces may wait for a client that reads slowly. Whoever makes them waits then.
const PIECES_WAITING_MAX: usize = 4;

/// The end where pieces are put in. Putting one in fails once the client is gone.
pub(crate) type Pieces = mpsc::Sender<Bytes>;

struct Pieced(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A body, and where its pieces go; it ends when the latter is dropped.
pub(crate) fn pieced() -> (Pieces, Body) {
    let (pieces, waiting) = mpsc::channel(PIECES_WAITING_MAX);
    (pieces, Body::new(Pieced(waiting)))
}
