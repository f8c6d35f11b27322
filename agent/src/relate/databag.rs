//! `relate ENDPOINT --databag FILE`: the other side's databags, exactly as a charm writes them.
//!
//! ```yaml
//! application: zinc              # may be left out: the units say it, or --name
//! endpoint: metrics-endpoint     # what the other side calls it; may be left out
//! app: {scrape_jobs: '[…]', scrape_metadata: '{…}'}
//! units:
//!   zinc/0: {prometheus_scrape_unit_address: 10.1.0.10}
//! ```
//!
//! What `juju show-unit` prints for a relation (`application-data`, `related-units` with `data`) is understood as well, and then
//! `app` may be the application's name. Values that
//! are not texts are written into the bag as JSON, as charm libraries do. Relating the same application again replaces its
//! bags: units that are not named any more leave. What the values mean, and whether they mean anything, is not judged here.

use std::collections::{BTreeMap, BTreeSet};

use relatum_model::yaml;
use relatum_relations::bag::Databag;
use relatum_relations::endpoints::{APPLICATION, Endpoint};
use relatum_relations::json;
use relatum_relations::name::{self, UnitName};
use serde::Deserialize;
use serde_json::Value;

use super::{Outcome, RelateError, join, our_role};
use crate::control::{Document, Failure, Relate};
use crate::store::{self, Change, Origin, World};

/// More units than any model has.
const UNITS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    application: Option<String>,
    #[serde(alias = "related-endpoint")]
    endpoint: Option<String>,
    app: Option<App>,
    application_data: Option<BTreeMap<String, Value>>,
    #[serde(default, alias = "related-units")]
    units: BTreeMap<String, Unit>,
    // Printed by juju; says nothing about the other side.
    #[serde(rename = "relation-id")]
    _relation_id: Option<Value>,
    #[serde(rename = "local-unit")]
    _local_unit: Option<Value>,
}

/// The application's bag, or its name.
#[derive(Deserialize)]
#[serde(untagged)]
enum App {
    Name(String),
    Bag(BTreeMap<String, Value>),
}

/// A unit's bag, bare or as `juju show-unit` wraps it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Unit {
    Shown {
        #[serde(rename = "in-scope")]
        _in_scope: bool,
        #[serde(default)]
        data: BTreeMap<String, Value>,
    },
    Bare(BTreeMap<String, Value>),
}

/// A file, understood.
struct Bags {
    application: String,
    endpoint: Option<String>,
    app: Databag,
    units: BTreeMap<UnitName, Databag>,
}

pub(super) fn relate(
    request: &Relate,
    endpoint: &'static Endpoint,
    document: &Document,
    world: &World,
    change: &Change<'_>,
) -> Result<Outcome, RelateError> {
    let bags = read(request, document)?;
    let name = bags.application.as_str();
    if world.applications.get(name).is_some_and(|application| application.origin == Origin::Static) {
        return Err(Failure::failed(format!("cannot give application {name:?} databags: it was made from addresses"))
            .hint("choose another name with --name, or remove its relation first")
            .into());
    }
    let role = our_role(endpoint)
        .ok_or_else(|| Failure::failed(format!("cannot relate {}: peers are related by themselves", endpoint.name)))?
        .other();
    let charm = charm(&bags.app).or_else(|| world.applications.get(name).map(|known| known.charm.clone()));
    change.put_application(name, Origin::Databag, &charm.unwrap_or_default(), "{}")?;
    let remote_name = bags.endpoint.unwrap_or_else(|| known_endpoint(name, endpoint, role, world));
    let remote = store::Endpoint { application: name.to_owned(), name: remote_name };
    let relation = join(endpoint, &remote, world, change)?;
    change.put_bag(relation, role, name, &bags.app)?;
    let before: BTreeSet<UnitName> = world
        .relation(relation)
        .into_iter()
        .flat_map(|stored| stored.bags.keys())
        .filter(|(bag_role, _)| *bag_role == role)
        .filter_map(|(_, owner)| owner.parse().ok())
        .collect();
    for gone in before.iter().filter(|unit| !bags.units.contains_key(*unit)) {
        change.remove_bag(relation, role, &gone.to_string())?;
        let elsewhere = world.relations.iter().filter(|stored| stored.id != relation);
        if !elsewhere.flat_map(|stored| stored.bags.keys()).any(|(_, owner)| *owner == gone.to_string()) {
            change.remove_unit(name, gone.number())?;
        }
    }
    let mut added = Vec::new();
    for (unit, bag) in &bags.units {
        change.put_unit(name, unit.number())?;
        change.put_bag(relation, role, &unit.to_string(), bag)?;
        if !before.contains(unit) {
            added.push(unit.to_string());
        }
    }
    Ok(Outcome { relation, application: bags.application, added, is_elsewhere: false })
}

fn read(request: &Relate, document: &Document) -> Result<Bags, Failure> {
    let refuse = |reason: String| Failure::failed(format!("cannot use databag file {}: {reason}", document.name));
    let file: File = match serde_json::from_str(&document.text) {
        Ok(file) => file,
        // Most files are YAML, so that is whose complaint helps.
        Err(_) => yaml::from_str(&document.text).map_err(|error| refuse(error.to_string()))?,
    };
    if file.units.len() > UNITS_MAX {
        return Err(refuse(format!("it has more than {UNITS_MAX} units")));
    }
    let mut units = BTreeMap::new();
    for (name, unit) in file.units {
        let name: UnitName =
            name.parse().map_err(|_| refuse(format!("{name:?} is not the name of a unit such as zinc/0")))?;
        let (Unit::Shown { data, .. } | Unit::Bare(data)) = unit;
        units.insert(name, bag(data));
    }
    let (named, app) = match (file.app, file.application_data) {
        (Some(App::Bag(_)), Some(_)) => return Err(refuse("it has the application's bag twice".to_owned())),
        (Some(App::Bag(bag)), None) => (None, bag),
        (Some(App::Name(name)), bag) => (Some(name), bag.unwrap_or_default()),
        (None, bag) => (None, bag.unwrap_or_default()),
    };
    let of_units = units.keys().next().map(|unit: &UnitName| unit.application().to_owned());
    let application = request.name.clone().or(file.application).or(named).or(of_units).ok_or_else(|| {
        refuse("it does not say whose databags these are".to_owned())
            .hint("say `application: NAME` in it, or use --name")
    })?;
    if !name::is_application(&application) && !name::is_remote_application(&application) {
        return Err(refuse(format!("{application:?} is not a name for an application")));
    }
    if application == APPLICATION {
        return Err(refuse("the application \"prometheus\" is this agent itself".to_owned()));
    }
    if let Some(stranger) = units.keys().find(|unit| unit.application() != application) {
        return Err(refuse(format!("unit {stranger} does not belong to application {application:?}")));
    }
    Ok(Bags { application, endpoint: file.endpoint, app: bag(app), units })
}

/// Values become texts as charm libraries make them; what is empty is no key at all.
fn bag(values: BTreeMap<String, Value>) -> Databag {
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => json::dumps(&other),
    };
    values.into_iter().map(|(key, value)| (key, text(value))).filter(|(_, text)| !text.is_empty()).collect()
}

/// The charm's name, if the metadata of a scrape relation tells it.
fn charm(app: &Databag) -> Option<String> {
    let metadata = json::parse(app.get("scrape_metadata")?).ok()?;
    let name = metadata.get("charm_name")?.as_str()?;
    Some(name.chars().filter(|c| !c.is_control()).take(100).collect())
}

/// What the other side's endpoint was called before, or else what ours is.
fn known_endpoint(application: &str, endpoint: &Endpoint, role: store::Role, world: &World) -> String {
    // Most applications that come in great numbers are new.
    if !world.applications.contains_key(application) {
        return endpoint.name.to_owned();
    }
    let known = world.relations.iter().find(|relation| {
        relation.end(role).application == application && relation.end(role.other()).name == endpoint.name
    });
    known.map_or_else(|| endpoint.name.to_owned(), |relation| relation.end(role).name.clone())
}
