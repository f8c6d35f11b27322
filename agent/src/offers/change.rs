//! What offers do to the state, inside one mutation of the store.

use std::sync::Arc;

use relatum_config::Secret;
use relatum_relations::endpoints::{self, Role as EndpointRole};
use relatum_relations::name;
use uuid::Uuid;

use super::protocol::{Answer, Bags, Question, Reason, Refusal};
use super::{by_number, secret};
use crate::control::Failure;
use crate::relate::{self, RelateError};
use crate::store::{
    self, Change, Offer, OfferConnection, Offers, Origin, Role, StoreError, StoredRelation, Upstream, World,
};

/// The charm name of applications that other agents are.
pub(crate) const CHARM: &str = "relatum";

/// How many offers that are no more are remembered for those who relied on them and never came back.
const REMOVED_MAX: usize = 100;

/// How long the name of an application made from a model's name may be.
const NAME_BYTES_MAX: usize = 60;

/// Makes an offer of `endpoint`, which may be `prometheus:NAME`; gives it with the secret, which is nowhere else.
pub(crate) fn offer(endpoint: &str, now_ms: i64, change: &Change<'_>) -> Result<(Offer, Secret), RelateError> {
    let name = endpoint.strip_prefix("prometheus:").unwrap_or(endpoint);
    let provided: Vec<&str> = endpoints::ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.role == EndpointRole::Provides)
        .map(|endpoint| endpoint.name)
        .collect();
    let known = endpoints::named(name).ok_or_else(|| {
        Failure::usage(format!("application \"prometheus\" has no endpoint {name:?}"))
            .hint(format!("it provides {}", provided.join(", ")))
    })?;
    if known.role != EndpointRole::Provides {
        return Err(Failure::failed(format!("cannot offer {name}: it is required, not provided"))
            .hint(format!("what is provided: {}", provided.join(", ")))
            .into());
    }
    let secret = secret::make();
    let id = Uuid::new_v4().simple().to_string()[..12].to_owned();
    let offer = Offer {
        id,
        endpoint: name.to_owned(),
        secret_sha256: secret::hash(secret.expose()),
        created_ms: now_ms,
        removed: false,
    };
    change.put_offer(&offer)?;
    Ok((offer, secret))
}

/// Ends an offer, named by its id or URL, and all relations to it; gives it with those relations.
pub(crate) fn remove_offer(which: &str, change: &Change<'_>) -> Result<(Offer, Vec<Arc<StoredRelation>>), RelateError> {
    let world = change.world()?;
    let id = which.trim_end_matches('/').rsplit('/').next().unwrap_or(which);
    let mut offer = world
        .offers
        .standing(id)
        .cloned()
        .ok_or_else(|| Failure::failed(format!("offer {id:?} not found")).hint("`relatum offers` lists them"))?;
    let mut ended = Vec::new();
    for connection in world.offers.connections.iter().filter(|connection| connection.offer == id) {
        if let Some(relation) = world.relation(connection.relation) {
            relate::remove(&relate::Which::Id(relation.id), change)?;
            ended.push(Arc::clone(relation));
        }
    }
    offer.removed = true;
    if ended.is_empty() && !world.offers.connections.iter().any(|connection| connection.offer == id) {
        change.forget_offer(id)?;
    } else {
        change.put_offer(&offer)?;
    }
    let removed: Vec<&Offer> = world.offers.made.iter().filter(|offer| offer.removed).collect();
    let excess = (removed.len() + 1).saturating_sub(REMOVED_MAX);
    let mut oldest = removed;
    oldest.sort_by_key(|offer| offer.created_ms);
    for offer in oldest.into_iter().take(excess) {
        for connection in world.offers.connections.iter().filter(|connection| connection.offer == offer.id) {
            change.forget_connection(connection.relation)?;
        }
        change.forget_offer(&offer.id)?;
    }
    Ok((offer, ended))
}

/// Why a question was not answered, or the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The other side's fault, or news for it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RelateError> for ExchangeError {
    fn from(error: RelateError) -> Self {
        match error {
            RelateError::Refused(failure) => Refusal::new(Reason::BadRequest, failure.message).into(),
            RelateError::Store(error) => error.into(),
        }
    }
}

/// Whether a question from `consumer` may be answered, without looking at its bags; gives the relation if there is one.
pub(crate) fn admit<'a>(
    question: &Question,
    offer: &str,
    consumer: &str,
    world: &'a World,
) -> Result<Option<&'a StoredRelation>, Refusal> {
    let gone = || {
        Refusal::new(
            Reason::Gone,
            format!("the relation to offer {offer} was removed by the agent that made the offer"),
        )
    };
    let standing = world.offers.standing(offer).ok_or_else(gone)?;
    let endpoint = endpoints::named(&standing.endpoint).ok_or_else(gone)?;
    if endpoint.interface != question.interface {
        return Err(Refusal::new(
            Reason::WrongInterface,
            format!("the offer is of {} ({}), not of {}", endpoint.name, endpoint.interface, question.interface),
        ));
    }
    let known = world.offers.connections.iter().find(|known| known.offer == offer && known.consumer == consumer);
    let Some(known) = known else { return Ok(None) };
    world.relation(known.relation).map(|relation| Some(&**relation)).ok_or_else(gone)
}

/// Takes the other side's bags of `question`, and makes the relation if it is new. Gives the relation, and which revision of
/// the other side's bags is here now.
pub(crate) fn take(
    question: &Question,
    offer: &str,
    consumer: &str,
    change: &Change<'_>,
) -> Result<(u64, String), ExchangeError> {
    let world = change.world()?;
    let related = admit(question, offer, consumer, &world)?;
    let role = Role::Requirer;
    let (relation, application) = match related {
        Some(relation) => (relation.id, relation.end(role).application.clone()),
        None => {
            let standing = world.offers.standing(offer).expect("an admitted question is about an offer that stands");
            let endpoint = endpoints::named(&standing.endpoint).expect("admitted offers are of endpoints");
            let application = application_name(&question.model, consumer, &world);
            change.put_application(&application, Origin::Databag, CHARM, "{}")?;
            let remote = store::Endpoint { application: application.clone(), name: question.endpoint.clone() };
            (relate::join(endpoint, &remote, &world, change)?, application)
        }
    };
    let known = world.offers.connection(relation);
    let mut revision = known.map(|known| known.revision.clone()).unwrap_or_default();
    if let Some(bags) = &question.bags {
        put_bags(relation, role, &application, bags, change)?;
        revision.clone_from(&question.revision);
    }
    change.put_connection(&OfferConnection {
        relation,
        offer: offer.to_owned(),
        consumer: consumer.to_owned(),
        model: question.model.clone(),
        revision: revision.clone(),
    })?;
    Ok((relation, revision))
}

/// The consumer has left, or knows that the relation is gone. Nothing happens if it was never here.
pub(crate) fn left(offer: &str, consumer: &str, change: &Change<'_>) -> Result<(), ExchangeError> {
    let world = change.world()?;
    let Offers { connections, made, .. } = &world.offers;
    let Some(known) = connections.iter().find(|known| known.offer == offer && known.consumer == consumer) else {
        return Ok(());
    };
    if world.relation(known.relation).is_some() {
        relate::remove(&relate::Which::Id(known.relation), change)?;
    }
    change.forget_connection(known.relation)?;
    let is_last = connections.iter().filter(|known| known.offer == offer).count() == 1;
    if is_last && made.iter().any(|known| known.id == offer && known.removed) {
        change.forget_offer(offer)?;
    }
    Ok(())
}

/// Takes the other side's bags of `answer`.
pub(crate) fn hear(upstream: &Upstream, answer: &Answer, change: &Change<'_>) -> Result<(), StoreError> {
    let world = change.world()?;
    // The relation may be gone, or be to another offer, since the question was asked.
    let current = world.offers.upstream(upstream.relation).filter(|current| current.url == upstream.url);
    let related = world.relation(upstream.relation);
    let (Some(current), Some(relation), Some(bags)) = (current, related, &answer.bags) else { return Ok(()) };
    put_bags(relation.id, Role::Provider, &relation.provider.application, bags, change)?;
    change.put_upstream(&Upstream { revision: answer.revision.clone(), ..current.clone() })
}

/// The other side has removed the relation.
pub(crate) fn ended(upstream: &Upstream, change: &Change<'_>) -> Result<(), RelateError> {
    let world = change.world()?;
    if world.relation(upstream.relation).is_some() {
        relate::remove(&relate::Which::Id(upstream.relation), change)?;
    }
    Ok(())
}

/// Replaces the other side's bags: units that are not named any more leave.
fn put_bags(id: u64, role: Role, application: &str, bags: &Bags, change: &Change<'_>) -> Result<(), StoreError> {
    let world = change.world()?;
    change.put_bag(id, role, application, &bags.application)?;
    let units = by_number(&bags.units);
    let known = world.relation(id);
    for (_, owner) in known.into_iter().flat_map(|relation| relation.bags.keys()).filter(|(of, _)| *of == role) {
        let Some(number) = owner.strip_prefix(&format!("{application}/")).and_then(|number| number.parse().ok()) else {
            continue;
        };
        if !units.contains_key(&number) {
            change.remove_bag(id, role, owner)?;
            change.remove_unit(application, number)?;
        }
    }
    for (number, bag) in units {
        change.put_unit(application, number)?;
        change.put_bag(id, role, &format!("{application}/{number}"), bag)?;
    }
    Ok(())
}

/// What the application of another model is called here: as that model, where that is the name of an application and free; else as
/// juju calls applications of other models.
fn application_name(model: &str, consumer: &str, world: &World) -> String {
    let fits = model.len() <= NAME_BYTES_MAX && name::is_application(model) && !world.applications.contains_key(model);
    if fits {
        return model.to_owned();
    }
    let digits: String = consumer.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    format!("remote-{digits:0<32}")
}

#[cfg(test)]
mod tests;
