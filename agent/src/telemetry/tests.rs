//! Couriers and a receiver that keeps what it is sent, and answers as it is told.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};

use super::span::{Span, of_pass};
use super::*;
use crate::control::LogLine;
use crate::store::Model;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Told {
    /// One for each request; then all is well.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    heard: mpsc::UnboundedSender<Value>,
}

enum Answer {
    Status(u16),
    Says(&'static str),
    Never,
}

/// What listens at an address of its own.
struct Listening {
    url: String,
    heard: mpsc::UnboundedReceiver<Value>,
}

impl Listening {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Listening {
        let (sender, heard) = mpsc::unbounded_channel();
        let told = Told { answers: Arc::new(Mutex::new(answers.into_iter().collect())), heard: sender };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/push", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(told);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Listening { url, heard }
    }

    async fn next(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("a request in time").expect("it listens")
    }
}

async fn answer(State(told): State<Told>, body: Bytes) -> axum::response::Response {
    told.heard.send(serde_json::from_slice(&body).expect("what is sent is JSON")).unwrap();
    let answer = crate::lock(&told.answers).pop_front();
    match answer {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Answer::Status(status)) => (StatusCode::from_u16(status).unwrap(), "no\n").into_response(),
        Some(Answer::Says(text)) => text.into_response(),
        Some(Answer::Never) => std::future::pending().await,
    }
}

struct Bench {
    telemetry: Arc<Telemetry>,
    key: Key,
    stop: CancellationToken,
    courier: Option<Courier>,
}

impl Bench {
    fn new(kind: Kind, url: &str) -> Bench {
        let (telemetry, stop) = (Arc::new(Telemetry::default()), CancellationToken::new());
        let key = (kind, url.to_owned());
        let courier = Courier::new(Arc::clone(&telemetry), key.clone(), &HttpClients::default(), stop.clone());
        Bench { telemetry, key, stop, courier: Some(courier) }
    }

    fn carry_lines(&mut self, queue: broadcast::Receiver<LogLine>) -> tokio::task::JoinHandle<()> {
        let courier = self.courier.take().expect("a courier carries once");
        tokio::spawn(courier.carry(queue, |lines| loki::body(&topology(), lines)))
    }

    fn standing(&self) -> Standing {
        crate::lock(&self.telemetry.standings).get(&self.key).cloned().unwrap_or_default()
    }

    /// Until what came of sending is as expected: the answer comes a moment after the request was heard.
    async fn comes_to(&self, expected: &Standing) {
        let reached = async {
            while self.standing() != *expected {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reached).await;
        assert!(in_time.is_ok(), "{:?} is not {expected:?}", self.standing());
    }
}

fn topology() -> Topology {
    desire::topology(&Model { name: "site".into(), uuid: "12de4fae-06cc-4ceb-9089-567be09fec78".into() })
        .with_unit("prometheus/0")
        .unwrap()
}

fn line(number: i64) -> LogLine {
    LogLine {
        at_ms: 1_700_000_000_000 + number,
        level: "INFO".into(),
        target: "relatum".into(),
        message: number.to_string(),
    }
}

/// The last words of the lines in a push.
fn words(push: &Value) -> Vec<String> {
    let lines = push["streams"][0]["values"].as_array().unwrap().iter();
    lines.map(|line| line[1].as_str().unwrap().rsplit(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lines_come_with_our_topology() {
    let mut loki = Listening::start([]).await;
    let mut bench = Bench::new(Kind::LogLines, &loki.url);
    let (log, queue) = broadcast::channel(8);
    for number in 1..=3 {
        log.send(line(number)).unwrap();
    }
    let task = bench.carry_lines(queue);
    let push = loki.next().await;
    let stream = &push["streams"][0];
    let labels = ["juju_application", "juju_model", "juju_unit"].map(|name| stream["stream"][name].as_str().unwrap());
    assert_eq!(labels, ["prometheus", "site", "prometheus/0"]);
    assert_eq!(stream["values"][0][0], "1700000000001000000");
    assert_eq!(stream["values"][0][1], "INFO relatum: 1");
    assert_eq!(words(&push), ["1", "2", "3"]);
    bench.comes_to(&Standing { sent: 3, ..Standing::default() }).await;
    drop(log);
    task.await.unwrap();
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_and_what_waits_too_long_is_counted() {
    let mut loki = Listening::start([Answer::Status(429), Answer::Status(500)]).await;
    let mut bench = Bench::new(Kind::LogLines, &loki.url);
    let (log, queue) = broadcast::channel(4);
    log.send(line(0)).unwrap();
    let _task = bench.carry_lines(queue);
    assert_eq!(words(&loki.next().await), ["0"]);
    // Ten more come while it is away, and four of them can wait.
    for number in 1..=10 {
        log.send(line(number)).unwrap();
    }
    assert_eq!(words(&loki.next().await), ["0"]);
    assert_eq!(words(&loki.next().await), ["0"]);
    assert_eq!(words(&loki.next().await), ["7", "8", "9", "10"]);
    bench.comes_to(&Standing { sent: 5, lost: 6, failure: None }).await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_sent_again() {
    let mut loki = Listening::start([Answer::Status(400)]).await;
    let mut bench = Bench::new(Kind::LogLines, &loki.url);
    let (log, queue) = broadcast::channel(4);
    log.send(line(1)).unwrap();
    let _task = bench.carry_lines(queue);
    loki.next().await;
    let refused = "the receiver answers 400 Bad Request: no".to_owned();
    bench.comes_to(&Standing { sent: 0, lost: 1, failure: Some(refused.clone()) }).await;
    let notes = bench.telemetry.notes(&[Receiver { kind: Kind::LogLines, url: loki.url.clone(), relations: vec![7] }]);
    assert_eq!(
        (notes[&7].current.as_str(), &*notes[&7].message),
        ("waiting", &*format!("log lines: 0 sent, 1 lost; {refused}"))
    );
    log.send(line(2)).unwrap();
    assert_eq!(words(&loki.next().await), ["2"]);
    bench.comes_to(&Standing { sent: 1, lost: 1, failure: None }).await;
}

#[tokio::test]
async fn nobody_waits_for_a_receiver_that_is_slow_or_gone() {
    let mut slow = Listening::start([Answer::Never]).await;
    for url in [slow.url.clone(), "http://127.0.0.1:1/push".to_owned()] {
        let mut bench = Bench::new(Kind::LogLines, &url);
        let (log, queue) = broadcast::channel(4);
        log.send(line(1)).unwrap();
        let task = bench.carry_lines(queue);
        if url == slow.url {
            slow.next().await;
        } else {
            let gone = Standing {
                failure: Some("dial tcp 127.0.0.1:1: connect: connection refused".into()),
                ..Standing::default()
            };
            bench.comes_to(&gone).await;
        }
        bench.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), task).await.expect("it stops at once").unwrap();
    }
}

#[tokio::test]
async fn a_pass_is_one_trace() {
    let mut receiver =
        Listening::start([Answer::Says(r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"x"}}"#)]).await;
    let mut bench = Bench::new(Kind::PassSpans, &receiver.url);
    let feed = SpanFeed::default();
    assert!(!feed.is_wanted());
    let queue = feed.follow();
    assert!(feed.is_wanted());
    let steps = [("observe", Duration::from_millis(2)), ("desire", Duration::from_millis(3))];
    feed.tell(of_pass(&steps, 1_000_000_000, vec![("revision", "4".to_owned())], false));
    let courier = bench.courier.take().unwrap();
    let _task = tokio::spawn(courier.carry(queue, |spans: &[Span]| otlp::body(&topology(), spans)));
    let sent = receiver.next().await;
    let resource = &sent["resourceSpans"][0];
    let attributes = resource["resource"]["attributes"].as_array().unwrap();
    let of = |name: &str| {
        let found = attributes.iter().find(|attribute| attribute["key"] == name);
        found.and_then(|attribute| attribute["value"]["stringValue"].as_str()).unwrap_or_default().to_owned()
    };
    assert_eq!((of("service.name"), of("juju_model")), ("prometheus-relatum".to_owned(), "site".to_owned()));
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let shown = |span: &Value| {
        let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
        (text("name"), text("startTimeUnixNano"), text("endTimeUnixNano"))
    };
    let expected = [
        ("pass", "995000000", "1000000000"),
        ("observe", "995000000", "997000000"),
        ("desire", "997000000", "1000000000"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(spans.iter().map(shown).collect::<Vec<_>>(), expected);
    let root = &spans[0];
    assert_eq!((root["traceId"].as_str().unwrap().len(), root["spanId"].as_str().unwrap().len()), (32, 16));
    assert!(root.get("parentSpanId").is_none());
    for step in &spans[1..] {
        assert_eq!((&step["parentSpanId"], &step["traceId"]), (&root["spanId"], &root["traceId"]));
    }
    assert_eq!(root["attributes"][0]["value"]["stringValue"], "4");
    // What a receiver says that it refused is no more sent than what it refused altogether.
    bench.comes_to(&Standing { sent: 2, lost: 1, failure: None }).await;
    let counted = |name: &str| bench.telemetry.families().into_iter().any(|family| family.name == name);
    assert!(counted("relatum_agent_spans_of_passes_lost_total"));
}
