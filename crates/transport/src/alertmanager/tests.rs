//! Alerts to real servers on loopback.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use relatum_config::prometheus::Config;
use tokio::net::TcpListener;

use super::*;

/// An Alertmanager that answers with a status and remembers the alerts it took.
#[derive(Clone, Default)]
struct Receiver {
    status: Arc<Mutex<StatusCode>>,
    taken: Arc<Mutex<Vec<String>>>,
    requests: Arc<Mutex<usize>>,
}

impl Receiver {
    async fn start(self, listener: TcpListener) {
        let receiver = self;
        let handler = move |body: String| async move {
            *receiver.requests.lock().unwrap() += 1;
            let status = *receiver.status.lock().unwrap();
            if status.is_success() {
                let alerts: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
                let mut taken = receiver.taken.lock().unwrap();
                taken.extend(alerts.iter().map(|alert| alert["labels"].to_string()));
            }
            status
        };
        let router = Router::new().route("/am/api/v2/alerts", post(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }

    fn requests(&self) -> usize {
        *self.requests.lock().unwrap()
    }
}

fn load(notifier: &Notifier, addresses: &[String], more: &str) {
    let targets = addresses.join("', '");
    let config = Config::parse(&format!(
        "global: {{external_labels: {{site: x, severity: none}}}}\nalerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{targets}']}}]\n    path_prefix: /am/\n{more}\n"
    ))
    .expect("a valid configuration");
    let prepared = notifier.prepare(&config.alerting, &config.global.external_labels).expect("it can run");
    notifier.commit(prepared);
}

fn alert(name: &str) -> Alert {
    Alert {
        labels: Labels::from_pairs([("alertname", name), ("severity", "page")]),
        annotations: Labels::empty(),
        starts_at_ms: now_ms(),
        ends_at_ms: now_ms() + 3_600_000,
        generator_url: String::new(),
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

fn metric(notifier: &Notifier, name: &str) -> f64 {
    let families = notifier.metrics();
    let family = families.iter().find(|family| family.name == name).expect("the metric exists");
    family.samples.iter().map(|sample| sample.value).sum()
}

#[tokio::test]
async fn alerts_arrive_with_external_labels_and_relabelled() {
    let (listener, receiver) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Receiver::default());
    let address = listener.local_addr().unwrap().to_string();
    receiver.clone().start(listener).await;
    let notifier = Notifier::new();
    load(
        &notifier,
        std::slice::from_ref(&address),
        "  alert_relabel_configs: [{source_labels: [alertname], regex: Quiet, action: drop}]",
    );
    assert_eq!(notifier.alertmanagers(), [format!("http://{address}/am/api/v2/alerts")]);
    notifier.send(vec![alert("Quiet"), alert("Loud")]);
    until("the alert arrives", || !receiver.taken().is_empty()).await;
    assert_eq!(receiver.taken(), [r#"{"alertname":"Loud","severity":"page","site":"x"}"#]);
    until("it is counted", || metric(&notifier, "prometheus_notifications_sent_total") == 1.0).await;
    notifier.shutdown().await;
}

#[tokio::test]
async fn an_alertmanager_that_is_away_gets_its_alerts_later() {
    // The port is known before anybody listens.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (other_listener, other) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Receiver::default());
    let other_address = other_listener.local_addr().unwrap();
    other.clone().start(other_listener).await;
    let notifier = Notifier::new();
    let addresses = [address.to_string(), other_address.to_string()];
    load(&notifier, &addresses, "");
    notifier.send(vec![alert("Down")]);
    until("a failed attempt", || metric(&notifier, "prometheus_notifications_errors_total") > 0.0).await;
    // The other one is not held up, and a reload loses nothing.
    until("the other has it", || other.taken().len() == 1).await;
    load(&notifier, &addresses, "");
    let receiver = Receiver::default();
    receiver.clone().start(TcpListener::bind(address).await.unwrap()).await;
    until("it arrives", || receiver.taken().len() == 1).await;
    assert_eq!(metric(&notifier, "prometheus_notifications_dropped_total"), 0.0);
    notifier.shutdown().await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_repeated() {
    let (listener, receiver) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Receiver::default());
    let address = listener.local_addr().unwrap().to_string();
    receiver.clone().start(listener).await;
    let notifier = Notifier::new();
    load(&notifier, &[address], "");
    *receiver.status.lock().unwrap() = StatusCode::BAD_REQUEST;
    notifier.send(vec![alert("Bad")]);
    until("it is dropped", || metric(&notifier, "prometheus_notifications_dropped_total") == 1.0).await;
    assert_eq!(receiver.requests(), 1);
    // A server that is ill may be well soon.
    *receiver.status.lock().unwrap() = StatusCode::SERVICE_UNAVAILABLE;
    notifier.send(vec![alert("Good")]);
    until("it is refused", || receiver.requests() >= 2).await;
    *receiver.status.lock().unwrap() = StatusCode::OK;
    until("it arrives", || receiver.taken().len() == 1).await;
    notifier.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_delivers_what_waits() {
    let (listener, receiver) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Receiver::default());
    let address = listener.local_addr().unwrap().to_string();
    receiver.clone().start(listener).await;
    let notifier = Notifier::new();
    load(&notifier, &[address], "");
    let alerts: Vec<Alert> = (0..1000).map(|n| alert(&format!("A{n}"))).collect();
    notifier.send(alerts);
    notifier.shutdown().await;
    assert_eq!(receiver.taken().len(), 1000);
}
