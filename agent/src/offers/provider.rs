//! The end of the agent that made the offer: `/offers/…` on the public listener.
//!
//! Whoever has the secret may read the endpoint's databags, write the other side's, and, where samples are received, write
//! samples. Nothing else of the agent is reachable with it.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use axum::{Json, Router};
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tracing::{info, warn};
use uuid::Uuid;

use super::change::{self, ExchangeError};
use super::protocol::{Answer, BODY_BYTES_MAX, Question, Reason, Refusal, VERSION};
use super::{our_bags, secret};
use crate::daemon::Agent;
use crate::events::Event;
use crate::pipeline::Report;
use crate::store::Offer;

/// The endpoint whose offers take samples.
const RECEIVE: &str = "receive-remote-write";

/// How many questions wait for news at a time. More are answered at once, and asked again.
pub(crate) const WAITING_MAX: usize = 256;

/// What the handlers share.
#[derive(Clone)]
struct Provider {
    agent: Arc<Agent>,
    engine: Router,
    waiting: Arc<Semaphore>,
}

/// The routes of offers beside those of `engine`, which takes the samples.
pub(crate) fn mount(agent: Arc<Agent>, engine: Router) -> Router {
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let provider = Provider { agent, engine: engine.clone(), waiting };
    let offers = Router::new()
        .route(
            "/{offer}/v1/relations/{consumer}",
            put(exchange).delete(leave).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
        )
        .route("/{offer}/api/v1/write", post(write))
        .fallback(unknown)
        .with_state(provider);
    engine.nest_service("/offers", offers)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        if self.error == Reason::WrongSecret {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

async fn unknown() -> Refusal {
    let message =
        "this is an offer of a relatum agent: relate to it with `relatum relate ENDPOINT URL --token-file FILE`";
    Refusal::new(Reason::UnknownVersion, format!("{message}; version {VERSION} is spoken here"))
}

impl Provider {
    /// The newest pass, and the offer `id` in it, to whoever has its secret. An offer that is no more still lets its people in, so
    /// that they can be told.
    fn enter(&self, id: &str, headers: &HeaderMap) -> Result<(Arc<Report>, Offer), Refusal> {
        let report = self.agent.newest().ok_or_else(not_ready)?;
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, given) = given.split_once(' ').unwrap_or_default();
        let given = if scheme.eq_ignore_ascii_case("bearer") { given.trim() } else { "" };
        let offer = report.world.offers.made.iter().find(|offer| offer.id == id);
        // An offer that does not exist is not told apart from one that does, not even by the time that it takes.
        let fits = secret::fits(given, offer.map_or("", |offer| &offer.secret_sha256));
        match offer.cloned() {
            Some(offer) if fits => Ok((report, offer)),
            _ => {
                self.agent.board.count_wrong_secret(crate::now_ms());
                Err(Refusal::new(Reason::WrongSecret, "no offer here has this URL and this secret"))
            }
        }
    }
}

fn not_ready() -> Refusal {
    Refusal::new(Reason::NotReady, "the agent is starting or stopping")
}

fn internal(error: &dyn std::error::Error) -> Refusal {
    warn!(error = crate::chain(error), "a question of another agent could not be answered");
    Refusal::new(Reason::NotReady, "the agent cannot use its state; its log says why")
}

impl From<ExchangeError> for Refusal {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(refusal) => refusal,
            ExchangeError::Store(error) => internal(&error),
        }
    }
}

async fn exchange(
    State(provider): State<Provider>,
    Path((id, consumer)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Refusal> {
    let (report, _) = provider.enter(&id, &headers)?;
    let bad = |message: String| Refusal::new(Reason::BadRequest, message);
    let body = body.map_err(|error| bad(format!("cannot read the request: {error}")))?;
    let question: Question =
        serde_json::from_slice(&body).map_err(|error| bad(format!("cannot read the request: {error}")))?;
    drop(body);
    let consumer = consumer.parse::<Uuid>().map_err(|_| bad("the relation is not named by a uuid".to_owned()))?;
    question.check()?;
    let (relation, held) = provider.take(&id, &consumer.to_string(), &question, &report).await?;
    let agent = &provider.agent;
    let _asking = agent.board.asking(relation, &question.seen, question.lag_ms, crate::now_ms);
    let slot = provider.waiting.try_acquire();
    let is_patient = slot.is_ok() && held == question.revision;
    let deadline = tokio::time::Instant::now() + question.wait();
    let mut passes = agent.passes();
    let mut looked_at = None;
    loop {
        let report = { passes.borrow_and_update().report.clone() }.ok_or_else(not_ready)?;
        let gone = || Refusal::new(Reason::Gone, "the relation was removed by the agent that made the offer");
        let stored = report.world.relation(relation).ok_or_else(gone)?;
        let versions: Vec<u64> = stored.bags.values().map(|bag| bag.version).collect();
        if looked_at.as_ref() != Some(&versions) {
            let (revision, bags) = our_bags(stored);
            if revision != question.seen || !is_patient {
                let bags = (revision != question.seen).then_some(bags);
                return Ok(Json(answer(&report, stored, held, revision, bags)));
            }
            looked_at = Some(versions);
        }
        tokio::select! {
            Ok(()) = passes.changed() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Json(answer(&report, stored, held, question.seen, None))),
            () = agent.stopping.cancelled() => return Err(not_ready()),
        }
    }
}

fn answer(
    report: &Report,
    stored: &crate::store::StoredRelation,
    held: String,
    revision: String,
    bags: Option<super::protocol::Bags>,
) -> Answer {
    let model = &report.world.model;
    Answer {
        relatum: VERSION,
        tier: model.uuid.clone(),
        model: model.name.clone(),
        endpoint: stored.provider.name.clone(),
        held,
        revision,
        bags,
    }
}

impl Provider {
    /// Takes what is new in `question`. Gives the relation and which revision of the consumer's bags is here; a pass has seen it.
    async fn take(
        &self,
        offer: &str,
        consumer: &str,
        question: &Question,
        report: &Report,
    ) -> Result<(u64, String), Refusal> {
        if let Some(known) = change::admit(question, offer, consumer, &report.world)? {
            let held = report.world.offers.connection(known.id).map(|known| known.revision.clone()).unwrap_or_default();
            if question.bags.is_none() || held == question.revision {
                return Ok((known.id, held));
            }
        }
        let (agent, offer) = (Arc::clone(&self.agent), offer.to_owned());
        let (consumer, question) = (consumer.to_owned(), question.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let author = format!("model {}", question.model);
            let description = format!("databags of {} for offer {offer}", question.model);
            let mut store = crate::lock(&agent.store);
            let before = store.revision()?;
            let (after, taken) = store.mutate_by::<_, ExchangeError>(&author, &description, |change| {
                change::take(&question, &offer, &consumer, change)
            })?;
            Ok::<_, ExchangeError>((after != before, taken))
        });
        let (changed, taken) = taken.await.map_err(|error| internal(&error))??;
        if changed {
            let ticket = self.agent.queue.push(Event::RelationsChanged);
            self.agent.settled(ticket).await.map_err(|_| not_ready())?;
        }
        Ok(taken)
    }
}

async fn leave(
    State(provider): State<Provider>,
    Path((id, consumer)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    provider.enter(&id, &headers)?;
    let agent = Arc::clone(&provider.agent);
    let left = tokio::task::spawn_blocking(move || {
        let description = format!("the other side of offer {id} has left");
        let mut store = crate::lock(&agent.store);
        store.mutate::<_, ExchangeError>(&description, |change| change::left(&id, &consumer, change)).map(|_| id)
    });
    let id = left.await.map_err(|error| internal(&error))??;
    let ticket = provider.agent.queue.push(Event::RelationsChanged);
    provider.agent.settled(ticket).await.map_err(|_| not_ready())?;
    info!(offer = id, "the other side of an offer has left");
    Ok(StatusCode::NO_CONTENT)
}

/// Remote write below the offer's URL: the same receiver as `/api/v1/write`, behind the secret. Refusals are plain texts, as those
/// who write are Prometheus and its like, which log them.
async fn write(State(provider): State<Provider>, Path(id): Path<String>, mut request: Request<Body>) -> Response {
    let plain = |status: StatusCode, text: String| (status, format!("{text}\n")).into_response();
    let offer = match provider.enter(&id, request.headers()) {
        Ok((_, offer)) => offer,
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return plain(status, refusal.message);
        }
    };
    if offer.removed {
        return plain(StatusCode::GONE, "the offer was removed by the agent that made it".to_owned());
    }
    if offer.endpoint != RECEIVE {
        return plain(StatusCode::NOT_FOUND, format!("this is an offer of {}, which takes no samples", offer.endpoint));
    }
    *request.uri_mut() = Uri::from_static("/api/v1/write");
    provider.engine.oneshot(request).await.unwrap_or_else(|never| match never {})
}
