//! The section `global`: what jobs and rules take where they do not say otherwise.

use std::path::PathBuf;
use std::time::Duration;

use relatum_model::Labels;

use super::scrape::ScrapeProtocol;

/// The section `global`.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalConfig {
    /// How often targets are scraped.
    pub scrape_interval: Duration,
    /// How long a scrape may take; never more than the interval.
    pub scrape_timeout: Duration,
    /// How often rule groups are evaluated.
    pub evaluation_interval: Duration,
    /// How far in the past rules are evaluated, so that late samples are there.
    pub rule_query_offset: Duration,
    /// Labels that say which server this is: on alerts, and on samples that leave.
    ///
    /// `$NAME` and `${NAME}` in the values stand as written until [`GlobalConfig::expand_external_labels`].
    pub external_labels: Labels,
    /// What scrapes ask for; `None` leaves the choice to the job.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// The limits of jobs that set none.
    pub limits: Limits,
    /// Where queries are logged.
    pub query_log_file: Option<PathBuf>,
    /// Where failed scrapes are logged.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// Which names are allowed.
    pub metric_name_validation_scheme: NameValidation,
    /// How targets are asked to write names that need quotes; `None` follows from the validation scheme.
    pub metric_name_escaping_scheme: Option<Escaping>,
    /// Whether native histograms are scraped.
    pub scrape_native_histograms: bool,
    /// Whether classic histograms become native ones with the same buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Whether a classic histogram is scraped although there is a native one.
    pub always_scrape_classic_histograms: bool,
    /// Whether each scrape also stores its timeout, sample limit and body size.
    pub extra_scrape_metrics: bool,
}

/// Bounds of one scrape. 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The largest uncompressed body, in bytes.
    pub body_bytes: u64,
    /// The most samples after relabelling.
    pub samples: u64,
    /// The most targets of a job after relabelling.
    pub targets: u64,
    /// The most labels of a series.
    pub labels: u64,
    /// The longest label name, in bytes.
    pub label_name_bytes: u64,
    /// The longest label value, in bytes.
    pub label_value_bytes: u64,
    /// How many of a job's dropped targets are kept for people to see.
    pub dropped_targets_kept: u64,
}

/// Which names of metrics and labels are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NameValidation {
    /// Letters, digits, underscores (and colons in metric names).
    Legacy,
    /// Any text.
    #[default]
    Utf8,
}

/// How a target is asked to write names outside the legacy alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Escaping {
    /// As they are.
    #[default]
    AllowUtf8,
    /// Each such character becomes `_`.
    Underscores,
    /// Dots become `_dot_`, others `__`.
    Dots,
    /// Each such character becomes its code point, so that it can be read back.
    Values,
}

impl Escaping {
    /// The word in the file, and in the `escaping` parameter of the Accept header.
    pub fn as_str(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }
}

impl Default for GlobalConfig {
    fn default() -> Self {
        GlobalConfig {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            evaluation_interval: Duration::from_secs(60),
            rule_query_offset: Duration::ZERO,
            external_labels: Labels::empty(),
            scrape_protocols: None,
            limits: Limits::default(),
            query_log_file: None,
            scrape_failure_log_file: None,
            metric_name_validation_scheme: NameValidation::Utf8,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: false,
        }
    }
}
