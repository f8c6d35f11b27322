//! A relation as one of our endpoints sees it.

use relatum_relations::bag::{Relation, Side};
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::name::UnitName;

use super::RelationKey;
use crate::store::{Role, StoredRelation};

/// Owner and version of every bag of the other side.
pub(super) type Versions = Vec<(String, u64)>;

/// A relation from the side of one of our endpoints. A relation with ourselves has two.
pub(super) struct View<'a> {
    pub(super) stored: &'a StoredRelation,
    pub(super) role: Role,
    pub(super) relation: Relation,
}

impl<'a> View<'a> {
    /// The sides of `stored` that are ours.
    pub(super) fn of(stored: &'a StoredRelation) -> impl Iterator<Item = View<'a>> {
        let ours = |role: &Role| stored.end(*role).application == APPLICATION;
        [Role::Provider, Role::Requirer].into_iter().filter(ours).map(move |role| View {
            stored,
            role,
            relation: Relation {
                id: stored.id,
                endpoint: stored.end(role).name.clone(),
                interface: stored.interface.clone(),
                local: side(stored, role),
                remote: side(stored, role.other()),
            },
        })
    }

    /// How the relation is named in paths and problems.
    pub(super) fn key(&self) -> RelationKey {
        (self.relation.endpoint.clone(), self.relation.id)
    }

    /// Which versions of the other side's bags this is.
    pub(super) fn remote_versions(&self) -> Versions {
        let remote = self.stored.bags.iter().filter(|((role, _), _)| *role == self.role.other());
        remote.map(|((_, owner), bag)| (owner.clone(), bag.version)).collect()
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
                side.units.insert(unit, bag.content.clone());
            }
            Err(_) => side.app_bag = bag.content.clone(),
        }
    }
    side
}
