//! The beginning of a TLS connection: who says nothing, or something else, must not be in the way of others.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// With more that are not done yet, the oldest gives way: a real client needs a few milliseconds, so those who linger are others.
const HANDSHAKES_MAX: usize = 128;

/// What a client of plain HTTP is told, as Go's servers do.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// The handshakes that are not done yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    running: Mutex<VecDeque<CancellationToken>>,
}

impl Handshakes {
    /// Makes a TLS connection of `stream`.
    pub(super) async fn accept(&self, stream: TcpStream, tls: Arc<ServerConfig>) -> io::Result<TlsStream<TcpStream>> {
        let (given_up, _done) = self.begin();
        tokio::select! {
            done = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, tls)) => {
                done.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))?
            }
            () = given_up.cancelled() => Err(io::Error::other("the handshake had to give way")),
        }
    }

    /// Ends all that are not done.
    pub(super) fn give_up(&self) {
        let running = self.running.lock().expect("nothing panics while it counts");
        running.iter().for_each(CancellationToken::cancel);
    }

    /// Says when to give up. Dropping the guard says that it is over.
    fn begin(&self) -> (CancellationToken, DropGuard) {
        let token = CancellationToken::new();
        let mut running = self.running.lock().expect("nothing panics while it counts");
        running.retain(|one| !one.is_cancelled());
        if running.len() >= HANDSHAKES_MAX
            && let Some(oldest) = running.pop_front()
        {
            oldest.cancel();
        }
        running.push_back(token.clone());
        (token.clone(), token.drop_guard())
    }
}

async fn handshake(mut stream: TcpStream, tls: Arc<ServerConfig>) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    // A method begins with a letter, TLS with the byte 22.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        stream.write_all(PLAIN_HTTP).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks plain HTTP"));
    }
    TlsAcceptor::from(tls).accept(stream).await
}
