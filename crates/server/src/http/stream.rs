//! Answers that are sent while they are made: a body of pieces from a bounded queue, or of pieces that are made when they are wanted.

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

/// About how large a piece is: small enough to be made between two other things that a thread does.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// What a piece may be larger than that without another place in memory.
const PIECE_BYTES_OVER: usize = 16 << 10;

/// Adds the next piece; whether it was the last.
pub(crate) type MakePiece = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send>;

struct Made {
    first: Option<Vec<u8>>,
    more: Option<MakePiece>,
}

impl hyper::body::Body for Made {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let first = self.first.take();
        let piece = first.or_else(|| {
            let make_piece = self.more.as_mut()?;
            let mut piece = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES_OVER);
            if make_piece(&mut piece) {
                self.more = None;
            }
            Some(piece)
        });
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
    }
}

/// A body that begins with `first`, and of which the rest is made as fast as the client takes it. That takes no thread that waits.
pub(crate) fn made(first: Vec<u8>, make_piece: MakePiece) -> Body {
    Body::new(Made { first: Some(first), more: Some(make_piece) })
}
