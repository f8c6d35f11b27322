//! What the agent answers itself when a Prometheus beside it does the rest: how it does, and offers. Nothing of the peer's API, which has
//! its own address; only samples written to an offer are passed on to it.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use relatum_model::exposition::write_text;
use reqwest::Client;
use std::sync::Arc;

use super::reload::without_password;
use crate::metrics::Metrics;

/// What of a write is passed on; credentials are for us.
const PASSED_ON: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::USER_AGENT,
    HeaderName::from_static("x-prometheus-remote-write-version"),
];

struct Listener {
    metrics: Metrics,
    workload: String,
    client: Client,
}

/// The routes; `workload` is the URL of the Prometheus.
pub(super) fn router(metrics: Metrics, workload: &str) -> Router {
    let listener = Listener { metrics, workload: workload.to_owned(), client: Client::new() };
    Router::new()
        .route("/", get(about))
        .route("/metrics", get(own_metrics))
        .route("/-/healthy", get(|| async { "relatum is Healthy.\n" }))
        .route("/-/ready", get(|| async { "relatum is Ready.\n" }))
        .route("/api/v1/write", post(write))
        .with_state(Arc::new(listener))
}

async fn about(State(listener): State<Arc<Listener>>) -> String {
    format!("relatum drives the Prometheus at {}\n", without_password(&listener.workload))
}

async fn own_metrics(State(listener): State<Arc<Listener>>) -> Response {
    let text = write_text(&(listener.metrics)());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn write(State(listener): State<Arc<Listener>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let url = format!("{}/api/v1/write", listener.workload);
    let mut passed_on = listener.client.post(url).body(reqwest::Body::wrap_stream(body.into_data_stream()));
    for name in &PASSED_ON {
        if let Some(value) = parts.headers.get(name) {
            passed_on = passed_on.header(name, value);
        }
    }
    match passed_on.send().await {
        Ok(answer) => {
            let status = answer.status();
            (status, Body::from_stream(answer.bytes_stream())).into_response()
        }
        // The sender tries again after a 5xx.
        Err(error) => {
            let reason = crate::chain(&error.without_url());
            (StatusCode::BAD_GATEWAY, format!("the Prometheus behind this agent does not answer: {reason}\n"))
                .into_response()
        }
    }
}
