//! From what should be to the texts of files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use relatum_config::prometheus::{GlobalConfig, ScrapeConfigFile};
use relatum_model::yaml;
use relatum_relations::charm_options::retention_size;
use relatum_server::parallel;
use serde_json::{Map, Value, json};

use super::desire::rules::Rules;
use super::desire::{AUTHORITIES_PATH, Desired, Ends, Jobs, RelationKey, scrape_path};
use crate::control::Problem;
use crate::dialect::{Dialect, Layout, LeftOut, OLDEST, Part, Version};
use crate::packed::PackedText;
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

/// The templates in use, and what they made of which values: what is as it was is not rendered again, and not even looked at.
pub struct Renderer {
    overrides: BTreeMap<Template, Override>,
    templates: Templates,
    dialect: Dialect,
    /// What the files of our own are made of.
    values: HashMap<&'static str, Value>,
    /// What the files of relations are made of.
    scrapes: OrdMap<RelationKey, Arc<Jobs>>,
    rules: OrdMap<String, Arc<Rules>>,
    /// The texts.
    files: Files,
    /// What was left out of them, where that is something.
    left_out: BTreeMap<Arc<str>, LeftOut>,
    /// Files that there is no text of, and why.
    failed: BTreeMap<Arc<str>, Problem>,
}

/// What a file is made of.
enum Source<'a> {
    Values(&'a Value),
    Jobs(&'a Jobs),
    Rules(&'a Rules),
}

impl Default for Renderer {
    fn default() -> Self {
        Renderer::new(BTreeMap::new(), Dialect::default())
    }
}

impl Renderer {
    fn new(overrides: BTreeMap<Template, Override>, dialect: Dialect) -> Self {
        Renderer {
            templates: Templates::new(&overrides),
            overrides,
            dialect,
            values: HashMap::new(),
            scrapes: OrdMap::new(),
            rules: OrdMap::new(),
            files: Files::new(),
            left_out: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Renders everything for one who understands `dialect`.
    pub fn render(
        &mut self,
        desired: &Desired,
        overrides: &BTreeMap<Template, Override>,
        dialect: Dialect,
    ) -> Rendered {
        if self.overrides != *overrides || self.dialect != dialect {
            *self = Renderer::new(overrides.clone(), dialect);
        }
        let is_split = dialect.layout == Layout::Split;
        let (local, mut local_problems) = if is_split { Default::default() } else { local_jobs(desired) };
        let mut left_out = LeftOut::default();
        let mut trim = Trim { version: dialect.version, left_out: &mut left_out };
        let mut values = HashMap::new();
        values.insert(MAIN_PATH, main(desired, dialect.layout, &local, &mut trim));
        values.insert(DATASOURCE_PATH, json!({"datasources": desired.datasources}));
        if is_split {
            values.insert(ARGUMENTS_PATH, arguments(desired));
            values.extend(desired.web.as_ref().map(|web| (WEB_PATH, web.clone())));
        }
        // The main file has all jobs where there are no others.
        let scrapes = if is_split { desired.scrapes.clone() } else { OrdMap::new() };
        self.update(values, scrapes, desired.rules.clone());
        let mut rendered = Rendered {
            files: self.files.clone().union(desired.materials.clone()),
            failed: self.failed.keys().map(|path| path.to_string()).collect(),
            problems: self.failed.values().cloned().collect(),
            left_out: Vec::new(),
        };
        self.left_out.values().for_each(|of_file| left_out.merge(of_file));
        rendered.problems.append(&mut local_problems);
        for (path, (_, content)) in
            desired.local.files.iter().filter(|(path, _)| is_split || !path.starts_with(SCRAPES))
        {
            match content {
                Ok(text) => drop(rendered.files.insert(path.as_str().into(), text.clone())),
                Err(_) => drop(rendered.failed.insert(path.clone())),
            }
        }
        rendered.problems.dedup();
        rendered.left_out = left_out.lines(dialect.version.unwrap_or(OLDEST));
        rendered
    }

    /// Renders what is others than before, and drops what is gone.
    fn update(
        &mut self,
        values: HashMap<&'static str, Value>,
        scrapes: OrdMap<RelationKey, Arc<Jobs>>,
        rules: OrdMap<String, Arc<Rules>>,
    ) {
        let mut changed: Vec<(Arc<str>, Template, Source<'_>)> = Vec::new();
        let mut gone: Vec<Arc<str>> = Vec::new();
        let rules_path = |name: &String| format!("rules/{name}").into();
        for item in self.scrapes.diff(&scrapes) {
            match item {
                DiffItem::Add(key, jobs) | DiffItem::Update { new: (key, jobs), .. } => {
                    changed.push((scrape_path(key).into(), Template::Scrape, Source::Jobs(jobs)));
                }
                DiffItem::Remove(key, _) => gone.push(scrape_path(key).into()),
            }
        }
        for item in self.rules.diff(&rules) {
            match item {
                DiffItem::Add(name, file) | DiffItem::Update { new: (name, file), .. } => {
                    changed.push((rules_path(name), Template::Rules, Source::Rules(file)));
                }
                DiffItem::Remove(name, _) => gone.push(rules_path(name)),
            }
        }
        for (path, values) in values.iter().filter(|(path, values)| self.values.get(*path) != Some(values)) {
            let template = match *path {
                MAIN_PATH => Template::Main,
                DATASOURCE_PATH => Template::Datasource,
                ARGUMENTS_PATH => Template::Arguments,
                _ => Template::Web,
            };
            changed.push(((*path).into(), template, Source::Values(values)));
        }
        gone.extend(self.values.keys().filter(|path| !values.contains_key(*path)).map(|path| Arc::from(*path)));
        let filled = parallel::map(&changed, |(_, template, source)| self.fill(*template, source));
        for path in gone.iter().chain(changed.iter().map(|(path, ..)| path)) {
            self.files.remove(&**path);
            self.left_out.remove(path);
            self.failed.remove(path);
        }
        for ((path, ..), filled) in changed.into_iter().zip(filled) {
            match filled {
                Ok((text, left_out)) => {
                    if !left_out.is_empty() {
                        self.left_out.insert(Arc::clone(&path), left_out);
                    }
                    self.files.insert(path, text);
                }
                Err(problem) => drop(self.failed.insert(path, *problem)),
            }
        }
        (self.values, self.scrapes, self.rules) = (values, scrapes, rules);
    }

    fn fill(&self, template: Template, source: &Source<'_>) -> Result<(PackedText, LeftOut), Box<Problem>> {
        let mut left_out = LeftOut::default();
        let mut trim = Trim { version: self.dialect.version, left_out: &mut left_out };
        let text = match source {
            Source::Values(values) => self.templates.render(template, Value::clone(values)),
            Source::Jobs(jobs) => {
                let context = context(&jobs.ends, "scrape_configs", trim.all(Part::Job, jobs.values()));
                self.templates.render(template, context)
            }
            Source::Rules(file) => {
                let context = context(&file.ends, "groups", trim.all(Part::Group, file.groups()));
                self.templates.render(template, context)
            }
        };
        Ok((text?.into(), left_out))
    }
}

/// What a template is told: of a relation, and what came of it.
fn context(ends: &Ends, name: &str, parts: Vec<Value>) -> Value {
    Value::Object(Map::from_iter([("relation".to_owned(), described(ends)), (name.to_owned(), Value::Array(parts))]))
}

/// What a template is told of a relation.
fn described(ends: &Ends) -> Value {
    let Ends { relation: (endpoint, id), provider, requirer } = ends;
    json!({"id": id, "endpoint": endpoint, "provider": provider, "requirer": requirer})
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
        let text = &text.read();
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
