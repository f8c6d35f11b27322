//! Requests and answers about offers.

use serde::{Deserialize, Serialize};

use super::RelationStatus;

/// `relatum offer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeOffer {
    /// `prometheus:ENDPOINT` or `ENDPOINT`, one that we provide.
    pub endpoint: String,
}

/// What `relatum offer` made.
#[derive(Clone, Serialize, Deserialize)]
pub struct MadeOffer {
    /// Its id, the last part of the URL.
    pub id: String,
    /// `prometheus:ENDPOINT`.
    pub endpoint: String,
    /// Where other agents relate to it.
    pub url: String,
    /// What they need besides. It is nowhere else.
    pub secret: String,
}

impl std::fmt::Debug for MadeOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeOffer").field("id", &self.id).field("url", &self.url).finish_non_exhaustive()
    }
}

/// `relatum offers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfferList {
    /// By id.
    pub offers: Vec<OfferStatus>,
}

/// One offer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfferStatus {
    /// Its id.
    pub id: String,
    /// `prometheus:ENDPOINT`.
    pub endpoint: String,
    /// Where other agents relate to it.
    pub url: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: i64,
    /// Who has.
    pub connections: Vec<ConnectionStatus>,
}

/// One agent that has related to an offer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// The relation here, `endpoint:id`.
    pub relation: String,
    /// What the other side is called here.
    pub application: String,
    /// Its model's name.
    pub model: String,
    /// Whether it is there now.
    pub connected: bool,
    /// Since when it is or is not, milliseconds since 1970; none when it was not heard of since our start.
    pub since_ms: Option<i64>,
    /// The revision of its databags that is here.
    pub revision: String,
    /// Whether it has our newest databags.
    pub up_to_date: bool,
    /// How far its samples are behind, as it said last.
    pub lag_ms: Option<u64>,
}

/// `relatum remove-offer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveOffer {
    /// Its id or its URL.
    pub offer: String,
}

/// What `relatum remove-offer` did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemovedOffer {
    /// The offer's id.
    pub id: String,
    /// `prometheus:ENDPOINT`.
    pub endpoint: String,
    /// The relations that ended with it, as they were.
    pub relations: Vec<RelationStatus>,
}
