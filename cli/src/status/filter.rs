//! The part of a status that is about some applications or units, as juju's filter picks it.

use std::collections::BTreeSet;

use glob::Pattern;
use relatum_agent::control::Status;

use crate::failure::CommandFailure;

/// Leaves of `status` what goes by one of the names: applications with their units, or units; `*` and `?` stand for letters. Relations
/// and problems stay where one of the ends does.
pub(super) fn narrow(status: &mut Status, names: &[String]) -> Result<(), CommandFailure> {
    let pattern = |name: &String| {
        Pattern::new(name).map_err(|error| CommandFailure::usage(format!("cannot read the name {name:?}: {error}")))
    };
    let patterns: Vec<Pattern> = names.iter().map(pattern).collect::<Result<_, _>>()?;
    let fits = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
    status.units.retain(|unit| fits(&unit.name) || fits(&unit.application));
    let of_units: BTreeSet<&str> = status.units.iter().map(|unit| unit.application.as_str()).collect();
    status.applications.retain(|application| fits(&application.name) || of_units.contains(application.name.as_str()));
    let is_kept = |end: &String| {
        let application = end.split(':').next().unwrap_or_default();
        status.applications.iter().any(|known| known.name == application)
    };
    status.relations.retain(|relation| is_kept(&relation.provider) || is_kept(&relation.requirer));
    let relations: BTreeSet<&str> = status.relations.iter().map(|relation| relation.key.as_str()).collect();
    let is_about = |key: &Option<String>| key.as_deref().is_some_and(|key| relations.contains(key));
    status.problems.retain(|problem| is_about(&problem.relation));
    Ok(())
}
