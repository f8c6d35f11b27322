//! Scrapes of real servers on loopback into a store in memory.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use relatum_config::prometheus::{Config, ScrapeConfigFile};
use tokio::net::TcpListener;

use super::*;
use crate::memory::MemoryStore;

/// What a test target does with the next requests.
#[derive(Clone)]
enum Answer {
    Text(&'static str),
    Gzip(&'static str),
    Status(u16),
    Redirect(&'static str),
    Never,
}

/// A target that answers as it is told and remembers what it was asked.
struct Exporter {
    address: String,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Exporter {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let exporter = Exporter {
            address: listener.local_addr().unwrap().to_string(),
            answer: Arc::new(Mutex::new(answer)),
            requests: Arc::default(),
        };
        let (answer, requests) = (Arc::clone(&exporter.answer), Arc::clone(&exporter.requests));
        let handler = move |uri: axum::http::Uri, headers: HeaderMap| async move {
            let answer = answer.lock().unwrap().clone();
            requests.lock().unwrap().push((uri.to_string(), headers));
            respond(answer).await
        };
        let router = Router::new().route("/{*path}", get(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
        exporter
    }

    fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn last_request(&self) -> (String, HeaderMap) {
        self.requests.lock().unwrap().last().expect("there was a request").clone()
    }
}

async fn respond(answer: Answer) -> Response<Body> {
    let text = Response::builder().header("content-type", "text/plain; version=0.0.4");
    match answer {
        Answer::Text(body) => text.body(Body::from(body)).unwrap(),
        Answer::Gzip(body) => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(body.as_bytes()).unwrap();
            text.header("content-encoding", "gzip").body(Body::from(encoder.finish().unwrap())).unwrap()
        }
        Answer::Status(status) => Response::builder().status(status).body(Body::empty()).unwrap(),
        Answer::Redirect(path) => {
            Response::builder().status(StatusCode::FOUND).header("location", path).body(Body::empty()).unwrap()
        }
        Answer::Never => std::future::pending().await,
    }
}

/// A scraper with its store.
struct Bench {
    store: Arc<MemoryStore>,
    scraper: Scraper,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        Bench { scraper: Scraper::new(Arc::clone(&store) as Arc<dyn Append>), store }
    }

    /// Makes `jobs`, entries of `scrape_configs`, the ones that run.
    fn load(&self, jobs: &str) {
        self.load_changed(jobs, |_| {});
    }

    /// As [`Bench::load`], with what the parser does not let through yet.
    fn load_changed(&self, jobs: &str, change: impl Fn(&mut ScrapeConfig)) {
        let mut config = Config::parse(&format!("scrape_configs:\n{jobs}")).expect("a valid configuration");
        config.scrape_configs.iter_mut().for_each(|job| change(Arc::make_mut(job)));
        let prepared = self
            .scraper
            .prepare(&config.scrape_configs, &ScrapeFiles::default(), &config.global)
            .expect("jobs that can run");
        self.scraper.commit(prepared);
    }

    fn target(&self) -> TargetStatus {
        self.scraper.targets().into_iter().next().expect("there is a target")
    }
}

/// Waits until `holds`; a test that waits longer than any machine needs fails with what it waited for.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert!(waited.is_ok(), "{caller}: never happened: {what}");
    }
}

/// A job that scrapes `address` every 100 ms.
fn job(address: &str, more: &str) -> String {
    format!(
        "- job_name: j\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\n  static_configs: [{{targets: ['{address}']}}]\n{more}\n"
    )
}

/// A job that is scraped once in a test.
fn slow_job(address: &str, more: &str) -> String {
    format!("- job_name: j\n  scrape_interval: 1h\n  static_configs: [{{targets: ['{address}']}}]\n{more}\n")
}

fn series(name: &str, address: &str) -> String {
    format!(r#"{name}{{instance="{address}", job="j"}}"#)
}

#[tokio::test]
async fn samples_and_reports_are_stored() {
    let exporter =
        Exporter::start(Answer::Gzip("# HELP a A \\n.\n# TYPE a counter\na{job=\"own\"} 1\nb 2 1000\n")).await;
    let bench = Bench::new();
    bench.load(&slow_job(&exporter.address, "  params: {m: [x y]}\n  basic_auth: {username: u, password: p}"));
    until("the first scrape", || bench.target().health == Health::Up).await;

    let at = &exporter.address;
    assert_eq!(bench.store.values(&format!(r#"a{{exported_job="own", instance="{at}", job="j"}}"#)), [Some(1.0)]);
    assert_eq!(bench.store.series(&series("b", at)), [relatum_model::Sample { t_ms: 1000, value: 2.0 }]);
    for (name, value) in [
        ("up", 1.0),
        ("scrape_samples_scraped", 2.0),
        ("scrape_samples_post_metric_relabeling", 2.0),
        ("scrape_series_added", 2.0),
    ] {
        assert_eq!(bench.store.values(&series(name, at)), [Some(value)], "{name}");
    }
    assert_eq!(bench.store.values(&series("scrape_duration_seconds", at)).len(), 1);
    assert_eq!(bench.store.names().len(), 7);

    let (uri, headers) = exporter.last_request();
    assert_eq!(uri, "/metrics?m=x+y");
    for (name, value) in [
        ("authorization", "Basic dTpw"),
        ("accept-encoding", "gzip"),
        ("user-agent", crate::http::USER_AGENT),
        ("x-prometheus-scrape-timeout-seconds", "10"),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(headers["accept"].to_str().unwrap().ends_with("text/plain;version=0.0.4;q=0.2,*/*;q=0.1"));

    let metadata = bench.scraper.metadata();
    assert_eq!(metadata[0].families[0].help, "A \n.");
    assert_eq!(metadata[0].families[0].kind, MetricKind::Counter);
    let status = bench.target();
    assert_eq!((status.url, status.pool.as_str()), (format!("http://{at}/metrics?m=x+y"), "j"));
    assert!(status.last_scrape_ms.is_some() && status.last_error.is_none());
    bench.scraper.shutdown().await;
}

#[tokio::test]
async fn vanished_series_and_failed_scrapes_are_marked() {
    let exporter = Exporter::start(Answer::Text("a 1\nb 1\n")).await;
    let bench = Bench::new();
    bench.load(&job(&exporter.address, ""));
    let (a, b, up) = (series("a", &exporter.address), series("b", &exporter.address), series("up", &exporter.address));
    until("the first scrape", || !bench.store.values(&b).is_empty()).await;
    exporter.set(Answer::Text("a 2\n"));
    until("b is ended", || bench.store.values(&b).last() == Some(&None)).await;
    exporter.set(Answer::Status(503));
    until("a is ended", || bench.store.values(&a).last() == Some(&None)).await;
    until("up is 0", || bench.store.values(&up).last() == Some(&Some(0.0))).await;
    // Each is ended once, however often the scrape fails.
    let failures = || bench.store.values(&up).iter().filter(|value| **value == Some(0.0)).count();
    until("more failures", || failures() >= 3).await;
    assert_eq!(bench.store.values(&a).iter().filter(|value| value.is_none()).count(), 1);
    assert_eq!(bench.target().last_error.as_deref(), Some("server returned HTTP status 503 Service Unavailable"));
    exporter.set(Answer::Text("a 3\n"));
    until("a is back", || bench.store.values(&a).last() == Some(&Some(3.0))).await;
    bench.scraper.shutdown().await;
}

#[tokio::test]
async fn a_job_with_too_many_targets_is_not_scraped() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let bench = Bench::new();
    let two = format!("{0}'], labels: {{n: '1'}}}}, {{targets: ['{0}", exporter.address);
    bench.load(&slow_job(&two, "  target_limit: 1"));
    let text = "target_limit exceeded (number of targets: 2, limit: 1)";
    until("all are down", || bench.scraper.targets().iter().all(|t| t.last_error.as_deref() == Some(text))).await;
    assert_eq!(exporter.requests(), 0);
    bench.load(&slow_job(&two, "  target_limit: 2"));
    until("all are up", || bench.scraper.targets().iter().all(|t| t.health == Health::Up)).await;
    bench.scraper.shutdown().await;
}

#[track_caller]
fn check_failure(answer: Answer, more: &str, expected: &str) -> impl Future<Output = ()> {
    let (more, expected) = (more.to_owned(), expected.to_owned());
    let caller = std::panic::Location::caller();
    async move {
        let exporter = Exporter::start(answer).await;
        let bench = Bench::new();
        bench.load(&slow_job(&exporter.address, &more));
        until("a failed scrape", || bench.target().health == Health::Down).await;
        let error = bench.target().last_error.expect("a failed scrape has an error");
        assert_eq!(error, expected.replace("ADDRESS", &exporter.address), "{caller}");
        assert_eq!(bench.store.values(&series("up", &exporter.address)), [Some(0.0)], "{caller}");
        // Of a scrape that fails in the middle nothing is kept.
        assert!(bench.store.values(&series("a", &exporter.address)).is_empty(), "{caller}");
        bench.scraper.shutdown().await;
    }
}

/// `host` is what the exporter on 127.0.0.1 is called, `denied` what the job may not reach, `PORT` the exporter's; no `expected` error
/// is a scrape that works. Of a target that is denied nothing is asked.
#[track_caller]
fn check_denied(host: &str, answer: Answer, denied: &str, expected: Option<&str>) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let (host, denied, expected) = (host.to_owned(), denied.to_owned(), expected.map(str::to_owned));
    async move {
        let n_requests_expected = usize::from(expected.is_none() || matches!(answer, Answer::Redirect(_)));
        let exporter = Exporter::start(answer).await;
        let port = exporter.address.rsplit(':').next().unwrap().to_owned();
        let bench = Bench::new();
        bench.load(&slow_job(&format!("{host}:{port}"), &format!("  denied_networks: [{denied}]")));
        until("a scrape", || bench.target().health != Health::Unknown).await;
        let expected = expected.map(|text| text.replace("PORT", &port));
        assert_eq!(bench.target().last_error, expected, "{caller}");
        assert_eq!(bench.scraper.denied_targets().len(), usize::from(expected.is_some()), "{caller}");
        assert_eq!(exporter.requests(), n_requests_expected, "{caller}");
        bench.scraper.shutdown().await;
    }
}

#[tokio::test]
async fn denied_networks_are_not_reached() {
    let text = || Answer::Text("a 1\n");
    check_denied("127.0.0.1", text(), "10.0.0.0/8", None).await;
    check_denied("localhost", text(), "10.0.0.0/8", None).await;
    check_denied(
        "127.0.0.1",
        text(),
        "10.0.0.0/8, 127.0.0.0/8",
        Some("Get \"http://127.0.0.1:PORT/metrics\": 127.0.0.1 is in the denied network 127.0.0.0/8"),
    )
    .await;
    // The same address in other words, and what a name leads to: version 4 alone, so that there is one address to speak of.
    for (host, address, network) in
        [("0x7f.1", "127.0.0.1", "127.0.0.0/8"), ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1", "127.0.0.0/8")]
    {
        let expected = format!("Get \"http://{host}:PORT/metrics\": {address} is in the denied network {network}");
        check_denied(host, text(), network, Some(&expected)).await;
    }
    let all = "0.0.0.0/0, '::/0'";
    let localhost = (std::net::ToSocketAddrs::to_socket_addrs("localhost:0").unwrap().next()).unwrap().ip();
    let network = if localhost.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    let expected = format!(
        "Get \"http://localhost:PORT/metrics\": dial tcp localhost:PORT: {localhost} is in the denied network {network}"
    );
    check_denied("localhost", text(), all, Some(&expected)).await;
    // A name keeps what is left of its addresses.
    check_denied("localhost", text(), "'::1'", None).await;
    check_denied(
        "127.0.0.1",
        Answer::Redirect("http://127.0.0.2:1/"),
        "127.0.0.2",
        Some("Get \"http://127.0.0.1:PORT/metrics\": 127.0.0.2 is in the denied network 127.0.0.2"),
    )
    .await;
}

#[tokio::test]
async fn failures_are_told_as_prometheus_tells_them() {
    let text = || Answer::Text("a 1\nb 2\nc 3\n");
    check_failure(Answer::Status(404), "", "server returned HTTP status 404 Not Found").await;
    check_failure(Answer::Redirect("/other"), "  follow_redirects: false", "server returned HTTP status 302 Found")
        .await;
    check_failure(Answer::Redirect("/again"), "", "Get \"http://ADDRESS/metrics\": stopped after 10 redirects").await;
    check_failure(Answer::Never, "  scrape_timeout: 50ms", "Get \"http://ADDRESS/metrics\": context deadline exceeded")
        .await;
    check_failure(text(), "  body_size_limit: 8B", "body size limit exceeded").await;
    check_failure(text(), "  sample_limit: 2", "sample limit exceeded").await;
    check_failure(
        text(),
        "  target_limit: 1\n  label_limit: 2",
        "label_limit exceeded (metric: a, number of labels: 3, limit: 2)",
    )
    .await;
    check_failure(
        text(),
        "  label_value_length_limit: 2",
        "label_value_length_limit exceeded (metric: a, label name: instance, value: \"ADDRESS\", length: LENGTH, limit: 2)"
            .replace("LENGTH", &"127.0.0.1:12345".len().to_string())
            .as_str(),
    )
    .await;
    check_failure(
        Answer::Text("a 1\nb\n"),
        "",
        "line 2: expected value after metric, got \"\\n\" while parsing: \"b\\n\"",
    )
    .await;
    check_failure(
        text(),
        "  metric_relabel_configs: [{action: labeldrop, regex: __name__}]",
        "missing metric name (__name__ label)",
    )
    .await;
}

#[tokio::test]
async fn failures_are_written_down() {
    let exporter = Exporter::start(Answer::Status(500)).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("failures.log");
    let bench = Bench::new();
    bench.load_changed(&slow_job(&exporter.address, ""), |job| job.scrape_failure_log_file = Some(path.clone()));
    until("a failed scrape", || bench.target().health == Health::Down).await;
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(line["msg"], "server returned HTTP status 500 Internal Server Error");
    assert_eq!((line["level"].as_str(), line["job_name"].as_str()), (Some("ERROR"), Some("j")));
    assert_eq!(line["target"], format!("http://{}/metrics", exporter.address));
    bench.scraper.shutdown().await;
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bench = Bench::new();
    bench.load(&slow_job(&address.to_string(), ""));
    until("a failed scrape", || bench.target().health == Health::Down).await;
    assert_eq!(
        bench.target().last_error,
        Some(format!("Get \"http://{address}/metrics\": dial tcp {address}: connect: connection refused"))
    );
    bench.scraper.shutdown().await;
}

#[tokio::test]
async fn a_reload_leaves_alone_what_did_not_change() {
    let (kept, moved) = (Exporter::start(Answer::Text("a 1\n")).await, Exporter::start(Answer::Text("a 1\n")).await);
    let bench = Bench::new();
    bench.load(&slow_job(&kept.address, ""));
    until("the first scrape", || bench.target().health == Health::Up).await;
    let first = bench.target();

    // A second target in the same job: the first one keeps its state and is not asked again.
    let both = format!("{}', '{}", kept.address, moved.address);
    bench.load(&slow_job(&both, ""));
    until("the new target's scrape", || bench.scraper.targets().iter().all(|t| t.health == Health::Up)).await;
    assert_eq!(bench.target(), first);
    assert_eq!((kept.requests(), moved.requests()), (1, 1));

    // The same again changes nothing at all.
    bench.load(&slow_job(&both, ""));
    // Another path is the same target elsewhere: asked at once, and no series ends.
    bench.load(&slow_job(&kept.address, "  metrics_path: /other"));
    until("the changed target's scrape", || kept.requests() == 2).await;
    assert_eq!(kept.last_request().0, "/other");
    let ended = series("a", &moved.address);
    until("the removed target is ended", || bench.store.values(&ended) == [Some(1.0), None]).await;
    assert_eq!(bench.store.values(&series("up", &moved.address)), [Some(1.0), None]);
    assert_eq!(bench.scraper.targets().len(), 1);
    assert_eq!(moved.requests(), 1);
    let goes_on = series("a", &kept.address);
    until("its second sample", || bench.store.values(&goes_on) == [Some(1.0), Some(1.0)]).await;

    // Changed relabelling: what is dropped now is ended, though its text is known.
    bench.load(&slow_job(
        &kept.address,
        "  metrics_path: /other\n  metric_relabel_configs: [{action: drop, source_labels: [__name__], regex: a}]",
    ));
    until("a is ended", || bench.store.values(&goes_on).last() == Some(&None)).await;

    // A shutdown ends nothing: the same target will be scraped again.
    bench.scraper.shutdown().await;
    assert_eq!(bench.store.values(&series("up", &kept.address)).last(), Some(&Some(1.0)));
}

/// A target that was scraped once and is asked a second time, without an answer.
async fn asked_in_vain() -> (Exporter, Bench) {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let bench = Bench::new();
    bench.load(&slow_job(&exporter.address, ""));
    until("the first scrape", || bench.target().health == Health::Up).await;
    exporter.set(Answer::Never);
    bench.load(&slow_job(&exporter.address, "  metrics_path: /never"));
    until("the second scrape", || exporter.requests() == 2).await;
    (exporter, bench)
}

#[tokio::test]
async fn a_target_that_asks_can_be_changed() {
    let (exporter, bench) = asked_in_vain().await;
    exporter.set(Answer::Text("a 2\n"));
    bench.load(&slow_job(&exporter.address, "  metrics_path: /other"));
    let a = series("a", &exporter.address);
    until("it asks elsewhere", || bench.store.values(&a) == [Some(1.0), Some(2.0)]).await;
    assert_eq!((exporter.requests(), exporter.last_request().0.as_str()), (3, "/other"));
    assert_eq!(bench.store.values(&series("up", &exporter.address)), [Some(1.0), Some(1.0)], "no scrape failed");
    until("it waits, once", || bench.scraper.shared.queue.len() == 1).await;
    bench.scraper.shutdown().await;
}

#[tokio::test]
async fn a_target_that_asks_can_be_stopped() {
    let (exporter, bench) = asked_in_vain().await;
    bench.load("  []");
    let (a, up) = (series("a", &exporter.address), series("up", &exporter.address));
    until("its series end", || bench.store.values(&up) == [Some(1.0), None]).await;
    assert_eq!(bench.store.values(&a), [Some(1.0), None]);
    assert_eq!((exporter.requests(), bench.scraper.shared.queue.len()), (2, 0));
    bench.scraper.shutdown().await;
    assert_eq!((bench.store.values(&a).len(), bench.store.values(&up).len()), (2, 2), "ended once");
}

#[tokio::test]
async fn a_turn_that_ends_with_a_panic_is_not_the_last() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let bench = Bench::new();
    bench.load(&slow_job(&exporter.address, ""));
    let shared = &bench.scraper.shared;
    until("the first scrape", || bench.target().health == Health::Up && shared.queue.len() == 1).await;
    let running = Arc::clone(&bench.scraper.lock().pools["j"].running[0]);
    let fallen = tokio::spawn(running.fall(Arc::clone(shared))).await;
    assert!(fallen.is_err_and(|error| error.is_panic()));
    assert_eq!(shared.queue.len(), 1, "it waits for its next turn");
    bench.load("  []");
    let up = series("up", &exporter.address);
    until("its series end", || bench.store.values(&up) == [Some(1.0), None]).await;
    bench.scraper.shutdown().await;
}

#[tokio::test]
async fn repeated_and_conflicting_samples_do_no_harm() {
    let exporter = Exporter::start(Answer::Text("a 1\na 2\nb{instance=\"x\",exported_instance=\"y\"} 1\n")).await;
    let bench = Bench::new();
    bench.load(&slow_job(&exporter.address, ""));
    until("the first scrape", || bench.target().health == Health::Up).await;
    assert_eq!(bench.store.values(&series("a", &exporter.address)), [Some(1.0)]);
    let moved = format!(
        r#"b{{exported_exported_instance="x", exported_instance="y", instance="{}", job="j"}}"#,
        exporter.address
    );
    assert_eq!(bench.store.values(&moved), [Some(1.0)]);
    let duplicates = bench
        .scraper
        .metrics()
        .into_iter()
        .find(|family| family.name == "prometheus_target_scrapes_sample_duplicate_timestamp_total");
    assert_eq!(duplicates.map(|family| family.samples[0].value), Some(1.0));

    bench.load(&slow_job(&exporter.address, "  honor_labels: true"));
    let honored = r#"b{exported_instance="y", instance="x", job="j"}"#;
    until("labels are honored", || bench.store.values(honored) == [Some(1.0)]).await;
    until("the old series is ended", || bench.store.values(&moved) == [Some(1.0), None]).await;
    bench.scraper.shutdown().await;
}

#[tokio::test]
async fn new_targets_are_asked_at_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counter = Arc::clone(&asked);
    let handler = move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
        "a 1\n"
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/{*path}", get(handler))).await });
    let bench = Bench::new();
    let targets: Vec<String> = (0..50).map(|n| format!("{{targets: ['{address}'], labels: {{n: '{n}'}}}}")).collect();
    bench.load(&format!("- job_name: j\n  scrape_interval: 1h\n  static_configs: [{}]\n", targets.join(", ")));
    // Their interval is an hour: who waits for a tick of it waits for ever.
    until("all are asked", || asked.load(Ordering::Relaxed) == 50).await;
    bench.scraper.shutdown().await;
}

#[test]
fn all_bad_jobs_are_named() {
    let config = Config::parse(
        "scrape_configs:\n- job_name: a\n  tls_config: {ca_file: /nonexistent/ca}\n- job_name: b\n- job_name: c\n  authorization: {credentials_file: /nonexistent/token}\n",
    )
    .unwrap();
    let scraper = Scraper::new(Arc::new(MemoryStore::default()));
    let errors = scraper.prepare(&config.scrape_configs, &ScrapeFiles::default(), &config.global).unwrap_err();
    let shown: Vec<String> = errors
        .iter()
        .map(|error| format!("{error}: {}", std::error::Error::source(error).expect("it has a cause")))
        .collect();
    assert_eq!(
        shown,
        [
            "cannot prepare scrape job a: cannot read /nonexistent/ca",
            "cannot prepare scrape job c: cannot read /nonexistent/token"
        ]
    );
}

#[tokio::test]
async fn only_what_changed_between_files_is_touched() {
    let file = |jobs: &str| {
        let text = format!("scrape_configs: {jobs}\n");
        Arc::new(ScrapeConfigFile::parse(&text, &GlobalConfig::default()).expect("a valid file"))
    };
    let scraper = Scraper::new(Arc::new(MemoryStore::default()));
    let prepare = |files: &[&Arc<ScrapeConfigFile>]| {
        let mut set = ScrapeFiles::default();
        for (number, file) in files.iter().enumerate() {
            set.insert((number, Path::new("f.yml").into()), Arc::clone(*file));
        }
        scraper.prepare(&[], &set, &GlobalConfig::default())
    };
    let a = file("[{job_name: a, static_configs: [{targets: ['h:1']}]}]");
    let b = file("[{job_name: b, static_configs: [{targets: ['h:2']}]}]");
    let moved = file("[{job_name: b, static_configs: [{targets: ['h:3']}]}, {job_name: c}]");
    scraper.commit(prepare(&[&a, &b]).unwrap());
    assert_eq!(scraper.pools(), ["a", "b"]);
    let next = prepare(&[&a, &moved]).unwrap();
    assert_eq!(next.changed.keys().collect::<Vec<_>>(), ["b", "c"], "what is there already costs nothing");
    // Another was faster: what was prepared still becomes what runs.
    scraper.commit(prepare(&[&b]).unwrap());
    assert_eq!(scraper.pools(), ["b"]);
    scraper.commit(next);
    assert_eq!(scraper.pools(), ["a", "b", "c"]);
    let urls: Vec<String> = scraper.targets().into_iter().map(|target| target.url).collect();
    assert_eq!(urls, ["http://h:1/metrics", "http://h:3/metrics"]);
    let errors = prepare(&[&a, &b, &moved]).unwrap_err();
    assert_eq!(errors.iter().map(PrepareError::job).collect::<Vec<_>>(), ["b"]);
    scraper.commit(prepare(&[]).unwrap());
    assert!(scraper.pools().is_empty());
    scraper.shutdown().await;
}

#[tokio::test]
async fn what_is_counted_of_very_many_jobs_does_not_fall_when_one_goes() {
    let bench = Bench::new();
    let job = |number: usize| {
        format!(
            "- job_name: j{number}\n  scrape_interval: 1h\n  scrape_timeout: 1s\n  static_configs: [{{targets: ['127.0.0.1:1']}}]\n"
        )
    };
    let load = |n: usize| bench.load(&(0..n).map(job).collect::<String>());
    let value = |name: &str| {
        let family = bench.scraper.metrics().into_iter().find(|family| family.name == name);
        let samples = family.map(|family| family.samples).unwrap_or_default();
        samples.iter().map(|sample| (sample.labels.is_empty(), sample.value)).collect::<Vec<_>>()
    };
    load(JOBS_SHOWN_MAX + 2);
    let n_jobs = (JOBS_SHOWN_MAX + 2) as f64;
    assert_eq!(value("prometheus_target_scrape_pool_sync_total"), [(true, n_jobs)]);
    assert_eq!(value("prometheus_target_scrape_pool_target_limit"), []);
    assert_eq!(value("prometheus_target_sync_failed_total"), [(true, 0.0)]);
    load(JOBS_SHOWN_MAX + 1);
    let [(true, synced)] = value("prometheus_target_scrape_pool_sync_total")[..] else { panic!("one for all") };
    assert!(synced >= n_jobs, "{synced}");
    assert_eq!(value("prometheus_target_scrape_pool_targets"), [(true, n_jobs - 1.0)]);
    bench.scraper.shutdown().await;
}
