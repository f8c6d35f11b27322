//! Examples of what series counted: `/query_exemplars`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use relatum_model::storage::{Exemplars, Scope, SeriesExemplars, TimeRange};
use relatum_model::text::format_value;
use serde_json::json;

use super::envelope::{ApiError, Success};
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params};
use super::reading::reading;
use super::series::object;
use crate::Engine;

/// `/api/v1/query_exemplars`: the exemplars of all series that a selector of the query selects.
pub(crate) async fn query(State(engine): State<Arc<Engine>>, params: Params) -> Response {
    let asked = Arc::clone(&engine);
    let read = reading(&asked, move |_| {
        let start_ms = params.time_ms_or("start", MIN_TIME_MS)?;
        let end_ms = params.time_ms_or("end", MAX_TIME_MS)?;
        if end_ms < start_ms {
            return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
        }
        let expr =
            engine.promql().parse(params.first("query")).map_err(|error| ApiError::bad_data(error.to_string()))?;
        let selectors = relatum_promql::syntax::selectors(&expr);
        let sets: Vec<_> = selectors.iter().map(|selector| selector.all_matchers()).collect();
        let range = TimeRange { min_ms: start_ms, max_ms: end_ms };
        // Without a series there is nothing that could have exemplars.
        Ok((!sets.is_empty()).then(|| engine.store().exemplars(&Scope::all(), &sets, range)))
    });
    let shown = |series: SeriesExemplars| {
        let exemplars = series.exemplars.iter().map(|exemplar| {
            json!({
                "labels": object(&exemplar.labels),
                "value": format_value(exemplar.value),
                // In seconds, as everywhere in the API; a double holds all milliseconds of our times.
                "timestamp": exemplar.t_ms as f64 / 1e3,
            })
        });
        json!({ "seriesLabels": object(&series.labels), "exemplars": exemplars.collect::<Vec<_>>() })
    };
    match read.await.map_err(ApiError::from).flatten() {
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Ok(Some(found)) => Success::of(&found.into_iter().map(shown).collect::<Vec<_>>()).into_response(),
        Err(error) => error.into_response(),
    }
}
