//! What each revision changed, row by row: what stood there before, and what after.

use relatum_relations::bag::Databag;
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::schema::TRACKED;
use super::{Attempt, Role, StoreError};

/// How many changes of a revision are looked at when several revisions are listed.
const LISTED_MAX: usize = 100;

/// One entry of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Its number.
    pub id: u64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// `user NAME`, `file NAME`, `model NAME` or `agent`; empty for what was done before this was noted.
    pub author: String,
    /// For people.
    pub description: String,
    /// The rows it changed, in order, each once.
    pub changes: Vec<RowChange>,
    /// How many more there are.
    pub left_out: usize,
}

/// One row before and after a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// The table.
    pub object: String,
    /// The row's key.
    pub key: String,
    /// Its columns before; none if there was no row.
    pub before: Option<Value>,
    /// Its columns after; none if there is no row.
    pub after: Option<Value>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is otherwise.
    Changed,
    /// It is gone.
    Removed,
}

impl RowChange {
    /// What became of the row.
    pub fn kind(&self) -> ChangeKind {
        match (&self.before, &self.after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        }
    }
}

pub(super) fn newest(connection: &Connection, count: usize) -> Result<Vec<Revision>, StoreError> {
    let sql = "SELECT id, at_ms, author, description FROM revision ORDER BY id DESC LIMIT ?1";
    let mut statement = connection.prepare(sql).attempt("read the history")?;
    let found: Vec<Revision> =
        statement.query_map([count as u64], revision).and_then(Iterator::collect).attempt("read the history")?;
    found.into_iter().map(|revision| with_changes(connection, revision, LISTED_MAX)).collect()
}

pub(super) fn in_full(connection: &Connection, id: u64) -> Result<Option<Revision>, StoreError> {
    let sql = "SELECT id, at_ms, author, description FROM revision WHERE id = ?1";
    let found = connection.query_row(sql, [id], revision).optional().attempt("read the history")?;
    found.map(|revision| with_changes(connection, revision, usize::MAX)).transpose()
}

fn revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        author: row.get(2)?,
        description: row.get(3)?,
        changes: Vec::new(),
        left_out: 0,
    })
}

fn with_changes(connection: &Connection, mut revision: Revision, max: usize) -> Result<Revision, StoreError> {
    // A row may be touched several times; the first one knows what stood there before the revision, the last one when it was left.
    let sql =
        "SELECT object, key, min(id), max(id) FROM change WHERE revision = ?1 GROUP BY object, key ORDER BY min(id)";
    let mut statement = connection.prepare_cached(sql).attempt("read the changes")?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let rows: Vec<(String, String, i64, i64)> =
        statement.query_map([revision.id], read).and_then(Iterator::collect).attempt("read the changes")?;
    revision.left_out = rows.len().saturating_sub(max);
    for (object, key, first, last) in rows.into_iter().take(max) {
        let sql = "SELECT before FROM change WHERE id = ?1";
        let before = connection.prepare_cached(sql).and_then(|mut sql| sql.query_row([first], |row| row.get(0)));
        let before = json(&object, before.attempt("read a change")?)?;
        let after = json(&object, after(connection, &object, &key, last)?)?;
        // Made and removed in one go, or a mere note.
        if before.is_some() || after.is_some() || object == "declared" {
            revision.changes.push(RowChange { object, key, before, after });
        }
    }
    Ok(revision)
}

/// The row as the change `id` left it: what the next change of it replaced, or what stands there now.
fn after(connection: &Connection, object: &str, key: &str, id: i64) -> Result<Option<String>, StoreError> {
    let sql = "SELECT before FROM change WHERE object = ?1 AND key = ?2 AND id > ?3 ORDER BY id LIMIT 1";
    let next = connection
        .prepare_cached(sql)
        .and_then(|mut sql| sql.query_row((object, key, id), |row| row.get::<_, Option<String>>(0)).optional());
    if let Some(replaced) = next.attempt("read a change")? {
        return Ok(replaced);
    }
    let Some((table, keys, others)) = TRACKED.iter().find(|(table, ..)| *table == object) else { return Ok(None) };
    let columns: Vec<String> = keys.iter().chain(*others).map(|column| format!("'{column}', {column}")).collect();
    let conditions: Vec<String> = keys.iter().enumerate().map(|(at, key)| format!("{key} = ?{}", at + 1)).collect();
    let sql = format!("SELECT json_object({}) FROM {table} WHERE {}", columns.join(", "), conditions.join(" AND "));
    let found = connection.prepare_cached(&sql).and_then(|mut sql| {
        sql.query_row(rusqlite::params_from_iter(key.splitn(keys.len(), ' ')), |row| row.get(0)).optional()
    });
    found.attempt("read a row")
}

fn json(object: &str, text: Option<String>) -> Result<Option<Value>, StoreError> {
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        what: format!("a row of {object} in the history"),
        reason: error.to_string(),
    };
    text.map(|text| serde_json::from_str(&text).map_err(damaged)).transpose()
}

/// What a databag said before a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct BagBefore {
    /// The revision, without its changes.
    pub revision: Revision,
    /// The databag before it; none if there was none.
    pub content: Option<Databag>,
}

/// The revisions that wrote one databag, newest first, as far as they are kept.
pub(super) fn of_bag(
    connection: &Connection,
    relation: u64,
    role: Role,
    owner: &str,
) -> Result<Vec<BagBefore>, StoreError> {
    let sql =
        "SELECT revision.id, at_ms, author, description, before FROM change JOIN revision ON revision.id = revision
               WHERE object = 'databag' AND key = ?1 ORDER BY change.id DESC";
    let mut statement = connection.prepare_cached(sql).attempt("read the history of a databag")?;
    let read = |row: &Row<'_>| Ok((revision(row)?, row.get::<_, Option<String>>(4)?));
    let key = format!("{relation} {} {owner}", role.as_str());
    let found: Vec<(Revision, Option<String>)> =
        statement.query_map([key], read).and_then(Iterator::collect).attempt("read the history of a databag")?;
    let content = |row: &Value| row["content"].as_str().and_then(|content| serde_json::from_str(content).ok());
    let before = |(revision, before): (Revision, Option<String>)| {
        let content = json("databag", before)?.map(|row| content(&row).unwrap_or_default());
        Ok(BagBefore { revision, content })
    };
    found.into_iter().map(before).collect()
}
