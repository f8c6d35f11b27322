//! What `show-unit` shows: a unit's own view of its relations. Pure.

use std::collections::BTreeMap;

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::name::UnitName;

use crate::control::{Failure, ScopedData, ShownUnit, Status, UnitRelation};
use crate::store::{Role, StoredRelation, World};

/// The unit called `name`; `status` knows how it does.
pub(crate) fn show(name: &str, world: &World, status: &Status) -> Result<ShownUnit, Failure> {
    let unit: UnitName = name.parse().map_err(|_| Failure::usage(format!("invalid unit name {name:?}")))?;
    let shown = status.units.iter().find(|known| known.name == unit.to_string());
    let shown = shown.ok_or_else(|| Failure::failed(format!("unit {:?} not found", unit.to_string())))?;
    let application = status.applications.iter().find(|known| known.name == shown.application);
    let relations = world.relations.iter().flat_map(|relation| sides(relation, &unit));
    Ok(ShownUnit {
        workload_version: application.map(|application| application.version.clone()).unwrap_or_default(),
        opened_ports: shown.ports.clone(),
        public_address: shown.address.clone(),
        charm: application.map(|application| application.charm.clone()).unwrap_or_default(),
        leader: shown.leader,
        life: "alive".to_owned(),
        relation_info: relations.map(|(role, relation)| info(&unit, role, relation, world)).collect(),
        address: shown.address.clone(),
    })
}

/// The sides of `relation` that the unit is at.
fn sides<'a>(relation: &'a StoredRelation, unit: &UnitName) -> impl Iterator<Item = (Role, &'a StoredRelation)> {
    let name = unit.to_string();
    let is_in = move |role: &Role| {
        // A unit that never wrote anything is in the relation of its application all the same, if it is ours.
        let is_ours = relation.end(*role).application == APPLICATION && name.starts_with(&format!("{APPLICATION}/"));
        is_ours || relation.bags.contains_key(&(*role, name.clone()))
    };
    [Role::Provider, Role::Requirer].into_iter().filter(is_in).map(move |role| (role, relation))
}

fn info(unit: &UnitName, role: Role, relation: &StoredRelation, world: &World) -> UnitRelation {
    let bag = |role: Role, owner: &str| {
        relation.bags.get(&(role, owner.to_owned())).map(|bag| bag.content.read()).unwrap_or_default()
    };
    let other = role.other();
    let related = relation.bags.iter().filter(|((of, owner), _)| *of == other && owner.parse::<UnitName>().is_ok());
    let related: BTreeMap<String, ScopedData> = related
        .map(|((_, owner), bag)| (owner.clone(), ScopedData { in_scope: true, data: bag.content.read() }))
        .collect();
    let offers = &world.offers;
    UnitRelation {
        relation_id: relation.id,
        endpoint: relation.end(role).name.clone(),
        cross_model: offers.upstream(relation.id).is_some() || offers.connection(relation.id).is_some(),
        related_endpoint: relation.end(other).name.clone(),
        application_data: bag(other, &relation.end(other).application),
        local_unit: Some(ScopedData { in_scope: true, data: bag(role, &unit.to_string()) }),
        related_units: related,
    }
}
