//! Takes samples that others write to us: remote write 1.0. The other direction is [`send`].
//!
//! A request is stored whole or not at all, so that a sender may repeat it; only series whose labels make no sense are left
//! out, as Prometheus 3 does. Status codes and texts are Prometheus', because senders decide by them what to repeat.

pub mod send;

use std::sync::atomic::{AtomicU64, Ordering};

use relatum_model::exposition::MetricFamily;
use relatum_model::remote_write::{DecodeError, Decoder};
use relatum_model::storage::{Append, AppendError, Appender, Refused, SeriesRef};
use thiserror::Error;
use tracing::debug;

/// The largest body, as it comes and decompressed: Prometheus' bound. Whoever reads the body may stop one byte behind it.
pub const BODY_BYTES_MAX: usize = 32 << 20;

const MEDIA_TYPE: &str = "application/x-protobuf";
const MESSAGE_V1: &str = "prometheus.WriteRequest";
const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";

/// What a request brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples that are stored now.
    pub samples: usize,
    /// Series that were left out because their labels are invalid.
    pub invalid_series: usize,
    /// Native histograms that were left out because the store has no place for them.
    pub dropped_histograms: usize,
    /// Exemplars that were left out for the same reason.
    pub dropped_exemplars: usize,
}

/// Why a request was refused. The text is for the sender; [`std::error::Error::source`] has what is for our log only.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// It is compressed in another way.
    #[error("{0} encoding (compression) is not accepted by this server; only snappy is acceptable")]
    Encoding(String),
    /// It is something else.
    #[error("{0}")]
    ContentType(String),
    /// It is too large as it came.
    #[error("request body exceeds the {BODY_BYTES_MAX} bytes limit")]
    BodyTooLarge,
    /// It would be too large when decompressed.
    #[error("decoded size exceeds the {BODY_BYTES_MAX} bytes limit")]
    DecodedTooLarge,
    /// It is not snappy's block format.
    #[error("snappy: corrupt input")]
    Snappy,
    /// What was compressed is not a write request.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// A sample was refused, and with it the request.
    #[error("{0}")]
    Refused(Refused),
    /// The store takes nothing.
    #[error("cannot store samples")]
    Store(#[source] AppendError),
}

impl ReceiveError {
    /// The HTTP status for the sender: 5xx asks it to try again.
    pub fn status(&self) -> u16 {
        match self {
            ReceiveError::Encoding(_) | ReceiveError::ContentType(_) => 415,
            ReceiveError::BodyTooLarge => 413,
            ReceiveError::DecodedTooLarge
            | ReceiveError::Snappy
            | ReceiveError::Decode(_)
            | ReceiveError::Refused(_) => 400,
            ReceiveError::Store(_) => 500,
        }
    }
}

/// Receives write requests and counts.
#[derive(Debug, Default)]
pub struct Receiver {
    requests: AtomicU64,
    refused_requests: AtomicU64,
    samples: AtomicU64,
    invalid_samples: AtomicU64,
    dropped_histograms: AtomicU64,
    dropped_exemplars: AtomicU64,
}

impl Receiver {
    /// A receiver that has counted nothing yet.
    pub fn new() -> Self {
        Receiver::default()
    }

    /// Stores the samples of one request. Blocks on the store, so it is for blocking threads.
    ///
    /// `content_type` and `content_encoding` are the headers as they came, `""` if absent; `body` is the body as it came.
    pub fn receive(
        &self,
        append: &dyn Append,
        content_type: &str,
        content_encoding: &str,
        body: &[u8],
    ) -> Result<Written, ReceiveError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let result = check_headers(content_type, content_encoding)
            .and_then(|()| decompress(body))
            .and_then(|message| self.store(append, &message));
        match &result {
            Ok(written) => {
                self.samples.fetch_add(written.samples as u64, Ordering::Relaxed);
                self.dropped_histograms.fetch_add(written.dropped_histograms as u64, Ordering::Relaxed);
                self.dropped_exemplars.fetch_add(written.dropped_exemplars as u64, Ordering::Relaxed);
            }
            Err(_) => {
                self.refused_requests.fetch_add(1, Ordering::Relaxed);
            }
        }
        result
    }

    fn store(&self, append: &dyn Append, message: &[u8]) -> Result<Written, ReceiveError> {
        let mut appender = append.appender();
        match self.append_all(&mut *appender, message) {
            Ok(written) => {
                appender.commit().map_err(ReceiveError::Store)?;
                Ok(written)
            }
            Err(error) => {
                appender.rollback();
                Err(error)
            }
        }
    }

    fn append_all(&self, appender: &mut dyn Appender, message: &[u8]) -> Result<Written, ReceiveError> {
        let mut written = Written::default();
        let mut decoder = Decoder::new(message);
        while let Some(series) = decoder.next_series()? {
            written.dropped_histograms += series.n_histograms;
            written.dropped_exemplars += series.n_exemplars;
            let labels = match series.label_set() {
                Ok(labels) => labels,
                Err(reason) => {
                    debug!(%reason, samples = series.n_samples, "series with invalid labels left out");
                    written.invalid_series += 1;
                    self.invalid_samples.fetch_add(series.n_samples as u64, Ordering::Relaxed);
                    continue;
                }
            };
            let mut reference = SeriesRef::NONE;
            for sample in series.samples() {
                reference =
                    appender.append(reference, &labels, sample.t_ms, sample.value).map_err(ReceiveError::Refused)?;
                written.samples += 1;
            }
        }
        Ok(written)
    }

    /// What was received so far.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let counter =
            |name, help, counter: &AtomicU64| MetricFamily::counter(name, help, counter.load(Ordering::Relaxed) as f64);
        vec![
            counter(
                "prometheus_api_remote_write_invalid_labels_samples_total",
                "The total number of received remote write samples and histogram samples which were rejected due to invalid labels.",
                &self.invalid_samples,
            ),
            counter("relatum_remote_write_requests_total", "Remote write requests that came.", &self.requests),
            counter(
                "relatum_remote_write_refused_requests_total",
                "Remote write requests of which nothing was stored.",
                &self.refused_requests,
            ),
            counter("relatum_remote_write_samples_total", "Samples stored from remote writes.", &self.samples),
            counter(
                "relatum_remote_write_dropped_histograms_total",
                "Native histograms in remote writes that were left out.",
                &self.dropped_histograms,
            ),
            counter(
                "relatum_remote_write_dropped_exemplars_total",
                "Exemplars in remote writes that were left out.",
                &self.dropped_exemplars,
            ),
        ]
    }
}

fn check_headers(content_type: &str, content_encoding: &str) -> Result<(), ReceiveError> {
    if !matches!(content_encoding, "" | "snappy") {
        return Err(ReceiveError::Encoding(content_encoding.to_owned()));
    }
    let content_type = content_type.trim();
    if content_type.is_empty() {
        return Ok(());
    }
    let mut parts = content_type.split(';');
    if parts.next() != Some(MEDIA_TYPE) {
        let text = format!("expected {MEDIA_TYPE} as the first (media) part, got {content_type} content-type");
        return Err(ReceiveError::ContentType(text));
    }
    for part in parts {
        let refused = match part.trim().split_once('=') {
            Some(("proto", MESSAGE_V1)) => return Ok(()),
            Some(("proto", MESSAGE_V2)) => {
                format!("{MESSAGE_V2} protobuf message is not accepted by this server; only accepts {MESSAGE_V1}")
            }
            Some(("proto", other)) => format!(
                "got {content_type} content type; unknown type for remote write protobuf message {other}, supported: {MESSAGE_V1}"
            ),
            Some(_) => continue,
            None => format!(
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {part} in {content_type} content-type"
            ),
        };
        return Err(ReceiveError::ContentType(refused));
    }
    Ok(())
}

/// Decompresses `body` after a look at the size that it declares: a few bytes can declare gigabytes.
fn decompress(body: &[u8]) -> Result<Vec<u8>, ReceiveError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(ReceiveError::BodyTooLarge);
    }
    if body.is_empty() {
        return Err(ReceiveError::Snappy);
    }
    match snap::raw::decompress_len(body) {
        Ok(length) if length > BODY_BYTES_MAX => Err(ReceiveError::DecodedTooLarge),
        Ok(_) => snap::raw::Decoder::new().decompress_vec(body).map_err(|_| ReceiveError::Snappy),
        // The library refuses what does not fit into 32 bits; Go does so with the same words as anything else.
        Err(_) => Err(ReceiveError::Snappy),
    }
}

#[cfg(test)]
mod tests {
    use relatum_model::remote_write::Encoder;
    use relatum_model::{Labels, Sample};

    use super::*;
    use crate::memory::MemoryStore;

    /// A series: its labels, and its samples as time and value.
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

    fn message(series: &[Row<'_>]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        for (labels, samples) in series {
            let samples: Vec<Sample> = samples.iter().map(|&(t_ms, value)| Sample { t_ms, value }).collect();
            encoder.push(&Labels::from_pairs(labels.iter().copied()), &samples);
        }
        snap::raw::Encoder::new().compress_vec(&encoder.finish()).unwrap()
    }

    #[track_caller]
    fn check(store: &MemoryStore, headers: (&str, &str), body: &[u8], expected: Result<usize, (u16, &str)>) {
        let before = store.samples();
        let result = Receiver::new().receive(store, headers.0, headers.1, body);
        match (result, expected) {
            (Ok(written), Ok(samples)) => assert_eq!(written.samples, samples),
            (Err(error), Err((status, text))) => {
                assert_eq!((error.status(), error.to_string().as_str()), (status, text));
                assert_eq!(store.samples(), before, "a refused request left something behind");
            }
            (result, expected) => panic!("got {result:?}, expected {expected:?}"),
        }
    }

    const HEADERS: (&str, &str) = ("application/x-protobuf", "snappy");

    #[test]
    fn requests() {
        let store = MemoryStore::default();
        let up: &[(&str, &str)] = &[("__name__", "up"), ("job", "a")];
        check(&store, HEADERS, &message(&[(up, &[(1, 1.0), (2, 0.0)])]), Ok(2));
        check(&store, ("", ""), &message(&[(up, &[(3, 1.0)])]), Ok(1));
        let v1 = "application/x-protobuf;proto=prometheus.WriteRequest";
        check(&store, (v1, "snappy"), &message(&[]), Ok(0));
        // The second series is too old, so the first is not stored either.
        let other: &[(&str, &str)] = &[("__name__", "new")];
        let mixed = message(&[(other, &[(1, 1.0)]), (up, &[(1, 5.0)])]);
        check(&store, HEADERS, &mixed, Err((400, "out of order sample")));
        let conflicting = message(&[(up, &[(3, 5.0)])]);
        check(&store, HEADERS, &conflicting, Err((400, "duplicate sample for timestamp")));
        // Without a name it is no series: left out, and no fault of the rest.
        check(&store, HEADERS, &message(&[(&[("job", "a")], &[(1, 1.0)]), (other, &[(1, 1.0)])]), Ok(1));
    }

    #[test]
    fn what_is_no_request() {
        let store = MemoryStore::default();
        let check = |headers, body: &[u8], status, text| check(&store, headers, body, Err((status, text)));
        let gzip = "gzip encoding (compression) is not accepted by this server; only snappy is acceptable";
        check((HEADERS.0, "gzip"), &[], 415, gzip);
        let json = "expected application/x-protobuf as the first (media) part, got application/json content-type";
        check(("application/json", "snappy"), &[], 415, json);
        check(
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy"),
            &[],
            415,
            "io.prometheus.write.v2.Request protobuf message is not accepted by this server; only accepts prometheus.WriteRequest",
        );
        check(HEADERS, &[], 400, "snappy: corrupt input");
        check(HEADERS, b"not compressed at all", 400, "snappy: corrupt input");
        // Declares four gigabytes less one.
        check(HEADERS, &[0xff, 0xff, 0xff, 0xff, 0x0f], 400, "decoded size exceeds the 33554432 bytes limit");
        check(HEADERS, &vec![0; BODY_BYTES_MAX + 1], 413, "request body exceeds the 33554432 bytes limit");
        let garbage = snap::raw::Encoder::new().compress_vec(b"\x0a\xff").unwrap();
        let error = Receiver::new().receive(&store, HEADERS.0, HEADERS.1, &garbage).unwrap_err();
        assert_eq!(error.status(), 400);
    }

    #[test]
    fn a_store_that_fails_asks_for_a_repetition() {
        let store = MemoryStore::default();
        store.fail_commits(true);
        let body = message(&[(&[("__name__", "up")], &[(1, 1.0)])]);
        check(&store, HEADERS, &body, Err((500, "cannot store samples")));
        store.fail_commits(false);
        check(&store, HEADERS, &body, Ok(1));
    }
}
