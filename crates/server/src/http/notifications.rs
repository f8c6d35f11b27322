//! What a person looking at the server should know: `/notifications`, and `/notifications/live` as it changes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::envelope::{ApiResult, Success};
use super::stream::pieced;
use crate::Engine;
use crate::clock::now_ms;
use crate::notices::Notice;

/// `/api/v1/notifications`
pub(crate) async fn active(State(engine): State<Arc<Engine>>) -> ApiResult {
    Ok(Success::of(&engine.notices().active()))
}

/// `/api/v1/notifications/live`: server-sent events, one for each notice that comes or goes, until the server stops.
pub(crate) async fn live(State(engine): State<Arc<Engine>>) -> Response {
    let subscribers_max = engine.live().flags.notification_subscribers_max;
    let Some(mut subscription) = engine.notices().subscribe(subscribers_max) else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let (pieces, body) = pieced();
    let draining = engine.web().draining().clone();
    tokio::spawn(async move {
        for notice in std::mem::take(&mut subscription.active) {
            if pieces.send(event(&notice)).await.is_err() {
                return;
            }
        }
        loop {
            let change = tokio::select! {
                change = subscription.changes.recv() => change,
                () = pieces.closed() => return,
                () = draining.cancelled() => {
                engine.notices().set(Notice::ShuttingDown, true, now_ms());
                if let Ok(last) = subscription.changes.try_recv() {
                    let _ = pieces.send(event(&last)).await;
                }
                return;
            }
            };
            match change {
                Ok(notice) if pieces.send(event(&notice)).await.is_ok() => {}
                // Who reads too slowly misses some and goes on with the next.
                Err(RecvError::Lagged(_)) => {}
                Ok(_) | Err(RecvError::Closed) => return,
            }
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")], body).into_response()
}

fn event(notice: &Value) -> Bytes {
    format!("data: {notice}\n\n").into()
}
