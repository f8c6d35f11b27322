//! What the server is and how it runs: `/status/…`, `/-/…`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::envelope::{ApiResult, Success};
use super::front;
use crate::Engine;

/// The Prometheus whose API and query language this is. Clients such as Grafana choose their calls by it.
pub(crate) const COMPATIBLE_VERSION: &str = "3.5.0";

/// `/api/v1/status/buildinfo`
pub(crate) async fn build_info() -> ApiResult {
    Ok(Success::of(&build()))
}

/// `/version`
pub(crate) async fn version() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], build().to_string()).into_response()
}

fn build() -> Value {
    // No `features` here: a data source that sees them takes the server for a Mimir.
    json!({
        "version": COMPATIBLE_VERSION,
        "revision": concat!("relatum-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

/// `/api/v1/status/config`
pub(crate) async fn config(State(engine): State<Arc<Engine>>) -> ApiResult {
    Ok(Success::of(&json!({ "yaml": engine.live().yaml })))
}

/// `/api/v1/status/flags`
pub(crate) async fn flags(State(engine): State<Arc<Engine>>) -> ApiResult {
    Ok(Success::of(&engine.live().flags.as_map()))
}

/// `/api/v1/status/runtimeinfo`
pub(crate) async fn runtime_info(State(engine): State<Arc<Engine>>) -> ApiResult {
    let live = engine.live();
    Ok(Success::of(&json!({
        "startTime": crate::clock::rfc3339(engine.started_at_ms()),
        "CWD": std::env::current_dir().unwrap_or_default(),
        "hostname": host_name(),
        "serverTime": crate::clock::rfc3339(crate::clock::now_ms()),
        "reloadConfigSuccess": live.reload_failed_at_ms.is_none(),
        "lastConfigTime": crate::clock::rfc3339(live.loaded_at_ms),
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": i64::MAX,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": relatum_model::time::format_duration(live.flags.retention),
    })))
}

/// The host's name as the kernel has it; empty where it cannot be read.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// `/-/healthy`
pub(crate) async fn healthy() -> &'static str {
    "Prometheus Server is Healthy.\n"
}

/// `/-/ready`: once a configuration runs.
pub(crate) async fn ready(State(engine): State<Arc<Engine>>) -> Response {
    if engine.live().ready {
        "Prometheus Server is Ready.\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response()
    }
}

/// `/-/reload`
pub(crate) async fn reload(State(engine): State<Arc<Engine>>, method: Method) -> Response {
    if let Some(refused) = lifecycle_refusal(&engine, &method) {
        return refused;
    }
    let outcome = tokio::task::spawn_blocking(move || engine.reload()).await;
    match outcome {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(error)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed to reload config\n").into_response(),
    }
}

/// `/-/quit`: asks whoever runs the server to stop it.
pub(crate) async fn quit(State(engine): State<Arc<Engine>>, method: Method) -> Response {
    if let Some(refused) = lifecycle_refusal(&engine, &method) {
        return refused;
    }
    engine.quit().cancel();
    "Requesting termination... Goodbye!".into_response()
}

/// Why a request may not change how the server runs. Only the flag makes that possible, and only these methods ask for it.
fn lifecycle_refusal(engine: &Engine, method: &Method) -> Option<Response> {
    match *method {
        Method::GET => Some((StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed").into_response()),
        Method::POST | Method::PUT if engine.live().flags.lifecycle => None,
        Method::POST | Method::PUT => Some((StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response()),
        _ => {
            let mut refused = front::plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, OPTIONS, POST, PUT"));
            Some(refused)
        }
    }
}
