//! `/v1/copy`: what only the agent can copy while it runs.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Router};
use tracing::info;

use super::peer::IsOwner;
use super::{Answer, blocking, internal, json, read};
use crate::control::{Failure, MadeCopy, MakeCopy};
use crate::daemon::Agent;

/// Where the samples are in a copy, as in a data directory.
const SAMPLES: &str = "tsdb";

/// The routes.
pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/v1/copy", post(copy))
}

async fn copy(
    State(agent): State<Arc<Agent>>,
    Extension(IsOwner(is_owner)): Extension<IsOwner>,
    body: Bytes,
) -> Answer {
    let MakeCopy { to } = read(&body)?;
    if !is_owner {
        return Err(Failure::failed("only root and the agent's own user may have it write a copy"));
    }
    if !to.is_absolute() || !to.is_dir() {
        let text = format!("{} is no folder that the agent sees", to.display());
        return Err(Failure::failed(text).hint("name one that is there, by its whole path"));
    }
    let workload = agent.workload()?;
    let made = blocking(move || {
        // The state is a moment, and the samples are a little newer: what it says of them is true of more.
        let revision = crate::lock(&agent.store).copy_to(&to).map_err(|error| internal(&error))?;
        let has_samples = workload.copy_samples(&to.join(SAMPLES)).map_err(Failure::failed)?;
        info!(to = %to.display(), revision, has_samples, "wrote a copy of state and samples");
        Ok(MadeCopy { revision, has_samples })
    });
    json(&made.await?)
}
