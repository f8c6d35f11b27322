//! The control API: HTTP and JSON on the unix socket of the data directory. These are its bytes; the CLI uses nothing else.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `POST /v1/relate` | [`Relate`] | [`Related`] |
//! | `POST /v1/remove-relation` | [`RemoveRelation`] | [`Removed`] |
//! | `POST /v1/remove-unit` | [`RemoveUnits`] | [`RemovedUnits`] |
//! | `POST /v1/remove-application` | [`RemoveApplications`] | [`RemovedApplications`] |
//! | `GET /v1/relations/WHICH` | | [`RelationDetail`]; WHICH is an id, `endpoint:id` or `a:x b:y`, percent-encoded |
//! | `GET /v1/units/APP/N?show_secrets=` | | [`ShownUnit`] |
//! | `POST /v1/actions` | [`RunAction`] | [`Task`] |
//! | `GET /v1/offers` | | [`OfferList`] |
//! | `POST /v1/offers` | [`MakeOffer`] | [`MadeOffer`] |
//! | `POST /v1/remove-offer` | [`RemoveOffer`] | [`RemovedOffer`] |
//! | `GET /v1/config` | | [`Configuration`] |
//! | `POST /v1/config` | [`ChangeConfiguration`] | [`Configuration`] |
//! | `GET /v1/render?show_secrets=` | | [`Rendered`] |
//! | `GET /v1/render/diff?show_secrets=` | | [`Rehearsal`]: files on disk against what would be rendered |
//! | `POST /v1/dry-run?show_secrets=` | [`Rehearse`] | [`Rehearsal`]; nothing is changed |
//! | `GET /v1/history?count=` | | [`History`] |
//! | `GET /v1/history/REVISION` | | [`HistoryEntry`], with all its changes |
//! | `GET /v1/diff?from=&to=&show_secrets=` | | [`RevisionDifference`]; without `to` up to now |
//! | `POST /v1/rollback` | [`RollBack`] | [`RolledBack`] |
//! | `GET /v1/explain?what=` | | [`Explanations`] |
//! | `GET /v1/lint` | | [`LintReport`] |
//! | `GET /v1/datasource/grafana` | | [`Datasource`] |
//! | `GET /v1/log?lines=&follow=` | | one [`LogLine`] per line (NDJSON), endless with `follow=true` |
//! | `POST /v1/reload` | | [`Status`]: re-reads `relatum.yaml` and the template overrides, as SIGHUP does |
//! | `POST /v1/copy` | [`MakeCopy`] | [`MadeCopy`] |
//! | `POST /v1/shutdown` | | [`Stopping`] |
//!
//! Whatever changes state is answered when the pass that includes the change is over. Anything but a 2xx carries a [`Failure`].

pub mod client;
pub(crate) mod serve;
mod types;

pub use types::{
    ApplicationStatus, BagPlace, ChangeConfiguration, ConfigOption, Configuration, ConnectionStatus, Datasource,
    Difference, Document, ExplainedLabel, ExplainedStep, Explanation, Explanations, Failure, FailureClass,
    FileDifference, History, HistoryChange, HistoryChangeKind, HistoryEntry, LintFinding, LintReport, LintSelector,
    LintedRule, LogLevel, LogLine, MadeCopy, MadeOffer, MakeCopy, MakeOffer, ModelStatus, OfferList, OfferStatus,
    Problem, Rehearsal, Rehearse, Relate, Related, RelationDetail, RelationStatus, RemoveApplications, RemoveOffer,
    RemoveRelation, RemoveUnits, Removed, RemovedApplication, RemovedApplications, RemovedOffer, RemovedUnit,
    RemovedUnits, Rendered, RenderedFile, RenderedPlace, RevisionDifference, RollBack, RolledBack, RunAction,
    ScopedData, ShownUnit, ShownUnits, Since, Source, Status, StatusInfo, Stopping, Task, UnitDetail, UnitRelation,
    UnitStatus,
};
