//! From what should be to the texts of files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use relatum_config::prometheus::{GlobalConfig, ScrapeConfigFile};
use relatum_model::yaml;
use relatum_relations::charm_options::retention_size;
use serde_json::{Value, json};

use super::desire::rules::Rules;
use super::desire::{AUTHORITIES_PATH, Desired, RelationKey, scrape_path};
use super::packed::Packed;
use super::parallel;
use crate::control::Problem;
use crate::dialect::{Dialect, Layout, LeftOut, OLDEST, Part, Version};
use crate::store::{Role, StoredRelation};
use crate::templates::{Override, Template, Templates};
use crate::workload::Files;

/// The main file.
pub const MAIN_PATH: &str = "prometheus.yml";

/// What are flags in Prometheus.
pub const ARGUMENTS_PATH: &str = "prometheus.args";

/// Who may come in to the server, and how.
pub const WEB_PATH: &str = "web.yml";

/// The file for Grafana.
pub const DATASOURCE_PATH: &str = "grafana-datasource.yml";

/// The folder of scrape files.
const SCRAPES: &str = "scrape/";

/// Rendered texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Path below `rendered/` to text.
    pub files: Files,
    /// Files that should be there but could not be rendered: the last good ones stay.
    pub failed: BTreeSet<String>,
    /// Why they could not. One problem for each template, as all files of one template fail alike.
    pub problems: Vec<Problem>,
    /// What is not rendered because whoever reads it does not know it, one line each.
    pub left_out: Vec<String>,
}

/// The templates in use, and what they made of which values: what is as it was is not rendered again.
pub struct Renderer {
    overrides: BTreeMap<Template, Override>,
    templates: Templates,
    version: Option<Version>,
    known: HashMap<String, Known>,
}

/// A text, and what it was made of.
struct Known {
    source: Source,
    text: Arc<str>,
    /// What was left out of it.
    left_out: LeftOut,
}

/// What a file is made of. Values of relations are shared with whoever understood them, so that equal ones are mostly one.
enum Source {
    Values(Value),
    Jobs(Arc<StoredRelation>, Arc<Packed>),
    Rules(Arc<StoredRelation>, Arc<Rules>),
}

impl Source {
    fn is(&self, other: &Source) -> bool {
        let have_same_ends = |a: &Arc<StoredRelation>, b: &Arc<StoredRelation>| {
            Arc::ptr_eq(a, b) || (a.id, &a.provider, &a.requirer) == (b.id, &b.provider, &b.requirer)
        };
        match (self, other) {
            (Source::Values(a), Source::Values(b)) => a == b,
            (Source::Jobs(relation, jobs), Source::Jobs(other, others)) => {
                have_same_ends(relation, other) && (Arc::ptr_eq(jobs, others) || jobs == others)
            }
            (Source::Rules(relation, file), Source::Rules(other, others)) => {
                have_same_ends(relation, other) && (Arc::ptr_eq(file, others) || file == others)
            }
            _ => false,
        }
    }
}

impl Default for Renderer {
    fn default() -> Self {
        let overrides = BTreeMap::new();
        Renderer { templates: Templates::new(&overrides), overrides, version: None, known: HashMap::new() }
    }
}

impl Renderer {
    /// Renders everything for one who understands `dialect`.
    pub fn render(
        &mut self,
        desired: &Desired,
        overrides: &BTreeMap<Template, Override>,
        dialect: Dialect,
    ) -> Rendered {
        if self.overrides != *overrides || self.version != dialect.version {
            let templates = Templates::new(overrides);
            let (overrides, version) = (overrides.clone(), dialect.version);
            *self = Renderer { templates, overrides, version, known: HashMap::new() };
        }
        let (local, mut local_problems) = match dialect.layout {
            Layout::Split => Default::default(),
            Layout::Inlined => local_jobs(desired),
        };
        let mut left_out = LeftOut::default();
        let mut trim = Trim { version: dialect.version, left_out: &mut left_out };
        let main = main(desired, dialect.layout, &local, &mut trim);
        let mut wanted = vec![
            (MAIN_PATH.to_owned(), Template::Main, Source::Values(main)),
            (
                DATASOURCE_PATH.to_owned(),
                Template::Datasource,
                Source::Values(json!({"datasources": desired.datasources})),
            ),
        ];
        if dialect.layout == Layout::Split {
            wanted.push((ARGUMENTS_PATH.to_owned(), Template::Arguments, Source::Values(arguments(desired))));
            if let Some(web) = &desired.web {
                wanted.push((WEB_PATH.to_owned(), Template::Web, Source::Values(web.clone())));
            }
            for (key, jobs) in &desired.scrapes {
                let source = Source::Jobs(relation(desired, key), Arc::clone(jobs));
                wanted.push((scrape_path(key), Template::Scrape, source));
            }
        }
        for (file_name, file) in &desired.rules {
            let source = Source::Rules(relation(desired, &file.relation), Arc::clone(file));
            wanted.push((format!("rules/{file_name}"), Template::Rules, source));
        }
        let mut rendered = Rendered { files: desired.materials.clone(), ..Rendered::default() };
        let mut before = std::mem::take(&mut self.known);
        let mut changed = Vec::new();
        for (path, template, source) in wanted {
            match before.remove(&path) {
                Some(known) if known.source.is(&source) => drop(self.known.insert(path, Known { source, ..known })),
                _ => changed.push((path, template, source)),
            }
        }
        let filled = parallel::map(&changed, |(_, template, source)| self.fill(*template, source));
        for ((path, _, source), filled) in changed.into_iter().zip(filled) {
            match filled {
                Ok((text, left_out)) => drop(self.known.insert(path, Known { source, text, left_out })),
                Err(problem) => {
                    rendered.failed.insert(path);
                    rendered.problems.push(*problem);
                }
            }
        }
        for (path, known) in &self.known {
            left_out.merge(&known.left_out);
            rendered.files.insert(path.clone(), Arc::clone(&known.text));
        }
        rendered.problems.append(&mut local_problems);
        let is_file = |(path, _): &(&String, _)| dialect.layout == Layout::Split || !path.starts_with(SCRAPES);
        for (path, (_, content)) in desired.local.files.iter().filter(is_file) {
            match content {
                Ok(text) => drop(rendered.files.insert(path.clone(), Arc::clone(text))),
                Err(_) => drop(rendered.failed.insert(path.clone())),
            }
        }
        rendered.problems.dedup();
        rendered.left_out = left_out.lines(dialect.version.unwrap_or(OLDEST));
        rendered
    }

    fn fill(&self, template: Template, source: &Source) -> Result<(Arc<str>, LeftOut), Box<Problem>> {
        let mut left_out = LeftOut::default();
        let mut trim = Trim { version: self.version, left_out: &mut left_out };
        let text = match source {
            Source::Values(values) => self.templates.render(template, values),
            Source::Jobs(stored, jobs) => {
                let endpoint = &stored.end(Role::Requirer).name;
                let jobs = trim.all(Part::Job, jobs.values());
                self.templates
                    .render(template, &json!({"relation": described(stored, endpoint), "scrape_configs": jobs}))
            }
            Source::Rules(stored, file) => {
                let groups = trim.all(Part::Group, file.groups());
                let relation = described(stored, &file.relation.0);
                self.templates.render(template, &json!({"relation": relation, "groups": groups}))
            }
        };
        Ok((text?.into(), left_out))
    }
}

/// The relation of a key that came of it.
fn relation(desired: &Desired, key: &RelationKey) -> Arc<StoredRelation> {
    let at = desired.relations.binary_search_by_key(&key.1, |relation| relation.id);
    Arc::clone(&desired.relations[at.expect("what is desired of a relation comes from one that is there")])
}

/// What a template is told of a relation, seen from our `endpoint`.
fn described(stored: &StoredRelation, endpoint: &str) -> Value {
    let (provider, requirer) = (stored.provider.to_string(), stored.requirer.to_string());
    json!({"id": stored.id, "endpoint": endpoint, "provider": provider, "requirer": requirer})
}

/// Takes out what a version does not know.
struct Trim<'a> {
    version: Option<Version>,
    left_out: &'a mut LeftOut,
}

impl Trim<'_> {
    fn one(&mut self, part: Part, mut value: Value) -> Value {
        if let Some(version) = self.version {
            version.trim(part, &mut value, self.left_out);
        }
        value
    }

    fn all(&mut self, part: Part, values: impl IntoIterator<Item = Value>) -> Vec<Value> {
        values.into_iter().map(|value| self.one(part, value)).collect()
    }
}

/// The jobs of the operator's own files, for a main file that has them all. One file's faults would be those of the whole here, so a
/// file that cannot be read as one, or has a name that is taken, is left out.
fn local_jobs(desired: &Desired) -> (Vec<Value>, Vec<Problem>) {
    let mut jobs: Vec<Value> = Vec::new();
    let mut problems = Vec::new();
    let name = |job: &Value| job["job_name"].as_str().unwrap_or_default().to_owned();
    let mut taken: BTreeSet<String> = desired.own_jobs.iter().map(name).collect();
    taken.extend(desired.scrapes.values().flat_map(|jobs| jobs.values()).map(|job| name(&job)));
    for (path, (source, content)) in desired.local.files.iter().filter(|(path, _)| path.starts_with(SCRAPES)) {
        // Why there is no text is said already.
        let Ok(text) = content else { continue };
        let problem = |message: String| Problem {
            key: Some(source.clone()),
            hint: Some(format!("no job of {path} runs")),
            ..Problem::new(message)
        };
        if let Err(found) = ScrapeConfigFile::parse(text, &GlobalConfig::default()) {
            problems.extend(found.into_iter().map(|fault| problem(fault.to_string())));
            continue;
        }
        let read: Value = match yaml::from_str(text) {
            Ok(read) => read,
            Err(error) => {
                problems.push(problem(error.to_string()));
                continue;
            }
        };
        let of_file = read["scrape_configs"].as_array().cloned().unwrap_or_default();
        match of_file.iter().map(name).find(|name| taken.contains(name)) {
            Some(double) => problems.push(problem(format!("found multiple scrape configs with job name {double:?}"))),
            None => {
                taken.extend(of_file.iter().map(name));
                jobs.extend(of_file);
            }
        }
    }
    (jobs, problems)
}

/// The patterns of rule files.
fn rule_files(desired: &Desired, layout: Layout) -> Vec<String> {
    let (related, local) = ("rules/juju_*.rules", "rules/local_*.rules");
    if layout == Layout::Split {
        return vec![related.to_owned(), local.to_owned()];
    }
    // Whoever reads the main file alone looks for the others by their whole path, as the charm names them.
    let has_local = desired.local.files.keys().any(|path| path.starts_with("rules/"));
    let patterns = [related].into_iter().chain(has_local.then_some(local));
    patterns.map(|pattern| desired.place.rendered.join(pattern).display().to_string()).collect()
}

fn main(desired: &Desired, layout: Layout, local: &[Value], trim: &mut Trim<'_>) -> Value {
    let settings = &desired.settings;
    let global = json!({
        "scrape_interval": settings.scrape_interval,
        "scrape_timeout": settings.scrape_timeout,
        "evaluation_interval": settings.evaluation_interval,
        "external_labels": settings.external_labels,
    });
    let mut jobs = desired.own_jobs.clone();
    if layout == Layout::Inlined {
        jobs.extend(desired.scrapes.values().flat_map(|jobs| jobs.values()));
        jobs.extend_from_slice(local);
    }
    let is_split = layout == Layout::Split;
    json!({
        "global": trim.one(Part::Global, global),
        "rule_files": rule_files(desired, layout),
        "scrape_config_files": if is_split { vec!["scrape/*.yml"] } else { Vec::new() },
        "alertmanagers": trim.all(Part::Alertmanager, desired.alertmanagers.clone()),
        "remote_write": trim.all(Part::RemoteWrite, desired.remote_writes.clone()),
        "scrape_configs": trim.all(Part::Job, jobs),
        "storage": storage(desired, is_split),
        // Spans of the server in this process are sent by the agent.
        "tracing": desired.tracing.as_ref().filter(|_| !is_split),
    })
}

/// Another's store is set up by whoever runs it, apart from what the charm says of it.
fn storage(desired: &Desired, is_ours: bool) -> Value {
    match desired.settings.exemplars_max {
        0 if !is_ours => Value::Null,
        exemplars_max => json!({
            "out_of_order_time_window": is_ours.then_some(desired.out_of_order_window),
            "exemplars_max": exemplars_max,
        }),
    }
}

fn arguments(desired: &Desired) -> Value {
    let (settings, place) = (&desired.settings, &desired.place);
    json!({
        "config_file": place.rendered.join(MAIN_PATH),
        "storage_path": place.samples,
        "listen": place.listen,
        "web_config_file": desired.web.as_ref().map(|_| place.rendered.join(WEB_PATH)),
        "authorities_file": desired.materials.contains_key(AUTHORITIES_PATH).then(|| place.rendered.join(AUTHORITIES_PATH)),
        "external_url": desired.urls.most_external(),
        "log_level": settings.log_level,
        "wal_compression": settings.wal_compression,
        "exemplars": settings.exemplars_max > 0,
        "retention_time": settings.retention_time,
        "retention_size": settings.retention_share.as_ref().and_then(|share| retention_size(share, place.file_system_bytes)),
    })
}
