//! Targets: the wildcard and the address it became, the names and labels we gave, and what relabelling made of them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use relatum_config::prometheus::{GlobalConfig, ScrapeConfig, ScrapeConfigFile};
use relatum_model::relabel::{self, RelabelConfig};
use relatum_model::{Labels, LabelsBuilder, yaml};
use relatum_relations::Relation;
use relatum_relations::prometheus_scrape::trace::{
    HostOrigin, JobOrigin, UNIT_NAME, host_origins, job_origin, target_origin,
};
use relatum_relations::prometheus_scrape::{Job, SCRAPE_JOBS, SCRAPE_METADATA};
use serde_json::{Map, Value, json};

use super::question::Question;
use super::spans::Spans;
use super::{FOUND_MAX, Scene, short, since};
use crate::control::{BagPlace, ExplainedLabel, ExplainedStep, Explanation};
use crate::dialect::Layout;
use crate::pipeline::desire::{RelationKey, scrape_path};
use crate::pipeline::render::MAIN_PATH;
use crate::templates::Template;

/// The topology's labels and the keys of the metadata they are made of.
const TOPOLOGY: [(&str, &str); 4] = [
    ("juju_model", "model"),
    ("juju_model_uuid", "model_uuid"),
    ("juju_application", "application"),
    ("juju_charm", "charm_name"),
];

/// The databags that are read for one answer have so many bytes together: each target is looked up in its own anew.
const READ_BYTES_MAX: usize = 16 << 20;

/// A job that runs, and what is found out once for all its targets.
struct Running<'a> {
    job: &'a Job,
    /// Its place in the file.
    at: usize,
    /// The name that the peer gave it.
    published: String,
    /// As the server reads it, without its targets.
    read: OnceCell<Option<Arc<ScrapeConfig>>>,
}

impl<'a> Running<'a> {
    fn new(job: &'a Job, at: usize, published: String) -> Self {
        Running { job, at, published, read: OnceCell::new() }
    }

    fn targets(&self) -> impl Iterator<Item = At<'_>> {
        targets(self.job).map(|(config_at, target_at, target)| At { of: self, config_at, target_at, target })
    }
}

/// One target of a job: the static config's place in the job, and its own in that.
struct At<'a> {
    of: &'a Running<'a>,
    config_at: usize,
    target_at: usize,
    target: &'a str,
}

/// The targets that `question` is about, first those that are scraped, then jobs that are not; and how many more there are.
pub(super) fn found(question: &Question, scene: &Scene<'_>) -> (Vec<Explanation>, usize) {
    let (mut found, mut left_out, mut n_bytes) = (Vec::new(), 0, 0);
    // Of a file with many targets at most one stands at the line that is asked for, or last before it.
    let nearest_line = OnceCell::new();
    // Another's main file has the jobs of all relations behind our own.
    let mut offset = if scene.layout == Layout::Inlined { scene.trace.desired.own_jobs.len() } else { 0 };
    for (key, jobs) in &scene.trace.jobs {
        let Some((_, relation)) = scene.trace.relations.get(key) else { continue };
        let file = if scene.layout == Layout::Inlined { MAIN_PATH.to_owned() } else { scrape_path(key) };
        let line_wanted = match question {
            Question::Line { file: wanted, line } if *wanted == file => {
                let nearest = |spans: &Spans| spans.targets().map(|(.., at)| at).filter(|at| at <= line).max();
                Some(*nearest_line.get_or_init(|| scene.spans(&file, nearest)))
            }
            _ => None,
        };
        let published = published(relation);
        let bag_bytes = relation.remote.app_bag.get(SCRAPE_JOBS).map_or(0, String::len);
        for (at, job) in jobs.iter().enumerate() {
            let job_at = at + if scene.layout == Layout::Inlined { offset } else { 0 };
            let of = Running::new(job, job_at, name_of(&published, job.origin.index));
            for target in of.targets() {
                let is_elsewhere = line_wanted.is_some_and(|wanted| {
                    let place = (job_at, target.config_at, target.target_at);
                    wanted != Some(scene.spans(&file, |spans| spans.target(place.0, place.1, place.2)))
                });
                if is_elsewhere || !is_about(question, key, relation, &target, &file) {
                    continue;
                }
                if found.len() < FOUND_MAX && n_bytes <= READ_BYTES_MAX {
                    n_bytes += bag_bytes;
                    found.push(running(scene, key, relation, &target, &file));
                } else {
                    left_out += 1;
                }
            }
        }
        offset += jobs.len();
    }
    found.extend(own(question, scene));
    for (key, (_, relation)) in scene.on("metrics-endpoint") {
        found.extend(not_scraped(question, scene, key, relation));
    }
    (found, left_out)
}

/// Places of static configs in the job, of targets in those, and their addresses.
fn targets(job: &Job) -> impl Iterator<Item = (usize, usize, &str)> {
    let configs = job.config.get("static_configs").and_then(Value::as_array).into_iter().flatten();
    configs.enumerate().flat_map(|(config_at, config)| {
        let targets = config["targets"].as_array().into_iter().flatten().enumerate();
        targets.filter_map(move |(target_at, target)| Some((config_at, target_at, target.as_str()?)))
    })
}

/// The addresses of a job's targets.
pub(super) fn addresses(job: &Job) -> impl Iterator<Item = &str> {
    targets(job).map(|(.., target)| target)
}

fn is_about(question: &Question, (endpoint, id): &RelationKey, relation: &Relation, at: &At<'_>, file: &str) -> bool {
    let key = format!("{endpoint}:{id}");
    let relabelled = OnceCell::new();
    let relabelled = || relabelled.get_or_init(|| Relabelled::of(at));
    let label = |name: &str| relabelled().labels.get(name).map(str::to_owned);
    let mut names = vec![at.target, &key, relation.remote.application.as_str()];
    names.extend(at.of.job.origin.unit.as_deref());
    if let Question::Name(text) = question
        && (label("instance").as_ref() == Some(text) || relabelled().is_at(text))
    {
        return true;
    }
    question.is_about(&names, &[at.of.job.name(), &at.of.published], label, file)
}

/// The name of one of the published jobs.
fn name_of(published: &Value, index: usize) -> String {
    published[index]["job_name"].as_str().unwrap_or_default().to_owned()
}

/// The jobs as the peer wrote them.
fn published(relation: &Relation) -> Value {
    let text = relation.remote.app_bag.get(SCRAPE_JOBS).map_or("", String::as_str);
    serde_json::from_str(text).unwrap_or_default()
}

fn running(scene: &Scene<'_>, key: &RelationKey, relation: &Relation, at: &At<'_>, file: &str) -> Explanation {
    let job = at.of.job;
    let mut explanation = scene.begin("target", at.target.to_owned(), Some(key));
    explanation.rendered = Some(scene.rendered(file, Template::Scrape, "scrape_configs", |spans| {
        spans.target(at.of.at, at.config_at, at.target_at)
    }));
    if scene.layout == Layout::Inlined {
        explanation.rendered = Some(scene.rendered(file, Template::Main, "scrape_configs", |spans| {
            spans.target(at.of.at, at.config_at, at.target_at)
        }));
    }
    let Some(origin) = job_origin(relation, &job.origin) else { return explanation };
    let index = job.origin.index;
    let place = target_origin(relation, &job.origin, at.target);
    let is_published = origin.published.get("static_configs").is_some_and(|configs| !configs.is_null());
    let target_path = match place.filter(|_| is_published) {
        Some((config, target)) => format!("[{index}].static_configs[{config}].targets[{target}]"),
        None => format!("[{index}]"),
    };
    explanation.sources.push(scene.source(relation, None, SCRAPE_JOBS, &target_path));
    let hosts = host_origins(relation);
    let host = hosts.iter().find(|host| job.origin.unit.as_ref() == Some(&host.name));
    explanation.sources.extend(host.map(|host| scene.source(relation, Some(&host.owner), host.address_key, "")));
    if origin.is_named {
        explanation.sources.push(scene.source(relation, None, SCRAPE_METADATA, ""));
    }
    let relabelled = Relabelled::of(at);
    explanation.steps = steps(at, &origin, host, explanation.sources.first(), is_published);
    explanation.steps.extend(relabelled.steps(n_published(&origin, "relabel_configs")));
    explanation.labels = labels(at, &origin, host, place, &relabelled);
    explanation
}

fn n_published(origin: &JobOrigin, key: &str) -> usize {
    origin.published[key].as_array().map_or(0, Vec::len)
}

fn step(what: &str, field: &str, before: Option<String>, after: Option<String>, why: &str) -> ExplainedStep {
    ExplainedStep { what: what.to_owned(), field: field.to_owned(), before, after, why: why.to_owned() }
}

/// What was done to the job, in the order in which it is done.
fn steps(
    at: &At<'_>,
    origin: &JobOrigin,
    host: Option<&HostOrigin>,
    source: Option<&BagPlace>,
    is_published: bool,
) -> Vec<ExplainedStep> {
    let (config, published) = (&at.of.job.config, &origin.published);
    let text = |value: &Value| Some(short(value)).filter(|_| !value.is_null());
    let mut steps = Vec::new();
    for key in &origin.left_out {
        steps.push(step("left out", key, None, None, "a peer may not set it"));
    }
    if origin.is_named {
        let why = "jobs are named after whom they come from, and after the unit";
        steps.push(step("named", "job_name", text(&published["job_name"]), Some(origin.name.clone()), why));
    }
    let before = source.and_then(|source| source.value.clone()).filter(|_| is_published);
    let before = before.or_else(|| (!is_published).then(|| "*:80".to_owned()));
    let why = match host {
        _ if !is_published => "without static_configs each unit is scraped on port 80",
        Some(_) => "* stands for every unit, and becomes its address",
        None => "",
    };
    if before.as_deref() != Some(at.target) && (host.is_some() || !is_published) {
        let field = format!("static_configs[{}].targets[{}]", at.config_at, at.target_at);
        steps.push(step("expanded", &field, before, Some(at.target.to_owned()), why));
    }
    let path = config.get("metrics_path").unwrap_or(&Value::Null);
    if *path != published["metrics_path"] && origin.is_named {
        let why = match host {
            Some(host) if !host.path.is_empty() => "the unit is reached below this path",
            _ => "a job without a path has this one",
        };
        steps.push(step("added", "metrics_path", text(&published["metrics_path"]), text(path), why));
    }
    if origin.is_named {
        let all = at.labels();
        let topology = TOPOLOGY.iter().map(|(label, _)| *label).chain(["juju_unit"]);
        let added: Vec<String> =
            topology.filter_map(|label| Some(format!("{label}={}", all.get(label)?.as_str()?))).collect();
        let field = format!("static_configs[{}].labels", at.config_at);
        steps.push(step("labelled", &field, None, Some(added.join(", ")), "series say whose they are"));
    }
    for key in ["fallback_scrape_protocol", "honor_labels"] {
        if let Some(value) = config.get(key).filter(|value| **value != published[key]) {
            let why = match key {
                "honor_labels" => "labels of the exporter win over ours",
                _ => "what an exporter that sends no content type is taken to speak",
            };
            steps.push(step("added", key, text(&published[key]), text(value), why));
        }
    }
    for key in ["ca_file", "cert_file", "key_file"] {
        let (before, after) = (&published["tls_config"][key], config.get("tls_config").map(|tls| &tls[key]));
        if let Some(after) = after.filter(|after| !after.is_null() && *after != before) {
            let why = "a databag holds the content, the server wants a file";
            steps.push(step("moved", &format!("tls_config.{key}"), Some("(its content)".to_owned()), text(after), why));
        }
    }
    if at.of.job.name() != origin.name {
        let why = "other jobs have the same name; the suffix is the digest of the job";
        steps.push(step("deduplicated", "job_name", Some(origin.name.clone()), Some(at.of.job.name().to_owned()), why));
    }
    steps
}

impl At<'_> {
    fn static_config(&self) -> &Value {
        &self.of.job.config["static_configs"][self.config_at]
    }

    fn labels(&self) -> Map<String, Value> {
        self.static_config()["labels"].as_object().cloned().unwrap_or_default()
    }
}

/// A target before, during and after relabelling.
struct Relabelled {
    /// The labels in the end, without those for the server's own use.
    labels: Labels,
    /// Where it is scraped, without parameters.
    url: String,
    /// What each rule changed: label, before, after.
    changes: Vec<Vec<(String, String, String)>>,
    is_dropped: bool,
}

impl Relabelled {
    fn of(at: &At<'_>) -> Relabelled {
        let job = at.of.read.get_or_init(|| parsed(at.of.job));
        let mut labels = LabelsBuilder::new();
        for (name, value) in at.labels() {
            labels.set(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        labels.set("__address__", at.target);
        let mut rules: &[RelabelConfig] = &[];
        if let Some(job) = job {
            for (name, value) in [
                ("job", job.job_name.clone()),
                ("__scheme__", job.scheme.as_str().to_owned()),
                ("__metrics_path__", job.metrics_path.clone()),
            ] {
                if labels.get(name).is_empty() {
                    labels.set(name, value);
                }
            }
            rules = &job.relabel_configs;
        }
        let mut before = labels.build();
        let traced = relabel::trace(rules, &mut labels);
        let is_dropped = traced.last().is_some_and(|last| !last.kept);
        let mut changes = Vec::new();
        for traced in &traced {
            let mut changed = Vec::new();
            let names: std::collections::BTreeSet<&str> =
                before.iter().chain(traced.labels.iter()).map(|(name, _)| name).collect();
            for name in names {
                let (from, to) = (before.get(name).unwrap_or_default(), traced.labels.get(name).unwrap_or_default());
                if from != to {
                    changed.push((name.to_owned(), from.to_owned(), to.to_owned()));
                }
            }
            changes.push(changed);
            before = traced.labels.clone();
        }
        if labels.get("instance").is_empty() {
            let address = labels.get("__address__").to_owned();
            labels.set("instance", address);
        }
        let [scheme, address, path] =
            ["__scheme__", "__address__", "__metrics_path__"].map(|name| labels.get(name).to_owned());
        labels.retain(|name, _| !name.starts_with("__"));
        Relabelled { labels: labels.build(), url: format!("{scheme}://{address}{path}"), changes, is_dropped }
    }

    /// Whether `text` is the target's URL, with or without path and parameters.
    fn is_at(&self, text: &str) -> bool {
        let text = text.split('?').next().unwrap_or_default().trim_end_matches('/');
        let rest = self.url.strip_prefix(text).filter(|_| text.contains("://"));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The rules that changed something; the first `n_published` are the peer's.
    fn steps(&self, n_published: usize) -> Vec<ExplainedStep> {
        let mut steps = Vec::new();
        for (at, changes) in self.changes.iter().enumerate() {
            let why = match at < n_published {
                true => format!("relabel_configs[{at}] of the job"),
                false => "the topology becomes the instance".to_owned(),
            };
            for (name, before, after) in changes {
                let text = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
                steps.push(step("relabelled", &format!("labels.{name}"), text(before), text(after), &why));
            }
        }
        if self.is_dropped {
            steps.push(step("dropped", "", None, None, "relabelling leaves nothing of it, so it is not scraped"));
        }
        steps
    }

    /// Which rule set a label last.
    fn set_by(&self, label: &str) -> Option<usize> {
        self.changes.iter().rposition(|changes| changes.iter().any(|(name, ..)| name == label))
    }
}

/// The job as the server reads it, without its targets, of which there may be very many.
fn parsed(job: &Job) -> Option<Arc<ScrapeConfig>> {
    let config: Map<String, Value> = job
        .config
        .iter()
        .filter(|(key, _)| *key != "static_configs")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let text = yaml::to_string(&json!({"scrape_configs": [config]})).ok()?;
    // Whether it fits the other jobs' intervals was decided before.
    let global =
        GlobalConfig { scrape_interval: std::time::Duration::from_secs(86_400 * 365), ..GlobalConfig::default() };
    ScrapeConfigFile::parse(&text, &global).ok()?.scrape_configs.pop()
}

fn labels(
    at: &At<'_>,
    origin: &JobOrigin,
    host: Option<&HostOrigin>,
    place: Option<(usize, usize)>,
    relabelled: &Relabelled,
) -> BTreeMap<String, ExplainedLabel> {
    let index = at.of.job.origin.index;
    let of_peer = |label: &str| {
        let (config, _) = place?;
        origin.published["static_configs"][config]["labels"].get(label)?;
        Some(format!("{SCRAPE_JOBS}[{index}].static_configs[{config}].labels.{label}"))
    };
    let from = |label: &str| match relabelled.set_by(label) {
        Some(rule) if rule < n_published(origin, "relabel_configs") => {
            format!("{SCRAPE_JOBS}[{index}].relabel_configs[{rule}]")
        }
        Some(_) => "relabelling, from the topology".to_owned(),
        None => of_peer(label).unwrap_or_else(|| match label {
            "job" => "the name of the job".to_owned(),
            "instance" => "the target's address".to_owned(),
            "juju_unit" => match host {
                Some(host) if host.is_named => format!("{} {UNIT_NAME}", host.owner),
                _ => "the name of the unit".to_owned(),
            },
            _ => match TOPOLOGY.iter().find(|(known, _)| *known == label) {
                Some((_, key)) => format!("{SCRAPE_METADATA}.{key}"),
                None => String::new(),
            },
        }),
    };
    let one =
        |(name, value): (&str, &str)| (name.to_owned(), ExplainedLabel { value: value.to_owned(), from: from(name) });
    relabelled.labels.iter().map(one).collect()
}

/// The targets that nobody related: the server itself, and this agent.
fn own(question: &Question, scene: &Scene<'_>) -> Vec<Explanation> {
    let mut found = Vec::new();
    for (job_at, config) in scene.trace.desired.own_jobs.iter().enumerate() {
        let Some(config) = config.as_object().cloned() else { continue };
        let origin =
            relatum_relations::prometheus_scrape::Origin { relation: Default::default(), index: 0, unit: None };
        let job = Job { config, origin };
        let of = Running::new(&job, job_at, String::new());
        for at in of.targets() {
            let relabelled = Relabelled::of(&at);
            let label = |name: &str| relabelled.labels.get(name).map(str::to_owned);
            let unit = label("juju_unit").unwrap_or_default();
            let is_at = matches!(question, Question::Name(text) if relabelled.is_at(text));
            if !is_at && !question.is_about(&[at.target, &unit], &[job.name()], label, MAIN_PATH) {
                continue;
            }
            let mut explanation = scene.begin("target", at.target.to_owned(), None);
            explanation.rendered = Some(scene.rendered(MAIN_PATH, Template::Main, "scrape_configs", |spans| {
                spans.target(of.at, at.config_at, at.target_at)
            }));
            explanation.steps.push(step("added", "scrape_configs", None, None, "the server always scrapes itself"));
            explanation.steps.extend(relabelled.steps(0));
            let one = |(name, value): (&str, &str)| {
                (name.to_owned(), ExplainedLabel { value: value.to_owned(), from: "our own topology".to_owned() })
            };
            explanation.labels = relabelled.labels.iter().map(one).collect();
            found.push(explanation);
        }
    }
    found
}

/// Jobs that are not scraped: what the checks left out, and what became one with an equal job.
fn not_scraped(question: &Question, scene: &Scene<'_>, key: &RelationKey, relation: &Relation) -> Vec<Explanation> {
    let mut found = Vec::new();
    let relation_key = format!("{}:{}", key.0, key.1);
    let published = published(relation);
    for problem in scene.problems(relation, SCRAPE_JOBS) {
        let path = problem.path.clone().unwrap_or_default();
        let Some(index) =
            path.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(at, _)| at.parse().ok())
        else {
            continue;
        };
        let name = name_of(&published, index);
        let names = [relation_key.as_str(), relation.remote.application.as_str(), name.as_str()];
        let addresses = since::at(&published, &format!("[{index}].static_configs"));
        let addresses: Vec<&str> = addresses
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .flat_map(|config| config["targets"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let all: Vec<&str> = names.iter().copied().chain(addresses).collect();
        if !question.is_about(&all, &[&name], |_| None, "") {
            continue;
        }
        let title = if name.is_empty() { format!("job {index}") } else { name };
        let mut explanation = scene.begin("job", title, Some(key));
        explanation.runs = false;
        explanation.sources.push(scene.source(relation, None, SCRAPE_JOBS, &path));
        explanation.problem = Some(problem.clone());
        found.push(explanation);
    }
    found
}
