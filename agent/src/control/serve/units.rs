//! `/v1/units` and `/v1/actions`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};

use super::{Answer, SecretsQuery, blocking, json, read};
use crate::actions::{ACTIONS, validate_configuration};
use crate::control::{Failure, RunAction, Task};
use crate::daemon::Agent;
use crate::{secrets, show_unit, status};

/// Tasks are numbered as they come.
static TASKS: AtomicU64 = AtomicU64::new(1);

/// The routes.
pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/v1/units/{application}/{number}", get(show)).route("/v1/actions", post(run))
}

async fn show(
    State(agent): State<Arc<Agent>>,
    Path((application, number)): Path<(String, String)>,
    Query(query): Query<SecretsQuery>,
) -> Answer {
    let (report, facts) = agent.settled(0).await?;
    let status = status::status(&report, &facts);
    let mut unit = show_unit::show(&format!("{application}/{number}"), &report.world, &status)?;
    if !query.show_secrets {
        for relation in &mut unit.relation_info {
            secrets::hide_in_databag(&mut relation.application_data);
            let units = relation.local_unit.iter_mut().chain(relation.related_units.values_mut());
            units.for_each(|unit| secrets::hide_in_databag(&mut unit.data));
        }
    }
    json(&unit)
}

async fn run(State(agent): State<Arc<Agent>>, body: Bytes) -> Answer {
    let RunAction { unit, action } = read(&body)?;
    let enqueued = crate::now_ms();
    let (report, _) = agent.settled(0).await?;
    let (application, number) = unit.split_once('/').unwrap_or((&unit, ""));
    let ours = report.unit.to_string();
    let is_leader = application == report.unit.application() && number == "leader" && !report.follows;
    if unit != ours && !is_leader {
        let known = report.world.applications.get(application);
        let is_known = known.is_some_and(|known| known.units.iter().any(|unit| unit.to_string() == number));
        let failure = Failure::failed(match is_known {
            true => format!("cannot run {action:?} on {unit}: its actions are its own charm's"),
            false => format!("unit {unit:?} not found"),
        });
        return Err(failure.hint(format!("{ours} has {}", ACTIONS.join(", "))));
    }
    if !ACTIONS.contains(&action.as_str()) {
        return Err(Failure::failed(format!("action {action:?} not defined for unit {ours:?}. (not found)"))
            .hint(format!("{ours} has {}", ACTIONS.join(", "))));
    }
    let started = crate::now_ms();
    let rendered = agent.rendered.clone();
    let results = blocking(move || Ok(validate_configuration(&rendered))).await?;
    let timing = [("enqueued", enqueued), ("started", started), ("completed", crate::now_ms())];
    json(&Task {
        id: TASKS.fetch_add(1, Ordering::Relaxed).to_string(),
        status: "completed".to_owned(),
        unit: ours,
        message: String::new(),
        results,
        timing: timing.into_iter().map(|(key, at_ms)| (key.to_owned(), at_ms)).collect::<BTreeMap<_, _>>(),
    })
}
