//! Lines of rendered files: where each job, target, group and rule stands, as the parser says.

use relatum_model::yaml::{self, Spanned};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The lines of one file; empty for one that cannot be read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Spans {
    #[serde(default)]
    scrape_configs: Vec<Spanned<Job>>,
    #[serde(default)]
    groups: Vec<Spanned<Group>>,
    #[serde(default)]
    alerting: Alerting,
    #[serde(default)]
    remote_write: Vec<Spanned<IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
struct Alerting {
    #[serde(default)]
    alertmanagers: Vec<Spanned<Job>>,
}

#[derive(Debug, Default, Deserialize)]
struct Job {
    #[serde(default)]
    job_name: String,
    #[serde(default)]
    static_configs: Vec<StaticConfig>,
}

#[derive(Debug, Default, Deserialize)]
struct StaticConfig {
    #[serde(default)]
    targets: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Group {
    #[serde(default)]
    name: String,
    #[serde(default)]
    rules: Vec<Spanned<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
}

impl Spans {
    pub(super) fn read(text: &str) -> Spans {
        yaml::from_str(text).unwrap_or_default()
    }

    /// All targets: job, address and line.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.scrape_configs.iter().flat_map(|job| {
            let targets = job.value.static_configs.iter().flat_map(|config| &config.targets);
            targets.map(|target| (job.value.job_name.as_str(), target.value.as_str(), target.line))
        })
    }

    /// All rules: group, name and line.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.groups.iter().flat_map(|group| {
            group.value.rules.iter().map(|rule| {
                let title = rule.value.alert.as_deref().or(rule.value.record.as_deref()).unwrap_or_default();
                (group.value.name.as_str(), title, rule.line)
            })
        })
    }

    /// The line of a target: by job, static config, and place in its list.
    pub(super) fn target(&self, job: usize, static_config: usize, target: usize) -> u64 {
        let of_job = self.scrape_configs.get(job).and_then(|job| job.value.static_configs.get(static_config));
        of_job.and_then(|config| config.targets.get(target)).map_or(0, |target| target.line)
    }

    /// The line of a rule.
    pub(super) fn rule(&self, group: usize, rule: usize) -> u64 {
        self.groups.get(group).and_then(|group| group.value.rules.get(rule)).map_or(0, |rule| rule.line)
    }

    /// The line of an Alertmanager.
    pub(super) fn alertmanager(&self, address: &str) -> u64 {
        let targets = self.alerting.alertmanagers.iter().flat_map(|entry| &entry.value.static_configs);
        targets
            .flat_map(|config| &config.targets)
            .find(|target| target.value == address)
            .map_or(0, |target| target.line)
    }

    /// The line of a remote write.
    pub(super) fn remote_write(&self, at: usize) -> u64 {
        self.remote_write.get(at).map_or(0, |entry| entry.line)
    }
}
