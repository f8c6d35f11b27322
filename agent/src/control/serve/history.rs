//! `/v1/history`, `/v1/diff` and `/v1/rollback`.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use tracing::info;

use super::peer::Caller;
use super::rehearsal::{observe, shown};
use super::{Answer, blocking, internal, json, read};
use crate::control::{Failure, History, RevisionDifference, RollBack, RolledBack};
use crate::daemon::Agent;
use crate::events::Event;
use crate::history::{texts, words};
use crate::packed::PackedText;
use crate::pipeline::rehearse::{compare, files, forecast};
use crate::relate::{self, RelateError};
use crate::store::{Store, World};

/// The routes.
pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new()
        .route("/v1/history", get(history))
        .route("/v1/history/{revision}", get(revision))
        .route("/v1/diff", get(difference))
        .route("/v1/rollback", post(roll_back))
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
    json(&History { revisions: revisions.into_iter().map(words::entry).collect() })
}

async fn revision(State(agent): State<Arc<Agent>>, Path(id): Path<u64>) -> Answer {
    let entry = blocking(move || {
        let store = crate::lock(&agent.store);
        let found = store.revision_in_full(id).map_err(|error| internal(&error))?;
        // What was before the oldest that is kept can be compared, but what made it so is not known.
        let kept = |reach: RangeInclusive<u64>| reach.start() + 1..=*reach.end();
        found.map(words::entry).ok_or_else(|| unknown(id, &store, kept))
    });
    json(&entry.await?)
}

/// Says which of the revisions in reach would do.
fn unknown(revision: u64, store: &Store, of: impl Fn(RangeInclusive<u64>) -> RangeInclusive<u64>) -> Failure {
    match store.reach() {
        Ok(reach) => relate::out_of_reach(revision, &of(reach)),
        Err(error) => internal(&error),
    }
}

#[derive(Deserialize)]
struct DifferenceQuery {
    from: u64,
    to: Option<u64>,
    #[serde(default)]
    show_secrets: bool,
}

async fn difference(State(agent): State<Arc<Agent>>, Query(query): Query<DifferenceQuery>) -> Answer {
    agent.settled(0).await?;
    let workload = agent.workload()?;
    let difference = blocking(move || {
        let (before, after) = {
            let mut store = crate::lock(&agent.store);
            let newest = store.revision().map_err(|error| internal(&error))?;
            (at(query.from, &mut store)?, at(query.to.unwrap_or(newest), &mut store)?)
        };
        let text = |world: &World| texts::of(world, query.show_secrets);
        let (from, to) = (before.revision, after.revision);
        // Secrets that differ are told by their texts, which are not shown.
        let mut state = files(&texts::of(&before, true), &texts::of(&after, true));
        let (shown_before, shown_after) = (text(&before), text(&after));
        for file in &mut state {
            file.before = shown_before.get(file.path.as_str()).map(PackedText::read);
            file.after = shown_after.get(file.path.as_str()).map(PackedText::read);
        }
        let effect = |world| observe(&agent, world, &*workload).map(|observed| forecast(&observed, &*workload));
        let effect = shown(compare(&effect(before)?, &effect(after)?), query.show_secrets);
        Ok(RevisionDifference { from, to, state, effect })
    });
    json(&difference.await?)
}

fn at(revision: u64, store: &mut Store) -> Result<World, Failure> {
    let reach = store.reach().map_err(|error| internal(&error))?;
    let world = match relate::with_model(reach).contains(&revision) {
        true => store.world_at(revision).map_err(|error| internal(&error))?,
        false => None,
    };
    world.ok_or_else(|| unknown(revision, store, relate::with_model))
}

async fn roll_back(
    State(agent): State<Arc<Agent>>,
    Extension(Caller(author)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let RollBack { revision } = read(&body)?;
    let shared = Arc::clone(&agent);
    let done = blocking(move || {
        let mut store = crate::lock(&shared.store);
        let before = store.revision().map_err(|error| internal(&error))?;
        let description = format!("rollback {revision}");
        let (after, left) =
            store.mutate_by::<_, RelateError>(&author, &description, |change| relate::roll_back(revision, change))?;
        let made =
            if after == before { None } else { store.revision_in_full(after).map_err(|error| internal(&error))? };
        Ok(RolledBack { made: made.map(words::entry), left })
    })
    .await?;
    let ticket = agent.queue.push(Event::ConfigChanged);
    agent.settled(ticket).await?;
    if done.made.is_some() {
        info!(revision, "rolled back");
    }
    json(&done)
}
