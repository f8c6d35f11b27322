//! Requests and answers of the control API.

mod copy;
mod explain;
mod history;
mod lint;
mod log;
mod offers;
mod problem;
mod rehearsal;
mod removal;
mod unit;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use copy::{MadeCopy, MakeCopy};
pub use explain::{BagPlace, ExplainedLabel, ExplainedStep, Explanation, Explanations, RenderedPlace, Since};
pub use history::{History, HistoryChange, HistoryChangeKind, HistoryEntry, RevisionDifference, RollBack, RolledBack};
pub use lint::{LintFinding, LintReport, LintSelector, LintedRule};
pub use log::{LogLevel, LogLine};
pub use offers::{ConnectionStatus, MadeOffer, MakeOffer, OfferList, OfferStatus, RemoveOffer, RemovedOffer};
pub use problem::Problem;
pub use rehearsal::{Difference, FileDifference, Rehearsal, Rehearse};
pub use removal::{
    RemoveApplications, RemoveUnits, RemovedApplication, RemovedApplications, RemovedUnit, RemovedUnits,
};
pub use unit::{RunAction, ScopedData, ShownUnit, ShownUnits, Task, UnitRelation};

/// A file the caller has read, so that the caller's permissions count and not the agent's.
#[derive(Clone, Serialize, Deserialize)]
pub struct Document {
    /// The name as the caller knows it; appears in messages.
    pub name: String,
    /// The content.
    pub text: String,
}

// The text may be a password.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("name", &self.name).field("bytes", &self.text.len()).finish()
    }
}

/// `relatum relate`: the arguments as typed, and the options. The agent decides which form it is.
///
/// A first argument that names an endpoint of `prometheus` makes it the address form, or, with a databag, the databag
/// form. Otherwise there are two arguments of the form `APP[:ENDPOINT]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relate {
    /// What stands after `relate`, options left out.
    pub arguments: Vec<String>,
    /// `--name`: the application at the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `--label`: labels for every series of the application.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--rules`: rule files. An empty list says nothing about rules.
    #[serde(default)]
    pub rules: Vec<Document>,
    /// `--scheme`: `http` or `https`, for addresses that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// `--ca-file`: PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Document>,
    /// `--basic-auth-file`: one line, `user:password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<Document>,
    /// `--bearer-file`: one line, the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Document>,
    /// `--interval`: how often to scrape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// `--databag`: the other side's bags as YAML or JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databag: Option<Document>,
}

/// What `relate` did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Related {
    /// The relation, as it is after the pass.
    pub relation: RelationStatus,
    /// The application at the other side.
    pub application: String,
    /// Units that were not there before, in natural order; empty when nothing changed.
    pub added: Vec<String>,
    /// False when everything asked for was there already.
    pub changed: bool,
    /// What is wrong with this relation.
    pub problems: Vec<Problem>,
}

/// `relatum remove-relation`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveRelation {
    /// `ID`, `endpoint:ID`, or two of `APP[:ENDPOINT]` as one text with a blank or as two.
    pub arguments: Vec<String>,
}

/// What `remove-relation` did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Removed {
    /// The relation as it was.
    pub relation: RelationStatus,
}

/// A relation with its databags; see [`crate::control`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RelationDetail {
    /// The row of `status`.
    pub relation: RelationStatus,
    /// The endpoint of `prometheus`.
    pub endpoint: String,
    /// The endpoint of the other side.
    pub related_endpoint: String,
    /// The application at the other side.
    pub related_application: String,
    /// What the other application wrote.
    pub application_data: BTreeMap<String, String>,
    /// What the other units wrote, in natural order.
    pub related_units: Vec<UnitDetail>,
    /// What our application wrote.
    pub local_application_data: BTreeMap<String, String>,
    /// What our unit wrote.
    pub local_unit: UnitDetail,
    /// What is wrong with this relation.
    pub problems: Vec<Problem>,
    /// By owner, the keys whose values hold more than a text, laid open: JSON inside texts, packed dashboards.
    #[serde(default)]
    pub decoded: BTreeMap<String, serde_json::Value>,
}

/// One unit's side of a relation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnitDetail {
    /// Such as `mysql/0`.
    pub name: String,
    /// What it wrote.
    pub data: BTreeMap<String, String>,
}

/// Where a config value comes from; names as in `juju config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Nobody set it.
    Default,
    /// `relatum config`.
    User,
    /// `options:` in `relatum.yaml`.
    File,
    /// There is no value.
    Unset,
}

/// One config option of the application `prometheus`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigOption {
    /// Its value; null when it is unset.
    pub value: serde_json::Value,
    /// Its value when nobody sets it; null when it has none.
    pub default: serde_json::Value,
    /// `string`, `boolean`, `int`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it does.
    pub description: String,
    /// Who set it.
    pub source: Source,
}

/// All options of an application.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Configuration {
    /// `prometheus`.
    pub application: String,
    /// Name to option.
    pub settings: BTreeMap<String, ConfigOption>,
}

/// `relatum config prometheus key=value… --reset k`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeConfiguration {
    /// Must be `prometheus`.
    pub application: String,
    /// Values as typed.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Options to put back to their default.
    #[serde(default)]
    pub reset: Vec<String>,
}

/// The files of `rendered/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rendered {
    /// The absolute path of the directory.
    pub directory: String,
    /// Sorted by path.
    pub files: Vec<RenderedFile>,
}

/// One file of `rendered/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenderedFile {
    /// Relative to the directory.
    pub path: String,
    /// The content; secrets read `<secret>` unless asked for.
    pub text: String,
}

/// What Grafana needs to find us.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Datasource {
    /// A provisioning file.
    pub yaml: String,
}

/// The agent is about to stop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stopping {
    /// Its process id, for callers that wait for its end.
    pub process_id: u32,
}

/// All there is to know at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The one model this agent holds.
    pub model: ModelStatus,
    /// Applications by name, `prometheus` included.
    pub applications: Vec<ApplicationStatus>,
    /// Units in natural order.
    pub units: Vec<UnitStatus>,
    /// By provider, then requirer.
    pub relations: Vec<RelationStatus>,
    /// What is wrong, by relation.
    pub problems: Vec<Problem>,
    /// What a person should know though nothing is wrong: an open listener for instance.
    pub warnings: Vec<String>,
    /// `host:port` the HTTP server listens on, as bound.
    pub listen: String,
    /// Where clients on this host reach the HTTP API; for `targets`, `rules`, `alerts`, `query`.
    pub api_url: String,
    /// The authority to trust there, PEM; empty over plain HTTP and where the system's authorities will do.
    #[serde(default)]
    pub api_authority: String,
    /// Where others reach it: what we publish. The ingress' URL if there is one.
    pub public_url: String,
    /// When the server began to run what it runs, milliseconds since 1970; none if it runs nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reloaded_at_ms: Option<i64>,
    /// How long that took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_seconds: Option<f64>,
    /// Whether what is related is not in effect yet, or not wholly.
    #[serde(default)]
    pub pending: bool,
    /// The revision of the state store.
    pub revision: u64,
    /// The directory of the rendered files.
    pub rendered: String,
    /// Milliseconds since 1970, when this was put together.
    pub at_ms: i64,
    /// The agent's process id.
    pub process_id: u32,
}

/// The model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// Its version 4 uuid.
    pub uuid: String,
    /// The version of relatum.
    pub version: String,
}

/// A status and what explains it; words as in juju (`active`, `blocked`, `waiting`, …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusInfo {
    /// The word.
    pub current: String,
    /// The explanation; often empty.
    #[serde(default)]
    pub message: String,
}

/// One application.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApplicationStatus {
    /// Its name.
    pub name: String,
    /// What it runs: a version for our own, empty for others.
    pub version: String,
    /// The worst of its units' and relations' states.
    pub status: StatusInfo,
    /// How many units.
    pub scale: usize,
    /// What manages it: `relatum` for our own, `relatum-static` for addresses, the charm's name if its databag says so.
    pub charm: String,
}

/// One unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Such as `targets/0`.
    pub name: String,
    /// Its application.
    pub application: String,
    /// Whether it leads: shown as `*`.
    pub leader: bool,
    /// State of what it runs; `unknown` for units that are not ours.
    pub workload: StatusInfo,
    /// Its address, `host:port` where known; else empty.
    pub address: String,
    /// Open ports such as `9090/tcp`.
    pub ports: Vec<String>,
}

/// One relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationStatus {
    /// Its number, never used again.
    pub id: u64,
    /// The relation as juju writes it, `endpoint:id`, with our endpoint.
    pub key: String,
    /// `application:endpoint`.
    pub provider: String,
    /// `application:endpoint`.
    pub requirer: String,
    /// Such as `prometheus_scrape`.
    pub interface: String,
    /// `regular` or `peer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `joined`, or `error` when part of it is left out.
    pub status: StatusInfo,
    /// Targets that are scraped because of it.
    #[serde(default)]
    pub targets: usize,
    /// Rules that are evaluated because of it.
    #[serde(default)]
    pub rules: usize,
}

/// Whose fault it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The command makes no sense as typed: exit 2, HTTP 400.
    Usage,
    /// It makes sense but cannot be done: exit 1, HTTP 409 or 404.
    Failed,
    /// Our fault: exit 1, HTTP 500.
    Internal,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct Failure {
    /// Decides the exit code.
    pub class: FailureClass,
    /// One line.
    pub message: String,
    /// What to do, if we know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// The command makes no sense as typed.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure { class: FailureClass::Usage, message: message.into(), hint: None }
    }

    /// It makes sense but cannot be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Failure { class: FailureClass::Failed, message: message.into(), hint: None }
    }

    /// Our fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Failure { class: FailureClass::Internal, message: message.into(), hint: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// The exit code of a command that ends with it.
    pub fn exit_code(&self) -> u8 {
        if self.class == FailureClass::Usage { 2 } else { 1 }
    }
}
