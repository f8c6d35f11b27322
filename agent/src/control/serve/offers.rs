//! `/v1/offers`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Router};
use relatum_relations::endpoints::APPLICATION;
use tracing::info;

use super::peer::Caller;
use super::{Answer, blocking, json, read};
use crate::control::{MadeOffer, MakeOffer, OfferList, RemoveOffer, RemovedOffer};
use crate::daemon::Agent;
use crate::events::Event;
use crate::offers::{change, standing};
use crate::relate::RelateError;
use crate::status;

/// The routes.
pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/v1/offers", get(list).post(make)).route("/v1/remove-offer", post(remove))
}

async fn make(State(agent): State<Arc<Agent>>, Extension(Caller(author)): Extension<Caller>, body: Bytes) -> Answer {
    let request: MakeOffer = read(&body)?;
    let shared = Arc::clone(&agent);
    let (offer, secret) = blocking(move || {
        let description = format!("offer {}", request.endpoint);
        let mut store = crate::lock(&shared.store);
        let made = store.mutate_by::<_, RelateError>(&author, &description, |change| {
            change::offer(&request.endpoint, crate::now_ms(), change)
        })?;
        Ok(made.1)
    })
    .await?;
    let ticket = agent.queue.push(Event::RelationsChanged);
    let (report, _) = agent.settled(ticket).await?;
    info!(offer = offer.id, endpoint = offer.endpoint, "offered");
    json(&MadeOffer {
        url: standing::url(report.urls.most_external(), &offer.id),
        id: offer.id,
        endpoint: format!("{APPLICATION}:{}", offer.endpoint),
        secret: secret.expose().to_owned(),
    })
}

async fn list(State(agent): State<Arc<Agent>>) -> Answer {
    let (report, facts) = agent.settled(0).await?;
    let offers = standing::offers(&report.world, &agent.board, report.urls.most_external(), facts.at_ms);
    json(&OfferList { offers })
}

async fn remove(State(agent): State<Arc<Agent>>, Extension(Caller(author)): Extension<Caller>, body: Bytes) -> Answer {
    let request: RemoveOffer = read(&body)?;
    let shared = Arc::clone(&agent);
    let (offer, relations) = blocking(move || {
        let description = format!("remove-offer {}", request.offer);
        let mut store = crate::lock(&shared.store);
        Ok(store
            .mutate_by::<_, RelateError>(&author, &description, |change| change::remove_offer(&request.offer, change))?
            .1)
    })
    .await?;
    let ticket = agent.queue.push(Event::RelationsChanged);
    let (report, _) = agent.settled(ticket).await?;
    info!(offer = offer.id, relations = relations.len(), "offer removed");
    json(&RemovedOffer {
        id: offer.id,
        endpoint: format!("{APPLICATION}:{}", offer.endpoint),
        relations: relations.iter().map(|relation| status::relation_status(relation, &report, &[])).collect(),
    })
}
