//! Characters in the target of a request that its client should have encoded: `"`, `<`, `{`, é and others that no URL has. People type
//! them, curl sends them as they are, and Go's servers take them; hyper refuses some, with an answer that says nothing, and takes `#`
//! for the end. So they are encoded here, on their way in.
//!
//! Only bytes of a target are changed, and only where it is certain that it is one. What comes behind a head is followed by its
//! `Content-Length`, exactly as hyper does; with the first request whose body has another end, or that is odd in any way, nothing is
//! changed any more on that connection. So no body can be taken for a request here that is none to hyper, and lengths stay true.
//!
//! ```text
//! start --> method --> target --> version --> header lines --empty line--> body of a known length --> start
//!                         (whatever else comes: over)
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest word that is of interest.
const WORD_BYTES_MAX: usize = "transfer-encoding".len();

/// A connection whose targets are encoded.
pub(super) struct Encoded<S> {
    stream: S,
    place: Place,
    /// Where in what was just read there are bytes to encode.
    odd: Vec<usize>,
    /// What was read and had no room in the reader's buffer.
    left: Vec<u8>,
    taken: usize,
}

/// How far a connection is in its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a request, where empty lines may be.
    Start,
    Method(Word),
    /// Its first byte tells whether it is one that begins with a path.
    TargetStart,
    Target,
    Version,
    /// The beginning of a line of a head whose body has this length.
    Line(Option<u64>),
    /// Behind the carriage return of the empty line.
    End(Option<u64>),
    Name(Option<u64>, Word),
    Value(Option<u64>),
    /// In the value of `Content-Length`: before its digits, in them with their value so far, or behind them.
    LengthStart,
    Length(u64),
    LengthEnd(u64),
    Body(u64),
    /// From here on nothing is looked at.
    Over,
}

/// A word in small letters, as far as it is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    bytes: [u8; WORD_BYTES_MAX],
    length: usize,
}

impl Word {
    fn new(first: u8) -> Self {
        let empty = Word { bytes: [0; WORD_BYTES_MAX], length: 0 };
        empty.and(first)
    }

    #[must_use]
    fn and(mut self, byte: u8) -> Self {
        if let Some(next) = self.bytes.get_mut(self.length) {
            *next = byte.to_ascii_lowercase();
        }
        // A longer one is none of those that are looked for.
        self.length = (self.length + 1).min(WORD_BYTES_MAX + 1);
        self
    }

    fn is(&self, word: &[u8]) -> bool {
        self.bytes.get(..self.length) == Some(word)
    }
}

impl Place {
    /// Goes on behind `bytes`; notes in `odd` where those are that must be encoded.
    fn follow(&mut self, bytes: &[u8], odd: &mut Vec<usize>) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match *self {
                Place::Over => return,
                Place::Body(left) => {
                    let here = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                    at += here;
                    *self = body(left - here as u64);
                    continue;
                }
                Place::Target if is_odd(*byte) => odd.push(at),
                place => *self = place.behind(*byte),
            }
            at += 1;
        }
    }

    /// The place behind one byte that is not of a body.
    fn behind(self, byte: u8) -> Place {
        match (self, byte) {
            (Place::Start, b'\r' | b'\n') => Place::Start,
            (Place::Start, _) if is_token(byte) => Place::Method(Word::new(byte)),
            // The first has a tunnel behind it, the second is how HTTP/2 begins.
            (Place::Method(word), b' ') if !word.is(b"connect") && !word.is(b"pri") => Place::TargetStart,
            (Place::Method(word), _) if is_token(byte) => Place::Method(word.and(byte)),
            (Place::TargetStart, b'/') => Place::Target,
            (Place::Target, b' ') => Place::Version,
            (Place::Target, b'!'..=b'~') => Place::Target,
            (Place::Version, b'\n') => Place::Line(None),
            (Place::Version, _) => Place::Version,
            (Place::Line(length), b'\r') => Place::End(length),
            (Place::Line(length) | Place::End(length), b'\n') => body(length.unwrap_or(0)),
            (Place::Line(length), _) if is_token(byte) => Place::Name(length, Word::new(byte)),
            (Place::Name(length, word), b':') => match length {
                _ if word.is(b"transfer-encoding") => Place::Over,
                None if word.is(b"content-length") => Place::LengthStart,
                Some(_) if word.is(b"content-length") => Place::Over,
                _ => Place::Value(length),
            },
            (Place::Name(length, word), _) if is_token(byte) => Place::Name(length, word.and(byte)),
            (Place::Value(length), b'\n') => Place::Line(length),
            (Place::Value(length), _) => Place::Value(length),
            (Place::LengthStart, b' ' | b'\t') => Place::LengthStart,
            (Place::LengthStart, b'0'..=b'9') => Place::Length(u64::from(byte - b'0')),
            (Place::Length(length), b'0'..=b'9') => {
                let more = length.checked_mul(10).and_then(|length| length.checked_add(u64::from(byte - b'0')));
                more.map_or(Place::Over, Place::Length)
            }
            (Place::Length(length) | Place::LengthEnd(length), b' ' | b'\t' | b'\r') => Place::LengthEnd(length),
            (Place::Length(length) | Place::LengthEnd(length), b'\n') => Place::Line(Some(length)),
            _ => Place::Over,
        }
    }
}

/// In front of so many bytes of a body.
fn body(bytes: u64) -> Place {
    if bytes > 0 { Place::Body(bytes) } else { Place::Start }
}

/// Whether no URL has this byte, but clients send it. Control characters and spaces are none: with them a line means something else.
fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..)
}

/// Whether methods and names of headers have this byte.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `bytes` with those at `odd` encoded.
fn encoded(bytes: &[u8], odd: &[usize]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(bytes.len() + 2 * odd.len());
    let mut from = 0;
    for at in odd {
        let byte = usize::from(bytes[*at]);
        out.extend_from_slice(&bytes[from..*at]);
        out.extend_from_slice(&[b'%', DIGITS[byte >> 4], DIGITS[byte & 0xf]]);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

impl<S> Encoded<S> {
    pub(super) fn new(stream: S) -> Self {
        Encoded { stream, place: Place::Start, odd: Vec::new(), left: Vec::new(), taken: 0 }
    }

    /// Gives as much of what is left as there is room for.
    fn take_left(&mut self, buffer: &mut ReadBuf<'_>) {
        let left = &self.left[self.taken..];
        let n = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..n]);
        self.taken += n;
        if self.taken == self.left.len() {
            (self.left, self.taken) = (Vec::new(), 0);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Encoded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            let known = buffer.filled().len();
            std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let fresh = buffer.filled().get(known..).unwrap_or_default();
            this.place.follow(fresh, &mut this.odd);
            if this.odd.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.left = encoded(fresh, &this.odd);
            this.odd.clear();
            buffer.set_filled(known);
        }
        this.take_left(buffer);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Encoded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What comes out of a connection into which `sent` goes in pieces of these lengths, and then the rest.
    fn through(sent: &[u8], pieces: &[usize]) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = duplex(64);
            let write = async {
                let mut rest = sent;
                for piece in pieces {
                    let (now, later) = rest.split_at((*piece).min(rest.len()));
                    client.write_all(now).await.unwrap();
                    rest = later;
                }
                client.write_all(rest).await.unwrap();
                drop(client);
            };
            let mut out = Vec::new();
            let mut server = Encoded::new(server);
            let read = async {
                // A small buffer, so that something is left over.
                let mut buffer = [0; 7];
                loop {
                    match server.read(&mut buffer).await.unwrap() {
                        0 => break,
                        n => out.extend_from_slice(&buffer[..n]),
                    }
                }
            };
            tokio::join!(write, read);
            out
        })
    }

    #[track_caller]
    fn check(sent: &str, expected: &str) {
        let out = String::from_utf8(through(sent.as_bytes(), &[])).unwrap();
        assert_eq!(out, expected, "of {sent:?}");
    }

    #[test]
    fn targets_and_nothing_else() {
        check("GET /a?q=m{i=\"1\"}<5>\u{e9} HTTP/1.1\r\n", "GET /a?q=m%7Bi=%221%22%7D%3C5%3E%C3%A9 HTTP/1.1\r\n");
        // Lines may end with a line feed alone, and empty ones may come first.
        check(
            "\r\n\nGET /< HTTP/1.1\nX: <\n\nGET /< HTTP/1.1\n\n",
            "\r\n\nGET /%3C HTTP/1.1\nX: <\n\nGET /%3C HTTP/1.1\n\n",
        );
        let length = "POST /< HTTP/1.1\r\ncOntent-lEngth: 3 \r\nX: a: b\r\n\r\n";
        check(&format!("{length}<<<GET /<"), &format!("{}<<<GET /%3C", length.replacen('<', "%3C", 1)));
        check(&format!("{length}\r\n<GET /<"), &format!("{}\r\n<GET /%3C", length.replacen('<', "%3C", 1)));
        for over in [
            // Where the body ends is not known, or not for certain.
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /<",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\nGET /<",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nGET /<",
            "POST / HTTP/1.1\r\nContent-Length: +0\r\n\r\nGET /<",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\nGET /<",
            "POST / HTTP/1.1\r\nContent-Length: 0, 0\r\n\r\nGET /<",
            "POST / HTTP/1.1\r\nContent-Length : 0\r\n\r\nGET /<",
            "POST / HTTP/1.1\r\nX: a\r\n Content-Length: 5\r\n\r\nGET /<",
            "POST / HTTP/1.1\r\nnone\r\n\r\nGET /<",
            "GET / HTTP/1.1\r\n\rGET /<",
            // What has a space or a control character in it is refused by others.
            "GET /a\u{1}<",
            "GET /a\u{7f}<",
            "GET  /<",
            // No path.
            "GET <",
            "GET http://a</",
            "CONNECT /<",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /<",
            "\"GET\" /<",
        ] {
            check(over, over);
        }
        check("GET /a b< HTTP/1.1\r\n", "GET /a b< HTTP/1.1\r\n");
    }

    proptest! {
        /// However the bytes come, requests behind each other have their targets encoded, and nothing else is touched.
        #[test]
        fn requests_in_pieces(
            requests in prop::collection::vec(("[a-z\"<{#\u{e9}]{0,9}", "[ -~\u{e9}\r\n]{0,40}", any::<bool>()), 1..6),
            pieces in prop::collection::vec(1usize..40, 0..20),
        ) {
            let (mut sent, mut expected) = (String::new(), String::new());
            for (target, body, is_first) in &requests {
                let length = format!("Content-Length: {}\r\n", body.len());
                let headers = if *is_first { format!("{length}X: <\r\n") } else { format!("X: <\r\n{length}") };
                let rest = format!(" HTTP/1.1\r\n{headers}\r\n{body}");
                sent += &format!("GET /{target}{rest}");
                let target: String = target.bytes().map(|byte| match byte {
                    b'a'..=b'z' => char::from(byte).to_string(),
                    _ => format!("%{byte:02X}"),
                }).collect();
                expected += &format!("GET /{target}{rest}");
            }
            prop_assert_eq!(String::from_utf8(through(sent.as_bytes(), &pieces)).unwrap(), expected);
        }
    }
}
