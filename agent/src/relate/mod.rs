//! What `relate` and `remove-relation` say, and what they do to the state. No I/O but the store's transaction.
//!
//! The grammar is read first ([`grammar`]); then each form has a file: addresses make a hand-made application
//! ([`addresses`]), a databag file is taken as a charm wrote it ([`databag`]), and two applications are matched by juju's rules
//! ([`applications`]).

pub mod address;
mod addresses;
mod applications;
mod databag;
mod grammar;
pub mod hand_made;
mod offer;
mod remove;
mod remove_application;
mod remove_unit;
mod roll_back;
mod rule_file;

use std::sync::Arc;

use relatum_relations::endpoints::{self, Endpoint};
use thiserror::Error;

use crate::control::{Failure, Relate};
use crate::store::{self, Change, Role, StoreError, StoredRelation, World};

pub(crate) use remove::remove_declared;
pub use remove::{Which, find, remove};
pub(crate) use remove_application::remove_applications;
pub(crate) use remove_unit::remove_units;
pub use roll_back::{out_of_reach, roll_back, with_model};

/// Why `relate` was not done: refused, or the store failed.
#[derive(Debug, Error)]
pub enum RelateError {
    /// The caller's fault.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// Ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What `relate` did to the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The relation.
    pub relation: u64,
    /// The application at the other side.
    pub application: String,
    /// Units that were not there before.
    pub added: Vec<String>,
    /// Whether the other side is an offer of another agent.
    pub is_elsewhere: bool,
}

/// Does what `request` asks, inside one mutation of the store.
pub fn relate(request: &Relate, change: &Change<'_>) -> Result<Outcome, RelateError> {
    let world = change.world()?;
    let outcome = match grammar::form(request)? {
        grammar::Form::Addresses { endpoint, texts } => addresses::relate(request, endpoint, texts, &world, change),
        grammar::Form::Databag { endpoint, document } => databag::relate(request, endpoint, document, &world, change),
        grammar::Form::Offer { endpoint, url } => offer::relate(request, endpoint, url, &world, change),
        grammar::Form::Applications(a, b) => applications::relate(a, b, &world, change),
    }?;
    // Failing here undoes what was done to it.
    remove::refuse_declared(outcome.relation, &world)?;
    Ok(outcome)
}

/// Does what a file declares: as [`relate`], but what was said of the same relation before is replaced. Gives the relation.
pub(crate) fn declare(request: &Relate, world: &World, change: &Change<'_>) -> Result<u64, RelateError> {
    let outcome = match grammar::form(request)? {
        grammar::Form::Addresses { endpoint, texts } => addresses::declare(request, endpoint, texts, world, change)?,
        grammar::Form::Databag { endpoint, document } => databag::relate(request, endpoint, document, world, change)?,
        grammar::Form::Offer { endpoint, url } => offer::relate(request, endpoint, url, world, change)?,
        grammar::Form::Applications(..) => {
            return Err(Failure::usage("a file declares relations with addresses, databags or an offer").into());
        }
    };
    Ok(outcome.relation)
}

/// The end of a relation that `endpoint`, which is ours, is.
fn our_role(endpoint: &Endpoint) -> Option<Role> {
    match endpoint.role {
        endpoints::Role::Requires => Some(Role::Requirer),
        endpoints::Role::Provides => Some(Role::Provider),
        endpoints::Role::Peer => None,
    }
}

/// Makes the relation between our `endpoint` and `remote`, or gives the id of the one that is there, and joins our unit to it.
pub(crate) fn join(
    endpoint: &Endpoint,
    remote: &store::Endpoint,
    world: &World,
    change: &Change<'_>,
) -> Result<u64, RelateError> {
    let role = our_role(endpoint)
        .ok_or_else(|| Failure::failed(format!("cannot relate {}: peers are related by themselves", endpoint.name)))?;
    let ours = store::Endpoint { application: endpoints::APPLICATION.to_owned(), name: endpoint.name.to_owned() };
    let (provider, requirer) = if role == Role::Provider { (&ours, remote) } else { (remote, &ours) };
    if let Some(limit) = endpoint.limit {
        let present = |relation: &Arc<StoredRelation>| (&relation.provider, &relation.requirer) == (provider, requirer);
        let taken = world.relations.iter().filter(|relation| *relation.end(role) == ours).count();
        if taken >= limit as usize && !world.relations.iter().any(present) {
            return Err(Failure::failed(format!(
                "cannot add relation \"{requirer} {provider}\": establishing a new relation for {ours} would exceed its \
                 maximum relation limit of {limit}"
            ))
            .into());
        }
    }
    let id = change.put_relation(endpoint.interface, provider, requirer)?;
    let units = world.applications.get(endpoints::APPLICATION).map_or(&[][..], |known| &known.units);
    let units = units.iter().map(|number| format!("{}/{number}", endpoints::APPLICATION));
    for owner in [endpoints::APPLICATION.to_owned()].into_iter().chain(units) {
        let is_there = world.relation(id).is_some_and(|known| known.bags.contains_key(&(role, owner.clone())));
        if !is_there {
            change.put_bag(id, role, &owner, &Default::default())?;
        }
    }
    Ok(id)
}

#[cfg(test)]
mod tests;
