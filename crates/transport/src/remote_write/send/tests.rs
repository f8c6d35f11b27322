//! Samples to a real server on loopback, which stores what it takes in memory.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use relatum_config::prometheus::Config;
use relatum_model::exposition::MetricKind;
use relatum_model::storage::{Append, SeriesRef};
use tokio::net::TcpListener;

use super::*;
use crate::memory::MemoryStore;
use crate::remote_write::Receiver;

/// A remote that answers with a status, stores what it takes, and counts what comes.
#[derive(Clone, Default)]
struct Remote {
    status: Arc<Mutex<StatusCode>>,
    store: Arc<MemoryStore>,
    requests: Arc<Mutex<usize>>,
    headers: Arc<Mutex<HeaderMap>>,
    /// Whether it fails where there are no samples, as one that was never told of metrics, or never answers.
    without_samples: Arc<Mutex<Without>>,
    /// Whether it tells what it stored, as one of 2.0 does.
    tells: Arc<Mutex<bool>>,
}

/// What a remote does with a request without samples.
#[derive(Clone, Copy, Default)]
enum Without {
    #[default]
    Takes,
    Fails,
    Hangs,
}

impl Remote {
    async fn start(self, listener: TcpListener) {
        let handler = move |headers: HeaderMap, body: Bytes| async move {
            *self.requests.lock().unwrap() += 1;
            let status = *self.status.lock().unwrap();
            if !status.is_success() {
                return (status, told(None), "not now".to_owned());
            }
            let header = |name: &str| headers[name].to_str().unwrap().to_owned();
            let result =
                Receiver::default().receive(&*self.store, &header("content-type"), &header("content-encoding"), &body);
            *self.headers.lock().unwrap() = headers;
            match result {
                Ok(written) => {
                    let without = *self.without_samples.lock().unwrap();
                    match without {
                        Without::Fails if written.samples == 0 => {
                            return (StatusCode::SERVICE_UNAVAILABLE, told(None), "no samples".to_owned());
                        }
                        Without::Hangs if written.samples == 0 => std::future::pending().await,
                        _ => {}
                    }
                    let samples = self.tells.lock().unwrap().then_some(written.samples);
                    (StatusCode::NO_CONTENT, told(samples), String::new())
                }
                Err(error) => (StatusCode::from_u16(error.status()).unwrap(), told(None), error.to_string()),
            }
        };
        let router = Router::new().route("/write", post(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    fn answer(&self, status: StatusCode) {
        *self.status.lock().unwrap() = status;
    }

    fn requests(&self) -> usize {
        *self.requests.lock().unwrap()
    }
}

fn told(samples: Option<usize>) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, 0.into())]);
    if let Some(samples) = samples {
        headers.insert("x-prometheus-remote-write-samples-written", samples.into());
    }
    headers
}

/// A store, the remotes that follow it, and one remote at the other end.
struct Pair {
    store: Arc<MemoryStore>,
    remotes: Remotes,
    remote: Remote,
    address: String,
}

impl Pair {
    /// A remote that runs, with `more` keys in its configuration.
    async fn start(more: &str) -> Self {
        let pair = Pair::unconfigured().await;
        pair.load(more);
        pair
    }

    async fn unconfigured() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (store, remote) = (Arc::new(MemoryStore::default()), Remote::default());
        remote.clone().start(listener).await;
        Pair { remotes: Remotes::new(Arc::clone(&store) as _), store, remote, address }
    }

    fn load(&self, more: &str) {
        let text = format!(
            "global: {{external_labels: {{site: x, job: none}}}}\nremote_write:\n- url: http://{}/write\n{more}\n",
            self.address
        );
        let config = Config::parse(&text).expect("a valid configuration");
        let prepared = self.remotes.prepare(&config.remote_write, &config.global.external_labels).expect("it can run");
        self.remotes.commit(prepared);
    }

    /// Commits one sample of each of `names` at `t_ms`.
    fn commit(&self, names: &[&str], t_ms: i64) {
        let mut appender = self.store.appender();
        for name in names {
            let labels = Labels::from_pairs([("__name__", *name), ("job", "a")]);
            appender.append(SeriesRef::NONE, &labels, t_ms, t_ms as f64).unwrap();
        }
        appender.commit().unwrap();
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.remotes.metrics(None);
        let family = families.iter().find(|family| family.name == name).expect("the metric exists");
        family.samples.iter().map(|sample| sample.value).sum()
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "never happened: {what}");
}

const SENT: &str = "prometheus_remote_storage_samples_total";
const FAILED: &str = "prometheus_remote_storage_samples_failed_total";
const RETRIED: &str = "prometheus_remote_storage_samples_retried_total";
const DROPPED: &str = "prometheus_remote_storage_samples_dropped_total";
const PENDING: &str = "prometheus_remote_storage_samples_pending";

#[tokio::test]
async fn samples_arrive_with_external_labels_and_relabelled() {
    let pair = Pair::start(
        "  headers: {X-Tier: one}\n  authorization: {credentials: t0ken}\n  write_relabel_configs:\n  - {source_labels: [__name__], regex: ALERTS.*, action: drop}\n  - {target_label: via, replacement: us}",
    )
    .await;
    pair.commit(&["up", "ALERTS"], 1000);
    pair.commit(&["up"], 2000);
    until("both arrive", || pair.metric(SENT) == 2.0).await;
    // The series' own label wins over the external one.
    assert_eq!(pair.remote.store.names(), [r#"up{job="a", site="x", via="us"}"#]);
    let values = pair.remote.store.values(r#"up{job="a", site="x", via="us"}"#);
    assert_eq!(values, [Some(1000.0), Some(2000.0)]);
    let headers = pair.remote.headers.lock().unwrap().clone();
    assert_eq!(
        ["content-type", "content-encoding", "x-prometheus-remote-write-version", "x-tier", "authorization"]
            .map(|name| headers[name].to_str().unwrap()),
        ["application/x-protobuf", "snappy", "0.1.0", "one", "Bearer t0ken"]
    );
    assert_eq!((pair.metric(DROPPED), pair.metric(PENDING)), (1.0, 0.0));
    assert_eq!(pair.metric("prometheus_remote_storage_queue_highest_sent_timestamp_seconds"), 2.0);
    until("the position follows", || pair.remotes.states()[0].position == pair.store.end()).await;
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn a_remote_that_is_away_gets_all_later_and_in_order() {
    let pair = Pair::start("  queue_config: {capacity: 20, max_samples_per_send: 10, max_backoff: 40ms}").await;
    pair.remote.answer(StatusCode::SERVICE_UNAVAILABLE);
    for n in 1..=100 {
        pair.commit(&["a", "b"], n);
    }
    until("it was tried again", || pair.remote.requests() >= 3).await;
    until("memory is full", || pair.metric("prometheus_remote_storage_enqueue_retries_total") == 1.0).await;
    assert_eq!((pair.metric(SENT), pair.metric(PENDING)), (0.0, 20.0));
    // A reload that changes how it is reached takes nothing back.
    pair.load("  queue_config: {capacity: 40, max_samples_per_send: 10, max_backoff: 30ms}");
    pair.remote.answer(StatusCode::OK);
    until("all arrive", || pair.metric(SENT) == 200.0).await;
    // The store at the other end refuses what is out of order.
    assert_eq!(pair.metric(FAILED), 0.0);
    assert!(pair.metric(RETRIED) >= 20.0);
    for name in ["a", "b"] {
        let series = format!(r#"{name}{{job="a", site="x"}}"#);
        let times: Vec<i64> = pair.remote.store.series(&series).iter().map(|sample| sample.t_ms).collect();
        assert_eq!(times, (1..=100).collect::<Vec<i64>>());
    }
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_dropped_and_counted() {
    let pair = Pair::start("").await;
    // Told to slow down, we repeat only if the configuration says so.
    for (status, n_failed) in [(StatusCode::BAD_REQUEST, 1.0), (StatusCode::TOO_MANY_REQUESTS, 2.0)] {
        pair.remote.answer(status);
        pair.commit(&["a"], n_failed as i64);
        until("it is given up", || pair.metric(FAILED) == n_failed).await;
    }
    assert_eq!((pair.remote.requests(), pair.metric(RETRIED)), (2, 0.0));
    let failure = pair.remotes.states()[0].failure.clone();
    assert_eq!(failure.as_deref(), Some("server returned HTTP status 429 Too Many Requests: not now"));
    pair.load("  queue_config: {retry_on_http_429: true}");
    pair.commit(&["a"], 3);
    until("it is repeated", || pair.metric(RETRIED) >= 2.0).await;
    pair.remote.answer(StatusCode::OK);
    until("it arrives", || pair.metric(SENT) == 1.0).await;
    assert_eq!(pair.remote.store.values(r#"a{job="a", site="x"}"#), [Some(3.0)]);
    until("the failure is over", || pair.remotes.states()[0].failure.is_none()).await;
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn old_samples_are_left_out_where_the_configuration_says_so() {
    let pair = Pair::start("  queue_config: {sample_age_limit: 1h}").await;
    let now_ms = crate::time::now_ms();
    pair.commit(&["a"], now_ms - 7_200_000);
    pair.commit(&["a"], now_ms);
    until("the young one arrives", || pair.metric(SENT) == 1.0).await;
    assert_eq!(pair.metric(DROPPED), 1.0);
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_delivers_what_is_committed() {
    let pair = Pair::start("  queue_config: {capacity: 100, max_samples_per_send: 10}").await;
    for n in 1..=500 {
        pair.commit(&["a"], n);
    }
    pair.remotes.shutdown().await;
    assert_eq!(pair.remote.store.samples(), 500);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_remote_that_is_away() {
    let pair = Pair::start("  queue_config: {min_backoff: 1h, max_backoff: 1h}").await;
    pair.remote.answer(StatusCode::INTERNAL_SERVER_ERROR);
    pair.commit(&["a"], 1);
    until("it was tried", || pair.metric(RETRIED) == 1.0).await;
    pair.remotes.shutdown().await;
    assert_eq!(pair.remote.requests(), 2);
}

#[tokio::test]
async fn what_was_committed_before_a_remote_was_named_is_not_sent() {
    let pair = Pair::start("").await;
    pair.remotes.commit(pair.remotes.prepare(&[], &Labels::empty()).unwrap());
    assert!(pair.remotes.states().is_empty() && pair.remotes.metrics(None).is_empty());
    pair.commit(&["a"], 1);
    pair.load("");
    pair.commit(&["a"], 2);
    until("it arrives", || pair.metric(SENT) == 1.0).await;
    assert_eq!(pair.remote.store.values(r#"a{job="a", site="x"}"#), [Some(2.0)]);
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn what_came_in_before_the_first_configuration_is_sent() {
    let pair = Pair::unconfigured().await;
    pair.commit(&["a"], 1);
    pair.load("");
    until("it arrives", || pair.metric(SENT) == 1.0).await;
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn the_second_protocol() {
    let pair = Pair::start("  protobuf_message: io.prometheus.write.v2.Request").await;
    *pair.remote.tells.lock().unwrap() = true;
    pair.commit(&["up"], 1);
    until("it arrives", || pair.metric(SENT) == 1.0).await;
    assert_eq!(pair.remote.store.names(), ["up{job=\"a\", site=\"x\"}"]);
    let headers = pair.remote.headers.lock().unwrap().clone();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-prometheus-remote-write-version"), "2.0.0");
    assert_eq!(header("content-type"), "application/x-protobuf;proto=io.prometheus.write.v2.Request");
    // One that knows 1.0 only says that all went well.
    *pair.remote.tells.lock().unwrap() = false;
    pair.commit(&["up"], 2);
    until("it counts as failed", || pair.metric(FAILED) == 1.0).await;
    let failure = pair.remotes.states()[0].failure.clone().unwrap();
    assert!(failure.contains("set protobuf_message: prometheus.WriteRequest"), "{failure}");
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn what_metrics_are_is_told_again_and_again() {
    const DESCRIBED: &str = "prometheus_remote_storage_metadata_total";
    const RETRIED: &str = "prometheus_remote_storage_metadata_retried_total";
    let pair = Pair::start(
        "  metadata_config: {send_interval: 1ms}\n  queue_config: {max_backoff: 40ms, sample_age_limit: 1h}",
    )
    .await;
    pair.store.describe("up", MetricKind::Gauge, "Whether.", "");
    until("it is told twice", || pair.metric(DESCRIBED) >= 2.0).await;
    assert_eq!(pair.remote.store.described()[..2], ["up gauge Whether.", "up gauge Whether."]);
    pair.remote.answer(StatusCode::SERVICE_UNAVAILABLE);
    until("a remote that is away is told later", || pair.metric(RETRIED) >= 2.0).await;
    let told = pair.metric(DESCRIBED);
    pair.remote.answer(StatusCode::OK);
    until("it is told", || pair.metric(DESCRIBED) > told).await;
    pair.load("  metadata_config: {send: false}");
    pair.commit(&["up"], crate::time::now_ms());
    until("samples arrive", || pair.metric(SENT) == 1.0).await;
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn samples_do_not_wait_for_descriptions_that_nobody_takes() {
    let pair =
        Pair::start("  metadata_config: {send_interval: 1ms}\n  queue_config: {min_backoff: 1ms, max_backoff: 2ms}")
            .await;
    *pair.remote.without_samples.lock().unwrap() = Without::Fails;
    pair.store.describe("up", MetricKind::Gauge, "Whether.", "");
    until("it is given up", || pair.metric("prometheus_remote_storage_metadata_failed_total") >= 1.0).await;
    for n in 1..=3 {
        pair.commit(&["up"], n);
        until("samples arrive", || pair.metric(SENT) == n as f64).await;
    }
    assert_eq!((pair.metric(FAILED), pair.metric(DROPPED)), (0.0, 0.0));
    // Not for one that does not even answer.
    *pair.remote.without_samples.lock().unwrap() = Without::Hangs;
    pair.load("  metadata_config: {send_interval: 1ms}\n  remote_timeout: 1h");
    let requests = pair.remote.requests();
    until("it was tried", || pair.remote.requests() > requests).await;
    pair.commit(&["up"], 4);
    until("the next arrives", || pair.metric(SENT) == 4.0).await;
    pair.remotes.shutdown().await;
}

#[tokio::test]
async fn descriptions_are_told_as_long_as_they_are_wanted() {
    let pair =
        Pair::start("  metadata_config: {send_interval: 1ms}\n  queue_config: {min_backoff: 1h, max_backoff: 1h}")
            .await;
    *pair.remote.without_samples.lock().unwrap() = Without::Fails;
    pair.store.describe("up", MetricKind::Gauge, "Whether.", "");
    let retried = || pair.metric("prometheus_remote_storage_metadata_retried_total");
    until("it waits for another try", || retried() == 1.0).await;
    pair.load("  metadata_config: {send: false}");
    *pair.remote.without_samples.lock().unwrap() = Without::Takes;
    pair.commit(&["up"], 1);
    until("samples arrive", || pair.metric(SENT) == 1.0).await;
    // Wanted again, it is told at once, and not after an hour.
    pair.load("  metadata_config: {send_interval: 1ms}");
    until("it is told", || !pair.remote.store.described().is_empty()).await;
    pair.remotes.shutdown().await;
}

#[test]
fn what_cannot_run_is_refused() {
    let remotes = Remotes::new(Arc::new(MemoryStore::default()) as _);
    let check = |more: &str, expected: &str| {
        let config = Config::parse(&format!("remote_write:\n- url: http://u:p@a/write\n{more}\n")).unwrap();
        let errors = remotes.prepare(&config.remote_write, &Labels::empty()).unwrap_err();
        let shown: Vec<String> = errors.iter().map(|error| format!("{error}: {}", error.source)).collect();
        assert_eq!(shown, [format!("cannot prepare remote write to http://u:xxxxx@a/write: {expected}")]);
    };
    check("  round_robin_dns: true", "round_robin_dns is not supported yet");
    check("  basic_auth: {username: a, password_file: /nonexistent}", "cannot read /nonexistent");
}

#[test]
fn names_of_remotes() {
    let check = |name: &str, ordinal: usize, expected: &str| {
        let id = RemoteId { name: name.to_owned(), url: "http://a/write".to_owned(), ordinal };
        assert_eq!(id.shown_name(), expected);
    };
    check("upper", 0, "upper");
    // A hash is a promise: dashboards name it.
    check("", 0, "630d36");
    check("", 1, "c46c57");
}
