//! Offers between agents: what we offer, who has related to it, and the offers of others that we have related to.
//!
//! A connection or an upstream whose relation is gone is a message still to be delivered: the other agent does not know yet.

use relatum_config::Secret;
use rusqlite::{Connection as Sqlite, Row};

use super::{Attempt, Change, StoreError, world};

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// Ours, by id.
    pub made: Vec<Offer>,
    /// Relations that others made to ours, by relation.
    pub connections: Vec<Connection>,
    /// Relations of ours to those of others, by relation.
    pub upstreams: Vec<Upstream>,
}

/// One of our endpoints, for other agents to relate to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What names it in its URL.
    pub id: String,
    /// The endpoint.
    pub endpoint: String,
    /// SHA-256 of the secret, in hexadecimal digits; the secret itself is nowhere.
    pub secret_sha256: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: i64,
    /// It is no more; kept so that those who relied on it can be told.
    pub removed: bool,
}

/// A relation that another agent made to one of our offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The relation here; it may be gone.
    pub relation: u64,
    /// The offer.
    pub offer: String,
    /// What the other agent calls the relation: a uuid.
    pub consumer: String,
    /// The other agent's model.
    pub model: String,
    /// Which revision of the other side's bags is here.
    pub revision: String,
}

/// A relation whose other side is an offer of another agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The relation here; it may be gone.
    pub relation: u64,
    /// What we call the relation towards the other agent: a uuid.
    pub consumer: String,
    /// The offer's URL, without a slash at the end.
    pub url: String,
    /// The offer's secret.
    pub secret: Secret,
    /// PEM of the authority to trust; none is the system's.
    pub ca: Option<String>,
    /// Which revision of the other side's bags is here; empty before the first.
    pub revision: String,
}

impl Offers {
    /// Our offer `id`, if it stands.
    pub fn standing(&self, id: &str) -> Option<&Offer> {
        self.made.iter().find(|offer| offer.id == id && !offer.removed)
    }

    /// The other agent at the end of `relation`, whose offer it is.
    pub fn upstream(&self, relation: u64) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.relation == relation)
    }

    /// The other agent at the end of `relation`, who uses an offer of ours.
    pub fn connection(&self, relation: u64) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.relation == relation)
    }
}

impl Change<'_> {
    /// Makes or replaces an offer.
    pub fn put_offer(&self, offer: &Offer) -> Result<(), StoreError> {
        let sql = "INSERT INTO offer (id, endpoint, secret_sha256, created_ms, removed) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT DO UPDATE SET removed = excluded.removed WHERE removed <> excluded.removed";
        let row = (&offer.id, &offer.endpoint, &offer.secret_sha256, offer.created_ms, offer.removed);
        self.execute("write an offer", sql, row)
    }

    /// Forgets an offer that nobody relies on any more.
    pub fn forget_offer(&self, id: &str) -> Result<(), StoreError> {
        self.execute("forget an offer", "DELETE FROM offer WHERE id = ?1", [id])
    }

    /// Writes down that another agent is at the end of a relation.
    pub fn put_connection(&self, connection: &Connection) -> Result<(), StoreError> {
        let sql = "INSERT INTO connection (relation, offer, consumer, model, revision) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT DO UPDATE SET model = excluded.model, revision = excluded.revision
                   WHERE (model, revision) <> (excluded.model, excluded.revision)";
        let Connection { relation, offer, consumer, model, revision } = connection;
        self.execute("write a connection", sql, (relation, offer, consumer, model, revision))
    }

    /// Forgets another agent that knows that the relation is gone.
    pub fn forget_connection(&self, relation: u64) -> Result<(), StoreError> {
        self.execute("forget a connection", "DELETE FROM connection WHERE relation = ?1", [relation])
    }

    /// Writes down that the other side of a relation is an offer elsewhere.
    pub fn put_upstream(&self, upstream: &Upstream) -> Result<(), StoreError> {
        let sql = "INSERT INTO upstream (relation, consumer, url, secret, ca, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT DO UPDATE SET url = excluded.url, secret = excluded.secret, ca = excluded.ca,
                       revision = excluded.revision
                   WHERE url <> excluded.url OR secret <> excluded.secret OR ca IS NOT excluded.ca
                       OR revision <> excluded.revision";
        let Upstream { relation, consumer, url, secret, ca, revision } = upstream;
        self.execute("write an upstream", sql, (relation, consumer, url, secret.expose(), ca, revision))
    }

    /// Forgets another agent that knows that the relation is gone.
    pub fn forget_upstream(&self, relation: u64) -> Result<(), StoreError> {
        self.execute("forget an upstream", "DELETE FROM upstream WHERE relation = ?1", [relation])
    }
}

pub(super) fn read(connection: &Sqlite) -> Result<Offers, StoreError> {
    let sql = "SELECT id, endpoint, secret_sha256, created_ms, removed FROM offer ORDER BY id";
    let offer = |row: &Row<'_>| {
        Ok(Offer {
            id: row.get(0)?,
            endpoint: row.get(1)?,
            secret_sha256: row.get(2)?,
            created_ms: row.get(3)?,
            removed: row.get(4)?,
        })
    };
    let made = world::rows(connection, sql, offer).attempt("read the offers")?;
    let sql = "SELECT relation, offer, consumer, model, revision FROM connection ORDER BY relation";
    let one = |row: &Row<'_>| {
        Ok(Connection {
            relation: row.get(0)?,
            offer: row.get(1)?,
            consumer: row.get(2)?,
            model: row.get(3)?,
            revision: row.get(4)?,
        })
    };
    let connections = world::rows(connection, sql, one).attempt("read the connections")?;
    let sql = "SELECT relation, consumer, url, secret, ca, revision FROM upstream ORDER BY relation";
    let upstream = |row: &Row<'_>| {
        Ok(Upstream {
            relation: row.get(0)?,
            consumer: row.get(1)?,
            url: row.get(2)?,
            secret: Secret::new(row.get::<_, String>(3)?),
            ca: row.get(4)?,
            revision: row.get(5)?,
        })
    };
    let upstreams = world::rows(connection, sql, upstream).attempt("read the upstreams")?;
    Ok(Offers { made, connections, upstreams })
}
