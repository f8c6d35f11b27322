//! The state store: applications, units, relations, databags, config and the history of changes, in one SQLite file.
//!
//! A mutation is one transaction and one revision with a description; one that changes nothing leaves no trace. Triggers write
//! down what every revision replaced, so the history cannot forget anything, and it is bounded by count and by size. The
//! file is plain SQLite in WAL mode: an operator may look into it with `sqlite3` while the agent runs. What the bags mean is
//! not known here.

mod change;
mod journal;
mod offers;
mod past;
mod relations;
mod schema;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior};
use thiserror::Error;

pub use change::Change;
pub use journal::{BagBefore, ChangeKind, Revision, RowChange};
pub use offers::{Connection as OfferConnection, Offer, Offers, Upstream};
pub use relations::Relations;
pub use world::{Application, Bag, Declaration, Endpoint, Model, Origin, Role, Seen, SeenBags, StoredRelation, World};

/// Milliseconds since 1970, from whoever keeps the time.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The file in a data directory.
const FILE: &str = "state.db";

/// The author of what the agent does by itself.
const AGENT: &str = "agent";

/// More than there are statements: none is translated twice.
const STATEMENTS_KEPT: usize = 64;

/// How many revisions of history are kept.
const REVISIONS_MAX: u64 = 1000;

/// How much text the history may hold; the newest revision is kept however large it is.
const HISTORY_BYTES_MAX: u64 = 64 << 20;

/// The open state of one data directory. Only one process holds it at a time.
pub struct Store {
    connection: Connection,
    /// What was read last, so that only what changed since is read again.
    known: RefCell<Option<World>>,
    clock: Clock,
    // Held until the store is dropped; the kernel lets go of it when the process dies.
    _lock: File,
}

/// Why the state cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another agent runs there.
    #[error("cannot use data directory {}: another agent is running in it", .0.display())]
    InUse(PathBuf),
    /// The directory or its lock cannot be made.
    #[error("cannot use data directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is from the future.
    #[error("cannot open {}: it was written by a newer relatum (schema {found}, this one knows {known})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// SQLite cannot open it.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
}

/// Why the state cannot be read or changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// SQLite says so.
    #[error("cannot {attempt} in the state store")]
    Sqlite {
        /// What was attempted.
        attempt: &'static str,
        /// The cause.
        source: rusqlite::Error,
    },
    /// A copy cannot be made.
    #[error("cannot write the copy {}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Somebody edited the file by hand.
    #[error("cannot understand {what} in the state store: {reason}")]
    Damaged {
        /// The row.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Adds to an error of SQLite what was attempted.
trait Attempt<T> {
    fn attempt(self, attempt: &'static str) -> Result<T, StoreError>;
}

impl<T> Attempt<T> for rusqlite::Result<T> {
    fn attempt(self, attempt: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Sqlite { attempt, source })
    }
}

impl Store {
    /// Opens or makes the state in `data_dir`, which is made as well, readable for its owner only.
    pub fn open(data_dir: &Path, clock: Clock) -> Result<Store, OpenError> {
        let lock = lock(data_dir)?;
        let path = data_dir.join(FILE);
        // SQLite gives its journal the mode of the file; bags hold passwords.
        private(&path).map_err(|source| OpenError::Directory { path: data_dir.to_owned(), source })?;
        let open = || -> rusqlite::Result<(Connection, i64)> {
            let mut connection = Connection::open(&path)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // In KiB, below zero. What is read again and again is kept as values; the system keeps the pages of the file.
            connection.pragma_update(None, "cache_size", -256)?;
            // Pages that a change touches again and again are written once, when it is whole, however many they are.
            connection.pragma_update(None, "cache_spill", false)?;
            // What a part of a change would be taken back with need not survive anything.
            connection.pragma_update(None, "temp_store", "memory")?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
            let found = schema::migrate(&mut connection)?;
            Ok((connection, found))
        };
        let (connection, found) = open().map_err(|source| OpenError::Open { path: path.clone(), source })?;
        if found > schema::VERSION {
            return Err(OpenError::Newer { path, found, known: schema::VERSION });
        }
        Ok(Store { connection, known: RefCell::default(), clock, _lock: lock })
    }

    /// Runs `change` as one transaction. It becomes one revision, described for people by `description`, or none when it
    /// changed nothing; the number is of the newest revision afterwards. After an error everything is as before.
    ///
    /// The agent itself is the author.
    pub fn mutate<T, E: From<StoreError>>(
        &mut self,
        description: &str,
        change: impl FnOnce(&Change<'_>) -> Result<T, E>,
    ) -> Result<(u64, T), E> {
        self.mutate_by(AGENT, description, change)
    }

    /// The same for somebody: `user NAME`, `file NAME` or `model NAME`.
    pub fn mutate_by<T, E: From<StoreError>>(
        &mut self,
        author: &str,
        description: &str,
        change: impl FnOnce(&Change<'_>) -> Result<T, E>,
    ) -> Result<(u64, T), E> {
        let at_ms = (self.clock)();
        let known = self.known.get_mut().clone();
        // Immediate: a reader with sqlite3 must not make us fail half-way.
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).attempt("begin a change")?;
        let change_set = Change::begin(&transaction, author, description, at_ms, known)?;
        let value = change(&change_set)?;
        if change_set.is_empty()? {
            drop(transaction);
            return Ok((self.revision()?, value));
        }
        let revision = change_set.revision();
        count_bytes(&transaction, revision).attempt("measure a change")?;
        prune(&transaction).attempt("shorten the history")?;
        transaction.commit().attempt("commit a change")?;
        Ok((revision, value))
    }

    /// Everything as it would be after `change`, and what `change` did to come there. It leaves no trace.
    pub fn rehearse<E: From<StoreError>>(
        &mut self,
        change: impl FnOnce(&Change<'_>) -> Result<(), E>,
    ) -> Result<(World, Vec<RowChange>), E> {
        let at_ms = (self.clock)();
        let known = self.known.get_mut().clone();
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).attempt("begin a change")?;
        let change_set = Change::begin(&transaction, AGENT, "", at_ms, known)?;
        change(&change_set)?;
        let made = journal::in_full(&transaction, change_set.revision())?;
        // Dropping the transaction takes everything back.
        Ok((change_set.world()?, made.map_or_else(Vec::new, |made| made.changes)))
    }

    /// Copies everything into the new file `state.db` in `dir`; returns its revision.
    pub fn copy_to(&self, dir: &Path) -> Result<u64, StoreError> {
        let path = dir.join(FILE);
        // SQLite fills an empty file, which nobody else may read.
        let made = private(&path).map_err(|source| StoreError::Copy { path: path.clone(), source })?;
        let Some(text) = path.to_str() else {
            return Err(StoreError::Copy { path, source: io::Error::other("its name is not UTF-8") });
        };
        self.connection.execute("VACUUM INTO ?1", [text]).attempt("write a copy")?;
        made.sync_all().map_err(|source| StoreError::Copy { path: path.clone(), source })?;
        self.revision()
    }

    /// Everything as it was right after `revision`; `None` if the history does not reach there.
    pub fn world_at(&mut self, revision: u64) -> Result<Option<World>, StoreError> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).attempt("begin to look back")?;
        if !past::reach(&transaction)?.contains(&revision) {
            return Ok(None);
        }
        past::world_at(&transaction, revision).map(Some)
    }

    /// The revisions that [`Store::world_at`] knows.
    pub fn reach(&self) -> Result<RangeInclusive<u64>, StoreError> {
        past::reach(&self.connection)
    }

    /// Everything as it is now.
    pub fn world(&self) -> Result<World, StoreError> {
        // One read transaction, so that the parts belong together.
        let transaction = self.connection.unchecked_transaction().attempt("begin to read")?;
        let mut known = self.known.borrow_mut();
        // Taken, so that nothing half-read is left if this fails.
        let world = world::newest(&transaction, known.take())?;
        Ok(known.insert(world).clone())
    }

    /// The newest revision; 0 before the first.
    pub fn revision(&self) -> Result<u64, StoreError> {
        let newest = self.connection.query_row("SELECT coalesce(max(id), 0) FROM revision", [], |row| row.get(0));
        newest.attempt("read the newest revision")
    }

    /// The newest `count` revisions, newest first.
    pub fn history(&self, count: usize) -> Result<Vec<Revision>, StoreError> {
        journal::newest(&self.connection, count)
    }

    /// What one databag said before each revision that wrote it, newest first, as far as the history is kept.
    pub fn bag_history(&self, relation: u64, role: Role, owner: &str) -> Result<Vec<BagBefore>, StoreError> {
        journal::of_bag(&self.connection, relation, role, owner)
    }

    /// One revision with all that it changed; `None` if it is not kept.
    pub fn revision_in_full(&self, id: u64) -> Result<Option<Revision>, StoreError> {
        journal::in_full(&self.connection, id)
    }

    /// The files that declare just what is declared, each with the hash of what it says; none if that is not known.
    pub fn declaring_files(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let files = world::rows(&self.connection, "SELECT file, sha256 FROM declared_file", read);
        Ok(files.attempt("read which files declare relations")?.into_iter().collect())
    }

    /// Remembers what [`Store::declaring_files`] gives until something else is declared. This is bookkeeping, not a revision.
    pub fn remember_declaring(&mut self, files: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let write = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM declared_file", [])?;
            for row in files {
                let sql = "INSERT INTO declared_file (file, sha256) VALUES (?1, ?2)";
                transaction.prepare_cached(sql)?.execute(row)?;
            }
            transaction.commit()
        };
        write(&mut self.connection).attempt("remember which files declare relations")
    }

    /// Remembers which bags of the relations in `seen` were seen last; no bags for one that is gone. This is bookkeeping, not a
    /// revision.
    pub fn mark_seen(&mut self, seen: &Seen) -> Result<(), StoreError> {
        let write = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (relation, bags) in seen {
                transaction.prepare_cached("DELETE FROM bag_seen WHERE relation = ?1")?.execute([relation])?;
                for ((role, owner), version) in &**bags {
                    let sql = "INSERT INTO bag_seen (relation, role, owner, version) VALUES (?1, ?2, ?3, ?4)";
                    transaction.prepare_cached(sql)?.execute((relation, role.as_str(), owner, version))?;
                }
            }
            transaction.commit()
        };
        write(&mut self.connection).attempt("remember the bag versions seen")?;
        if let Some(known) = self.known.get_mut() {
            for (relation, bags) in seen {
                match bags.is_empty() {
                    true => drop(known.seen.remove(relation)),
                    false => drop(known.seen.insert(*relation, Arc::clone(bags))),
                }
            }
        }
        Ok(())
    }
}

/// Estimates what the mutation called `revision` takes in the history.
fn count_bytes(connection: &Connection, revision: u64) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE revision SET bytes = (SELECT sum(100 + coalesce(length(before), 0)) FROM change WHERE revision = ?1)
         WHERE id = ?1",
        [revision],
    )?;
    Ok(())
}

/// Forgets the oldest revisions beyond the bounds.
fn prune(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM revision WHERE id <= (SELECT max(id) FROM revision) - ?1
         OR id <= (SELECT max(id) FROM (
             SELECT id, sum(bytes) OVER (ORDER BY id DESC) AS newer FROM revision
         ) WHERE newer > ?2 AND id < (SELECT max(id) FROM revision))",
        (REVISIONS_MAX, HISTORY_BYTES_MAX),
    )?;
    Ok(())
}

fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory { path: data_dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o750).create(data_dir).map_err(failed)?;
    let path = data_dir.join("relatum.lock");
    let file = private(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests;
