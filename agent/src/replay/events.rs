//! What a unit has seen of its relations after some of the events.

use std::collections::{BTreeMap, BTreeSet};

use relatum_relations::bag::Databag;
use serde_json::Value;

use super::case::{Case, Saved};

/// The relations there are, and the units of each.
#[derive(Debug)]
pub(super) struct Visible<'a> {
    units: BTreeMap<u64, BTreeSet<&'a str>>,
    /// What was written since the start into the databag of the other side's application.
    app_data: BTreeMap<u64, &'a Databag>,
    n_steps: usize,
}

impl<'a> Visible<'a> {
    /// The start: whatever no event brings is there already.
    pub(super) fn before(case: &'a Case) -> Self {
        let mut visible = Visible { units: BTreeMap::new(), app_data: BTreeMap::new(), n_steps: 0 };
        for saved in &case.relations {
            let is_created = case.expected.events.iter().any(|event| names(event, "created", saved.id));
            if !is_created {
                visible.create(case, saved.id);
            }
        }
        visible
    }

    /// `created/joined/departed/broken`, a relation's id and a unit's number; whatever else happens moves nothing.
    pub(super) fn apply(&mut self, event: &[Value], case: &'a Case) {
        let number = |at: usize| event.get(at).and_then(Value::as_u64);
        let Some(id) = number(1) else { return };
        match (event[0].as_str().unwrap_or_default(), number(2)) {
            ("created", _) => self.create(case, id),
            ("joined", Some(number)) => {
                let joining = units(case, id).filter(|unit| has_number(unit, number));
                self.units.entry(id).or_default().extend(joining);
            }
            ("departed", Some(number)) => {
                if let Some(units) = self.units.get_mut(&id) {
                    units.retain(|unit| !has_number(unit, number));
                }
            }
            ("broken", _) => drop(self.units.remove(&id)),
            ("remote_app_data_set", _) => {
                if let Some(data) = case.remote_app_data_steps.get(self.n_steps) {
                    self.app_data.insert(id, data);
                }
                self.n_steps += 1;
            }
            _ => {}
        }
    }

    /// The units of relation `id`; `None` if there is no such relation.
    pub(super) fn units(&self, id: u64) -> Option<&BTreeSet<&'a str>> {
        self.units.get(&id)
    }

    /// What the other side's application says.
    pub(super) fn app_data<'s>(&self, saved: &'s Saved) -> &'s Databag
    where
        'a: 's,
    {
        self.app_data.get(&saved.id).copied().unwrap_or(&saved.remote_app_data)
    }

    /// The relation with all units that no event brings.
    fn create(&mut self, case: &'a Case, id: u64) {
        let events = &case.expected.events;
        let joins = |unit: &str| {
            let number = |event: &Vec<Value>| event.get(2).and_then(Value::as_u64);
            let mut joined = events.iter().filter(|event| names(event, "joined", id)).filter_map(number);
            joined.any(|number| has_number(unit, number))
        };
        let present = units(case, id).filter(|unit| !joins(unit)).collect();
        self.units.insert(id, present);
    }
}

fn names(event: &[Value], kind: &str, id: u64) -> bool {
    event.first().is_some_and(|first| first == kind) && event.get(1).and_then(Value::as_u64) == Some(id)
}

fn units(case: &Case, id: u64) -> impl Iterator<Item = &str> {
    let saved = case.relations.iter().find(move |saved| saved.id == id);
    saved.into_iter().flat_map(|saved| saved.remote_units_data.keys().map(String::as_str))
}

fn has_number(unit: &str, number: u64) -> bool {
    unit.rsplit_once('/').and_then(|(_, text)| text.parse().ok()) == Some(number)
}
