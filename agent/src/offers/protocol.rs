//! What two agents say to each other about one relation, version 1; see `docs/formats/offers.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use relatum_relations::bag::Databag;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The version that is spoken here.
pub const VERSION: u32 = 1;

/// A request or an answer is no longer than this: databags of a large site, and then some.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// How long a question waits for news at most.
pub const WAIT_MAX: Duration = Duration::from_secs(25);

/// More units than any application has.
pub const UNITS_MAX: usize = 10_000;

/// A name or id in a message is no longer than this.
pub const NAME_BYTES_MAX: usize = 255;

/// One side's databags.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bags {
    /// The application's.
    pub application: Databag,
    /// The units', by name.
    pub units: BTreeMap<String, Databag>,
}

// Values may hold passwords.
impl std::fmt::Debug for Bags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bags").field("units", &self.units.keys()).finish_non_exhaustive()
    }
}

impl Bags {
    /// Names this content: `number`, which grows with changes, for people; the digest so that a side whose state was put
    /// back to an earlier one is never taken for unchanged.
    pub fn revision(&self, number: u64) -> String {
        let json = serde_json::to_vec(self).expect("maps of strings are JSON");
        let digest: String = Sha256::digest(&json).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{number}-{digest}")
    }
}

/// What the consumer asks: `PUT URL/v1/relations/UUID`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    /// The version it speaks.
    pub relatum: u32,
    /// Its tier: the uuid of its model.
    pub tier: String,
    /// Its model's name.
    pub model: String,
    /// What both endpoints speak.
    pub interface: String,
    /// Its endpoint.
    pub endpoint: String,
    /// The revision of its bags.
    pub revision: String,
    /// Its bags; none when the other side has this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bags: Option<Bags>,
    /// The revision that it has of the other side's bags; empty for none.
    pub seen: String,
    /// How long it wants to wait for another one.
    pub wait_ms: u64,
    /// How far its samples are behind on their way, if it sends any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
}

/// What the provider answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The version it speaks.
    pub relatum: u32,
    /// Its tier: the uuid of its model.
    pub tier: String,
    /// Its model's name.
    pub model: String,
    /// The endpoint that is offered.
    pub endpoint: String,
    /// The revision that it has of the consumer's bags; not the one in the question when it lacks the bags.
    pub held: String,
    /// The revision of its bags.
    pub revision: String,
    /// Its bags; none when the consumer has seen this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bags: Option<Bags>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// 401: no offer has this id and secret.
    WrongSecret,
    /// 410: the relation, or the whole offer, was removed here; for good.
    Gone,
    /// 409: the offer is of another interface.
    WrongInterface,
    /// 400: the question makes no sense.
    BadRequest,
    /// 404: this version is not spoken here.
    UnknownVersion,
    /// 503: not now.
    NotReady,
}

impl Reason {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Reason::WrongSecret => 401,
            Reason::Gone => 410,
            Reason::WrongInterface => 409,
            Reason::BadRequest => 400,
            Reason::UnknownVersion => 404,
            Reason::NotReady => 503,
        }
    }
}

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct Refusal {
    /// The version that is spoken; tells the refusal of an agent from that of anything in between.
    pub relatum: u32,
    /// Why.
    pub error: Reason,
    /// One line for people.
    pub message: String,
}

impl Refusal {
    /// A refusal of ours.
    pub fn new(error: Reason, message: impl Into<String>) -> Self {
        Refusal { relatum: VERSION, error, message: message.into() }
    }
}

impl Question {
    /// Whether its parts are within their bounds.
    pub fn check(&self) -> Result<(), Refusal> {
        let bad = |message: String| Err(Refusal::new(Reason::BadRequest, message));
        let texts = [&self.tier, &self.model, &self.interface, &self.endpoint, &self.revision, &self.seen];
        if texts.iter().any(|text| text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control)) {
            return bad(format!("a name is longer than {NAME_BYTES_MAX} bytes or has control characters"));
        }
        if !self.endpoint.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return bad(format!("{:?} is not the name of an endpoint", self.endpoint));
        }
        if self.bags.as_ref().is_some_and(|bags| bags.units.len() > UNITS_MAX) {
            return bad(format!("there are more than {UNITS_MAX} units"));
        }
        Ok(())
    }

    /// How long to wait.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_names_a_content() {
        let one = Bags::default();
        let mut other = one.clone();
        other.application.insert("k".to_owned(), "v".to_owned());
        assert_eq!(one.revision(3), one.clone().revision(3));
        assert_ne!(one.revision(3), other.revision(3));
        assert!(one.revision(3).starts_with("3-"));
    }
}
