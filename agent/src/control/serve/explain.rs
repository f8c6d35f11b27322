//! `/v1/explain` and `/v1/lint`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use serde::Deserialize;

use super::rehearsal::observe;
use super::{Answer, blocking, internal, json};
use crate::control::Failure;
use crate::daemon::Agent;
use crate::explain::{Question, Scene, Stored};
use crate::pipeline::desire::trace::trace;

/// The routes.
pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/v1/explain", get(explain)).route("/v1/lint", get(lint))
}

#[derive(Deserialize)]
struct ExplainQuery {
    what: String,
}

async fn explain(State(agent): State<Arc<Agent>>, Query(query): Query<ExplainQuery>) -> Answer {
    let question = Question::parse(&query.what, &agent.rendered)?;
    json(&with_scene(agent, move |scene| scene.explain(&question)).await??)
}

async fn lint(State(agent): State<Arc<Agent>>) -> Answer {
    json(&with_scene(agent, |scene| scene.lint()).await?)
}

/// What `ask` makes of rendered files and databags of one and the same pass.
async fn with_scene<T: Send + 'static>(
    agent: Arc<Agent>,
    ask: impl FnOnce(&Scene<'_>) -> T + Send + 'static,
) -> Result<T, Failure> {
    agent.settled(0).await?;
    let workload = agent.workload()?;
    blocking(move || {
        let world = crate::lock(&agent.store).world().map_err(|error| internal(&error))?;
        let observed = observe(&agent, world, &*workload)?;
        let trace = trace(&observed);
        let history = Stored::new(&agent.store);
        Ok(ask(&Scene::new(&trace, &observed, workload.dialect().layout, &history)))
    })
    .await
}
