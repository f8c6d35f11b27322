//! The tables, and how older files are brought up to date.
//!
//! `PRAGMA user_version` is the schema's number. `revision` comes first in every mutation; the triggers find their number
//! there. `change` holds, for every row a revision touched, what stood there before (NULL: nothing), which is all
//! that going back needs.

use rusqlite::{Connection, TransactionBehavior};

/// The schema this program writes.
pub(super) const VERSION: i64 = 7;

/// The n-th entry leads from schema n to n + 1.
const STEPS: [&str; VERSION as usize] = [
    "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE revision (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    description TEXT NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL REFERENCES revision ON DELETE CASCADE,
    object TEXT NOT NULL,
    key TEXT NOT NULL,
    before TEXT
) STRICT;
CREATE INDEX change_revision ON change (revision);
CREATE TABLE application (
    name TEXT PRIMARY KEY,
    origin TEXT NOT NULL CHECK (origin IN ('builtin', 'static', 'databag')),
    charm TEXT NOT NULL,
    settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE unit (
    application TEXT NOT NULL REFERENCES application,
    number INTEGER NOT NULL,
    PRIMARY KEY (application, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE relation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    interface TEXT NOT NULL,
    provider_application TEXT NOT NULL REFERENCES application,
    provider_endpoint TEXT NOT NULL,
    requirer_application TEXT NOT NULL REFERENCES application,
    requirer_endpoint TEXT NOT NULL,
    UNIQUE (provider_application, provider_endpoint, requirer_application, requirer_endpoint)
) STRICT;
CREATE TABLE databag (
    relation INTEGER NOT NULL REFERENCES relation,
    role TEXT NOT NULL CHECK (role IN ('provider', 'requirer')),
    owner TEXT NOT NULL,
    version INTEGER NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (relation, role, owner)
) STRICT;
-- Outlives its relation until the departure is noticed, so it refers to nothing.
CREATE TABLE bag_seen (
    relation INTEGER NOT NULL,
    role TEXT NOT NULL,
    owner TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (relation, role, owner)
) STRICT, WITHOUT ROWID;
CREATE TABLE config (
    application TEXT NOT NULL REFERENCES application,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (application, key)
) STRICT, WITHOUT ROWID;
",
    "
CREATE TABLE offer (
    id TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    secret_sha256 TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    removed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- These two outlive their relation until the other agent knows that it is gone, so they refer to none.
CREATE TABLE connection (
    relation INTEGER PRIMARY KEY,
    offer TEXT NOT NULL REFERENCES offer,
    consumer TEXT NOT NULL,
    model TEXT NOT NULL,
    revision TEXT NOT NULL,
    UNIQUE (offer, consumer)
) STRICT;
CREATE TABLE upstream (
    relation INTEGER PRIMARY KEY,
    consumer TEXT NOT NULL,
    url TEXT NOT NULL,
    secret TEXT NOT NULL,
    ca TEXT,
    revision TEXT NOT NULL
) STRICT;
",
    "
-- Which relations a file declares, and what it asked for. The files are what counts, so this has no history.
CREATE TABLE declared (
    relation INTEGER PRIMARY KEY,
    file TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    application TEXT NOT NULL,
    request TEXT NOT NULL,
    UNIQUE (endpoint, application)
) STRICT;
",
    "
-- Above the number of every unit that was removed, so that no number comes back and continues another target's series.
ALTER TABLE application ADD COLUMN next_unit INTEGER NOT NULL DEFAULT 0;
",
    "
-- Who asked for it; empty for what was done before this was noted.
ALTER TABLE revision ADD COLUMN author TEXT NOT NULL DEFAULT '';
-- To find what stood in a row after a revision: what the next change of the same row replaced.
CREATE INDEX change_row ON change (object, key, id);
",
    // The triggers leave `revision.bytes` alone: it is counted once, when a mutation is whole.
    "",
    "
-- The files that were understood last and declare what is in the table, each with the hash of what it said, so that a start need not
-- read them all again.
CREATE TABLE declared_file (file TEXT PRIMARY KEY, sha256 TEXT NOT NULL) STRICT, WITHOUT ROWID;
",
];

/// The tables whose rows have a history: name, columns of the key, other columns.
pub(super) const TRACKED: [(&str, &[&str], &[&str]); 9] = [
    ("meta", &["key"], &["value"]),
    ("application", &["name"], &["origin", "charm", "settings", "next_unit"]),
    ("unit", &["application", "number"], &[]),
    (
        "relation",
        &["id"],
        &["interface", "provider_application", "provider_endpoint", "requirer_application", "requirer_endpoint"],
    ),
    ("databag", &["relation", "role", "owner"], &["version", "content"]),
    ("config", &["application", "key"], &["value"]),
    ("offer", &["id"], &["endpoint", "secret_sha256", "created_ms", "removed"]),
    ("connection", &["relation"], &["offer", "consumer", "model", "revision"]),
    ("upstream", &["relation"], &["consumer", "url", "secret", "ca", "revision"]),
];

/// Brings the file to [`VERSION`] and gives the schema it has now, which is higher for a file from the future: that one
/// is left as it is.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found >= VERSION {
        return Ok(found);
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    for (table, keys, others) in TRACKED {
        transaction.execute_batch(&triggers(table, keys, others))?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(VERSION)
}

/// The triggers that write `change` rows for `table`. Made anew with every schema, as columns may have changed.
fn triggers(table: &str, keys: &[&str], others: &[&str]) -> String {
    let row = |columns: &mut dyn Iterator<Item = &&str>| -> String {
        columns.map(|column| format!("'{column}', OLD.{column}")).collect::<Vec<_>>().join(", ")
    };
    let before = format!("json_object({})", row(&mut keys.iter().chain(others)));
    let mut sql = String::new();
    for (event, side, before) in [("INSERT", "NEW", "NULL"), ("UPDATE", "OLD", &before), ("DELETE", "OLD", &before)] {
        let key = keys.iter().map(|key| format!("{side}.{key}")).collect::<Vec<_>>().join(" || ' ' || ");
        sql += &format!(
            "DROP TRIGGER IF EXISTS {table}_{event};
             CREATE TRIGGER {table}_{event} AFTER {event} ON {table} BEGIN
                 INSERT INTO change (revision, object, key, before)
                     VALUES ((SELECT max(id) FROM revision), '{table}', {key}, {before});
             END;\n"
        );
    }
    sql
}
