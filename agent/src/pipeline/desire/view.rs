//! A relation as one of our endpoints sees it.

use std::cell::OnceCell;
use std::sync::Arc;

use relatum_relations::bag::{Databag, Relation, Side};
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::name::UnitName;

use super::RelationKey;
use crate::store::{Role, StoredRelation};

/// A relation from the side of one of our endpoints. A relation with ourselves has two.
pub(super) struct View<'a> {
    pub(super) stored: &'a Arc<StoredRelation>,
    pub(super) role: Role,
    relation: OnceCell<Relation>,
}

/// Who is related, for people and for the texts they read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The relation, by our endpoint.
    pub relation: RelationKey,
    /// `application:endpoint` of the provider.
    pub provider: String,
    /// `application:endpoint` of the requirer.
    pub requirer: String,
}

impl<'a> View<'a> {
    /// The side of `stored` at `role`, which is ours.
    pub(super) fn new(stored: &'a Arc<StoredRelation>, role: Role) -> View<'a> {
        View { stored, role, relation: OnceCell::new() }
    }

    /// The sides of `stored` that are ours.
    pub(super) fn of(stored: &'a Arc<StoredRelation>) -> impl Iterator<Item = View<'a>> {
        let ours = |role: &Role| stored.end(*role).application == APPLICATION;
        [Role::Provider, Role::Requirer].into_iter().filter(ours).map(|role| View::new(stored, role))
    }

    /// Both ends.
    pub(super) fn ends(&self) -> Ends {
        let StoredRelation { provider, requirer, .. } = &**self.stored;
        Ends { relation: self.key(), provider: provider.to_string(), requirer: requirer.to_string() }
    }

    /// The name of our endpoint.
    pub(super) fn endpoint(&self) -> &'a str {
        &self.stored.end(self.role).name
    }

    /// The relation as `relations` understands it; made when it is first asked for, as most of many relations are as they were.
    pub(super) fn relation(&self) -> &Relation {
        self.relation.get_or_init(|| relation(self.stored, self.role))
    }

    /// What we have published for our application.
    pub(super) fn our_bag(&self) -> Option<Databag> {
        let bag = self.stored.bags.get(&(self.role, APPLICATION.to_owned()));
        bag.map(|bag| bag.content.read())
    }

    /// How the relation is named in paths and problems.
    pub(super) fn key(&self) -> RelationKey {
        (self.endpoint().to_owned(), self.stored.id)
    }

    /// Whether the ends are those of `known`, the same relation at some other time, and the other side's bags the ones that they were.
    pub(super) fn is_as(&self, known: &Arc<StoredRelation>) -> bool {
        fn remote(stored: &StoredRelation, role: Role) -> impl Iterator<Item = (&String, u64)> {
            let bags = stored.bags.iter().filter(move |((bag_role, _), _)| *bag_role == role);
            bags.map(|((_, owner), bag)| (owner, bag.version))
        }
        let role = self.role.other();
        let have_same_ends = (&self.stored.provider, &self.stored.requirer) == (&known.provider, &known.requirer);
        Arc::ptr_eq(self.stored, known) || have_same_ends && remote(self.stored, role).eq(remote(known, role))
    }
}

/// `stored` from the side of `role`.
fn relation(stored: &StoredRelation, role: Role) -> Relation {
    Relation {
        id: stored.id,
        endpoint: stored.end(role).name.clone(),
        interface: stored.interface.clone(),
        local: side(stored, role),
        remote: side(stored, role.other()),
    }
}

fn side(stored: &StoredRelation, role: Role) -> Side {
    let mut side = Side::new(&stored.end(role).application);
    for ((bag_role, owner), bag) in &stored.bags {
        if *bag_role != role {
            continue;
        }
        match owner.parse::<UnitName>() {
            Ok(unit) => {
                side.units.insert(unit, bag.content.read());
            }
            Err(_) => side.app_bag = bag.content.read(),
        }
    }
    side
}
