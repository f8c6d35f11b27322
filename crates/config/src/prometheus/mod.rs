//! `prometheus.yml` and the files it names under `scrape_config_files`.
//!
//! Defaults are filled in, and what a scrape job does not say it takes from `global`, so that readers of these types never
//! have to ask twice. Relative paths stay as written until [`Config::join_directory`].

mod alerting;
mod discovery;
mod global;
mod http;
mod relabel;
mod remote_write;
mod scrape;
mod size;
mod storage;
mod tls;
mod tracing;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use relatum_model::text::quote;

pub use alerting::{Alerting, AlertmanagerConfig};
pub use global::{Escaping, GlobalConfig, Limits};
pub use http::{Authorization, BasicAuth, Header, HttpClientConfig, ProxyConfig};
pub use remote_write::{MetadataConfig, QueueConfig, RemoteWriteConfig, WriteMessage};
pub use scrape::{Scheme, ScrapeConfig, ScrapeProtocol, StaticConfig};
pub use storage::{Retention, StorageConfig};
pub use tls::{TlsConfig, TlsVersion};
pub use tracing::{TracingClient, TracingConfig};

use crate::Problem;
use crate::yaml::{self, Cursor, Findings};

/// The main configuration file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// What holds for all jobs and rules that do not say otherwise.
    pub global: GlobalConfig,
    /// Patterns of rule files: a path whose last component may hold wildcards.
    pub rule_files: Vec<String>,
    /// Patterns of files with further scrape jobs, of the same form.
    pub scrape_config_files: Vec<String>,
    /// The scrape jobs of this file.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Where alerts go.
    pub alerting: Alerting,
    /// Where samples are sent on to.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// How samples are kept.
    pub storage: StorageConfig,
    /// Where spans go.
    pub tracing: Option<TracingConfig>,
    /// The file as YAML to show to people: without comments, with `<secret>` for every secret.
    pub redacted: String,
}

/// A file that `scrape_config_files` names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScrapeConfigFile {
    /// Its scrape jobs.
    pub scrape_configs: Vec<ScrapeConfig>,
}

impl Config {
    /// Reads the main configuration file. An empty text is a configuration of defaults.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (root, more) = yaml::parse(text).map_err(|problem| vec![problem])?;
        let findings = Findings::default();
        let mut config = Config::default();
        if let Some(root) = &root {
            config.read(Cursor::new(root, &findings));
        }
        if more {
            findings.general("the file has more than one YAML document");
        }
        if findings.has_problems() {
            return Err(findings.into_problems(root.as_ref()));
        }
        let secrets = findings.into_secrets();
        config.redacted = root.map_or_else(String::new, |root| yaml::emit(&root, &secrets));
        Ok(config)
    }

    fn read(&mut self, cursor: Cursor<'_>) {
        let Some(mut section) = cursor.section() else { return };
        self.global = GlobalConfig::read(section.take("global"));
        let names = self.global.metric_name_validation_scheme;
        self.rule_files = section.take("rule_files").map(|c| read_patterns(c, "rule file")).unwrap_or_default();
        self.scrape_config_files =
            section.take("scrape_config_files").map(|c| read_patterns(c, "scrape config file")).unwrap_or_default();
        self.scrape_configs = section.take("scrape_configs").map(|c| read_jobs(c, &self.global)).unwrap_or_default();
        self.alerting = section.take("alerting").map(|c| Alerting::read(c, names)).unwrap_or_default();
        self.storage = section.take("storage").map(StorageConfig::read).unwrap_or_default();
        self.tracing = section.take("tracing").and_then(TracingConfig::read);
        let mut seen = HashSet::new();
        for item in section.take("remote_write").map(Cursor::items).unwrap_or_default() {
            let Some(remote) = RemoteWriteConfig::read(item, names) else { continue };
            if !remote.name.is_empty() && !seen.insert(remote.name.clone()) {
                item.invalid(format!("found multiple remote write configs with job name {}", quote(&remote.name)));
            }
            self.remote_write.push(remote);
        }
        for key in ["runtime", "remote_read", "otlp"] {
            section.refuse(key);
        }
        section.finish();
    }

    /// Makes relative paths, patterns included, start at `directory`: that of the file.
    pub fn join_directory(&mut self, directory: &Path) {
        for pattern in self.rule_files.iter_mut().chain(&mut self.scrape_config_files) {
            if !pattern.is_empty() {
                *pattern = directory.join(&*pattern).to_string_lossy().into_owned();
            }
        }
        let jobs = self.scrape_configs.iter_mut().map(|job| &mut job.http);
        let alertmanagers = self.alerting.alertmanagers.iter_mut().map(|group| &mut group.http);
        let remotes = self.remote_write.iter_mut().map(|remote| &mut remote.http);
        let clients = jobs.chain(alertmanagers).chain(remotes).flat_map(HttpClientConfig::paths);
        join_all(clients.chain(self.tracing.iter_mut().flat_map(|tracing| tracing.tls.paths())), directory);
    }
}

impl ScrapeConfigFile {
    /// Reads a file of scrape jobs and fills in from `global` what they leave open.
    ///
    /// That no job of it has the name of a job elsewhere is for the caller to check: see [`find_duplicate_job`].
    pub fn parse(text: &str, global: &GlobalConfig) -> Result<Self, Vec<Problem>> {
        let (root, more) = yaml::parse(text).map_err(|problem| vec![problem])?;
        let findings = Findings::default();
        let mut file = ScrapeConfigFile::default();
        if let Some(mut section) = root.as_ref().and_then(|root| Cursor::new(root, &findings).section()) {
            file.scrape_configs = section.take("scrape_configs").map(|c| read_jobs(c, global)).unwrap_or_default();
            section.finish();
        }
        if more {
            findings.general("the file has more than one YAML document");
        }
        if findings.has_problems() { Err(findings.into_problems(root.as_ref())) } else { Ok(file) }
    }

    /// Makes relative paths start at `directory`: that of the file.
    pub fn join_directory(&mut self, directory: &Path) {
        join_all(self.scrape_configs.iter_mut().flat_map(|job| job.http.paths()), directory);
    }
}

/// The name of the first job that two of `files` have, with the two files: `main` first, then `(path, file)` in their order.
pub fn find_duplicate_job<'a>(
    main: &'a Config,
    files: &[(&'a str, &'a ScrapeConfigFile)],
) -> Option<(&'a str, &'a str, &'a str)> {
    let mut origins = std::collections::HashMap::new();
    let main = main.scrape_configs.iter().map(|job| ("main config file", job));
    let others = files.iter().flat_map(|(path, file)| file.scrape_configs.iter().map(|job| (*path, job)));
    for (path, job) in main.chain(others) {
        if let Some(first) = origins.insert(job.job_name.as_str(), path) {
            return Some((&job.job_name, first, path));
        }
    }
    None
}

fn join_all<'a>(paths: impl Iterator<Item = &'a mut PathBuf>, directory: &Path) {
    for path in paths {
        *path = directory.join(&*path);
    }
}

fn read_jobs(cursor: Cursor<'_>, global: &GlobalConfig) -> Vec<ScrapeConfig> {
    let mut seen = HashSet::new();
    let mut jobs = Vec::new();
    for item in cursor.items() {
        let Some(job) = ScrapeConfig::read(item, global) else { continue };
        if !job.job_name.is_empty() && !seen.insert(job.job_name.clone()) {
            item.invalid(format!("found multiple scrape configs with job name {}", quote(&job.job_name)));
        }
        jobs.push(job);
    }
    jobs
}

/// Paths that may have wildcards in their last component.
fn read_patterns(cursor: Cursor<'_>, what: &str) -> Vec<String> {
    let mut patterns = Vec::new();
    for item in cursor.items() {
        let Some(pattern) = item.string() else { continue };
        if pattern.split_once('*').is_some_and(|(_, after)| after.contains('/')) {
            item.invalid(format!("invalid {what} path {}", quote(&pattern)));
        }
        patterns.push(pattern);
    }
    patterns
}
