//! What the store holds, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use relatum_relations::bag::Databag;
use rusqlite::{Connection, Params, Row};

use super::offers::Offers;
use super::relations::Relations;
use super::{Attempt, StoreError};
use crate::packed::{PackedBag, PackedText};

/// Everything at one revision. What did not change between two revisions is shared by both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// The newest revision; 0 before the first.
    pub revision: u64,
    /// The one model.
    pub model: Model,
    /// By name.
    pub applications: Arc<BTreeMap<String, Application>>,
    /// All of them.
    pub relations: Relations,
    /// What was set by `relatum config`, by option.
    pub config: BTreeMap<String, String>,
    /// What was last seen of the bags.
    pub seen: Seen,
    /// The relations that a file declares, by id.
    pub declared: Arc<BTreeMap<u64, Declaration>>,
    /// What we offer to other agents, and what they offer to us.
    pub offers: Offers,
}

impl World {
    /// The relation called `id`.
    pub fn relation(&self, id: u64) -> Option<&Arc<StoredRelation>> {
        self.relations.get(id)
    }
}

/// A relation that a file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The file's name in `relations.d`.
    pub file: String,
    /// Our endpoint.
    pub endpoint: String,
    /// The application at the other side.
    pub application: String,
    /// What the file asks for, as JSON; may hold secrets.
    pub request: PackedText,
}

/// The model's name and uuid; both empty before [`super::Change::set_model`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// The name.
    pub name: String,
    /// The uuid, version 4.
    pub uuid: String,
}

/// How an application came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is ours.
    Builtin,
    /// `relate ENDPOINT ADDRESS`.
    Static,
    /// Its databags were handed over.
    Databag,
}

impl Origin {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Origin::Builtin => "builtin",
            Origin::Static => "static",
            Origin::Databag => "databag",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Origin::Builtin, Origin::Static, Origin::Databag].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// One application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// How it came to be.
    pub origin: Origin,
    /// The charm's name; may be empty.
    pub charm: String,
    /// What the address form was told, as JSON; `{}` for others.
    pub settings: String,
    /// The numbers of its units.
    pub units: Vec<u32>,
    /// The number of the next unit made here: above every number that was ever used.
    pub next_unit: u32,
}

/// Which end of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The end that provides the interface.
    Provider,
    /// The end that requires it.
    Requirer,
}

impl Role {
    /// As the store writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Provider => "provider",
            Role::Requirer => "requirer",
        }
    }

    /// The other end.
    pub fn other(self) -> Role {
        match self {
            Role::Provider => Role::Requirer,
            Role::Requirer => Role::Provider,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Role::Provider, Role::Requirer].into_iter().find(|role| role.as_str() == text)
    }
}

/// `application:endpoint`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The application.
    pub application: String,
    /// The endpoint.
    pub name: String,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.application, self.name)
    }
}

/// One relation with its bags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRelation {
    /// Its number, never used again.
    pub id: u64,
    /// The interface.
    pub interface: String,
    /// The provider's end.
    pub provider: Endpoint,
    /// The requirer's end.
    pub requirer: Endpoint,
    /// By role, then owner: an application, or a unit, which is then in the relation even if the bag is empty.
    pub bags: BTreeMap<(Role, String), Bag>,
}

impl StoredRelation {
    /// The end at `role`.
    pub fn end(&self, role: Role) -> &Endpoint {
        match role {
            Role::Provider => &self.provider,
            Role::Requirer => &self.requirer,
        }
    }
}

/// One databag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bag {
    /// The revision that wrote it last.
    pub version: u64,
    /// The content.
    pub content: PackedBag,
}

/// By relation, which bags the agent's passes have seen last.
pub type Seen = OrdMap<u64, Arc<SeenBags>>;

/// Role and owner of a bag to its version.
pub type SeenBags = BTreeMap<(Role, String), u64>;

/// The newest revision, of which only that is read which changed since the one that is `known`.
pub(super) fn newest(connection: &Connection, known: Option<World>) -> Result<World, StoreError> {
    if let Some(mut world) = known
        && catch_up(connection, &mut world)?
    {
        return Ok(world);
    }
    read(connection)
}

pub(super) fn read(connection: &Connection) -> Result<World, StoreError> {
    let meta = rows(connection, "SELECT key, value FROM meta", pair).attempt("read the model")?;
    let mut meta: BTreeMap<String, String> = meta.into_iter().collect();
    let mut word = |key: &str| meta.remove(key).unwrap_or_default();
    let model = Model { name: word("model_name"), uuid: word("model_uuid") };
    let revision = connection
        .query_row("SELECT coalesce(max(id), 0) FROM revision", [], |row| row.get(0))
        .attempt("read the newest revision")?;
    Ok(World {
        revision,
        model,
        applications: applications(connection, None)?.into(),
        relations: relations(connection, None)?.into_iter().map(Arc::new).collect(),
        config: config(connection)?,
        seen: read_seen(connection).attempt("read the bag versions seen")?,
        declared: declarations(connection, None)?.into(),
        offers: super::offers::read(connection)?,
    })
}

fn config(connection: &Connection) -> Result<BTreeMap<String, String>, StoreError> {
    Ok(rows(connection, "SELECT key, value FROM config", pair).attempt("read the config")?.into_iter().collect())
}

/// More touched relations than this share of all are read with all others.
const CATCH_UP_SHARE: usize = 4;

/// Brings `world` to the newest revision by reading only what was touched since; false when it would be better to read it all anew,
/// or when nobody knows any more what was touched.
fn catch_up(connection: &Connection, world: &mut World) -> Result<bool, StoreError> {
    let bounds = connection.query_row("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM revision", [], |row| {
        Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?))
    });
    let (oldest, newest) = bounds.attempt("read the newest revision")?;
    if newest == world.revision {
        return Ok(true);
    }
    if newest < world.revision || oldest > world.revision + 1 {
        return Ok(false);
    }
    // Not DISTINCT, for which SQLite would walk over all of history in the order of its rows.
    let sql = "SELECT object, key FROM change WHERE revision > ?1";
    let touched = rows_of(connection, sql, [world.revision], pair).attempt("read what was changed")?;
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (object, key) in &touched {
        // A key of several columns begins with the one that counts here.
        let first = key.split(' ').next().unwrap_or_default();
        match object.as_str() {
            "relation" | "databag" | "declared" => ids.extend(first.parse::<u64>()),
            "application" | "unit" => drop(names.insert(first)),
            "config" => world.config = config(connection)?,
            "offer" | "connection" | "upstream" => world.offers = super::offers::read(connection)?,
            _ => return Ok(false),
        }
    }
    if ids.len() > world.relations.len() / CATCH_UP_SHARE {
        return Ok(false);
    }
    for id in ids {
        refresh(connection, world, id)?;
    }
    for name in names {
        refresh_application(connection, world, name)?;
    }
    world.revision = newest;
    Ok(true)
}

/// All declared relations, or the one with `id` if it is one.
fn declarations(connection: &Connection, id: Option<u64>) -> Result<BTreeMap<u64, Declaration>, StoreError> {
    let read = |row: &Row<'_>| {
        let (file, endpoint, application) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let request = PackedText::new(row.get_ref(4)?.as_str()?);
        Ok((row.get(0)?, Declaration { file, endpoint, application, request }))
    };
    let sql = format!("SELECT relation, file, endpoint, application, request FROM declared {}", only("relation", id));
    Ok(rows_of(connection, &sql, [id], read).attempt("read the declared relations")?.into_iter().collect())
}

/// Reads again what a change to one relation can have changed: it, whether it is declared, and the applications at its ends.
pub(super) fn refresh(connection: &Connection, world: &mut World, id: u64) -> Result<(), StoreError> {
    let mut ends: Vec<String> = Vec::new();
    let mut note = |relation: &StoredRelation| {
        ends.extend([relation.provider.application.clone(), relation.requirer.application.clone()]);
    };
    if let Some(before) = world.relations.remove(id) {
        note(&before);
    }
    for relation in relations(connection, Some(id))? {
        note(&relation);
        world.relations.insert(Arc::new(relation));
    }
    for name in ends {
        refresh_application(connection, world, &name)?;
    }
    let declared = declarations(connection, Some(id))?;
    if world.declared.get(&id) != declared.get(&id) {
        let known = Arc::make_mut(&mut world.declared);
        known.remove(&id);
        known.extend(declared);
    }
    Ok(())
}

fn refresh_application(connection: &Connection, world: &mut World, name: &str) -> Result<(), StoreError> {
    let now = applications(connection, Some(name))?.remove(name);
    if world.applications.get(name) != now.as_ref() {
        let known = Arc::make_mut(&mut world.applications);
        match now {
            Some(application) => drop(known.insert(name.to_owned(), application)),
            None => drop(known.remove(name)),
        }
    }
    Ok(())
}

/// All applications, or the one called `name`.
fn applications(connection: &Connection, name: Option<&str>) -> Result<BTreeMap<String, Application>, StoreError> {
    let sql = format!("SELECT name, origin, charm, settings, next_unit FROM application {}", only("name", name));
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    let mut applications = BTreeMap::new();
    let found = rows_of(connection, &sql, [name], read).attempt("read the applications")?;
    for (name, origin, charm, settings, next_unit) in found {
        let Some(origin) = Origin::parse(&origin) else {
            return Err(StoreError::Damaged {
                what: format!("application {name}"),
                reason: format!("origin {origin}"),
            });
        };
        applications.insert(name, Application { origin, charm, settings, units: Vec::new(), next_unit });
    }
    let only_one = only("application", name);
    let sql = format!("SELECT application, number FROM unit {only_one} ORDER BY application, number");
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
    for (application, number) in rows_of(connection, &sql, [name], read).attempt("read the units")? {
        if let Some(application) = applications.get_mut(&application) {
            application.units.push(number);
            application.next_unit = application.next_unit.max(number.saturating_add(1));
        }
    }
    Ok(applications)
}

/// All relations, or the one with `id`.
fn relations(connection: &Connection, id: Option<u64>) -> Result<Vec<StoredRelation>, StoreError> {
    let sql = format!(
        "SELECT id, interface, provider_application, provider_endpoint, requirer_application, requirer_endpoint
         FROM relation {} ORDER BY id",
        only("id", id)
    );
    let read = |row: &Row<'_>| {
        Ok(StoredRelation {
            id: row.get(0)?,
            interface: row.get(1)?,
            provider: Endpoint { application: row.get(2)?, name: row.get(3)? },
            requirer: Endpoint { application: row.get(4)?, name: row.get(5)? },
            bags: BTreeMap::new(),
        })
    };
    let mut relations = rows_of(connection, &sql, [id], read).attempt("read the relations")?;
    let sql = format!("SELECT relation, role, owner, version, content FROM databag {}", only("relation", id));
    let read = |row: &Row<'_>| {
        Ok((
            row.get::<_, u64>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get(3)?,
            row.get::<_, String>(4)?,
        ))
    };
    for (relation, role, owner, version, content) in
        rows_of(connection, &sql, [id], read).attempt("read the databags")?
    {
        let damaged =
            |reason: String| StoreError::Damaged { what: format!("databag of {owner} in relation {relation}"), reason };
        let role = Role::parse(&role).ok_or_else(|| damaged(format!("role {role}")))?;
        let content: Databag = serde_json::from_str(&content).map_err(|error| damaged(error.to_string()))?;
        let content = PackedBag::new(&content);
        if let Ok(at) = relations.binary_search_by_key(&relation, |relation| relation.id) {
            relations[at].bags.insert((role, owner), Bag { version, content });
        }
    }
    Ok(relations)
}

fn read_seen(connection: &Connection) -> rusqlite::Result<Seen> {
    let read = |row: &Row<'_>| {
        let role: String = row.get(1)?;
        // A role nobody knows is a bag nobody saw.
        Ok((Role::parse(&role), row.get(0)?, row.get(2)?, row.get(3)?))
    };
    let found = rows(connection, "SELECT relation, role, owner, version FROM bag_seen", read)?;
    let mut seen: BTreeMap<u64, SeenBags> = BTreeMap::new();
    for (role, id, owner, version) in found {
        let Some(role) = role else { continue };
        seen.entry(id).or_default().insert((role, owner), version);
    }
    Ok(seen.into_iter().map(|(id, bags)| (id, Arc::new(bags))).collect())
}

fn pair(row: &Row<'_>) -> rusqlite::Result<(String, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// The condition that picks one row by its key, or, with a parameter that is null, none at all. Two texts rather than one with
/// `OR`, for which SQLite would walk over the whole table.
fn only<T>(column: &str, value: Option<T>) -> String {
    if value.is_some() { format!("WHERE {column} = ?1") } else { "WHERE ?1 IS NULL".to_owned() }
}

pub(super) fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    rows_of(connection, sql, [], read)
}

fn rows_of<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(parameters, read)?.collect()
}
