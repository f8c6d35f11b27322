//! Offers: a relation whose two sides are two agents, which exchange databags over HTTP.
//!
//! What goes over the wire is [`protocol`]; [`provider`] answers below `/offers/` of the public listener and [`consumer`] asks.
//! Both do to the state what [`change`] says, and remember in a [`board`] how the other agent is doing. The meaning of the databags
//! is not known here: they are databags like all others.

pub(crate) mod board;
pub(crate) mod change;
pub(crate) mod consumer;
mod link;
pub mod protocol;
pub(crate) mod provider;
pub(crate) mod secret;
pub(crate) mod standing;

pub(crate) use change::CHARM;
pub use standing::Live;
pub(crate) use standing::{remote_name, url};

use std::collections::BTreeMap;

use relatum_config::Secret;
use relatum_relations::bag::Databag;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::name::UnitName;

use crate::store::{Role, StoredRelation};
use protocol::Bags;

/// Whether an offer can be spoken to with these; else why not.
pub(crate) fn check(url: &str, secret: &Secret, ca: Option<&str>) -> Result<(), String> {
    link::Link::check(url, secret, ca)
}

/// Our side of `relation` with the name of its revision.
pub(crate) fn our_bags(relation: &StoredRelation) -> (String, Bags) {
    let role = if relation.requirer.application == APPLICATION { Role::Requirer } else { Role::Provider };
    let ours = relation.bags.iter().filter(|((bag_role, _), _)| *bag_role == role);
    let number = ours.clone().map(|(_, bag)| bag.version).max();
    let mut bags = Bags::default();
    for ((_, owner), bag) in ours {
        match owner == APPLICATION {
            true => bags.application = bag.content.read(),
            false => drop(bags.units.insert(owner.clone(), bag.content.read())),
        }
    }
    (bags.revision(number.unwrap_or(0)), bags)
}

/// The bags of units by number, in order: an application of another model has another name here, its units keep their numbers.
pub(crate) fn by_number(units: &BTreeMap<String, Databag>) -> BTreeMap<u32, &Databag> {
    let number = |unit: &str| unit.parse::<UnitName>().ok().map(|unit| unit.number());
    units.iter().filter_map(|(unit, bag)| Some((number(unit)?, bag))).collect()
}
