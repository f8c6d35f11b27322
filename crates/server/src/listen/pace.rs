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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A head is there whole in this time, or in the read timeout if that is shorter.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What HTTP/2 begins with; no method of HTTP/1 does.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// The requests of one connection that are being answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    n_running: AtomicUsize,
    /// The task of the connection, which sets its timer anew when nothing is running any more.
    task: Mutex<Option<Waker>>,
    /// Whether that task is at work.
    is_polled: AtomicBool,
    /// Whether nothing is running any more and the timer does not know it yet.
    has_ended: AtomicBool,
}

impl Requests {
    /// One more, until the result is dropped.
    pub(super) fn begin(&self) -> Running {
        self.0.n_running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(&self.0))
    }

    /// What the task of the connection is to do. When an answer ends while it is at work, as nearly all do, it is not woken for that: it
    /// mostly goes on to read by itself. To wake it would wake another thread, too, for nothing.
    pub(super) async fn during<T>(&self, connection: impl Future<Output = T>) -> T {
        let mut connection = std::pin::pin!(connection);
        std::future::poll_fn(|cx| {
            self.0.is_polled.store(true, Ordering::SeqCst);
            let polled = connection.as_mut().poll(cx);
            self.0.is_polled.store(false, Ordering::SeqCst);
            if polled.is_pending() && self.0.has_ended.swap(false, Ordering::SeqCst) {
                cx.waker().wake_by_ref();
            }
            polled
        })
        .await
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.n_running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.has_ended.store(true, Ordering::SeqCst);
            // Either this sees that the task is at work, or the task sees that this has ended.
            if !self.0.is_polled.load(Ordering::SeqCst)
                && let Some(task) = self.0.task.lock().expect("nothing panics while it is held").take()
            {
                task.wake();
            }
        }
    }
}

/// A connection that ends when its client is too slow.
pub(super) struct Paced<S> {
    stream: S,
    requests: Requests,
    read_timeout: Duration,
    /// When the head began that is being read.
    head_since: Option<Instant>,
    /// When something happened last.
    active_at: Instant,
    was_running: bool,
    is_http2: Option<bool>,
    timer: Pin<Box<Sleep>>,
    /// Runs while the client takes nothing of what is written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, requests: Requests, read_timeout: Duration) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + read_timeout));
        Paced {
            stream,
            requests,
            read_timeout,
            head_since: None,
            active_at: now,
            was_running: false,
            is_http2: None,
            timer,
            stalled: None,
        }
    }

    fn is_running(&self) -> bool {
        self.requests.0.n_running.load(Ordering::Acquire) > 0
    }

    fn saw(&mut self, bytes: &[u8]) {
        let is_http2 = *self.is_http2.get_or_insert_with(|| bytes.starts_with(HTTP2_PREFACE));
        self.active_at = Instant::now();
        if is_http2 || self.is_running() {
            self.head_since = None;
        } else {
            self.head_since.get_or_insert(self.active_at);
        }
    }

    /// Whether the client has taken nothing for too long; wakes the task when it has.
    fn wait_for_client<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.read_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        let is_late = stalled.as_mut().poll(cx);
        is_late.map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }

    /// Whether the client has used up its time; wakes the task when it has.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        *self.requests.0.task.lock().expect("nothing panics while it is held") = Some(cx.waker().clone());
        self.requests.0.has_ended.store(false, Ordering::SeqCst);
        if self.is_running() {
            self.was_running = true;
            return false;
        }
        if std::mem::take(&mut self.was_running) {
            // It is idle from the end of the answer on.
            (self.active_at, self.head_since) = (Instant::now(), None);
        }
        let deadline = match self.head_since {
            Some(since) => since + HEAD_TIMEOUT.min(self.read_timeout),
            None => self.active_at + self.read_timeout,
        };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let known = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                if let Some(fresh) = buffer.filled().get(known..).filter(|fresh| !fresh.is_empty()) {
                    self.saw(fresh);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if self.is_late(cx) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client took too long")))
            }
            other => other,
        }
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
