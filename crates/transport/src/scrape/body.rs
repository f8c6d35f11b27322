//! The body of an answer: unpacked within its bound, and what format it is in.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use relatum_config::prometheus::{Escaping, ScrapeProtocol};
use relatum_model::exposition::Format;
use relatum_model::text::quote;

use super::ScrapeError;

/// The largest body we take where the job sets no bound of its own: Prometheus takes any, but a target must not be able to
/// fill our memory. A million series with ten labels fit.
pub(crate) const BODY_BYTES_MAX: u64 = 256 << 20;

/// Small bodies can grow when packed, so what arrives may be this much larger than what it holds.
const PACKED_SLACK: u64 = 1024;

/// What a target answered.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// The bytes as they came.
    pub(crate) chunks: Vec<Bytes>,
    /// Whether they are packed with gzip.
    pub(crate) gzip: bool,
    /// The header `Content-Type`.
    pub(crate) content_type: String,
}

/// The most bytes that may arrive for a body of at most `body_bytes_max`.
pub(crate) fn packed_bytes_max(body_bytes_max: u64) -> u64 {
    body_bytes_max.saturating_add(PACKED_SLACK)
}

impl Body {
    /// Unpacks into `out`, which is emptied first. A body of `body_bytes_max` is too large already, as for Prometheus.
    pub(crate) fn unpack(&self, body_bytes_max: u64, out: &mut Vec<u8>) -> Result<(), ScrapeError> {
        out.clear();
        let chunks = Chunks { chunks: &self.chunks, at: 0 };
        if self.gzip {
            MultiGzDecoder::new(chunks)
                .take(body_bytes_max)
                .read_to_end(out)
                .map_err(|error| ScrapeError::Unpack(unpack_failure(&error)))?;
        } else {
            chunks.take(body_bytes_max).read_to_end(out).map_err(|error| ScrapeError::Unpack(error.to_string()))?;
        }
        if out.len() as u64 >= body_bytes_max { Err(ScrapeError::BodySizeLimit) } else { Ok(()) }
    }
}

/// In Go's words, as Prometheus shows them.
fn unpack_failure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        io::ErrorKind::InvalidInput => "gzip: invalid header".to_owned(),
        _ => format!("gzip: {error}"),
    }
}

struct Chunks<'a> {
    chunks: &'a [Bytes],
    // Where in the first chunk reading goes on.
    at: usize,
}

impl BufRead for Chunks<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while let Some(chunk) = self.chunks.first() {
            if self.at < chunk.len() {
                return Ok(&chunk[self.at..]);
            }
            (self.chunks, self.at) = (&self.chunks[1..], 0);
        }
        Ok(&[])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let rest = self.fill_buf()?;
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// How an answer in `protocol` is read; `None` if it cannot be.
fn format(protocol: ScrapeProtocol) -> Option<Format> {
    match protocol {
        ScrapeProtocol::PrometheusProto => None,
        ScrapeProtocol::PrometheusText004 | ScrapeProtocol::PrometheusText100 => Some(Format::Text),
        ScrapeProtocol::OpenMetricsText001 | ScrapeProtocol::OpenMetricsText100 => Some(Format::OpenMetrics),
    }
}

/// The header `Accept` for a job that wants `protocols`: those that can be read, weighted in their order.
pub(crate) fn accept_header(protocols: &[ScrapeProtocol], escaping: Escaping) -> String {
    let mut weight = protocols.len() + 1;
    let mut header = String::new();
    for protocol in protocols {
        if format(*protocol).is_some() {
            header.push_str(protocol.media_type());
            // The older formats have no word for it.
            if matches!(protocol, ScrapeProtocol::PrometheusText100 | ScrapeProtocol::OpenMetricsText100) {
                header.push_str(";escaping=");
                header.push_str(escaping.as_str());
            }
            header.push_str(&format!(";q=0.{weight},"));
        }
        weight -= 1;
    }
    header.push_str(&format!("*/*;q=0.{weight}"));
    header
}

/// The format of a body that came as `content_type`; errors are in Prometheus' words.
pub(crate) fn format_of(content_type: &str, fallback: Option<ScrapeProtocol>) -> Result<Format, ScrapeError> {
    if let Some(format) = Format::from_content_type(content_type) {
        return Ok(format);
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/vnd.google.protobuf") {
        // A target that sends this was not asked for it, and a fallback would read it as what it is not.
        return Err(ScrapeError::ContentType(format!("received unsupported Content-Type {}", quote(content_type))));
    }
    if let Some(format) = fallback.and_then(format) {
        return Ok(format);
    }
    Err(ScrapeError::ContentType(if content_type.is_empty() {
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
            .to_owned()
    } else {
        let got = quote(content_type);
        format!("received unsupported Content-Type {got} and no fallback_scrape_protocol specified for target")
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(bytes: &[u8], gzip: bool, body_bytes_max: u64, expected: Result<&[u8], &str>) {
        for chunk_bytes in [1, 7, bytes.len().max(1)] {
            let chunks = bytes.chunks(chunk_bytes).map(Bytes::copy_from_slice).collect();
            let mut out = b"left over".to_vec();
            let result = Body { chunks, gzip, content_type: String::new() }.unpack(body_bytes_max, &mut out);
            match expected {
                Ok(text) => assert_eq!((result.is_ok(), out.as_slice()), (true, text)),
                Err(text) => assert_eq!(result.unwrap_err().to_string(), text),
            }
        }
    }

    #[test]
    fn bodies() {
        check(b"up 1\n", false, 6, Ok(b"up 1\n"));
        check(b"up 1\n", false, 5, Err("body size limit exceeded"));
        check(b"", false, 5, Ok(b""));
        check(&packed(b"up 1\n"), true, 6, Ok(b"up 1\n"));
        check(&[packed(b"up 1\n"), packed(b"down 0\n")].concat(), true, 100, Ok(b"up 1\ndown 0\n"));
        // What unpacks to far more than it weighs stops at the bound.
        check(&packed(&vec![b'#'; 10 << 20]), true, 1 << 20, Err("body size limit exceeded"));
        check(b"up 1 and more\n", true, 100, Err("gzip: invalid header"));
        check(&packed(b"up 1\n")[..15], true, 100, Err("unexpected EOF"));
    }

    #[test]
    fn what_we_ask_for() {
        assert_eq!(
            accept_header(&ScrapeProtocol::DEFAULT, Escaping::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
        // Protobuf cannot be read yet, so nobody is asked for it; the others keep their weights.
        assert_eq!(
            accept_header(&[ScrapeProtocol::PrometheusProto, ScrapeProtocol::PrometheusText004], Escaping::Dots),
            "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
    }

    #[test]
    fn what_we_get() {
        let blank = "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target";
        let html =
            r#"received unsupported Content-Type "text/html" and no fallback_scrape_protocol specified for target"#;
        let protobuf = r#"received unsupported Content-Type "application/vnd.google.protobuf; x=y""#;
        let text = Some(ScrapeProtocol::PrometheusText004);
        for (content_type, fallback, expected) in [
            ("text/plain; version=0.0.4; charset=utf-8", None, Ok(Format::Text)),
            ("Application/OpenMetrics-Text;version=1.0.0", text, Ok(Format::OpenMetrics)),
            ("", None, Err(blank)),
            ("text/html", None, Err(html)),
            ("text/html", text, Ok(Format::Text)),
            ("", Some(ScrapeProtocol::OpenMetricsText100), Ok(Format::OpenMetrics)),
            ("application/vnd.google.protobuf; x=y", text, Err(protobuf)),
        ] {
            let result = format_of(content_type, fallback).map_err(|error| error.to_string());
            assert_eq!(result, expected.map_err(str::to_owned), "{content_type:?}");
        }
    }
}
