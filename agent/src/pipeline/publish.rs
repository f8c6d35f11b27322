//! Writes our side of the relations, only where it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use relatum_relations::bag::Databag;

use super::desire::BagKey;
use crate::packed::PackedBag;
use crate::store::{Bag, Relations, Role, Store, StoreError, World};

/// Our bags, by relation, role and owner.
pub type Bags = OrdMap<BagKey, Arc<Databag>>;

/// The relations and our bags of the last time that everything was published, so that only what is others now is looked at.
#[derive(Default)]
pub struct Settled {
    relations: Relations,
    bags: Bags,
}

impl Settled {
    /// Writes the bags that differ from `world`; true if there was one.
    pub fn publish(&mut self, store: &Mutex<Store>, world: &World, bags: &Bags) -> Result<bool, StoreError> {
        let changed = self.differing(world, bags);
        let is_changed = !changed.is_empty();
        if is_changed {
            let ids: BTreeSet<String> = changed.iter().map(|((id, ..), _)| id.to_string()).collect();
            let ids: Vec<String> = ids.into_iter().collect();
            let description = format!("publish to relation {}", ids.join(", "));
            crate::lock(store).mutate::<_, StoreError>(&description, |change| {
                // A relation may be gone since the pass looked.
                let now = change.world()?;
                for ((id, role, owner), bag) in changed.iter().filter(|((id, ..), _)| now.relation(*id).is_some()) {
                    change.put_bag(*id, *role, owner, bag)?;
                }
                Ok(())
            })?;
        }
        *self = Settled { relations: world.relations.clone(), bags: bags.clone() };
        Ok(is_changed)
    }

    /// Those of `bags` that are not in `world` as they should be, by their key.
    fn differing<'b>(&self, world: &World, bags: &'b Bags) -> Vec<(&'b BagKey, &'b Databag)> {
        let mut found: BTreeMap<&BagKey, &Databag> = BTreeMap::new();
        for item in self.bags.diff(bags) {
            match item {
                DiffItem::Add(key, bag) | DiffItem::Update { new: (key, bag), .. } => drop(found.insert(key, bag)),
                // Whoever wants nothing any more says so by an empty bag.
                DiffItem::Remove(..) => {}
            }
        }
        for id in world.relations.changed_since(&self.relations) {
            let of_relation = (id, Role::Provider, String::new())..(id + 1, Role::Provider, String::new());
            found.extend(bags.range(of_relation).map(|(key, bag)| (key, &**bag)));
        }
        let differs = |(id, role, owner): &BagKey, bag: &Databag| {
            let known = world.relation(*id).and_then(|relation| relation.bags.get(&(*role, owner.clone())));
            known.map_or(!bag.is_empty(), |known| known.content != PackedBag::new(bag))
        };
        found.into_iter().filter(|(key, bag)| differs(key, bag)).collect()
    }
}

/// Does to `world` what publishing does to the store, as a revision of its own; true if there was something to do.
pub fn foresee(world: &mut World, bags: &Bags) -> bool {
    let version = world.revision + 1;
    let differing = Settled::default().differing(world, bags);
    let is_changed = !differing.is_empty();
    for ((id, role, owner), bag) in differing {
        if let Some(relation) = world.relations.get_mut(*id) {
            relation.bags.insert((*role, owner.clone()), Bag { version, content: PackedBag::new(bag) });
        }
    }
    if is_changed {
        world.revision = version;
    }
    is_changed
}
