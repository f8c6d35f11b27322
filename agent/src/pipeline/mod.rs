//! One pass: `observe → desire → render → plan → check → apply → publish`.
//!
//! The first and the last two touch the world; what lies between are plain functions on plain values. A pass over an unchanged
//! world plans nothing. One bad relation harms only itself: what is wrong in it is left out and named, and where a whole file
//! cannot be made, the last good one stays.

pub mod apply;
pub mod check;
pub mod desire;
pub mod observe;
pub mod plan;
pub mod publish;
pub mod rehearse;
pub mod render;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use imbl::OrdMap;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::ingress_per_unit::Urls;
use relatum_relations::name::UnitName;
use thiserror::Error;
use tracing::{info, warn};

use crate::charm_config::Settings;
use crate::control::Problem;
use crate::events::{self, RelationEvent, RelationEventKind};
use crate::identity;
use crate::packed::PackedText;
use crate::store::{Relations, Role, Store, StoreError, World};
use crate::telemetry::span::{self, SpanFeed};
use crate::workload::{Files, Workload};
use apply::{ApplyError, RenderedDirectory};
use check::Checked;
use desire::{Desired, Memory, RelationKey, Yield, desire};
use observe::{Folders, Observed, Place, Sources};
use plan::{Step, plan};
use render::Renderer;
use steps::Steps;

/// How often one pass may follow another because publishing changed what we read ourselves: once for the own bags that a
/// relation with ourselves brings, once to see that nothing is left.
const ROUNDS_MAX: usize = 4;

/// What a pass found and did.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which unit we are.
    pub unit: UnitName,
    /// Whether another unit leads.
    pub follows: bool,
    /// The state it looked at.
    pub world: World,
    /// The options in effect.
    pub settings: Settings,
    /// The file for Grafana.
    pub datasource: String,
    /// All that is wrong.
    pub problems: Vec<Problem>,
    /// What is left out because the workload does not know it, one line each.
    pub left_out: Vec<String>,
    /// What came of each relation.
    pub yields: OrdMap<RelationKey, Yield>,
    /// Under which URLs the server is reached.
    pub urls: Urls,
    /// The authority that signed the certificate that is served, PEM; `None` over plain HTTP.
    pub authority: Option<String>,
    /// When to look again though nothing happened, milliseconds since 1970.
    pub look_again_at_ms: Option<i64>,
    /// The last time that the workload began to run something new; `None` if it never did.
    pub last_reload: Option<Reload>,
    /// Paths of the files written or removed.
    pub changed: Vec<String>,
    /// Whether the workload runs what is rendered.
    pub applied: bool,
}

/// The workload began to run something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// When it was done, milliseconds since 1970.
    pub at_ms: i64,
    /// How long writing and preparing took.
    pub took: Duration,
}

/// Why there was no pass.
#[derive(Debug, Error)]
pub enum PassError {
    /// The state cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rendered directory cannot be read.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Everything passes need, and what they remember from one to the next.
pub struct Pipeline {
    place: Place,
    sources: Sources,
    folders: Folders,
    rendered: RenderedDirectory,
    memory: Memory,
    renderer: Renderer,
    /// Whether the workload runs what is on disk. Not known at the start.
    is_loaded: bool,
    last_reload: Option<Reload>,
    /// Our endpoint of each relation there was an event of, for the events of those that are gone.
    endpoints: BTreeMap<u64, String>,
    /// The relations of the last pass that came to its end, whose events are all seen.
    settled: Option<Relations>,
    published: publish::Settled,
    /// What was logged already, so that a problem is in the log once and not once a pass.
    logged: BTreeSet<Problem>,
    spans: SpanFeed,
}

impl Pipeline {
    /// A pipeline that renders into `place` from `sources`.
    pub fn new(place: Place, sources: Sources) -> Self {
        let rendered = RenderedDirectory::new(place.rendered.clone());
        rendered.clean();
        Pipeline {
            folders: Folders::new(&sources),
            place,
            sources,
            rendered,
            memory: Memory::default(),
            renderer: Renderer::default(),
            is_loaded: false,
            last_reload: None,
            endpoints: BTreeMap::new(),
            settled: None,
            published: publish::Settled::default(),
            logged: BTreeSet::new(),
            spans: SpanFeed::default(),
        }
    }

    /// The same, telling `spans` of every pass.
    pub(crate) fn telling(self, spans: SpanFeed) -> Self {
        Pipeline { spans, ..self }
    }

    /// The directory it renders into.
    pub fn rendered(&self) -> &RenderedDirectory {
        &self.rendered
    }

    /// Runs passes until nothing is left to do. The rendered files are known from what was written last, unless they are to be
    /// `looked_at` because somebody else may have changed them.
    pub fn run(&mut self, store: &Mutex<Store>, workload: &dyn Workload, looked_at: bool) -> Result<Report, PassError> {
        if looked_at || self.rendered.is_unsure() {
            self.rendered.set_layout(workload.dialect().layout);
            self.rendered.read()?;
        }
        let mut changed = Vec::new();
        for _ in 1..ROUNDS_MAX {
            let (report, published) = self.pass(store, workload)?;
            changed.extend(report.changed.iter().cloned());
            if !published {
                return Ok(Report { changed, ..report });
            }
        }
        let (report, _) = self.pass(store, workload)?;
        changed.extend(report.changed.iter().cloned());
        Ok(Report { changed, ..report })
    }

    /// One pass; also says whether it published something.
    fn pass(&mut self, store: &Mutex<Store>, workload: &dyn Workload) -> Result<(Report, bool), PassError> {
        let dialect = workload.dialect();
        self.rendered.set_layout(dialect.layout);
        let mut steps = Steps::begin();
        let observed = observe::observe(store, &self.sources, &self.place, &self.rendered, &mut self.folders)?;
        let events = events::derive(&observed.world, self.settled.as_ref());
        for event in &events {
            self.log_event(event, &observed.world);
        }
        steps.end("observe");
        let mut desired = desire(&observed, &mut self.memory);
        steps.end("desire");
        let mut rendered = self.renderer.render(&desired, &observed.overrides, dialect);
        steps.end("render");
        let mut checked = check::check(&observed.current, &mut rendered, &desired, workload);
        steps.end("check");
        let mut problems = std::mem::take(&mut desired.problems);
        problems.append(&mut rendered.problems);
        let left_out = std::mem::take(&mut rendered.left_out);
        let (changed, applied) = self.apply(&mut checked, &observed, &desired, workload, &mut problems);
        steps.end("apply");
        problems.append(&mut checked.problems);
        let mut published = self.published.publish(store, &observed.world, &desired.bags)?;
        match identity::carry_out(&self.place.identity, &desired.identity, observed.now_ms) {
            Ok(is_new) => published |= is_new,
            Err(error) => problems.push(Problem::new(crate::chain(&error))),
        }
        if !events.is_empty() {
            let changed = events.iter().map(|event| event.relation);
            crate::lock(store).mark_seen(&events::seen(&observed.world, changed))?;
        }
        self.settled = Some(observed.world.relations.clone());
        steps.end("publish");
        if !events.is_empty() || !changed.is_empty() || published {
            info!(revision = observed.world.revision, took = %steps, "pass: {}", steps::changes(&changed));
        }
        if self.spans.is_wanted() {
            let attributes = vec![
                ("relatum.revision", observed.world.revision.to_string()),
                ("relatum.events", events.len().to_string()),
                ("relatum.files_changed", changed.len().to_string()),
                ("relatum.problems", problems.len().to_string()),
            ];
            self.spans.tell(span::of_pass(steps.took(), span::now_ns(), attributes, !applied));
        }
        problems.sort();
        problems.dedup();
        self.log_problems(&problems);
        let report = Report {
            unit: observed.place.unit,
            follows: observed.file.follows,
            world: observed.world,
            settings: desired.settings,
            datasource: datasource(&checked.wanted),
            problems,
            left_out,
            yields: desired.yields,
            urls: desired.urls,
            authority: desired.authority.map(|authority| authority.pem),
            look_again_at_ms: desired.look_again_at_ms,
            last_reload: self.last_reload,
            changed,
            applied,
        };
        Ok((report, published))
    }

    /// Makes disk and workload as `checked` wants them. Gives the paths that changed, and whether the workload runs them.
    fn apply(
        &mut self,
        checked: &mut Checked,
        observed: &Observed,
        desired: &Desired,
        workload: &dyn Workload,
        problems: &mut Vec<Problem>,
    ) -> (Vec<String>, bool) {
        // What is checked well may still name a certificate that is none, so a refusal takes the files at fault out.
        while checked.is_loadable {
            let steps = plan(&observed.current, &checked.wanted, self.is_loaded && !workload.needs_reload());
            if steps.is_empty() {
                self.rendered.share(&checked.wanted);
                return (Vec::new(), true);
            }
            let begun = Instant::now();
            match self.rendered.apply(&steps, &checked.wanted, workload) {
                Ok(()) => {
                    self.is_loaded = true;
                    self.last_reload = Some(Reload { at_ms: crate::now_ms(), took: begun.elapsed() });
                    let changed: Vec<String> = steps.iter().filter_map(Step::path).map(str::to_owned).collect();
                    return (changed, true);
                }
                Err(ApplyError::Refused(faults)) => {
                    checked.is_loadable = checked.repair(&faults, &observed.current, desired);
                }
                // The workload itself says what is wrong with it, for as long as it is.
                Err(ApplyError::Absent) => {
                    self.is_loaded = false;
                    return (steps.iter().filter_map(Step::path).map(str::to_owned).collect(), false);
                }
                Err(error) => {
                    problems.push(Problem {
                        message: crate::chain(&error),
                        hint: Some("what ran before goes on".to_owned()),
                        ..Problem::default()
                    });
                    return (Vec::new(), false);
                }
            }
        }
        // The last good files stay on disk and in memory.
        (Vec::new(), false)
    }

    /// Names the event as juju names the hook, the relation by our endpoint and its id.
    fn log_event(&mut self, event: &RelationEvent, world: &World) {
        let id = event.relation;
        if let Some(relation) = world.relation(id) {
            let is_requirer = relation.requirer.application == APPLICATION;
            let ours = relation.end(if is_requirer { Role::Requirer } else { Role::Provider });
            self.endpoints.insert(id, ours.name.clone());
        }
        let kind = event.kind.as_str();
        // One that was broken before we began is known by its id alone.
        let relation = self.endpoints.get(&id).map_or_else(|| id.to_string(), |endpoint| format!("{endpoint}:{id}"));
        match &event.unit {
            Some(unit) => info!("{kind} {relation} {unit}"),
            None => info!("{kind} {relation}"),
        }
        if event.kind == RelationEventKind::Broken {
            self.endpoints.remove(&id);
        }
    }

    /// `problems` are in order.
    fn log_problems(&mut self, problems: &[Problem]) {
        for problem in problems.iter().filter(|problem| !self.logged.contains(problem)) {
            warn!("{problem}");
        }
        for gone in self.logged.iter().filter(|problem| problems.binary_search(problem).is_err()) {
            info!("solved: {gone}");
        }
        self.logged = problems.iter().cloned().collect();
    }
}

fn datasource(wanted: &Files) -> String {
    wanted.get(render::DATASOURCE_PATH).map(PackedText::read).unwrap_or_default()
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worlds;
