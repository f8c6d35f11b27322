//! Asks other stores for samples that we do not have: `remote_read`.
//!
//! A reading blocks, as all selecting does: it is called from a blocking thread and waits there for the network.

mod streamed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use relatum_config::prometheus::RemoteReadConfig;
use relatum_model::exposition::{MetricFamily, MetricKind};
use relatum_model::remote_read::{ReadQuery, ReadRequest, ResponseType, decode_answer};
use relatum_model::storage::TimeRange;
use relatum_model::{Labels, MatchOp, Matcher, Series};
use reqwest::Url;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use tokio::runtime::Handle;

pub use streamed::DecodeChunk;
use streamed::Streamed;

use crate::http::{Connection, HttpClients, HttpError, complaint, header_map, request_failure};

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-read-version");

/// The largest answer, compressed; and how large it may become. A bound for memory, far beyond what a query can use.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const DECODED_BYTES_MAX: usize = 1 << 30;

/// As many samples as Prometheus hands out in one answer.
const SAMPLES_MAX: usize = 50_000_000;

/// Why another store cannot be asked at all.
#[derive(Debug, Error)]
#[error("cannot prepare remote read from {url}")]
pub struct PrepareReadError {
    /// Where from, without the password.
    pub url: String,
    /// The cause.
    pub source: UnusableSource,
}

/// What is wrong with a source.
#[derive(Debug, Error)]
pub enum UnusableSource {
    /// The URL is none.
    #[error("cannot parse the url: {0}")]
    Url(String),
    /// Its client cannot be built.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Another store that can be asked.
#[derive(Debug)]
struct Source {
    config: RemoteReadConfig,
    external: Labels,
    url: Url,
    headers: HeaderMap,
    connection: Connection,
    decode: DecodeChunk,
    /// Answers that came as samples, and those that came as chunks.
    sampled: AtomicU64,
    chunked: AtomicU64,
    failures: AtomicU64,
}

/// What one source is asked.
#[derive(Debug)]
struct Question {
    query: ReadQuery,
    /// The external labels that it got on its way, and that its series lose on theirs.
    added: Vec<String>,
}

/// Sources that are ready to be asked.
#[derive(Debug)]
#[must_use = "prepared sources are not asked before they are committed"]
pub struct PreparedSources(Vec<Arc<Source>>);

/// All stores that can be asked.
#[derive(Debug)]
pub struct RemoteSources {
    clients: HttpClients,
    current: ArcSwap<Vec<Arc<Source>>>,
    decode: DecodeChunk,
    runtime: Handle,
}

/// What was read, sorted by labels, and what could not be read.
#[derive(Debug, Default)]
pub struct RemoteAnswer {
    /// For each source that was asked, its series.
    pub series: Vec<Vec<Series>>,
    /// For each source that failed, a sentence.
    pub warnings: Vec<String>,
}

impl RemoteSources {
    /// None yet. `decode` knows the chunks in which samples may come. Must be called inside a tokio runtime.
    pub fn new(decode: DecodeChunk) -> Self {
        RemoteSources {
            clients: HttpClients::default(),
            current: ArcSwap::default(),
            decode,
            runtime: Handle::current(),
        }
    }

    /// Builds the clients that `configs` describe.
    pub fn prepare(
        &self,
        configs: &[RemoteReadConfig],
        external: &Labels,
    ) -> Result<PreparedSources, Vec<PrepareReadError>> {
        let (mut sources, mut errors) = (Vec::new(), Vec::new());
        for config in configs {
            match self.source(config, external) {
                Ok(source) => sources.push(Arc::new(source)),
                Err(source) => errors.push(PrepareReadError { url: config.url.to_string(), source }),
            }
        }
        if errors.is_empty() { Ok(PreparedSources(sources)) } else { Err(errors) }
    }

    fn source(&self, config: &RemoteReadConfig, external: &Labels) -> Result<Source, UnusableSource> {
        Ok(Source {
            url: Url::parse(config.url.expose()).map_err(|error| UnusableSource::Url(error.to_string()))?,
            headers: header_map(&config.headers)?,
            connection: self.clients.connection(&config.http)?,
            config: config.clone(),
            external: external.clone(),
            decode: self.decode,
            sampled: AtomicU64::new(0),
            chunked: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// From now on these are asked and no others.
    pub fn commit(&self, prepared: PreparedSources) {
        self.current.store(Arc::new(prepared.0));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.current.load().is_empty()
    }

    /// Asks every source that may have series which satisfy `matchers`, all at once. `oldest_ms` is the oldest moment that we
    /// have ourselves, if we have any.
    pub fn read(&self, matchers: &[Matcher], range: TimeRange, oldest_ms: Option<i64>) -> RemoteAnswer {
        let sources = self.current.load_full();
        let asked: Vec<(Arc<Source>, Question)> = sources
            .iter()
            .filter_map(|source| Some((Arc::clone(source), source.query(matchers, range, oldest_ms)?)))
            .collect();
        let running: Vec<_> = asked
            .into_iter()
            .map(|(source, question)| {
                let asking = Arc::clone(&source);
                (source, self.runtime.spawn(async move { asking.ask(question).await }))
            })
            .collect();
        let mut answer = RemoteAnswer::default();
        for (source, reading) in running {
            match self.runtime.block_on(reading) {
                Ok(Ok(series)) => answer.series.push(series),
                failed => {
                    source.failures.fetch_add(1, Ordering::Relaxed);
                    let why = match failed {
                        Ok(Err(why)) => why,
                        _ => "the reading ended unexpectedly".to_owned(),
                    };
                    answer.warnings.push(format!("remote_read: {why}"));
                }
            }
        }
        answer
    }

    /// What was asked so far.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let mut queries = MetricFamily::new(
            MetricKind::Counter,
            "prometheus_remote_read_client_queries_total",
            "The total number of remote read queries.",
        );
        let mut failures = MetricFamily::new(
            MetricKind::Counter,
            "relatum_remote_read_client_failures_total",
            "Remote read queries that failed.",
        );
        for source in self.current.load().iter() {
            let (name, url) = (source.config.name.clone(), source.config.url.to_string());
            let labels = Labels::from_pairs([("remote_name", name), ("url", url)]);
            for (kind, count) in [("chunked", &source.chunked), ("sampled", &source.sampled)] {
                let labels = labels.to_builder().set("code", "200").set("response_type", kind).build();
                queries.push(labels, count.load(Ordering::Relaxed) as f64);
            }
            failures.push(labels, source.failures.load(Ordering::Relaxed) as f64);
        }
        vec![queries, failures]
    }
}

impl Source {
    /// What to ask this store; `None` if it has nothing that we want.
    fn query(&self, matchers: &[Matcher], range: TimeRange, oldest_ms: Option<i64>) -> Option<Question> {
        let demands = |(name, value): (&str, &str)| {
            matchers.iter().any(|m| m.op() == MatchOp::Equal && m.name() == name && m.value() == value)
        };
        if !self.config.required_matchers.iter().all(demands) {
            return None;
        }
        let mut range = range;
        if !self.config.read_recent
            && let Some(oldest_ms) = oldest_ms
        {
            range.max_ms = range.max_ms.min(oldest_ms - 1);
            if range.is_empty() {
                return None;
            }
        }
        let mut all = matchers.to_vec();
        let mut added = Vec::new();
        for (name, value) in self.external.iter().filter(|_| self.config.filter_external_labels) {
            if !matchers.iter().any(|matcher| matcher.name() == name) {
                all.push(Matcher::new(MatchOp::Equal, name, value).ok()?);
                added.push(name.to_owned());
            }
        }
        Some(Question { query: ReadQuery { range, matchers: all }, added })
    }

    async fn ask(&self, Question { query, added }: Question) -> Result<Vec<Series>, String> {
        let range = query.range;
        let url = self.config.url.to_string();
        // Chunks rather than samples, as they are smaller and need not be made first.
        let accepted = vec![ResponseType::StreamedXorChunks, ResponseType::Samples];
        let request = ReadRequest { queries: vec![query], accepted };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode()).map_err(|error| error.to_string())?;
        let asking = async {
            let (client, mut headers) = self.connection.open().await.map_err(|error| error.to_string())?;
            for (name, value) in &self.headers {
                headers.insert(name, value.clone());
            }
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("snappy"));
            headers.insert(VERSION, HeaderValue::from_static("0.1.0"));
            let response = client.post(self.url.clone()).headers(headers).body(body).send().await;
            let mut response = response.map_err(|error| request_failure("Post", &url, &error))?;
            let status = response.status();
            if !status.is_success() {
                return Err(format!("remote server {url} returned http status {status}{}", complaint(response).await));
            }
            let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let (mut answer, kind) = match media_type.is_some_and(|text| text.starts_with(streamed::MEDIA_TYPE)) {
                true => (Answer::Chunks(Streamed::new(self.decode, SAMPLES_MAX)), &self.chunked),
                false => (Answer::Samples(Vec::new()), &self.sampled),
            };
            kind.fetch_add(1, Ordering::Relaxed);
            let mut n_bytes = 0;
            while let Some(piece) = response.chunk().await.map_err(|error| request_failure("Post", &url, &error))? {
                n_bytes += piece.len();
                if n_bytes > ANSWER_BYTES_MAX {
                    return Err(format!("remote server {url} answered more than {ANSWER_BYTES_MAX} bytes"));
                }
                answer.push(&piece).map_err(|why| format!("{url}: {why}"))?;
            }
            Ok(answer)
        };
        let answer = match tokio::time::timeout(self.config.remote_timeout, asking).await {
            Ok(answered) => answered?,
            Err(_) => return Err(format!("Post \"{url}\": context deadline exceeded")),
        };
        let read = move || Ok(within(without(answer.finish()?, &added), range));
        let series = tokio::task::spawn_blocking(read).await;
        series
            .unwrap_or_else(|_| Err("it ended unexpectedly".to_owned()))
            .map_err(|why: String| format!("{url}: {why}"))
    }
}

/// What of `series` lies in `range`. A server sends whole chunks, whatever of them was asked for.
fn within(mut series: Vec<Series>, range: TimeRange) -> Vec<Series> {
    for one in &mut series {
        one.samples = one.samples.within(range.min_ms, range.max_ms);
    }
    series.retain(|one| !one.samples.is_empty());
    series
}

/// What comes of an answer.
enum Answer {
    /// One message, compressed.
    Samples(Vec<u8>),
    /// A stream.
    Chunks(Streamed),
}

impl Answer {
    fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        match self {
            Answer::Samples(bytes) => bytes.extend_from_slice(piece),
            Answer::Chunks(streamed) => streamed.push(piece)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Series>, String> {
        match self {
            Answer::Samples(bytes) => decoded(&bytes),
            Answer::Chunks(streamed) => streamed.finish(),
        }
    }
}

/// The series of a compressed answer.
fn decoded(bytes: &[u8]) -> Result<Vec<Series>, String> {
    let length = snap::raw::decompress_len(bytes).map_err(|_| "the answer is not snappy".to_owned())?;
    if length > DECODED_BYTES_MAX {
        return Err(format!("the answer has more than {DECODED_BYTES_MAX} bytes"));
    }
    let body = snap::raw::Decoder::new().decompress_vec(bytes).map_err(|_| "the answer is not snappy".to_owned())?;
    let results = decode_answer(&body, SAMPLES_MAX).map_err(|error| error.to_string())?;
    Ok(results.into_iter().flatten().collect())
}

/// `series` without the labels `added`, sorted.
fn without(mut series: Vec<Series>, added: &[String]) -> Vec<Series> {
    if !added.is_empty() {
        for one in &mut series {
            let mut builder = one.labels.to_builder();
            for name in added {
                builder.set(name.as_str(), "");
            }
            one.labels = builder.build();
        }
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

#[cfg(test)]
mod tests {
    use relatum_config::prometheus::Config;
    use relatum_model::Samples;
    use relatum_model::remote_read::ResponseEncoder;

    use super::*;

    fn matcher(name: &str, value: &str) -> Matcher {
        Matcher::new(MatchOp::Equal, name, value).unwrap()
    }

    fn sources(yaml: &str) -> RemoteSources {
        let config = Config::parse(yaml).unwrap();
        let sources = RemoteSources::new(|_, _, _| Err("no chunks here".to_owned()));
        let external = Labels::from_pairs([("site", "a")]);
        let prepared = sources.prepare(&config.remote_read, &external).unwrap();
        sources.commit(prepared);
        sources
    }

    #[tokio::test]
    async fn who_is_asked_for_what() {
        let sources = sources(
            "remote_read:\n- {url: 'http://127.0.0.1:1/'}\n\
             - {url: 'http://127.0.0.1:2/', read_recent: true, filter_external_labels: false, required_matchers: {job: a}}\n",
        );
        let current = sources.current.load_full();
        let range = TimeRange { min_ms: 100, max_ms: 200 };
        let up = [matcher("__name__", "up")];
        let both = [matcher("__name__", "up"), matcher("job", "a")];
        let old = current[0].query(&up, range, Some(150)).unwrap();
        assert_eq!(old.query.range, TimeRange { min_ms: 100, max_ms: 149 });
        assert_eq!(
            (old.query.matchers[1].to_string().as_str(), &old.added[..]),
            ("site=\"a\"", &["site".to_owned()][..])
        );
        assert!(current[0].query(&up, range, Some(100)).is_none(), "we have all of it");
        assert!(current[1].query(&up, range, None).is_none(), "it must have a job");
        let recent = current[1].query(&both, range, Some(100)).unwrap();
        assert_eq!((recent.query.range, recent.query.matchers.len()), (range, 2));
    }

    #[test]
    fn answers_lose_what_was_not_asked_for() {
        let series = |name: &str, times: &[i64]| Series {
            labels: Labels::from_pairs([("__name__", name)]),
            samples: Samples::of_floats(times.to_vec(), vec![1.0; times.len()]),
        };
        let answer = vec![series("a", &[99, 100, 150, 200, 201]), series("b", &[1, 99])];
        let left = within(answer, TimeRange { min_ms: 100, max_ms: 200 });
        assert_eq!(left, [series("a", &[100, 150, 200])]);
    }

    #[test]
    fn answers_lose_the_labels_that_were_put_in() {
        let series = [("b", "x"), ("a", "x")].map(|(job, site)| Series {
            labels: Labels::from_pairs([("__name__", "m"), ("job", job), ("site", site)]),
            samples: Samples::of_floats(vec![1], vec![2.0]),
        });
        let mut encoder = ResponseEncoder::new();
        encoder.push(&series);
        let bytes = snap::raw::Encoder::new().compress_vec(&encoder.finish()).unwrap();
        let read = without(decoded(&bytes).unwrap(), &["site".to_owned()]);
        let names: Vec<String> = read.iter().map(|series| series.labels.to_string()).collect();
        assert_eq!(names, [r#"m{job="a"}"#, r#"m{job="b"}"#]);
        assert!(decoded(b"\xff\xff\xff\xff\x0f").is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_is_away_is_a_warning() {
        let sources = Arc::new(sources("remote_read:\n- {url: 'http://127.0.0.1:1/read', remote_timeout: 2s}\n"));
        let answer =
            tokio::task::spawn_blocking(move || sources.read(&[matcher("a", "b")], TimeRange::ALL, None)).await;
        let answer = answer.unwrap();
        assert!(answer.series.is_empty());
        assert!(answer.warnings[0].starts_with("remote_read: Post \"http://127.0.0.1:1/read\": "), "{answer:?}");
    }
}
