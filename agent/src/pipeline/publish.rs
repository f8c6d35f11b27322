//! Writes our side of the relations, only where it changed.

use std::collections::BTreeMap;
use std::sync::Mutex;

use relatum_relations::bag::Databag;

use super::desire::BagKey;
use crate::store::{Store, StoreError, World};

/// Writes the bags that differ from `world`; true if there was one.
pub fn publish(store: &Mutex<Store>, world: &World, bags: &BTreeMap<BagKey, Databag>) -> Result<bool, StoreError> {
    let differs = |(id, role, owner): &BagKey, bag: &Databag| {
        let known = world.relation(*id).and_then(|relation| relation.bags.get(&(*role, owner.clone())));
        known.map_or(!bag.is_empty(), |known| known.content != *bag)
    };
    let changed: Vec<(&BagKey, &Databag)> = bags.iter().filter(|(key, bag)| differs(key, bag)).collect();
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
