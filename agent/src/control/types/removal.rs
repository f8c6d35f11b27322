//! Requests and answers about units and applications that go.

use serde::{Deserialize, Serialize};

use super::RelationStatus;

/// `relatum remove-unit`. All of them go, or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveUnits {
    /// Such as `nodes/0`.
    pub units: Vec<String>,
}

/// What `remove-unit` did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemovedUnits {
    /// In the order asked for.
    pub units: Vec<RemovedUnit>,
}

/// A unit that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedUnit {
    /// Such as `nodes/0`.
    pub name: String,
    /// The relations it left, by id; they stay.
    pub relations: Vec<u64>,
}

/// `relatum remove-application`. All of them go, or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveApplications {
    /// Such as `nodes`.
    pub applications: Vec<String>,
}

/// What `remove-application` did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemovedApplications {
    /// In the order asked for.
    pub applications: Vec<RemovedApplication>,
}

/// An application that is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemovedApplication {
    /// Such as `nodes`.
    pub name: String,
    /// Its units, in natural order.
    pub units: Vec<String>,
    /// Its relations, as they were.
    pub relations: Vec<RelationStatus>,
}
