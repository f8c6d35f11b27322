//! `/v1/dry-run` and `/v1/render/diff`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::routing::{get, post};

use super::{Answer, SecretsQuery, blocking, change_settings, check_change, internal, json, read};
use crate::control::{Failure, Rehearsal, Rehearse};
use crate::daemon::Agent;
use crate::history::words;
use crate::offers;
use crate::pipeline::observe::{Observed, look};
use crate::pipeline::rehearse::{compare, files, forecast};
use crate::relate::{self, RelateError, Which};
use crate::secrets;
use crate::store::{Change, World};
use crate::workload::Workload;

/// The routes.
pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/v1/dry-run", post(dry_run)).route("/v1/render/diff", get(difference))
}

async fn dry_run(State(agent): State<Arc<Agent>>, Query(query): Query<SecretsQuery>, body: Bytes) -> Answer {
    let request: Rehearse = read(&body)?;
    if let Rehearse::Config(change) = &request {
        check_change(change)?;
    }
    // The first pass writes what everything else is compared with.
    agent.settled(0).await?;
    let workload = agent.workload()?;
    let rehearsal = blocking(move || {
        let (before, (after, changes)) = {
            let mut store = crate::lock(&agent.store);
            let before = store.world().map_err(|error| internal(&error))?;
            (before, store.rehearse::<RelateError>(|change| carry_out(&request, change))?)
        };
        let observed = observe(&agent, before, &*workload)?;
        let changed = Observed { world: after, ..observed.clone() };
        let effect = compare(&forecast(&observed, &*workload), &forecast(&changed, &*workload));
        Ok(Rehearsal { changes: changes.iter().map(words::change).collect(), ..effect })
    })
    .await?;
    json(&shown(rehearsal, query.show_secrets))
}

fn carry_out(request: &Rehearse, change: &Change<'_>) -> Result<(), RelateError> {
    match request {
        Rehearse::Relate(request) => relate::relate(request, change).map(drop),
        Rehearse::RemoveRelation(request) => relate::remove(&Which::parse(&request.arguments)?, change).map(drop),
        Rehearse::RemoveUnit(request) => relate::remove_units(&request.units, change).map(drop),
        Rehearse::RemoveApplication(request) => relate::remove_applications(&request.applications, change).map(drop),
        Rehearse::RemoveOffer(request) => offers::change::remove_offer(&request.offer, change).map(drop),
        Rehearse::RollBack(request) => relate::roll_back(request.revision, change).map(drop),
        Rehearse::Config(request) => Ok(change_settings(request, change)?),
    }
}

/// What is on disk against what would be rendered now.
async fn difference(State(agent): State<Arc<Agent>>, Query(query): Query<SecretsQuery>) -> Answer {
    agent.settled(0).await?;
    let workload = agent.workload()?;
    let rehearsal = blocking(move || {
        let world = crate::lock(&agent.store).world().map_err(|error| internal(&error))?;
        let observed = observe(&agent, world, &*workload)?;
        let wanted = forecast(&observed, &*workload);
        let files = files(&observed.current, &wanted.files);
        Ok(Rehearsal { files, quarantined: wanted.problems, ..Rehearsal::default() })
    })
    .await?;
    json(&shown(rehearsal, query.show_secrets))
}

pub(super) fn observe(agent: &Agent, world: World, workload: &dyn Workload) -> Result<Observed, Failure> {
    look(world, &agent.sources, &agent.place, workload.dialect().layout).map_err(|error| internal(&error))
}

pub(super) fn shown(mut rehearsal: Rehearsal, show_secrets: bool) -> Rehearsal {
    if !show_secrets {
        for file in &mut rehearsal.files {
            file.before = file.before.take().map(|text| secrets::hide(&file.path, text));
            file.after = file.after.take().map(|text| secrets::hide(&file.path, text));
        }
    }
    rehearsal
}
