//! The accept loop: connections with bounds on headers and time, TLS where it is asked for, and a graceful end.
//!
//! `axum::serve` can set none of these bounds.

mod handshake;
mod pace;
mod rest;
mod target;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::http::{Request, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::flags::Flags;
use crate::web::{self, Door, Web};
use handshake::Handshakes;
use pace::{Answer, Pace, Paced, Timed};
use rest::{Kept, Rest};
use target::Encoded;

const HEADER_BYTES_MAX: usize = 64 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no listener could be opened.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The text names no address.
    #[error("cannot listen on {0}: it is not host:port")]
    Address(String),
    /// The system refused, most often because another program holds the port.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
}

/// What all connections go through. Many listeners may share it, and share its bounds then.
#[derive(Debug, Clone)]
pub struct Front {
    web: Arc<Web>,
    slots: Arc<Semaphore>,
    handshakes: Arc<Handshakes>,
    read_timeout: Duration,
}

impl Front {
    /// One with the rules of `web`, and the bounds that `flags` say.
    pub fn new(web: Arc<Web>, flags: &Flags) -> Self {
        let connections_max = flags.connections_max.clamp(1, Semaphore::MAX_PERMITS);
        web.counts.connections_max.store(connections_max, Ordering::Relaxed);
        web.set_door(Door::new(flags));
        let slots = Arc::new(Semaphore::new(connections_max));
        Front { web, slots, handshakes: Arc::default(), read_timeout: flags.read_timeout }
    }
}

/// Opens a listener on `host:port`. An empty host is every address of the machine, port 0 any free port.
pub async fn bind(address: &str) -> Result<TcpListener, ListenError> {
    let (host, port) = address.rsplit_once(':').ok_or_else(|| ListenError::Address(address.to_owned()))?;
    let port: u16 = port.parse().map_err(|_| ListenError::Address(address.to_owned()))?;
    let host = match host {
        "" => "0.0.0.0",
        host => host.trim_start_matches('[').trim_end_matches(']'),
    };
    TcpListener::bind((host, port)).await.map_err(|source| ListenError::Bind { address: address.to_owned(), source })
}

/// Serves `router` until `shutdown` is done, then lets running requests finish for at most ten seconds.
///
/// A client has 30 seconds for the head of a request, and the read timeout for its body and between two requests.
///
/// Handlers find the peer's address as `ConnectInfo<SocketAddr>`. A fault of one connection ends that connection only.
pub async fn serve(listener: TcpListener, router: Router, front: Front, shutdown: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // A slot is taken before the connection, so that a flood waits in the kernel's queue and not in our memory.
        let accepted = async {
            let slot = Arc::clone(&front.slots).acquire_owned().await.expect("the semaphore is never closed");
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(stream, peer, router.clone(), front.clone(), graceful.watcher());
                let web = Arc::clone(&front.web);
                tokio::spawn(async move {
                    web.counts.connections.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = connection.await {
                        debug!(%peer, error, "connection ended early");
                    }
                    web.counts.connections.fetch_sub(1, Ordering::Relaxed);
                    drop(slot);
                });
            }
            Err(error) => {
                // Most often too many open files: waiting a moment lets some of them close.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Whoever comes now is refused, and may find another server; in the queue of the kernel nobody would answer.
    drop(listener);
    front.handshakes.give_up();
    front.web.draining().cancel();
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("requests still running at shutdown were cut off");
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    front: Front,
    watcher: Watcher,
) -> Result<(), ConnectionError> {
    // Small answers must not wait for more to send.
    let _ = stream.set_nodelay(true);
    let rules = front.web.rules();
    match &rules.tls {
        None => answer(stream, peer, router, front, true, watcher).await,
        Some(tls) => {
            let accepted = front.handshakes.accept(stream, Arc::clone(tls)).await;
            let stream = accepted.inspect_err(|_| {
                front.web.counts.handshakes_failed.fetch_add(1, Ordering::Relaxed);
            })?;
            answer(stream, peer, router, front, rules.http2, watcher).await
        }
    }
}

/// Answers all requests of one connection.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    front: Front,
    http2: bool,
    watcher: Watcher,
) -> Result<(), ConnectionError> {
    let read_timeout = front.read_timeout;
    let pace = Pace::new(read_timeout);
    let stream = Encoded::new(Paced::new(stream, pace.clone()));
    let requests = pace.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, web, running) = (router.clone(), Arc::clone(&front.web), requests.begin());
        async move {
            // A client that waits to be told to go on sends nothing once it has its answer; streams of HTTP/2 end on their own.
            let may_send = request.version() < Version::HTTP_2 && !request.headers().contains_key(header::EXPECT);
            let rest = Rest::default();
            let mut request = request.map(|body| match body.is_end_stream() {
                true => Body::empty(),
                false => Body::new(Timed::new(Kept::new(body, rest.clone()), read_timeout)),
            });
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = web::pass(web, peer, router, request).await;
            if may_send {
                rest.read();
            }
            Ok::<_, Infallible>(answer.map(|body| Answer { body, _running: running }))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEADER_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(200).max_header_list_size(HEADER_BYTES_MAX as u32);
    let builder = if http2 { builder } else { builder.http1_only() };
    let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    pace.keep(connection).await
}

#[cfg(test)]
mod tests;
