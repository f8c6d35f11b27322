//! `/v1/history`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use serde::Deserialize;

use super::{Answer, blocking, internal, json};
use crate::control::{History, HistoryEntry};
use crate::daemon::Agent;

/// The routes.
pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/v1/history", get(history))
}

#[derive(Deserialize)]
struct CountQuery {
    #[serde(default = "all")]
    count: usize,
}

fn all() -> usize {
    usize::MAX >> 1
}

async fn history(State(agent): State<Arc<Agent>>, Query(query): Query<CountQuery>) -> Answer {
    let count = query.count.min(all());
    let revisions =
        blocking(move || crate::lock(&agent.store).history(count).map_err(|error| internal(&error))).await?;
    let entry = |revision: crate::store::Revision| HistoryEntry {
        revision: revision.id,
        at_ms: revision.at_ms,
        description: revision.description,
        touched: revision.touched.into_iter().map(|(object, key)| format!("{object} {key}")).collect(),
    };
    json(&History { revisions: revisions.into_iter().map(entry).collect() })
}
