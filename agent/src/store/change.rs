//! The single steps a mutation is made of. Writing what is there already is no change.

use std::ops::RangeInclusive;

use relatum_relations::bag::Databag;
use rusqlite::{Connection, OptionalExtension, Params, Transaction};

use super::{Attempt, Declaration, Endpoint, Model, Origin, Role, StoreError, StoredRelation, World, past, world};

/// An open mutation; see [`super::Store::mutate`].
pub struct Change<'a> {
    connection: &'a Connection,
    revision: u64,
    /// A state before this mutation, so that only what changed since has to be read.
    known: Option<World>,
}

impl<'a> Change<'a> {
    pub(super) fn begin(
        transaction: &'a Transaction<'_>,
        author: &str,
        description: &str,
        at_ms: i64,
        known: Option<World>,
    ) -> Result<Self, StoreError> {
        let sql = "INSERT INTO revision (at_ms, author, description) VALUES (?1, ?2, ?3) RETURNING id";
        let row = (at_ms, author, description);
        let revision = transaction.query_row(sql, row, |row| row.get(0)).attempt("begin a revision")?;
        Ok(Change { connection: transaction, revision, known })
    }

    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM change WHERE revision = ?1)";
        self.connection.query_row(sql, [self.revision], |row| row.get(0)).attempt("count the changes")
    }

    /// The number this mutation gets if it changes anything.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Everything, this mutation's changes included.
    pub fn world(&self) -> Result<World, StoreError> {
        world::newest(self.connection, self.known.clone())
    }

    /// Names the model.
    pub fn set_model(&self, model: &Model) -> Result<(), StoreError> {
        for (key, value) in [("model_name", &model.name), ("model_uuid", &model.uuid)] {
            let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
                       ON CONFLICT DO UPDATE SET value = excluded.value WHERE value <> excluded.value";
            self.execute("name the model", sql, (key, value))?;
        }
        Ok(())
    }

    /// Makes an application, or replaces what is known of it. Its units stay.
    pub fn put_application(&self, name: &str, origin: Origin, charm: &str, settings: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO application (name, origin, charm, settings) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET origin = excluded.origin, charm = excluded.charm, settings = excluded.settings
                   WHERE (origin, charm, settings) <> (excluded.origin, excluded.charm, excluded.settings)";
        self.execute("write an application", sql, (name, origin.as_str(), charm, settings))
    }

    /// Removes an application that has no relation any more, with its units and its config.
    pub fn remove_application(&self, name: &str) -> Result<(), StoreError> {
        self.execute("remove units", "DELETE FROM unit WHERE application = ?1", [name])?;
        self.execute("remove config", "DELETE FROM config WHERE application = ?1", [name])?;
        self.execute("remove an application", "DELETE FROM application WHERE name = ?1", [name])
    }

    /// Makes a unit.
    pub fn put_unit(&self, application: &str, number: u32) -> Result<(), StoreError> {
        let sql = "INSERT INTO unit (application, number) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.execute("write a unit", sql, (application, number))
    }

    /// Removes a unit; no other one gets its number. Its bags are removed by the caller.
    pub fn remove_unit(&self, application: &str, number: u32) -> Result<(), StoreError> {
        let sql = "UPDATE application SET next_unit = ?2 WHERE name = ?1 AND next_unit < ?2";
        self.execute("keep the number of a unit", sql, (application, number.saturating_add(1)))?;
        let sql = "DELETE FROM unit WHERE application = ?1 AND number = ?2";
        self.execute("remove a unit", sql, (application, number))
    }

    /// Makes a relation between two ends and gives its id, or the id of the one that is there.
    pub fn put_relation(&self, interface: &str, provider: &Endpoint, requirer: &Endpoint) -> Result<u64, StoreError> {
        let ends = (&provider.application, &provider.name, &requirer.application, &requirer.name);
        let sql = "SELECT id FROM relation WHERE provider_application = ?1 AND provider_endpoint = ?2
                   AND requirer_application = ?3 AND requirer_endpoint = ?4";
        if let Some(id) = self.id("look for a relation", sql, ends)? {
            return Ok(id);
        }
        let sql = "INSERT INTO relation
                       (provider_application, provider_endpoint, requirer_application, requirer_endpoint, interface)
                   VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id";
        let row = (ends.0, ends.1, ends.2, ends.3, interface);
        let id = self.id("write a relation", sql, row)?;
        Ok(id.expect("a row that was written has an id"))
    }

    /// Makes a relation that was removed again, under the id it had.
    pub fn restore_relation(&self, relation: &StoredRelation) -> Result<(), StoreError> {
        let sql = "INSERT INTO relation
                       (id, interface, provider_application, provider_endpoint, requirer_application, requirer_endpoint)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let StoredRelation { id, interface, provider, requirer, .. } = relation;
        let row = (id, interface, &provider.application, &provider.name, &requirer.application, &requirer.name);
        self.execute("restore a relation", sql, row)
    }

    /// Removes a relation with its bags.
    pub fn remove_relation(&self, id: u64) -> Result<(), StoreError> {
        self.execute("remove databags", "DELETE FROM databag WHERE relation = ?1", [id])?;
        self.execute("remove a relation", "DELETE FROM relation WHERE id = ?1", [id])
    }

    /// Replaces a databag. The owner is the application at `role` or one of its units, which joins the relation by this.
    pub fn put_bag(&self, relation: u64, role: Role, owner: &str, content: &Databag) -> Result<(), StoreError> {
        let content = serde_json::to_string(content).expect("a map of strings is JSON");
        let sql = "INSERT INTO databag (relation, role, owner, version, content) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT DO UPDATE SET version = excluded.version, content = excluded.content
                   WHERE content <> excluded.content";
        self.execute("write a databag", sql, (relation, role.as_str(), owner, self.revision, content))
    }

    /// Removes a databag: a unit leaves the relation by this.
    pub fn remove_bag(&self, relation: u64, role: Role, owner: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM databag WHERE relation = ?1 AND role = ?2 AND owner = ?3";
        self.execute("remove a databag", sql, (relation, role.as_str(), owner))
    }

    /// Sets an option of an application.
    pub fn set_config(&self, application: &str, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO config (application, key, value) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET value = excluded.value WHERE value <> excluded.value";
        self.execute("set an option", sql, (application, key, value))
    }

    /// Puts an option back to its default.
    pub fn reset_config(&self, application: &str, key: &str) -> Result<(), StoreError> {
        self.execute("reset an option", "DELETE FROM config WHERE application = ?1 AND key = ?2", (application, key))
    }

    /// Remembers that a file declares a relation.
    pub fn put_declaration(&self, relation: u64, declaration: &Declaration) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO declared (relation, file, endpoint, application, request)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let Declaration { file, endpoint, application, request } = declaration;
        self.execute("write a declared relation", sql, (relation, file, endpoint, application, request.read()))?;
        self.forget_files()?;
        self.count_declaration(relation)
    }

    /// Forgets that a file declared a relation.
    pub fn forget_declaration(&self, relation: u64) -> Result<(), StoreError> {
        self.execute("forget a declared relation", "DELETE FROM declared WHERE relation = ?1", [relation])?;
        self.forget_files()?;
        self.count_declaration(relation)
    }

    /// Nobody knows any more whether the files that were understood last declare what is declared now.
    fn forget_files(&self) -> Result<(), StoreError> {
        self.execute("forget the files that declare", "DELETE FROM declared_file", [])
    }

    /// Has the mutation count as a change though the table has no history.
    fn count_declaration(&self, relation: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO change (revision, object, key, before) VALUES (?1, 'declared', ?2, NULL)";
        self.execute("note a declared relation", sql, (self.revision, relation.to_string()))
    }

    /// Whether a file ever declared the relation `id`, as far as the history is kept.
    pub fn was_declared(&self, id: u64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM change WHERE object = 'declared' AND key = ?1)";
        let found = self.connection.query_row(sql, [id.to_string()], |row| row.get(0));
        found.attempt("look for a declared relation")
    }

    /// Everything as it was right after `revision`, which [`past::reach`] covers.
    pub fn world_at(&self, revision: u64) -> Result<World, StoreError> {
        past::world_at(self.connection, revision)
    }

    /// The revisions that [`Change::world_at`] can go back to.
    pub fn reach(&self) -> Result<RangeInclusive<u64>, StoreError> {
        past::reach(self.connection)
    }

    /// Reads again into `world` what a change to the relation `id` can have changed.
    pub fn refresh(&self, world: &mut World, id: u64) -> Result<(), StoreError> {
        world::refresh(self.connection, world, id)
    }

    /// Does `part` of the mutation; if it fails, this part is undone, and the others stay.
    pub fn attempt<T, E: From<StoreError>>(&self, part: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let run = |sql| self.execute("mark a part of a change", sql, ());
        run("SAVEPOINT part")?;
        match part() {
            Ok(value) => {
                run("RELEASE part")?;
                Ok(value)
            }
            Err(error) => {
                run("ROLLBACK TO part")?;
                run("RELEASE part")?;
                Err(error)
            }
        }
    }

    /// The number that `sql` gives, if any.
    fn id(&self, attempt: &'static str, sql: &str, parameters: impl Params) -> Result<Option<u64>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).attempt(attempt)?;
        statement.query_row(parameters, |row| row.get(0)).optional().attempt(attempt)
    }

    pub(super) fn execute(&self, attempt: &'static str, sql: &str, parameters: impl Params) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).attempt(attempt)?;
        statement.execute(parameters).attempt(attempt)?;
        Ok(())
    }
}
