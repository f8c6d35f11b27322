//! Whether a job is fit to be scraped, and a rule to be evaluated.

use std::path::PathBuf;

use relatum_config::Secret;
use relatum_config::prometheus::{GlobalConfig, ScrapeConfig, ScrapeConfigFile, StaticConfig, TlsConfig};
use relatum_config::rules::RuleFile;
use relatum_model::labels::LabelsBuilder;
use relatum_model::time::format_duration;
use relatum_model::{relabel, yaml};
use serde_json::{Map, Value, json};

use super::client_tls;
use super::permissions::Permissions;
use crate::json::is_empty;

/// Keys of a job below which names are the peer's own.
const FREE_KEYS: &[&str] = &["params", "static_configs"];

/// Whether the value of `key` is a path, or a list of them. A peer's path names a file on our disk, whose content would go to a
/// target of the peer's choice. Told by the end of the name: the format has dozens of these keys, and gets more.
fn is_path_key(key: &str) -> bool {
    key == "files" || key.ends_with("_file") || key.ends_with("_files")
}

/// Something in a job that keeps it from being scraped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobFault {
    /// The path inside the job; empty for the job as a whole.
    pub(super) path: String,
    /// What is wrong.
    pub(super) message: String,
    /// What to do about it, when we know.
    pub(super) hint: Option<String>,
}

impl JobFault {
    /// A fault without advice.
    pub(super) fn new(path: &str, message: String) -> Self {
        JobFault { path: path.to_owned(), message, hint: None }
    }
}

/// What jobs are judged by beside themselves.
pub(super) struct Judge<'a> {
    /// What they inherit.
    pub(super) global: &'a GlobalConfig,
    /// What they may.
    pub(super) permissions: &'a Permissions,
    /// Whether their certificates are any good.
    pub(super) check_tls: client_tls::Check,
}

impl Judge<'_> {
    /// What keeps `job` from being scraped beside jobs that take what they leave open from `global`; empty if nothing does.
    pub(super) fn faults(&self, job: &Map<String, Value>) -> Vec<JobFault> {
        let mut faults = Vec::new();
        for (key, value) in job.iter().filter(|(key, _)| !FREE_KEYS.contains(&key.as_str())) {
            // Here the three paths are not paths: the databag holds the content.
            let inline = key == "tls_config";
            find_paths(key, key, value, inline, &mut faults);
        }
        let is_set = |key: &str| {
            let value = job.get("tls_config").and_then(|tls| tls.get(key));
            value.is_some_and(|value| !is_empty(value))
        };
        if is_set("cert_file") != is_set("key_file") {
            let message = "tls_config needs both cert_file and key_file, or neither".to_owned();
            faults.push(JobFault { path: "tls_config".to_owned(), message, hint: None });
        }
        faults.extend(texts_without_pem(job));
        faults.extend(self.permissions.faults(job, FREE_KEYS));
        if faults.is_empty() { self.format_faults(job) } else { faults }
    }

    /// What the reader of scrape files says about `job`, read as the text that would be rendered, what is wrong with its
    /// certificates, and where its targets may not be.
    fn format_faults(&self, job: &Map<String, Value>) -> Vec<JobFault> {
        if let Some(file) = ScrapeConfigFile::of_job(job, self.global) {
            return file.scrape_configs.iter().flat_map(|job| self.faults_in_effect(job)).collect();
        }
        let text = match yaml::to_string(&json!({"scrape_configs": [job]})) {
            Ok(text) => text,
            Err(error) => return vec![JobFault { path: String::new(), message: error.message, hint: None }],
        };
        let problems = match ScrapeConfigFile::parse_for(&text, self.global, &[]) {
            Ok(file) => return file.scrape_configs.iter().flat_map(|job| self.faults_in_effect(job)).collect(),
            Err(problems) => problems,
        };
        let describe = |problem: relatum_config::Problem| {
            let key = problem.key.strip_prefix("scrape_configs[0]").unwrap_or(&problem.key);
            JobFault { path: key.trim_start_matches('.').to_owned(), message: problem.message, hint: None }
        };
        problems.into_iter().map(describe).collect()
    }

    /// What is wrong with a job that is well written.
    fn faults_in_effect(&self, job: &ScrapeConfig) -> Vec<JobFault> {
        let mut faults = target_faults(job, self.permissions);
        let tls = &job.http.tls;
        // Most jobs say nothing of it, and trying costs as much as all the rest.
        if *tls != TlsConfig::default() {
            faults.extend((self.check_tls)(&with_texts(tls)).err().map(|fault| tls_fault(tls, fault)));
        }
        faults
    }
}

/// The settings with the texts of certificates and key as what they are; read as a file's, they stand where paths do.
fn with_texts(tls: &TlsConfig) -> TlsConfig {
    let mut tls = tls.clone();
    let text = |path: Option<PathBuf>| path.map(|path| path.to_string_lossy().into_owned());
    tls.ca = text(tls.ca_file.take()).or(tls.ca);
    tls.cert = text(tls.cert_file.take()).or(tls.cert);
    tls.key = text(tls.key_file.take()).map(Secret::new).or(tls.key);
    tls
}

fn tls_fault(tls: &TlsConfig, fault: client_tls::Fault) -> JobFault {
    let (key, is_text) = match fault.key {
        "ca" if tls.ca_file.is_some() => ("ca_file", true),
        "cert" if tls.cert_file.is_some() => ("cert_file", true),
        "key" if tls.key_file.is_some() => ("key_file", true),
        key => (key, matches!(key, "ca" | "cert" | "key")),
    };
    let dot = if key.is_empty() { "" } else { "." };
    let hint = is_text.then(|| "the text stands here whole, from its -----BEGIN to its -----END".to_owned());
    JobFault { path: format!("tls_config{dot}{key}"), message: fault.message, hint }
}

/// The keys of `tls_config` that hold no text in PEM, such as the path of a file. Found here, it costs one job and the peer hears of it;
/// found when the server loads the file, only we would know.
fn texts_without_pem(job: &Map<String, Value>) -> Vec<JobFault> {
    let content = |key: &'static str| Some((key, job.get("tls_config")?.get(key)?.as_str()?));
    let contents = ["ca_file", "cert_file", "key_file"].into_iter().filter_map(content);
    let fault = |key: &str| JobFault {
        path: format!("tls_config.{key}"),
        message: format!("{key} is not a text in PEM: a databag holds the file's content here, not its path"),
        hint: None,
    };
    contents.filter(|(_, text)| !text.is_empty() && !text.contains("-----BEGIN ")).map(|(key, _)| fault(key)).collect()
}

/// The targets of `job` that it may not have, and those that would never be scraped, by the address that they have once they are
/// relabelled: that is where we would go.
fn target_faults(job: &ScrapeConfig, permissions: &Permissions) -> Vec<JobFault> {
    let mut faults = Vec::new();
    for (at, config) in job.static_configs.iter().enumerate() {
        for (target_at, target) in config.targets.iter().enumerate() {
            if permissions.denied.is_empty() && url_fault(target).is_none() {
                continue;
            }
            let mut labels = discovered(job, config, target);
            if relabel::apply(&job.relabel_configs, &mut labels) {
                let path = format!("static_configs[{at}].targets[{target_at}]");
                let address = labels.get("__address__");
                let fault = permissions.denied.fault(address).or_else(|| url_fault(address));
                faults.extend(fault.map(|fault| JobFault { path, ..fault }));
            }
        }
    }
    faults
}

/// Why a server drops a target of this address without a word.
fn url_fault(address: &str) -> Option<JobFault> {
    let message = match address {
        "" => "a target is HOST:PORT; this one is empty",
        address if address.contains("://") => "a target is HOST:PORT and not a URL",
        address if address.contains('/') => "a target is HOST:PORT and has no path",
        _ => return None,
    };
    let hint = Some("scheme and path of the job go under scheme and metrics_path".to_owned());
    Some(JobFault { path: String::new(), message: message.to_owned(), hint })
}

/// What relabelling sees of a target, which has its address whatever its labels say: all that the server shows it, because a step may
/// make an address of any of it.
fn discovered(job: &ScrapeConfig, config: &StaticConfig, target: &str) -> LabelsBuilder {
    let mut labels = config.labels.to_builder();
    labels.set("__address__", target);
    let own = [
        ("job".to_owned(), job.job_name.clone()),
        ("__scrape_interval__".to_owned(), format_duration(job.scrape_interval)),
        ("__scrape_timeout__".to_owned(), format_duration(job.scrape_timeout)),
        ("__metrics_path__".to_owned(), job.metrics_path.clone()),
        ("__scheme__".to_owned(), job.scheme.as_str().to_owned()),
        ("__convert_classic_histograms_to_nhcb__".to_owned(), job.convert_classic_histograms_to_nhcb.to_string()),
        ("__always_scrape_classic_histograms__".to_owned(), job.always_scrape_classic_histograms.to_string()),
        ("__scrape_native_histograms__".to_owned(), job.scrape_native_histograms.to_string()),
    ];
    let first = |values: &[String]| values.first().cloned().unwrap_or_default();
    let params = job.params.iter().map(|(name, values)| (format!("__param_{name}"), first(values)));
    for (name, value) in own.into_iter().chain(params) {
        if labels.get(&name).is_empty() {
            labels.set(name, value);
        }
    }
    labels
}

/// Something in a list of rule groups that keeps it from being a rule file.
pub(super) struct Fault {
    /// The position of the group at fault; `None` when it cannot be told.
    pub(super) group: Option<usize>,
    /// The position of the rule in its group; `None` when the fault is not in a rule.
    pub(super) rule: Option<usize>,
    /// The path inside the rule, or inside the group; empty for the whole of it.
    pub(super) path: String,
    /// What is wrong.
    pub(super) message: String,
}

/// What keeps `groups` from being one rule file; empty if nothing does. Judged by the text that would be rendered.
pub(super) fn rule_groups(groups: &[&Value]) -> Vec<Fault> {
    if RuleFile::of_groups(groups).is_some() {
        return Vec::new();
    }
    let text = match yaml::to_string(&json!({"groups": groups})) {
        Ok(text) => text,
        Err(error) => return vec![Fault { group: None, rule: None, path: String::new(), message: error.message }],
    };
    let problems = RuleFile::parse(&text).err().unwrap_or_default();
    let fault = |problem: relatum_config::Problem| {
        let (group, of_group) = position(&problem.key, "groups[").unzip();
        let (rule, of_rule) = of_group.and_then(|rest| position(rest, ".rules[")).unzip();
        let path = of_rule.or(of_group).unwrap_or_default().to_owned();
        Fault { group: group.filter(|at| *at < groups.len()), rule, path, message: problem.message }
    };
    problems.into_iter().map(fault).collect()
}

/// The number that follows `start` at the beginning of `path`, and what comes after its bracket.
pub(super) fn position<'a>(path: &'a str, start: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = path.strip_prefix(start)?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

/// Looks for keys that name files in `value`, which stands under `key` at `path`.
fn find_paths(path: &str, key: &str, value: &Value, inline: bool, faults: &mut Vec<JobFault>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let is_content = inline && matches!(key.as_str(), "ca_file" | "cert_file" | "key_file");
                if !is_content {
                    find_paths(&format!("{path}.{key}"), key, value, false, faults);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                find_paths(&format!("{path}[{at}]"), key, item, false, faults);
            }
        }
        Value::String(file) if !file.is_empty() && is_path_key(key) => {
            let message = format!("{key} names a file on our disk, which a relation may not");
            faults.push(JobFault { path: path.to_owned(), message, hint: None });
        }
        _ => {}
    }
}
