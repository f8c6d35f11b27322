//! `/v1/remove-unit` and `/v1/remove-application`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Router};
use tracing::info;

use super::peer::Caller;
use super::{Answer, blocking, json, read};
use crate::control::{RemoveApplications, RemoveUnits, RemovedApplication, RemovedApplications, RemovedUnits};
use crate::daemon::Agent;
use crate::events::Event;
use crate::history::command;
use crate::relate::{self, RelateError};
use crate::status;
use crate::store::StoredRelation;

/// The routes.
pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/v1/remove-unit", post(units)).route("/v1/remove-application", post(applications))
}

async fn units(State(agent): State<Arc<Agent>>, Extension(Caller(author)): Extension<Caller>, body: Bytes) -> Answer {
    let RemoveUnits { units } = read(&body)?;
    let shared = Arc::clone(&agent);
    let removed = blocking(move || {
        let description = command::line("remove-unit", units.iter().map(String::as_str));
        let mut store = crate::lock(&shared.store);
        Ok(store.mutate_by::<_, RelateError>(&author, &description, |change| relate::remove_units(&units, change))?.1)
    })
    .await?;
    let ticket = agent.queue.push(Event::RelationsChanged);
    agent.settled(ticket).await?;
    for unit in &removed {
        info!(unit = unit.name, "unit removed");
    }
    json(&RemovedUnits { units: removed })
}

async fn applications(
    State(agent): State<Arc<Agent>>,
    Extension(Caller(author)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let RemoveApplications { applications } = read(&body)?;
    let shared = Arc::clone(&agent);
    let removed = blocking(move || {
        let description = command::line("remove-application", applications.iter().map(String::as_str));
        let mut store = crate::lock(&shared.store);
        let removed = store.mutate_by::<_, RelateError>(&author, &description, |change| {
            relate::remove_applications(&applications, change)
        })?;
        Ok(removed.1)
    })
    .await?;
    let ticket = agent.queue.push(Event::RelationsChanged);
    let (report, _) = agent.settled(ticket).await?;
    let mut gone = Vec::new();
    for application in removed {
        info!(application = application.name, relations = application.relations.len(), "application removed");
        let row = |relation: &Arc<StoredRelation>| status::relation_status(relation, &report, &[]);
        let relations = application.relations.iter().map(row).collect();
        gone.push(RemovedApplication { name: application.name, units: application.units, relations });
    }
    json(&RemovedApplications { applications: gone })
}
