//! Asks other stores for samples that we do not have: `remote_read`.
//!
//! A reading blocks, as all selecting does: it is called from a blocking thread, which waits for the network and decodes what comes.
//! Tasks only carry the pieces there, a few at a time, so that no answer keeps a thread of the runtime from others.

mod answer;
mod streamed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use relatum_config::prometheus::RemoteReadConfig;
use relatum_model::exposition::{MetricFamily, MetricKind};
use relatum_model::remote_read::{ReadQuery, ReadRequest, ResponseType};
use relatum_model::storage::TimeRange;
use relatum_model::{Labels, MatchOp, Matcher, Series};
use reqwest::Url;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use answer::{Answer, Form};
pub use streamed::DecodeChunk;

use crate::http::{Connection, HttpClients, HttpError, complaint, header_map, request_failure};

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-read-version");

/// The largest answer, compressed. A bound for memory, far beyond what a query can use.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How many pieces of answers wait to be decoded; each has some kilobytes.
const PIECES_WAITING_MAX: usize = 16;

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
    answers: [Answers; 2],
    failures: AtomicU64,
}

/// How many answers of a form began to come.
#[derive(Debug, Default)]
struct Answers {
    whole: AtomicU64,
    /// Those that ended early or were none.
    broken: AtomicU64,
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
            answers: Default::default(),
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
        let (out, mut coming) = mpsc::channel(PIECES_WAITING_MAX);
        let mut readings: Vec<Reading> = sources
            .iter()
            .filter_map(|source| Some((source, source.query(matchers, range, oldest_ms)?)))
            .enumerate()
            .map(|(at, (source, Question { query, added }))| {
                let (asking, out) = (Arc::clone(source), out.clone());
                let task = self.runtime.spawn(async move {
                    let end = asking.ask(query, at, &out).await;
                    // Nobody listens after a reading that was given up.
                    let _ = out.send((at, Came::End(end))).await;
                });
                let progress = Progress::Waiting;
                Reading { source: Arc::clone(source), range, added, task: task.abort_handle(), progress }
            })
            .collect();
        drop(out);
        while let Some((at, came)) = coming.blocking_recv() {
            readings[at].take(came);
        }
        let mut answer = RemoteAnswer::default();
        for Reading { source, progress, .. } in readings {
            let why = match progress {
                Progress::Ended(Ok(series)) => {
                    answer.series.push(series);
                    continue;
                }
                Progress::Ended(Err(why)) => why,
                Progress::Waiting | Progress::Coming(..) => "the reading ended unexpectedly".to_owned(),
            };
            source.failures.fetch_add(1, Ordering::Relaxed);
            answer.warnings.push(format!("remote_read: {why}"));
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
            for form in [Form::Chunks, Form::Samples] {
                let answers = &source.answers[form as usize];
                for (code, count) in [("200", &answers.whole), ("aborted_stream", &answers.broken)] {
                    let labels = labels.to_builder().set("code", code).set("response_type", form.name()).build();
                    queries.push(labels, count.load(Ordering::Relaxed) as f64);
                }
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

    /// Asks and hands on what comes, as what comes of the source with the number `at`.
    async fn ask(&self, query: ReadQuery, at: usize, out: &mpsc::Sender<(usize, Came)>) -> Result<(), String> {
        let url = self.config.url.to_string();
        // Chunks rather than samples, as they are smaller and need not be made first.
        let accepted = vec![ResponseType::StreamedXorChunks, ResponseType::Samples];
        let request = ReadRequest { queries: vec![query], accepted };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode()).map_err(|error| error.to_string())?;
        let given_up = |_: mpsc::error::SendError<_>| "nobody waits for the answer any more".to_owned();
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
            let form = Form::of(media_type.unwrap_or_default());
            out.send((at, Came::Beginning(form))).await.map_err(given_up)?;
            let mut n_bytes = 0;
            while let Some(piece) = response.chunk().await.map_err(|error| request_failure("Post", &url, &error))? {
                n_bytes += piece.len();
                if n_bytes > ANSWER_BYTES_MAX {
                    return Err(format!("remote server {url} answered more than {ANSWER_BYTES_MAX} bytes"));
                }
                out.send((at, Came::Piece(piece))).await.map_err(given_up)?;
            }
            Ok(())
        };
        match tokio::time::timeout(self.config.remote_timeout, asking).await {
            Ok(end) => end,
            Err(_) => Err(format!("Post \"{url}\": context deadline exceeded")),
        }
    }
}

/// What comes of an answer.
#[derive(Debug)]
enum Came {
    Beginning(Form),
    Piece(Bytes),
    End(Result<(), String>),
}

/// How far the answer of a source is.
#[derive(Debug)]
enum Progress {
    Waiting,
    Coming(Form, Answer),
    Ended(Result<Vec<Series>, String>),
}

/// One source that is being read.
#[derive(Debug)]
struct Reading {
    source: Arc<Source>,
    range: TimeRange,
    added: Vec<String>,
    task: AbortHandle,
    progress: Progress,
}

impl Reading {
    fn take(&mut self, came: Came) {
        let url = &self.source.config.url;
        self.progress = match (std::mem::replace(&mut self.progress, Progress::Waiting), came) {
            (Progress::Waiting, Came::Beginning(form)) => Progress::Coming(form, Answer::new(form, self.source.decode)),
            (Progress::Coming(form, mut answer), Came::Piece(piece)) => match answer.push(&piece) {
                Ok(()) => Progress::Coming(form, answer),
                Err(why) => {
                    self.task.abort();
                    self.count(form, false);
                    Progress::Ended(Err(format!("{url}: {why}")))
                }
            },
            (Progress::Coming(form, answer), Came::End(end)) => {
                let series = end.and_then(|()| answer.finish().map_err(|why| format!("{url}: {why}")));
                self.count(form, series.is_ok());
                Progress::Ended(series.map(|series| within(without(series, &self.added), self.range)))
            }
            (Progress::Waiting, Came::End(end)) => Progress::Ended(end.map(|()| Vec::new())),
            // What was on its way when the reading was given up.
            (progress, _) => progress,
        };
    }

    fn count(&self, form: Form, is_whole: bool) {
        let Answers { whole, broken } = &self.source.answers[form as usize];
        (if is_whole { whole } else { broken }).fetch_add(1, Ordering::Relaxed);
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn matcher(name: &str, value: &str) -> Matcher {
        Matcher::new(MatchOp::Equal, name, value).unwrap()
    }

    fn sources(yaml: &str) -> RemoteSources {
        let config = Config::parse(yaml).unwrap();
        let sources = RemoteSources::new(|_, _, _, _| Err("no chunks here".to_owned()));
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
        let read = without(series.to_vec(), &["site".to_owned()]);
        let names: Vec<String> = read.iter().map(|series| series.labels.to_string()).collect();
        assert_eq!(names, [r#"m{job="a"}"#, r#"m{job="b"}"#]);
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

    /// Answers one request with `head` and `body` and hangs up; returns the address.
    async fn answering(head: &'static str, body: &'static [u8]) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let answer = [format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes(), body].concat();
            connection.write_all(&answer).await.unwrap();
        });
        address
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_are_counted_at_their_end() {
        const STREAM: &str = "content-type: application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
        let cases: [(&'static str, &'static [u8], &str); 4] = [
            ("content-length: 0", b"", "chunked 200"),
            ("content-length: 9", b"\x01", "chunked aborted_stream"),
            // All of it came, but it is no frame.
            ("content-length: 10", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", "chunked aborted_stream"),
            ("content-length: 9", b"\x00", "sampled aborted_stream"),
        ];
        for (length, body, expected) in cases {
            let kind = if expected.starts_with("chunked") { STREAM } else { "content-type: application/x-protobuf" };
            let address = answering(format!("{kind}\r\n{length}").leak(), body).await;
            let sources = Arc::new(sources(&format!("remote_read:\n- {{url: 'http://{address}/'}}\n")));
            let asking = Arc::clone(&sources);
            let reading = move || asking.read(&[matcher("a", "b")], TimeRange::ALL, None);
            let answer = tokio::task::spawn_blocking(reading).await.unwrap();
            assert_eq!(answer.warnings.is_empty(), expected.ends_with("200"), "{:?}", answer.warnings);
            let families = sources.metrics();
            let counted: Vec<String> = families[0]
                .samples
                .iter()
                .filter(|sample| sample.value > 0.0)
                .map(|sample| ["response_type", "code"].map(|name| sample.labels.get(name).unwrap()).join(" "))
                .collect();
            assert_eq!(counted, [expected]);
        }
    }
}
