//! `remove-application`: an application goes with its units and all its relations.

use std::sync::Arc;

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::name::UnitName;

use super::RelateError;
use super::remove::{refuse_declared, take_away};
use crate::control::Failure;
use crate::store::{Change, Role, StoredRelation};

/// An application that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) name: String,
    /// In natural order.
    pub(crate) units: Vec<String>,
    pub(crate) relations: Vec<Arc<StoredRelation>>,
}

/// Removes the applications called `names`, all or none.
pub(crate) fn remove_applications(names: &[String], change: &Change<'_>) -> Result<Vec<Gone>, RelateError> {
    let mut removed: Vec<Gone> = Vec::new();
    for name in names {
        if !removed.iter().any(|gone| gone.name == *name) {
            removed.push(remove(name, change)?);
        }
    }
    Ok(removed)
}

fn remove(name: &str, change: &Change<'_>) -> Result<Gone, RelateError> {
    let world = change.world()?;
    if name == APPLICATION {
        return Err(Failure::failed(format!("cannot remove {name}: it is this agent itself"))
            .hint("`relatum remove-relation` ends what it does")
            .into());
    }
    let Some(application) = world.applications.get(name) else {
        // As `remove-relation` does, a hint for those who meant one unit.
        let failure = Failure::failed(format!("application {name:?} not found"));
        let is_unit = name.parse::<UnitName>().is_ok();
        return Err(if is_unit {
            failure.hint(format!("`relatum remove-unit {name}` removes a unit"))
        } else {
            failure
        }
        .into());
    };
    let is_end = |relation: &&Arc<StoredRelation>| {
        [Role::Provider, Role::Requirer].into_iter().any(|role| relation.end(role).application == name)
    };
    let relations: Vec<Arc<StoredRelation>> = world.relations.iter().filter(is_end).cloned().collect();
    relations.iter().try_for_each(|relation| refuse_declared(relation.id, &world))?;
    for relation in &relations {
        take_away(relation, &world, change)?;
    }
    change.remove_application(name)?;
    let units = application.units.iter().map(|number| format!("{name}/{number}")).collect();
    Ok(Gone { name: name.to_owned(), units, relations })
}
