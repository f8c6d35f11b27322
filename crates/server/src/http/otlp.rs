//! The receiver of OpenTelemetry's metrics: `POST /api/v1/otlp/v1/metrics`, with `--web.enable-otlp-receiver`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relatum_transport::otlp::{Deltas, OtlpOptions};

use super::front;
use crate::Engine;
use crate::flags::Flags;

/// Takes one request. The store's writes block, so they run on a thread of their own.
pub(crate) async fn receive(State(engine): State<Arc<Engine>>, headers: HeaderMap, body: Body) -> Response {
    let live = engine.live();
    if !live.flags.otlp_receiver {
        let text = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n";
        return front::plain(StatusCode::NOT_FOUND, text);
    }
    let body = match engine.inflow().take(&headers, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (content_type, encoding) = (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
    // How large the rest will be nobody knows before.
    let room = if encoding == "gzip" { usize::MAX } else { body.bytes.len() };
    let room = engine.inflow().decompress(room).await;
    let received = tokio::task::spawn_blocking(move || {
        let (kind, options) = ((content_type.as_str(), encoding.as_str()), options(&live.flags));
        let received = engine.otlp().receive(engine.store(), kind, &body.bytes, &live.config.otlp, options);
        drop((body, room));
        received
    });
    match received.await {
        Ok(Ok(_)) => StatusCode::OK.into_response(),
        Ok(Err(error)) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if status.is_server_error() {
                tracing::error!(error = %crate::chain(&error), "metrics of OpenTelemetry could not be stored");
            }
            front::plain(status, format!("{error}\n"))
        }
        Err(_) => front::plain(StatusCode::INTERNAL_SERVER_ERROR, "the write ended unexpectedly\n"),
    }
}

fn options(flags: &Flags) -> OtlpOptions {
    let deltas = if flags.has_feature("otlp-deltatocumulative") {
        Deltas::Sum
    } else if flags.has_feature("otlp-native-delta-ingestion") {
        Deltas::Keep
    } else {
        Deltas::Refuse
    };
    OtlpOptions {
        deltas,
        type_and_unit_labels: flags.has_feature("type-and-unit-labels"),
        lookback: flags.lookback,
        start_timestamps: flags.has_feature("st-storage"),
    }
}
