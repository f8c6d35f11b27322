//! What came of a case, in the words and places of the charm.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use relatum_relations::bag::Databag;
use serde::Serialize;
use serde_json::{Map, Value};

use super::case::Case;
use super::events::Visible;
use crate::control::Problem;
use crate::packed::PackedText;
use crate::pipeline::desire::{AUTHORITIES_PATH, Desired, MATERIALS};
use crate::pipeline::render::DATASOURCE_PATH;
use crate::workload::Files;

/// Where the charm has the authorities that it was sent.
const AUTHORITIES: &str = "/usr/local/share/ca-certificates/juju_receive-ca-cert/";

/// Files where the charm has them: absolute path to text.
pub type PlacedFiles = BTreeMap<String, Arc<str>>;

/// What came of a case.
#[derive(Debug, Clone, Serialize)]
pub struct Replayed {
    /// As the charm says it.
    pub status: ReplayedStatus,
    /// Jobs of relations, before `honor_labels` and before certificates became files.
    pub scrape_jobs: Vec<Value>,
    /// See [`PlacedFiles`].
    pub files: PlacedFiles,
    /// How the server is started.
    pub command: Vec<String>,
    /// `endpoint:id` to what we publish there.
    pub databags: BTreeMap<String, Published>,
    /// Everything left out.
    pub problems: Vec<ReplayedProblem>,
    /// How often the files were different after an event.
    pub reloads: usize,
}

/// A unit's status.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayedStatus {
    /// `active`, `blocked` or `maintenance`.
    pub status: String,
    /// Its text.
    pub message: String,
}

/// Our side of one relation.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Published {
    /// The application's databag.
    pub app: Databag,
    /// The unit's databag.
    pub unit: Databag,
}

/// A problem with all its fields, those that are not known as null.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayedProblem {
    relation: Option<String>,
    unit: Option<String>,
    key: Option<String>,
    path: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    hint: Option<String>,
}

impl From<Problem> for ReplayedProblem {
    fn from(problem: Problem) -> Self {
        let Problem { relation, unit, key, path, line, column, message, hint } = problem;
        ReplayedProblem { relation, unit, key, path, line, column, message, hint }
    }
}

/// As in `status`.
impl std::fmt::Display for ReplayedProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ReplayedProblem { relation, unit, key, path, line, column, message, hint } = self.clone();
        Problem { relation, unit, key, path, line, column, message, hint }.fmt(f)
    }
}

/// The files where the charm has them: certificates of jobs beside the main file, those of authorities where the system looks for
/// them but once, and no file for Grafana.
pub(super) fn placed(files: Files, root: &Path) -> PlacedFiles {
    let ours = format!("{}/", root.join(MATERIALS).display());
    let theirs = format!("{}/", root.display());
    let place = |(path, text): (Arc<str>, PackedText)| match path.strip_prefix(&format!("{MATERIALS}/")) {
        None => (root.join(&*path).display().to_string(), text.read().replace(&ours, &theirs).into()),
        Some(name) => match name.strip_prefix("juju_receive-ca-cert_") {
            Some(number) => (format!("{AUTHORITIES}{number}"), text.read().into()),
            None => (root.join(name).display().to_string(), text.read().into()),
        },
    };
    let is_of_charm = |path: &str| path != DATASOURCE_PATH && path != AUTHORITIES_PATH;
    files.into_iter().filter(|(path, _)| is_of_charm(path)).map(place).collect()
}

/// The jobs of relations as the library gives them, with the certificates in them and not their paths.
pub(super) fn jobs(desired: &Desired) -> Vec<Value> {
    let mut jobs: Vec<Value> = desired.scrapes.values().flat_map(|jobs| jobs.values()).collect();
    for job in jobs.iter_mut().filter_map(Value::as_object_mut) {
        job.shift_remove("honor_labels");
        for value in job.get_mut("tls_config").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            let name =
                value.as_str().and_then(|path| path.rsplit_once('/')).map(|(_, name)| format!("{MATERIALS}/{name}"));
            if let Some(content) = name.and_then(|name| desired.materials.get(name.as_str())) {
                *value = content.read().into();
            }
        }
    }
    jobs
}

/// Our side of every relation there is.
pub(super) fn databags(case: &Case, visible: &Visible<'_>, desired: &Desired) -> BTreeMap<String, Published> {
    let mut published = BTreeMap::new();
    let present = case.relations.iter().filter(|saved| visible.units(saved.id).is_some());
    for saved in present.filter(|saved| relatum_relations::endpoints::named(&saved.endpoint).is_some()) {
        let mut side = Published { app: saved.local_app_data.clone(), unit: saved.local_unit_data.clone() };
        for ((_, _, owner), bag) in desired.bags.iter().filter(|((id, ..), _)| *id == saved.id) {
            let said = if *owner == case.local.unit { &mut side.unit } else { &mut side.app };
            said.clone_from(bag);
        }
        // In Juju, an empty text is no entry.
        side.app.retain(|_, value| !value.is_empty());
        side.unit.retain(|_, value| !value.is_empty());
        published.insert(format!("{}:{}", saved.endpoint, saved.id), side);
    }
    published
}
