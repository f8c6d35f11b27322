//! What changes the store by hand: `/admin/tsdb/delete_series`, `/admin/tsdb/clean_tombstones`, `/admin/tsdb/snapshot`. Only with
//! `--web.enable-admin-api`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use relatum_model::Matcher;
use relatum_model::storage::{AppendError, TimeRange};
use serde_json::json;

use super::envelope::{ApiError, ErrorKind, Success};
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params, not_a_number};
use crate::Engine;
use crate::clock::{now_ms, rfc3339};

/// `/api/v1/admin/tsdb/delete_series`
pub(crate) async fn delete_series(State(engine): State<Arc<Engine>>, params: Params) -> Result<Response, ApiError> {
    allowed(&engine)?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let min_ms = params.time_ms_or("start", MIN_TIME_MS)?;
    let max_ms = params.time_ms_or("end", MAX_TIME_MS)?;
    let sets: Vec<Vec<Matcher>> = params
        .all("match[]")
        .map(|text| relatum_promql::syntax::parse_selector(text).map(|selector| selector.all_matchers()))
        .collect::<Result<_, _>>()
        .map_err(|error| ApiError::parameter("match[]", error))?;
    blocking(move || sets.iter().try_for_each(|set| engine.store().delete(set, TimeRange { min_ms, max_ms }))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `/api/v1/admin/tsdb/clean_tombstones`: what was deleted leaves the disk.
pub(crate) async fn clean_tombstones(State(engine): State<Arc<Engine>>) -> Result<Response, ApiError> {
    allowed(&engine)?;
    blocking(move || engine.store().clean_deleted()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `/api/v1/admin/tsdb/snapshot`: a copy below `snapshots/` in the data directory, under the name that the answer tells.
///
/// What is in memory is always part of it; `skip_head`, with which Prometheus leaves it out, is taken without effect.
pub(crate) async fn snapshot(State(engine): State<Arc<Engine>>, params: Params) -> Result<Response, ApiError> {
    allowed(&engine)?;
    let text = params.first("skip_head");
    if !["", "0", "f", "F", "false", "FALSE", "False", "1", "t", "T", "true", "TRUE", "True"].contains(&text) {
        let cause = format!("unable to parse boolean: {}", not_a_number("ParseBool", text));
        return Err(ApiError::parameter("skip_head", cause));
    }
    let at_ms = now_ms();
    let moment: String =
        rfc3339(at_ms - at_ms.rem_euclid(1000)).chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    // The part after the moment tells two copies of one second apart.
    let name = format!("{moment}-{:016x}", (at_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let path = engine.live().flags.data_dir.join("snapshots").join(&name);
    blocking(move || engine.store().snapshot(&path)).await?;
    Ok(Success::of(&json!({ "name": name })).into_response())
}

fn allowed(engine: &Engine) -> Result<(), ApiError> {
    if engine.live().flags.admin_api {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled"))
}

async fn blocking(work: impl FnOnce() -> Result<(), AppendError> + Send + 'static) -> Result<(), ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    match done {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::error!(error = %crate::chain(&error), "the store could not be changed");
            Err(ApiError::new(ErrorKind::Internal, error.to_string()))
        }
        Err(_) => Err(ApiError::new(ErrorKind::Internal, "the change ended unexpectedly")),
    }
}
