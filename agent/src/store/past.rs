//! The world as it was: every row is put back to what stood there, the world is read, and all of that is undone again.

use std::ops::RangeInclusive;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params_from_iter};
use serde_json::Value;

use super::schema::TRACKED;
use super::{Attempt, StoreError, World, world};

/// The revisions whose world is known: from the one before the oldest that is kept to the newest.
pub(super) fn reach(connection: &Connection) -> Result<RangeInclusive<u64>, StoreError> {
    let sql = "SELECT coalesce(min(id) - 1, 0), coalesce(max(id), 0) FROM revision";
    let found = connection.query_row(sql, [], |row| Ok(row.get(0)?..=row.get(1)?));
    found.attempt("read how far the history reaches")
}

/// Everything as it was right after `revision`, inside an open transaction, which is afterwards as it was before.
///
/// Bookkeeping without a history, such as what was seen and what files declare, is as it is now.
pub(super) fn world_at(connection: &Connection, revision: u64) -> Result<World, StoreError> {
    let run = |sql: &str| connection.execute_batch(sql).attempt("look back");
    // Rows come back in any order, so their references hold only in the end.
    run("SAVEPOINT past; PRAGMA defer_foreign_keys = ON")?;
    let read = put_back(connection, revision).and_then(|()| world::read(connection));
    run("ROLLBACK TO past; RELEASE past; PRAGMA defer_foreign_keys = OFF")?;
    Ok(World { revision, ..read? })
}

/// Puts back all rows that were touched after `revision`: the first change since then knows what stood there.
fn put_back(connection: &Connection, revision: u64) -> Result<(), StoreError> {
    let sql = "SELECT object, key, before FROM change
               WHERE id IN (SELECT min(id) FROM change WHERE revision > ?1 GROUP BY object, key)";
    let mut statement = connection.prepare(sql).attempt("read the changes")?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, _>(2)?));
    let touched: Vec<(String, String, Option<String>)> =
        statement.query_map([revision], read).and_then(Iterator::collect).attempt("read the changes")?;
    for (object, key, before) in touched {
        // Other notes in the history, such as that a file declares something, have no rows.
        let Some((table, keys, others)) = TRACKED.iter().find(|(table, ..)| *table == object) else { continue };
        match before {
            None => remove(connection, table, keys, &key)?,
            Some(before) => replace(connection, table, &[*keys, *others].concat(), &before)?,
        }
    }
    Ok(())
}

fn remove(connection: &Connection, table: &str, keys: &[&str], key: &str) -> Result<(), StoreError> {
    // Only the last part of a key may hold blanks.
    let parts = key.splitn(keys.len(), ' ');
    let conditions: Vec<String> = keys.iter().enumerate().map(|(at, key)| format!("{key} = ?{}", at + 1)).collect();
    let sql = format!("DELETE FROM {table} WHERE {}", conditions.join(" AND "));
    let mut statement = connection.prepare_cached(&sql).attempt("take back a row")?;
    statement.execute(params_from_iter(parts)).attempt("take back a row")?;
    Ok(())
}

fn replace(connection: &Connection, table: &str, columns: &[&str], before: &str) -> Result<(), StoreError> {
    let damaged = |reason: String| StoreError::Damaged { what: format!("a row of {table} in the history"), reason };
    let row: Value = serde_json::from_str(before).map_err(|error| damaged(error.to_string()))?;
    let value = |column: &str| match row.get(column) {
        // The column is younger than the change.
        None => Ok(None),
        Some(Value::Null) => Ok(Some((column.to_owned(), Sql::Null))),
        Some(Value::String(text)) => Ok(Some((column.to_owned(), Sql::Text(text.clone())))),
        Some(Value::Number(number)) if number.is_i64() => {
            Ok(Some((column.to_owned(), Sql::Integer(number.as_i64().unwrap_or_default()))))
        }
        Some(other) => Err(damaged(format!("{column} is {other}"))),
    };
    let pairs = columns.iter().map(|column| value(column)).collect::<Result<Vec<_>, _>>()?;
    let (columns, values): (Vec<String>, Vec<Sql>) = pairs.into_iter().flatten().unzip();
    let places: Vec<String> = (1..=values.len()).map(|at| format!("?{at}")).collect();
    let sql = format!("INSERT OR REPLACE INTO {table} ({}) VALUES ({})", columns.join(", "), places.join(", "));
    let mut statement = connection.prepare_cached(&sql).attempt("put back a row")?;
    statement.execute(params_from_iter(values)).attempt("put back a row")?;
    Ok(())
}
