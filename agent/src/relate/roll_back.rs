//! `rollback`: what operators wrote is made as it was; what peers wrote stays, and so does what files declare.
//!
//! A relation that comes back has the id it had, so that its files, jobs and series go on under their names.

use std::ops::RangeInclusive;

use relatum_relations::endpoints::APPLICATION;
use uuid::Uuid;

use super::RelateError;
use super::remove::take_away;
use crate::control::Failure;
use crate::offers;
use crate::store::{Change, StoreError, StoredRelation, Upstream, World};

/// Makes what operators wrote as it was right after `revision`. Gives what was left alone, a line each.
pub fn roll_back(revision: u64, change: &Change<'_>) -> Result<Vec<String>, RelateError> {
    // The revision of this very change does not count.
    let known = *with_model(change.reach()?).start()..=change.revision() - 1;
    if !known.contains(&revision) {
        return Err(out_of_reach(revision, &known).into());
    }
    let then = change.world_at(revision)?;
    let mut left = Vec::new();
    restore_options(&change.world()?, &then, change)?;
    remove_relations(&then, &mut left, change)?;
    restore_applications(&then, &mut left, change)?;
    restore_relations(&then, &mut left, change)?;
    remove_units_and_applications(&then, change)?;
    Ok(left)
}

/// Of the revisions in `reach`, those that one can compare and go back to. Before the first one there is no model, so there is
/// nothing that a world could be made of.
pub fn with_model(reach: RangeInclusive<u64>) -> RangeInclusive<u64> {
    (*reach.start()).max(1)..=*reach.end()
}

/// Says which revisions are known.
pub fn out_of_reach(revision: u64, known: &RangeInclusive<u64>) -> Failure {
    let (oldest, newest) = (known.start(), known.end());
    Failure::failed(format!("revision {revision} is not known: the history reaches from {oldest} to {newest}"))
        .hint("`relatum history` lists them")
}

fn restore_options(now: &World, then: &World, change: &Change<'_>) -> Result<(), StoreError> {
    for key in now.config.keys().filter(|key| !then.config.contains_key(*key)) {
        change.reset_config(APPLICATION, key)?;
    }
    then.config.iter().try_for_each(|(key, value)| change.set_config(APPLICATION, key, value))
}

/// Why the relation `id` is not ours to change, if it is not.
fn belongs_to_others(id: u64, worlds: [&World; 2], change: &Change<'_>) -> Result<Option<&'static str>, StoreError> {
    if worlds[0].declared.contains_key(&id) || change.was_declared(id)? {
        return Ok(Some("a file of relations.d says whether it is there"));
    }
    let is_theirs = worlds.iter().any(|world| world.offers.connection(id).is_some());
    Ok(is_theirs.then_some("another agent made it, over an offer"))
}

/// Removes relations that were not there then.
fn remove_relations(then: &World, left: &mut Vec<String>, change: &Change<'_>) -> Result<(), StoreError> {
    let mut now = change.world()?;
    let newer: Vec<u64> = now.relations.iter().map(|relation| relation.id).collect();
    for id in newer.into_iter().filter(|id| then.relation(*id).is_none()) {
        let Some(relation) = now.relation(id).cloned() else { continue };
        match belongs_to_others(id, [&now, then], change)? {
            Some(reason) => left.push(format!("relation {id} stays: {reason}")),
            None => {
                take_away(&relation, &now, change)?;
                change.refresh(&mut now, id)?;
            }
        }
    }
    Ok(())
}

/// Makes applications and units that were there then, and says of those that are there what was said of them.
fn restore_applications(then: &World, left: &mut Vec<String>, change: &Change<'_>) -> Result<(), StoreError> {
    let now = change.world()?;
    for (name, application) in then.applications.iter().filter(|(name, _)| *name != APPLICATION) {
        let relations = then.relations.iter().filter(|relation| is_end(relation, name));
        let mut is_ours = true;
        for relation in relations {
            is_ours &= belongs_to_others(relation.id, [&now, then], change)?.is_none();
        }
        if !is_ours {
            continue;
        }
        let known = now.applications.get(name);
        if known.is_some_and(|known| known.origin != application.origin) {
            left.push(format!("application {name} stays as it is: it was made in another way since"));
            continue;
        }
        change.put_application(name, application.origin, &application.charm, &application.settings)?;
        // The units behind an offer are the other agent's.
        if application.charm != offers::CHARM {
            application.units.iter().try_for_each(|number| change.put_unit(name, *number))?;
        }
    }
    Ok(())
}

fn is_end(relation: &StoredRelation, application: &str) -> bool {
    [&relation.provider, &relation.requirer].into_iter().any(|end| end.application == application)
}

/// Makes relations that were there then, with their databags, and writes the databags of those that are there.
fn restore_relations(then: &World, left: &mut Vec<String>, change: &Change<'_>) -> Result<(), StoreError> {
    let now = change.world()?;
    for relation in then.relations.iter() {
        let id = relation.id;
        if now.relation(id) == Some(relation) {
            continue;
        }
        if let Some(reason) = belongs_to_others(id, [&now, then], change)? {
            left.push(format!("relation {id} stays as it is: {reason}"));
            continue;
        }
        let upstream = then.offers.upstream(id);
        match now.relation(id) {
            // What came over the offer is the other agent's.
            Some(_) if upstream.is_some() => {}
            Some(present) => restore_bags(relation, present, change)?,
            None if [&relation.provider, &relation.requirer].into_iter().any(|end| {
                let name = &end.application;
                let differs = |known: &crate::store::Application| {
                    then.applications.get(name).is_none_or(|application| application.origin != known.origin)
                };
                now.applications.get(name).is_none_or(differs)
            }) =>
            {
                left.push(format!("relation {id} stays away: one of its applications is another one now"));
            }
            None if now
                .relations
                .iter()
                .any(|other| (&other.provider, &other.requirer) == (&relation.provider, &relation.requirer)) =>
            {
                left.push(format!("relation {id} stays away: its endpoints were related anew since"));
            }
            None => {
                let Some(upstream) = upstream else {
                    change.restore_relation(relation)?;
                    let empty = StoredRelation { bags: Default::default(), ..StoredRelation::clone(relation) };
                    restore_bags(relation, &empty, change)?;
                    continue;
                };
                if now.offers.upstream(id).is_some() {
                    left.push(format!(
                        "relation {id} stays away: the other agent is still to hear that it was removed"
                    ));
                    continue;
                }
                change.restore_relation(relation)?;
                // To the other agent it is a new one.
                let consumer = Uuid::new_v4().to_string();
                change.put_upstream(&Upstream { consumer, revision: String::new(), ..upstream.clone() })?;
            }
        }
    }
    Ok(())
}

/// Writes the databags of the other side as they were, and ours too where the relation is new: the pass that follows brings them
/// up to date.
fn restore_bags(then: &StoredRelation, now: &StoredRelation, change: &Change<'_>) -> Result<(), StoreError> {
    let is_new = now.bags.is_empty();
    let is_to_write = |application: &str| is_new || application != APPLICATION;
    for ((role, owner), bag) in &then.bags {
        if is_to_write(&then.end(*role).application) {
            change.put_bag(then.id, *role, owner, &bag.content.read())?;
        }
    }
    let is_gone = |key: &&(crate::store::Role, String)| !then.bags.contains_key(*key);
    for (role, owner) in now.bags.keys().filter(is_gone).filter(|(role, _)| is_to_write(&now.end(*role).application)) {
        change.remove_bag(then.id, *role, owner)?;
    }
    Ok(())
}

/// Removes what nobody is related with any more.
fn remove_units_and_applications(then: &World, change: &Change<'_>) -> Result<(), StoreError> {
    let now = change.world()?;
    for (name, application) in now.applications.iter().filter(|(name, _)| *name != APPLICATION) {
        let related: Vec<_> = now.relations.iter().filter(|relation| is_end(relation, name)).collect();
        let known = then.applications.get(name);
        if related.is_empty() && known.is_none() {
            change.remove_application(name)?;
            continue;
        }
        let is_in_use = |number: u32| {
            let unit = format!("{name}/{number}");
            related.iter().any(|relation| relation.bags.keys().any(|(_, owner)| *owner == unit))
        };
        for number in application.units.iter().copied().filter(|number| !is_in_use(*number)) {
            if known.is_some_and(|known| !known.units.contains(&number)) {
                change.remove_unit(name, number)?;
            }
        }
    }
    Ok(())
}
