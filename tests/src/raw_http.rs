//! HTTP by hand, for requests that no client library would send: odd paths, odd methods, broken escapes.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, ensure};

use crate::PATIENCE;

/// One answer, headers in lower case.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl RawAnswer {
    /// The first header called `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Sends `method target` to `authority` as it is written, and reads until the server closes the connection.
pub fn ask(
    authority: &str,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> anyhow::Result<RawAnswer> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    stream.write_all(request.as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).with_context(|| format!("{method} {target}: {}", String::from_utf8_lossy(&bytes)))
}

/// Asks with GET for an answer that may never end, and reads no more than its head.
pub fn head(authority: &str, target: &str) -> anyhow::Result<RawAnswer> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes())?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        let n = stream.read(&mut piece)?;
        ensure!(n > 0, "the headers do not end");
        bytes.extend_from_slice(&piece[..n]);
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("the headers do not end")?;
    // Without what says that the body is in chunks, as none of it is here.
    let mut answer = parse(&[&bytes[..end], b"\r\nX-Cut: 1\r\n\r\n0\r\n\r\n"].concat())?;
    answer.body.clear();
    Ok(answer)
}

fn parse(bytes: &[u8]) -> anyhow::Result<RawAnswer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("the headers do not end")?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("there is no status")?.parse()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked { joined(&bytes[end + 4..])? } else { bytes[end + 4..].to_vec() };
    Ok(RawAnswer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn joined(mut chunks: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n").context("a chunk has no size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end])?, 16)?;
        if size == 0 {
            return Ok(body);
        }
        let data = &chunks[end + 2..];
        ensure!(data.len() >= size + 2, "a chunk is cut short");
        body.extend_from_slice(&data[..size]);
        chunks = &data[size + 2..];
    }
}
