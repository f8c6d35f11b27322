//! `prometheus.yml` and the files it names under `scrape_config_files`.
//!
//! Defaults are filled in, and what a scrape job does not say it takes from `global`, so that readers of these types never
//! have to ask twice. Relative paths stay as written until [`Config::join_directory`].

mod alerting;
mod cloud_auth;
mod discovery;
mod feature;
mod field;
mod global;
mod http;
mod job_text;
mod oauth2;
mod otlp;
mod relabel;
mod remote_read;
mod remote_write;
mod scrape;
mod size;
mod storage;
mod tls;
mod tracing;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relatum_model::text::quote;

pub use alerting::{Alerting, AlertmanagerConfig};
pub use cloud_auth::{
    AzureAdConfig, AzureCertificate, AzureManagedIdentity, AzureOAuth, AzureSdk, AzureWorkloadIdentity,
    GoogleIamConfig, SigV4Config,
};
pub(crate) use discovery::read_group;
pub use discovery::*;
pub use feature::{Feature, Use, refusals};
pub use global::{Escaping, GlobalConfig, Limits};
pub use http::{Authorization, BasicAuth, Header, HttpClientConfig, ProxyConfig};
pub use job_text::job_text;
pub use oauth2::OAuth2Config;
pub use otlp::{OtlpConfig, TranslationStrategy};
pub use remote_read::RemoteReadConfig;
pub use remote_write::{MetadataConfig, QueueConfig, RemoteWriteConfig, WriteMessage};
pub use scrape::{Scheme, ScrapeConfig, ScrapeProtocol, StaticConfig};
pub use storage::{ChunkEncoding, Retention, StorageConfig};
pub use tls::{TlsConfig, TlsVersion};
pub use tracing::{TracingClient, TracingConfig};

use crate::yaml::{self, Cursor, Findings, Node, Section};
use crate::{FileSet, Problem};

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
    pub scrape_configs: Vec<Arc<ScrapeConfig>>,
    /// Where alerts go.
    pub alerting: Alerting,
    /// Where samples are sent on to.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// Where samples are asked for that we do not have.
    pub remote_read: Vec<RemoteReadConfig>,
    /// How metrics of OpenTelemetry become series.
    pub otlp: OtlpConfig,
    /// How samples are kept.
    pub storage: StorageConfig,
    /// Where spans go.
    pub tracing: Option<TracingConfig>,
    /// `runtime.gogc`: the target of Go's garbage collector in percent, if the file sets one.
    pub go_gc_percent: Option<i64>,
    /// Where the file asks for features that a server may lack, in the order of the text.
    pub uses: Vec<Use>,
    /// The file as YAML to show to people: without comments, with `<secret>` for every secret.
    pub redacted: String,
}

/// A file that `scrape_config_files` names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScrapeConfigFile {
    /// Its scrape jobs.
    pub scrape_configs: Vec<Arc<ScrapeConfig>>,
    /// Where the file asks for features that a server may lack, in the order of the text.
    pub uses: Vec<Use>,
}

/// Files of scrape jobs.
pub type ScrapeFiles = FileSet<ScrapeConfigFile>;

impl Config {
    /// Reads the main configuration file. An empty text is a configuration of defaults.
    ///
    /// Everything that is right is accepted. A program that acts on the file has to look at [`Config::uses`], or to call
    /// [`Config::parse_for`], which refuses what the program lacks.
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
        let found = findings.finish(root.as_ref());
        if !found.problems.is_empty() {
            return Err(found.problems);
        }
        config.uses = found.uses;
        config.redacted = root.map_or_else(String::new, |root| yaml::emit(&root, &found.secrets));
        Ok(config)
    }

    /// Reads the main configuration file for a program that has these features, and refuses the use of any other.
    pub fn parse_for(text: &str, supported: &[Feature]) -> Result<Self, Vec<Problem>> {
        let config = Config::parse(text)?;
        let refused = refusals(&config.uses, supported);
        if refused.is_empty() { Ok(config) } else { Err(refused) }
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
        self.tracing = section.take_feature("tracing", Feature::Tracing).and_then(TracingConfig::read);
        self.otlp = section.take_feature("otlp", Feature::Otlp).map(|c| OtlpConfig::read(c, names)).unwrap_or_default();
        if let Some(mut runtime) = section.take_feature("runtime", Feature::Runtime).and_then(Cursor::section) {
            self.go_gc_percent = runtime.take("gogc").and_then(Cursor::signed);
            runtime.finish();
        }
        let mut seen = HashSet::new();
        for item in take_list(&mut section, "remote_write", Feature::RemoteWrite) {
            let Some(remote) = RemoteWriteConfig::read(item, names) else { continue };
            if !remote.name.is_empty() && !seen.insert(remote.name.clone()) {
                item.invalid(format!("found multiple remote write configs with job name {}", quote(&remote.name)));
            }
            self.remote_write.push(remote);
        }
        let mut seen = HashSet::new();
        for item in take_list(&mut section, "remote_read", Feature::RemoteRead) {
            let Some(remote) = RemoteReadConfig::read(item) else { continue };
            if !remote.name.is_empty() && !seen.insert(remote.name.clone()) {
                item.invalid(format!("found multiple remote read configs with job name {}", quote(&remote.name)));
            }
            self.remote_read.push(remote);
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
        let logs = self.global.query_log_file.iter_mut().chain(&mut self.global.scrape_failure_log_file);
        join_all(logs, directory);
        join_all(self.scrape_configs.iter_mut().flat_map(|job| Arc::make_mut(job).paths()), directory);
        join_all(self.alerting.alertmanagers.iter_mut().flat_map(AlertmanagerConfig::paths), directory);
        let writes = self.remote_write.iter_mut().map(|remote| &mut remote.http);
        let reads = self.remote_read.iter_mut().map(|remote| &mut remote.http);
        join_all(writes.chain(reads).flat_map(HttpClientConfig::paths), directory);
        join_all(self.tracing.iter_mut().flat_map(|tracing| tracing.tls.paths()), directory);
    }
}

impl ScrapeConfigFile {
    /// Reads a file of scrape jobs and fills in from `global` what they leave open.
    ///
    /// That no job of it has the name of a job elsewhere is for the caller to check: see [`find_duplicate_job`].
    pub fn parse(text: &str, global: &GlobalConfig) -> Result<Self, Vec<Problem>> {
        let (root, more) = yaml::parse(text).map_err(|problem| vec![problem])?;
        let findings = Findings::default();
        if more {
            findings.general("the file has more than one YAML document");
        }
        ScrapeConfigFile::read(root.as_ref(), findings, global)
    }

    /// The same for a file of one job that is not written yet. `None` unless all is right with it and it asks for no optional feature:
    /// reading its text tells what is wrong.
    pub fn of_job(job: &serde_json::Map<String, serde_json::Value>, global: &GlobalConfig) -> Option<Self> {
        let root = yaml::tree_of_list("scrape_configs", [job])?;
        let file = ScrapeConfigFile::read(Some(&root), Findings::default(), global).ok()?;
        file.uses.is_empty().then_some(file)
    }

    fn read(root: Option<&Node>, findings: Findings, global: &GlobalConfig) -> Result<Self, Vec<Problem>> {
        let mut file = ScrapeConfigFile::default();
        if let Some(mut section) = root.and_then(|root| Cursor::new(root, &findings).section()) {
            file.scrape_configs = section.take("scrape_configs").map(|c| read_jobs(c, global)).unwrap_or_default();
            section.finish();
        }
        let found = findings.finish(root);
        file.uses = found.uses;
        if found.problems.is_empty() { Ok(file) } else { Err(found.problems) }
    }

    /// The same for a program that has these features; the use of any other is refused.
    pub fn parse_for(text: &str, global: &GlobalConfig, supported: &[Feature]) -> Result<Self, Vec<Problem>> {
        let file = ScrapeConfigFile::parse(text, global)?;
        let refused = refusals(&file.uses, supported);
        if refused.is_empty() { Ok(file) } else { Err(refused) }
    }

    /// Makes relative paths start at `directory`: that of the file.
    pub fn join_directory(&mut self, directory: &Path) {
        join_all(self.scrape_configs.iter_mut().flat_map(|job| Arc::make_mut(job).paths()), directory);
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

/// The items of a list that stands for a feature.
fn take_list<'a>(section: &mut Section<'a>, key: &'static str, feature: Feature) -> Vec<Cursor<'a>> {
    let Some((name, list)) = section.take_pair(key) else { return Vec::new() };
    let items = list.items();
    if !items.is_empty() {
        name.asks_for(feature);
    }
    items
}

/// Jobs are shared, as whoever scrapes keeps them for as long as they run.
fn read_jobs(cursor: Cursor<'_>, global: &GlobalConfig) -> Vec<Arc<ScrapeConfig>> {
    let mut seen = HashSet::new();
    let mut jobs = Vec::new();
    for item in cursor.items() {
        let Some(job) = ScrapeConfig::read(item, global) else { continue };
        if !job.job_name.is_empty() && !seen.insert(job.job_name.clone()) {
            item.invalid(format!("found multiple scrape configs with job name {}", quote(&job.job_name)));
        }
        jobs.push(Arc::new(job));
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
