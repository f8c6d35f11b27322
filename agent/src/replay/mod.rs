//! Runs the pure steps of a pass on saved databags, without an agent: what the real charm's unit would render and publish.
//!
//! A case is what somebody saved of a unit ([`case`]), either in the shape of our own cases or as `juju show-unit` prints it
//! ([`show_unit`]). Its events are applied one after the other ([`events`]), each followed by a pass; what the last one gives is
//! the [`result`]. Nothing is read but the case and nothing is written. `docs/formats/replay.md` is the contract.

pub mod case;
mod certificate;
mod events;
pub mod result;
mod show_unit;

use std::collections::BTreeMap;
use std::path::Path;

use relatum_relations::charm_options;
use relatum_relations::prometheus_scrape::ALERT_RULES;
use relatum_relations::unit_status::unit_status;
use serde_json::Value;
use thiserror::Error;

use crate::control::Problem;
use crate::dialect::{Dialect, Layout};
use crate::pipeline::desire::{Desired, Memory, desire_as};
use crate::pipeline::render::Renderer;
use case::Case;
use events::Visible;
use result::{PlacedFiles, Replayed, ReplayedProblem, ReplayedStatus};

/// Why there is nothing to replay.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The text is neither JSON nor YAML, or no case.
    #[error("cannot read it as a case: {0}")]
    Read(String),
    /// The case does not say who we are in a way that Juju would.
    #[error("cannot use {what}: {reason}")]
    Name {
        /// Which part of the case.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whose databags `juju show-unit` shows: it does not say of which model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    /// The model's name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
}

impl Default for ModelName {
    fn default() -> Self {
        ModelName { name: "default".to_owned(), uuid: "00000000-0000-4000-8000-000000000000".to_owned() }
    }
}

/// Reads the cases of a file: one if it is a case, and of `juju show-unit` one for each unit that has endpoints of ours.
pub fn read(text: &str, model: &ModelName) -> Result<Vec<Case>, ReplayError> {
    let unreadable = |reason: &dyn std::fmt::Display| ReplayError::Read(reason.to_string());
    let value = relatum_model::yaml::from_json_or_yaml(text).map_err(|error| unreadable(&error))?;
    match &value {
        Value::Object(entries) if entries.contains_key("local") => {
            serde_json::from_value(value).map(|case| vec![case]).map_err(|error| unreadable(&error))
        }
        Value::Object(entries) => show_unit::cases(entries, model),
        _ => Err(unreadable(&"it is no object")),
    }
}

/// Runs `case` with its files below `root`.
pub fn replay(case: &Case, root: &Path) -> Result<Replayed, ReplayError> {
    let mut us = case.us()?;
    let mut renderer = Renderer::default();
    let mut pass = |visible: &Visible| -> (Desired, PlacedFiles, Vec<Problem>) {
        let (observed, refused) = case.observed(&us.unit, visible, root);
        us.authority = certificate::authority(case, visible);
        let mut desired = desire_as(&us, &observed, &mut Memory::default());
        let more = certificate::present(case, visible, &mut desired, root);
        let rendered = renderer.render(&desired, &BTreeMap::new(), Dialect { layout: Layout::Inlined, version: None });
        let mut files = result::placed(rendered.files, root);
        files.extend(more);
        (desired, files, refused.into_iter().chain(rendered.problems).collect())
    };
    let mut visible = Visible::before(case);
    let (mut reloads, mut before) = (0, None);
    for event in &case.expected.events {
        visible.apply(event, case);
        let (_, files, _) = pass(&visible);
        reloads += usize::from(before.as_ref().is_some_and(|before| *before != files));
        before = Some(files);
    }
    let (desired, files, mut problems) = pass(&visible);
    let effect = charm_options::effect(&case.charm_config, case.disk_bytes());
    problems.extend(desired.problems.iter().cloned());
    let are_rules_bad = problems.iter().any(|problem| problem.key.as_deref() == Some(ALERT_RULES));
    let status = unit_status(&effect, are_rules_bad, case.workload.into());
    let has_certificate = certificate::of(case, &visible).is_some();
    let command = charm_options::command(&effect, desired.urls.most_external(), has_certificate);
    problems.sort();
    problems.dedup();
    Ok(Replayed {
        status: ReplayedStatus { status: status.current.to_owned(), message: status.message },
        scrape_jobs: result::jobs(&desired),
        command: command.split(' ').map(str::to_owned).collect(),
        databags: result::databags(case, &visible, &desired),
        problems: problems.into_iter().map(ReplayedProblem::from).collect(),
        files,
        reloads,
    })
}

/// The relations of a case after all that happened, for tests that make worlds of them.
#[cfg(test)]
pub(crate) fn saved_relations(text: &str) -> Vec<std::sync::Arc<crate::store::StoredRelation>> {
    let mut found = Vec::new();
    for case in read(text, &ModelName::default()).expect("a case") {
        let mut visible = Visible::before(&case);
        case.expected.events.iter().for_each(|event| visible.apply(event, &case));
        let unit = case.us().expect("a unit").unit;
        found.extend(case.observed(&unit, &visible, Path::new("/")).0.world.relations.iter().cloned());
    }
    found
}

#[cfg(test)]
mod tests;
