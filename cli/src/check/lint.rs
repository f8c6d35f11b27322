//! Lints: what is valid and yet hardly meant.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use std::sync::Arc;

use relatum_config::prometheus::ScrapeConfig;
use relatum_config::rules::RuleFile;

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lint {
    /// Everything
    All,
    /// Rules that give the same series or alerts
    DuplicateRules,
    /// Scrapes so far apart that series go stale in between
    TooLongScrapeInterval,
    /// Nothing
    None,
}

/// How old the newest sample of a series may be to count, unless a flag says otherwise.
const LOOKBACK: Duration = Duration::from_secs(300);

/// Every rule that gives what an earlier one of the file gives, as promtool describes it.
pub(crate) fn duplicate_rules(file: &RuleFile) -> Vec<String> {
    let mut seen: BTreeMap<(&str, BTreeMap<&str, &str>), usize> = BTreeMap::new();
    for rule in file.groups.iter().flat_map(|group| &group.rules) {
        let labels = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        *seen.entry((rule.name(), labels)).or_default() += 1;
    }
    let again = seen.into_iter().flat_map(|(key, n)| std::iter::repeat_n(key, n - 1));
    again
        .map(|(name, labels)| {
            let labels: String = labels.iter().map(|(name, value)| format!("\t{name}: {value}\n")).collect();
            format!("Metric: {name}\nLabel(s):\n{labels}")
        })
        .collect()
}

/// Every job whose scrapes lie further apart than a sample counts.
pub(crate) fn too_long_intervals<'a>(jobs: impl Iterator<Item = &'a Arc<ScrapeConfig>>) -> Vec<String> {
    let too_long = jobs.filter(|job| job.scrape_interval >= LOOKBACK);
    too_long
        .map(|job| {
            let interval = relatum_model::time::format_duration(job.scrape_interval);
            format!(
                "too long scrape interval found, data point will be marked as stale - job: {}, interval: {interval}",
                job.job_name
            )
        })
        .collect()
}
