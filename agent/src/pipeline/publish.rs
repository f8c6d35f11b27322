//! Writes our side of the relations, only where it changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use relatum_relations::bag::Databag;

use super::desire::BagKey;
use crate::store::{Bag, Store, StoreError, World};

/// Writes the bags that differ from `world`; true if there was one.
pub fn publish(store: &Mutex<Store>, world: &World, bags: &BTreeMap<BagKey, Databag>) -> Result<bool, StoreError> {
    let changed = differing(world, bags);
    if changed.is_empty() {
        return Ok(false);
    }
    let mut ids: Vec<String> = changed.iter().map(|((id, ..), _)| id.to_string()).collect();
    ids.dedup();
    let description = format!("publish to relation {}", ids.join(", "));
    crate::lock(store).mutate::<_, StoreError>(&description, |change| {
        // A relation may be gone since the pass looked.
        let now = change.world()?;
        for ((id, role, owner), bag) in changed.iter().filter(|((id, ..), _)| now.relation(*id).is_some()) {
            change.put_bag(*id, *role, owner, bag)?;
        }
        Ok(())
    })?;
    Ok(true)
}

/// Those of `bags` that are not in `world` as they should be.
fn differing<'b>(world: &World, bags: &'b BTreeMap<BagKey, Databag>) -> Vec<(&'b BagKey, &'b Databag)> {
    let differs = |(id, role, owner): &BagKey, bag: &Databag| {
        let known = world.relation(*id).and_then(|relation| relation.bags.get(&(*role, owner.clone())));
        known.map_or(!bag.is_empty(), |known| known.content != *bag)
    };
    bags.iter().filter(|(key, bag)| differs(key, bag)).collect()
}

/// Does to `world` what [`publish`] does to the store, as a revision of its own; true if there was something to do.
pub fn foresee(world: &mut World, bags: &BTreeMap<BagKey, Databag>) -> bool {
    let version = world.revision + 1;
    let mut is_changed = false;
    for ((id, role, owner), bag) in differing(world, bags) {
        if let Ok(at) = world.relations.binary_search_by_key(id, |relation| relation.id) {
            let relation = Arc::make_mut(&mut world.relations[at]);
            relation.bags.insert((*role, owner.clone()), Bag { version, content: bag.clone() });
            is_changed = true;
        }
    }
    if is_changed {
        world.revision = version;
    }
    is_changed
}
