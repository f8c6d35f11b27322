//! How a target is doing, for those who ask.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use relatum_model::Labels;

use super::ScrapeError;
use super::metadata::{FamilyMetadata, Metadata};

/// How the last scrape went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// There was none yet.
    #[default]
    Unknown,
    /// It succeeded.
    Up,
    /// It failed.
    Down,
}

impl Health {
    /// The word in Prometheus' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// A target that is scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetStatus {
    /// Its labels before relabelling.
    pub discovered_labels: Labels,
    /// The labels that its samples get.
    pub labels: Labels,
    /// The name of its job.
    pub pool: String,
    /// Where it is.
    pub url: String,
    /// How the last scrape went.
    pub health: Health,
    /// Why the last scrape failed.
    pub last_error: Option<String>,
    /// When the last scrape began, milliseconds since 1970; `None` before the first.
    pub last_scrape_ms: Option<i64>,
    /// How long it took.
    pub last_duration: Duration,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
}

/// A target that relabelling dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedTarget {
    /// Its labels before relabelling.
    pub discovered_labels: Labels,
    /// The name of its job.
    pub pool: String,
}

/// What a target says about its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetMetadata {
    /// The labels that its samples get.
    pub labels: Labels,
    /// Its families, by name.
    pub families: Vec<FamilyMetadata>,
}

/// What a target tells about itself.
#[derive(Debug, Default)]
pub(crate) struct TargetState {
    last: Mutex<LastScrape>,
    pub(crate) metadata: Metadata,
    /// How many series the cache of the target holds.
    pub(crate) cached_series: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct LastScrape {
    pub(crate) health: Health,
    pub(crate) error: Option<String>,
    pub(crate) is_denied: bool,
    pub(crate) started_ms: Option<i64>,
    pub(crate) duration: Duration,
}

impl TargetState {
    /// Notes how a scrape went; gives how it went before.
    pub(crate) fn report(&self, result: Result<(), ScrapeError>, started_ms: i64, duration: Duration) -> LastScrape {
        let now = LastScrape {
            health: if result.is_ok() { Health::Up } else { Health::Down },
            is_denied: matches!(result, Err(ScrapeError::Denied(_))),
            error: result.err().map(|failure| failure.to_string()),
            started_ms: Some(started_ms),
            duration,
        };
        std::mem::replace(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    pub(crate) fn last(&self) -> LastScrape {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
