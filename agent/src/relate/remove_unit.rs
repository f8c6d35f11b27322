//! `remove-unit`: single units leave, their application and its relations stay.

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::name::UnitName;

use super::RelateError;
use super::remove::refuse_declared;
use crate::control::{Failure, RemovedUnit};
use crate::offers;
use crate::store::{Change, StoredRelation, World};

/// Removes the units called `names`, all or none.
pub(crate) fn remove_units(names: &[String], change: &Change<'_>) -> Result<Vec<RemovedUnit>, RelateError> {
    let world = change.world()?;
    let mut removed: Vec<RemovedUnit> = Vec::new();
    for name in names {
        let unit: UnitName = name.parse().map_err(|_| Failure::usage(format!("invalid unit name {name:?}")))?;
        if removed.iter().any(|gone| gone.name == unit.to_string()) {
            continue;
        }
        removed.push(remove(&unit, &world, change)?);
    }
    Ok(removed)
}

fn remove(unit: &UnitName, world: &World, change: &Change<'_>) -> Result<RemovedUnit, RelateError> {
    let name = unit.to_string();
    let all = world.relations.iter().map(|relation| &**relation);
    let related: Vec<&StoredRelation> =
        all.filter(|relation| relation.bags.keys().any(|(_, owner)| *owner == name)).collect();
    refuse(unit, &related, world)?;
    for relation in &related {
        for (role, owner) in relation.bags.keys().filter(|(_, owner)| *owner == name) {
            change.remove_bag(relation.id, *role, owner)?;
        }
    }
    change.remove_unit(unit.application(), unit.number())?;
    Ok(RemovedUnit { name, relations: related.iter().map(|relation| relation.id).collect() })
}

/// Refuses units that are not there, and those of which others say whether they are there.
fn refuse(unit: &UnitName, related: &[&StoredRelation], world: &World) -> Result<(), Failure> {
    let application = world.applications.get(unit.application());
    let application = application.filter(|application| application.units.contains(&unit.number()));
    let application = application.ok_or_else(|| Failure::failed(format!("unit \"{unit}\" not found")))?;
    if unit.application() == APPLICATION {
        return Err(Failure::failed(format!("cannot remove {unit}: it is this agent itself"))
            .hint("`relatum remove-relation` ends what it does"));
    }
    if application.charm == offers::CHARM {
        return Err(Failure::failed(format!("cannot remove {unit}: it belongs to another agent"))
            .hint(format!("`relatum remove-application {}` ends the relation with that agent", unit.application())));
    }
    related.iter().try_for_each(|relation| refuse_declared(relation.id, world))
}
