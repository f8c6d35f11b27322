//! How slow a client may be: a limit for the head of a request, and one for a connection on which nothing happens.
//!
//! hyper has a timer for heads, but counts the time between two requests as part of the second head. A scraper that comes once a minute
//! would find its connection closed each time. So bytes are watched here, on their way in:
//!
//! ```text
//! idle --first byte--> head --request understood--> running --answer done--> idle
//!   |                    |                             |
//!   closed after         closed after                  closed when nothing of the answer
//!   the read timeout     the head timeout              is taken for the read timeout
//! ```
//!
//! HTTP/2 sends frames that belong to no request, so there a connection is idle or running only.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::ConnectionError;

/// A head is there whole in this time, or in the read timeout if that is shorter.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What HTTP/2 begins with; no method of HTTP/1 does.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// What is known of the pace of one client; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    read_timeout: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The requests that are being answered.
    n_running: usize,
    /// When the head began that is being read.
    head_since: Option<Instant>,
    /// When something happened last.
    active_at: Instant,
    is_http2: Option<bool>,
}

impl Pace {
    pub(super) fn new(read_timeout: Duration) -> Self {
        let seen = Seen { n_running: 0, head_since: None, active_at: Instant::now(), is_http2: None };
        Pace(Arc::new(Shared { read_timeout, seen: Mutex::new(seen) }))
    }

    /// One more request, until the result is dropped.
    pub(super) fn begin(&self) -> Running {
        self.seen().n_running += 1;
        Running(self.clone())
    }

    /// Does the work of the connection, until the client has used up its time.
    ///
    /// When a deadline moves away, as with each answer, the timer stays where it is and looks again when it goes off: to wake the task for
    /// every answer would wake another thread of the runtime, too.
    pub(super) async fn keep<E: Into<ConnectionError>>(
        &self,
        connection: impl Future<Output = Result<(), E>>,
    ) -> Result<(), ConnectionError> {
        let mut connection = std::pin::pin!(connection);
        let mut timer = std::pin::pin!(tokio::time::sleep(self.0.read_timeout));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(Into::into));
            }
            loop {
                let now = Instant::now();
                let deadline = self.deadline(now);
                if deadline <= now {
                    let late = io::Error::new(io::ErrorKind::TimedOut, "the client took too long");
                    return Poll::Ready(Err(late.into()));
                }
                if deadline < timer.deadline() || timer.is_elapsed() {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(cx));
            }
        })
        .await
    }

    /// Until when the client has to do something, as far as is known now.
    fn deadline(&self, now: Instant) -> Instant {
        let timeout = self.0.read_timeout;
        match *self.seen() {
            // It waits for us.
            Seen { n_running: 1.., .. } => now + timeout,
            Seen { head_since: Some(since), .. } => since + HEAD_TIMEOUT.min(timeout),
            Seen { active_at, .. } => active_at + timeout,
        }
    }

    fn saw(&self, bytes: &[u8]) {
        let mut seen = self.seen();
        let is_http2 = *seen.is_http2.get_or_insert_with(|| bytes.starts_with(HTTP2_PREFACE));
        let now = Instant::now();
        seen.active_at = now;
        if is_http2 || seen.n_running > 0 {
            seen.head_since = None;
        } else {
            seen.head_since.get_or_insert(now);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().expect("nothing panics while it is held")
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Running(Pace);

impl Drop for Running {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        seen.n_running -= 1;
        // The client is idle from the end of the answer on.
        (seen.active_at, seen.head_since) = (Instant::now(), None);
    }
}

/// The stream of a connection, which tells the pace of its client.
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
    /// Runs while the client takes nothing of what is written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Pace) -> Self {
        Paced { stream, pace, stalled: None }
    }

    /// Whether the client has taken nothing for too long; wakes the task when it has.
    fn wait_for_client<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.pace.0.read_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        let is_late = stalled.as_mut().poll(cx);
        is_late.map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let known = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(fresh) = buffer.filled().get(known..).filter(|fresh| !fresh.is_empty()) {
            self.pace.saw(fresh);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wait_for_client(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wait_for_client(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The body of a request, which must be there whole by a time.
pub(super) struct Timed<B> {
    body: B,
    deadline: Pin<Box<Sleep>>,
}

impl<B> Timed<B> {
    pub(super) fn new(body: B, timeout: Duration) -> Self {
        Timed { body, deadline: Box::pin(tokio::time::sleep(timeout)) }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> Body for Timed<B> {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => self.deadline.as_mut().poll(cx).map(|()| Some(Err("the body took too long".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: its request is running until it is sent.
pub(super) struct Answer<B> {
    pub(super) body: B,
    pub(super) _running: Running,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_answer_wakes_nobody() {
        let begun = Instant::now();
        let pace = Pace::new(Duration::from_secs(300));
        let mut n_polls = 0;
        // Three answers, a hundred seconds apart.
        let mut next = Box::pin(tokio::time::sleep(Duration::ZERO));
        let connection = poll_fn(|cx| {
            n_polls += 1;
            while n_polls <= 3 && next.as_mut().poll(cx).is_ready() {
                drop(pace.begin());
                next.as_mut().reset(Instant::now() + Duration::from_secs(100));
            }
            Poll::<Result<(), io::Error>>::Pending
        });
        let ended = pace.keep(connection).await;
        assert_eq!(ended.unwrap_err().to_string(), "the client took too long");
        let secs = begun.elapsed().as_secs();
        // Once for each of them, and when the timer goes off, which was set when the connection began.
        assert!(n_polls <= 6, "{n_polls}");
        assert_eq!(secs, 500, "{n_polls} polls");
    }
}
