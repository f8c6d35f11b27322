//! Takes samples that others write to us: remote write 1.0 and 2.0. The other direction is [`send`].
//!
//! A request of 1.0 is stored whole or not at all, so that a sender may repeat it; only series whose labels make no sense are
//! left out, as Prometheus 3 does. Of a request of 2.0 everything is stored that can be, and the sender is told of the rest.
//! Status codes and texts are Prometheus', because senders decide by them what to repeat.

mod known;
mod looks;
mod message;
pub mod send;
mod spare;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use relatum_model::exposition::MetricFamily;
pub use relatum_model::remote_write::Version;
use relatum_model::remote_write::{DecodeError, Decoder, HistogramFault, RawSeries, WriteSeries, descriptions};
use relatum_model::storage::{Append, AppendError, Appender, KnownSample, Refused, SeriesRef};
use relatum_model::{HistogramSample, Labels};
use thiserror::Error;
use tracing::debug;

use known::{Fingerprint, KNOWN_MAX, Known};
use looks::Looks;
use spare::Spare;

/// The largest body, as it comes and decompressed: Prometheus' bound. Whoever reads the body may stop one byte behind it.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// How many series of a request are looked up together.
const SERIES_AT_ONCE: usize = 128;

/// How many of the refusals of one request are told to its sender.
const REFUSALS_TOLD: usize = 100;

/// What a request brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which message it was. The sender of 2.0 is told the numbers below.
    pub version: Version,
    /// Samples that are stored now.
    pub samples: usize,
    /// Native histograms that are stored now.
    pub histograms: usize,
    /// Exemplars that are stored now, or were before.
    pub exemplars: usize,
    /// Series that were left out because their labels are invalid.
    pub invalid_series: usize,
    /// Exemplars that were left out: the store keeps none, or they came too late.
    pub dropped_exemplars: usize,
    /// What a request of 2.0 brought beside it that was refused, a line for each; always empty for 1.0.
    pub refusals: String,
}

/// Why nothing of a request was stored. The text is for the sender; [`std::error::Error::source`] has what is for our log only.
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
    /// A histogram makes no sense, and with it the request.
    #[error("{0}")]
    Histogram(HistogramFault),
    /// A sample was refused, and with it the request.
    #[error("{0}")]
    Refused(Refused),
    /// The store takes nothing.
    #[error("cannot store samples{}", told_why(.0))]
    Store(#[source] AppendError),
}

/// What a sender is told of why nothing could be stored, behind that; files and causes are for the log.
pub(crate) fn told_why(error: &AppendError) -> &'static str {
    if matches!(error, AppendError::Full { .. }) { ": the disk is full" } else { "" }
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
            | ReceiveError::Histogram(_)
            | ReceiveError::Refused(_) => 400,
            ReceiveError::Store(_) => 500,
        }
    }
}

/// What a receiver takes.
#[derive(Debug, Clone)]
pub struct ReceiverOptions {
    /// The messages it takes.
    pub accepted: Vec<Version>,
    /// Store when samples began to count.
    pub start_timestamps: bool,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        ReceiverOptions { accepted: vec![Version::V1, Version::V2], start_timestamps: false }
    }
}

/// Receives write requests and counts.
#[derive(Debug, Default)]
pub struct Receiver {
    options: ReceiverOptions,
    known: Known,
    looks: Looks,
    spare: Spare,
    requests: AtomicU64,
    refused_requests: AtomicU64,
    samples: AtomicU64,
    histograms: AtomicU64,
    invalid_samples: AtomicU64,
    dropped_exemplars: AtomicU64,
}

impl Receiver {
    /// A receiver that has counted nothing yet.
    pub fn new(options: ReceiverOptions) -> Self {
        Receiver { options, ..Receiver::default() }
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
        let result = message::version(content_type, content_encoding, &self.options.accepted).and_then(|version| {
            let mut buffer = self.spare.take();
            let stored =
                message::decompress(body, &mut buffer).and_then(|message| self.store(append, version, message));
            self.spare.keep(buffer);
            stored
        });
        match &result {
            Ok(written) => {
                self.samples.fetch_add(written.samples as u64, Ordering::Relaxed);
                self.histograms.fetch_add(written.histograms as u64, Ordering::Relaxed);
                self.dropped_exemplars.fetch_add(written.dropped_exemplars as u64, Ordering::Relaxed);
            }
            Err(_) => {
                self.refused_requests.fetch_add(1, Ordering::Relaxed);
            }
        }
        result
    }

    fn store(&self, append: &dyn Append, version: Version, message: &[u8]) -> Result<Written, ReceiveError> {
        let mut batch = Batch {
            appender: append.appender(),
            start_timestamps: self.options.start_timestamps,
            is_partial: version == Version::V2,
            refusals: Refusals::default(),
            samples: 0,
            histograms: 0,
            exemplars: 0,
            invalid_series: 0,
            dropped_exemplars: 0,
        };
        match self.fill(&mut batch, version, message) {
            Ok(()) => {
                let refusals = if batch.is_partial { batch.refusals.text() } else { String::new() };
                let Batch { appender, samples, histograms, exemplars, invalid_series, dropped_exemplars, .. } = batch;
                appender.commit().map_err(ReceiveError::Store)?;
                Ok(Written { version, samples, histograms, exemplars, invalid_series, dropped_exemplars, refusals })
            }
            Err(error) => {
                batch.appender.rollback();
                Err(error)
            }
        }
    }

    /// Adds all series of a request, some at a time: what waits for memory then waits for that of many.
    fn fill(&self, batch: &mut Batch<'_>, version: Version, message: &[u8]) -> Result<(), ReceiveError> {
        let mut decoder = Decoder::of(version, message)?;
        let symbols: Vec<Option<Fingerprint>> =
            decoder.symbols().iter().map(|text| text.map(|text| self.known.fingerprint(text.as_bytes()))).collect();
        let fingerprint = |raw: &RawSeries<'_>| match version {
            Version::V1 => Some(self.known.fingerprint(raw.labels())),
            Version::V2 => self.known.joined(raw.symbols().map(|number| symbols.get(number?).copied().flatten())),
        };
        let mut some = Vec::with_capacity(SERIES_AT_ONCE);
        let (mut names, mut samples) = (Vec::with_capacity(SERIES_AT_ONCE), Vec::with_capacity(SERIES_AT_ONCE));
        let (mut next, mut is_described) = (0, false);
        loop {
            some.clear();
            while some.len() < SERIES_AT_ONCE
                && let Some(raw) = decoder.next_raw()?
            {
                let fingerprint = fingerprint(&raw);
                some.push((raw, fingerprint));
            }
            if some.is_empty() {
                // 2.0 says it of each series every time: of those that are known it is looked at now and then.
                if decoder.n_metadata() > 0 || is_described && self.looks.is_due() {
                    let begun = Instant::now();
                    descriptions(version, message, |said| {
                        batch.appender.describe(said.metric, said.kind, said.help, said.unit);
                    });
                    self.looks.took(begun.elapsed());
                }
                return Ok(());
            }
            names.clear();
            let fingerprints = some.iter().map(|(_, fingerprint)| fingerprint.unwrap_or_default());
            self.known.find(fingerprints, &mut next, &mut names);
            let mut at = 0;
            while at < some.len() {
                samples.clear();
                samples.extend(some[at..].iter().zip(&names[at..]).map_while(|((raw, _), name)| {
                    let plain = raw.sample().filter(|_| *name != SeriesRef::NONE)?;
                    is_described |= plain.is_described;
                    Some(KnownSample { series: *name, start_ms: batch.start_ms(plain.start_ms), sample: plain.sample })
                }));
                // What stands behind those is no plain sample of a series that is known.
                let end = (at + samples.len() + 1).min(some.len());
                let mut rest = &samples[..];
                while at < end {
                    let taken = batch.appender.append_known(rest);
                    batch.samples += taken;
                    at += taken;
                    rest = rest.get(taken + 1..).unwrap_or_default();
                    if let Some((raw, fingerprint)) = some.get(at).filter(|_| at < end) {
                        self.add(batch, decoder.read(raw)?, *fingerprint, names[at])?;
                        at += 1;
                    }
                }
            }
        }
    }

    /// Adds all that a request has of a series, which may be known as `name`.
    fn add(
        &self,
        batch: &mut Batch<'_>,
        series: &WriteSeries<'_>,
        fingerprint: Option<Fingerprint>,
        name: SeriesRef,
    ) -> Result<(), ReceiveError> {
        batch.dropped_exemplars += series.n_exemplars;
        let before = batch.exemplars;
        // Labels that the store has need not be made anew.
        let known = batch.appender.labels(name).filter(|_| series.is_whole());
        let labels = match known.map_or_else(|| series.label_set(), Ok) {
            Ok(labels) => labels,
            Err(reason) => {
                let n_samples = series.n_samples + series.n_histograms;
                debug!(%reason, samples = n_samples, "series with invalid labels left out");
                batch.refusals.push(|| format!("invalid labels of series {:?}: {reason}", series.labels));
                batch.invalid_series += 1;
                self.invalid_samples.fetch_add(n_samples as u64, Ordering::Relaxed);
                return Ok(());
            }
        };
        let reference = batch.append_series(name, &labels, series)?;
        batch.dropped_exemplars -= batch.exemplars - before;
        if let Some(fingerprint) =
            fingerprint.filter(|_| series.is_whole() && ![SeriesRef::NONE, name].contains(&reference))
        {
            self.known.insert(fingerprint, reference);
        }
        Ok(())
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
                "relatum_remote_write_histograms_total",
                "Native histograms stored from remote writes.",
                &self.histograms,
            ),
            counter(
                "relatum_remote_write_dropped_exemplars_total",
                "Exemplars in remote writes that were left out.",
                &self.dropped_exemplars,
            ),
            MetricFamily::gauge(
                "relatum_remote_write_known_series",
                "Series that are known by their labels as requests of remote write have them.",
                self.known.len() as f64,
            ),
            MetricFamily::gauge("relatum_remote_write_known_series_max", "How many may be.", KNOWN_MAX as f64),
        ]
    }
}

/// What of one request is on its way into the store.
struct Batch<'s> {
    appender: Box<dyn Appender + 's>,
    start_timestamps: bool,
    // Whether the rest is stored when a sample is refused.
    is_partial: bool,
    refusals: Refusals,
    samples: usize,
    histograms: usize,
    exemplars: usize,
    invalid_series: usize,
    dropped_exemplars: usize,
}

impl Batch<'_> {
    /// When a sample began to count, if that is to be stored.
    fn start_ms(&self, start_ms: i64) -> i64 {
        if self.start_timestamps { start_ms } else { 0 }
    }

    /// Adds all that a request has of a series; gives the store's name for it, which `cached` may be already.
    fn append_series(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        series: &WriteSeries<'_>,
    ) -> Result<SeriesRef, ReceiveError> {
        if self.is_partial && series.n_samples + series.n_histograms == 0 {
            let refusal = || format!("TimeSeries must contain at least one sample or histogram for series {labels}");
            self.refusals.push(refusal);
        }
        let mut reference = cached;
        for (start_ms, sample) in series.started_samples() {
            let start_ms = self.start_ms(start_ms);
            match self.appender.append_started(reference, labels, sample.t_ms, start_ms, sample.value) {
                Ok(found) => {
                    reference = found;
                    self.samples += 1;
                }
                Err(refused) => self.refuse(labels, ReceiveError::Refused(refused))?,
            }
        }
        for histogram in series.histograms() {
            match self.append_histogram(reference, labels, histogram) {
                Ok(found) => {
                    reference = found;
                    self.histograms += 1;
                }
                Err(error) => self.refuse(labels, error)?,
            }
        }
        for exemplar in &series.exemplars {
            match self.appender.append_exemplar(reference, labels, exemplar.clone()) {
                Ok(kept) => self.exemplars += usize::from(kept),
                // Nobody repeats a request for them.
                Err(reason) => debug!(%reason, series = %labels, "exemplar left out"),
            }
        }
        Ok(reference)
    }

    fn append_histogram(
        &mut self,
        reference: SeriesRef,
        labels: &Labels,
        histogram: Result<HistogramSample, HistogramFault>,
    ) -> Result<SeriesRef, ReceiveError> {
        let HistogramSample { t_ms, start_ms, histogram } = histogram.map_err(|fault| match fault {
            HistogramFault::Decode(error) => ReceiveError::Decode(error),
            fault => ReceiveError::Histogram(fault),
        })?;
        let start_ms = self.start_ms(start_ms);
        let appended = self.appender.append_histogram(reference, labels, t_ms, start_ms, &histogram);
        appended.map_err(ReceiveError::Refused)
    }

    /// Keeps what was refused for the answer, or ends the request.
    fn refuse(&mut self, labels: &Labels, error: ReceiveError) -> Result<(), ReceiveError> {
        match error {
            ReceiveError::Refused(_) | ReceiveError::Histogram(_) if self.is_partial => {
                self.refusals.push(|| format!("{error} for series {labels}"));
                Ok(())
            }
            error => Err(error),
        }
    }
}

/// What was refused of one request, as far as it is told.
#[derive(Default)]
struct Refusals {
    lines: Vec<String>,
    n: usize,
}

impl Refusals {
    fn push(&mut self, line: impl FnOnce() -> String) {
        if self.n < REFUSALS_TOLD {
            self.lines.push(line());
        }
        self.n += 1;
    }

    fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        if self.n > self.lines.len() {
            text.push_str(&format!("\nand {} more", self.n - self.lines.len()));
        }
        text
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
        let result = Receiver::default().receive(store, headers.0, headers.1, body);
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
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy"),
            &[],
            415,
            "got application/x-protobuf;proto=io.prometheus.write.v3.Request content type; unknown type for remote write protobuf message io.prometheus.write.v3.Request, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
        );
        check(HEADERS, &[], 400, "snappy: corrupt input");
        check(HEADERS, b"not compressed at all", 400, "snappy: corrupt input");
        // Declares four gigabytes less one.
        check(HEADERS, &[0xff, 0xff, 0xff, 0xff, 0x0f], 400, "decoded size exceeds the 33554432 bytes limit");
        check(HEADERS, &vec![0; BODY_BYTES_MAX + 1], 413, "request body exceeds the 33554432 bytes limit");
        let garbage = snap::raw::Encoder::new().compress_vec(b"\x0a\xff").unwrap();
        let error = Receiver::default().receive(&store, HEADERS.0, HEADERS.1, &garbage).unwrap_err();
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

    const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

    /// A request of 2.0.
    fn message_v2(series: &[Row<'_>]) -> Vec<u8> {
        let mut encoder = Encoder::of(Version::V2);
        for (labels, samples) in series {
            let samples: Vec<Sample> = samples.iter().map(|&(t_ms, value)| Sample { t_ms, value }).collect();
            encoder.push(&Labels::from_pairs(labels.iter().copied()), &samples);
        }
        snap::raw::Encoder::new().compress_vec(&encoder.finish()).unwrap()
    }

    #[test]
    fn what_can_be_stored_of_a_request_is() {
        let store = MemoryStore::default();
        let up: &[(&str, &str)] = &[("__name__", "up"), ("job", "a")];
        let body = message_v2(&[(up, &[(2, 1.0), (1, 0.0), (3, 2.0)]), (&[("job", "a")], &[(1, 1.0)]), (up, &[])]);
        let written = Receiver::default().receive(&store, V2, "snappy", &body).unwrap();
        assert_eq!((written.samples, written.invalid_series), (2, 1));
        assert_eq!(
            written.refusals,
            "out of order sample for series up{job=\"a\"}\n\
             invalid labels of series [(\"job\", \"a\")]: missing metric name (__name__ label)\n\
             TimeSeries must contain at least one sample or histogram for series up{job=\"a\"}"
        );
        assert_eq!(store.values("up{job=\"a\"}"), [Some(1.0), Some(2.0)]);
        // Bytes that are no request leave nothing behind, in 2.0 too.
        let damaged = snap::raw::Encoder::new().compress_vec(b"\x22\x00\x2a\x05\x0a").unwrap();
        check(
            &store,
            (V2, "snappy"),
            &damaged,
            Err((400, "cannot decode write request at byte 4: message ends early")),
        );
        store.fail_commits(true);
        check(&store, (V2, "snappy"), &message_v2(&[(up, &[(4, 1.0)])]), Err((500, "cannot store samples")));
    }

    #[test]
    fn long_lists_of_refusals_end_somewhere() {
        let rows: Vec<Row<'_>> = (0..REFUSALS_TOLD + 5).map(|_| (&[("job", "a")][..], &[(1, 1.0)][..])).collect();
        let body = message_v2(&rows);
        let written = Receiver::default().receive(&MemoryStore::default(), V2, "snappy", &body).unwrap();
        assert_eq!((written.refusals.lines().count(), written.refusals.lines().last()), (101, Some("and 5 more")));
    }

    #[test]
    fn only_messages_that_are_wanted() {
        let options = ReceiverOptions { accepted: vec![Version::V1], ..ReceiverOptions::default() };
        let refused = Receiver::new(options).receive(&MemoryStore::default(), V2, "snappy", &[]).unwrap_err();
        let text = "io.prometheus.write.v2.Request protobuf message is not accepted by this server; only accepts prometheus.WriteRequest";
        assert_eq!((refused.status(), refused.to_string().as_str()), (415, text));
    }

    /// By their labels alone, which nobody looks at then; and what is not known by its name any more is looked up again.
    #[test]
    fn series_are_known_again() {
        for version in [Version::V1, Version::V2] {
            let receiver = Receiver::default();
            let body = |name: &str, t_ms: i64| {
                let mut encoder = Encoder::of(version);
                for zone in ["a", "b"] {
                    let labels = Labels::from_pairs([("__name__", name), ("zone", zone)]);
                    encoder.push(&labels, &[Sample { t_ms, value: t_ms as f64 }]);
                }
                snap::raw::Encoder::new().compress_vec(&encoder.finish()).unwrap()
            };
            let content_type = format!("application/x-protobuf;proto={}", version.message());
            let receive = |store: &MemoryStore, name: &str, t_ms: i64| {
                receiver.receive(store, &content_type, "snappy", &body(name, t_ms)).unwrap().samples
            };
            let store = MemoryStore::default();
            for t_ms in 1..4 {
                assert_eq!(receive(&store, "m", t_ms), 2);
            }
            assert_eq!((receiver.known.len(), store.taken_by_name()), (2, 4));
            assert_eq!(store.values(r#"m{zone="b"}"#), [Some(1.0), Some(2.0), Some(3.0)]);
            let other = MemoryStore::default();
            for (name, t_ms) in [("x", 1), ("m", 2), ("x", 3), ("m", 4)] {
                assert_eq!(receive(&other, name, t_ms), 2);
            }
            assert_eq!(other.names(), [r#"m{zone="a"}"#, r#"m{zone="b"}"#, r#"x{zone="a"}"#, r#"x{zone="b"}"#]);
            for (series, values) in [(r#"m{zone="b"}"#, [2.0, 4.0]), (r#"x{zone="a"}"#, [1.0, 3.0])] {
                assert_eq!(other.values(series), values.map(Some), "{series}");
            }
            assert_eq!((receiver.known.len(), other.taken_by_name()), (4, 4));
        }
    }

    /// A request of 2.0 with one sample of one series, and what is said of its metric.
    fn described(t_ms: u8, help: &str) -> Vec<u8> {
        let message = |key: u8, parts: &[&[u8]]| {
            let inside = parts.concat();
            [&[key << 3 | 2, u8::try_from(inside.len()).unwrap()], &inside[..]].concat()
        };
        let symbols: Vec<u8> =
            ["", "__name__", "m", help].iter().flat_map(|text| message(4, &[text.as_bytes()])).collect();
        let sample = [&[1 << 3 | 1][..], &f64::from(t_ms).to_le_bytes(), &[2 << 3, t_ms]].concat();
        let metadata = if help.is_empty() { Vec::new() } else { message(5, &[&[1 << 3, 1, 3 << 3, 3]]) };
        let series = message(5, &[&message(1, &[&[1, 2]]), &message(2, &[&sample]), &metadata]);
        snap::raw::Encoder::new().compress_vec(&[symbols, series].concat()).unwrap()
    }

    #[test]
    fn what_is_said_of_metrics_later_is_heard() {
        let (receiver, store) = (Receiver::default(), MemoryStore::default());
        for (t_ms, help) in [(1, ""), (2, "first"), (3, "second")] {
            receiver.looks.forget();
            assert_eq!(receiver.receive(&store, V2, "snappy", &described(t_ms, help)).unwrap().samples, 1);
        }
        assert_eq!(store.taken_by_name(), 2, "labels are not looked at");
        assert_eq!(store.described(), ["m counter first", "m counter second"]);
    }

    /// A sample that is refused among many of series that are known.
    #[test]
    fn what_is_refused_of_known_series() {
        for (version, kept) in [(Version::V1, 0), (Version::V2, 2 * SERIES_AT_ONCE)] {
            let (receiver, store) = (Receiver::default(), MemoryStore::default());
            let content_type = format!("application/x-protobuf;proto={}", version.message());
            let receive = |late: Option<usize>, t_ms: i64| {
                let mut encoder = Encoder::of(version);
                for n in 0..=2 * SERIES_AT_ONCE {
                    let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("n", n.to_string())]);
                    let t_ms = if late == Some(n) { 1 } else { t_ms };
                    encoder.push(&labels, &[Sample { t_ms, value: 1.0 }]);
                }
                let body = snap::raw::Encoder::new().compress_vec(&encoder.finish()).unwrap();
                receiver.receive(&store, &content_type, "snappy", &body)
            };
            assert_eq!(receive(None, 5).unwrap().samples, 2 * SERIES_AT_ONCE + 1);
            for (t_ms, late) in (6..).zip([0, 1, SERIES_AT_ONCE - 1, SERIES_AT_ONCE, 2 * SERIES_AT_ONCE]) {
                match receive(Some(late), t_ms) {
                    Ok(written) => {
                        let text = format!("out of order sample for series m{{n=\"{late}\"}}");
                        assert_eq!((written.samples, written.refusals), (kept, text));
                    }
                    Err(error) => assert_eq!((error.to_string().as_str(), kept), ("out of order sample", 0)),
                }
            }
        }
    }
}
