//! A scrape job as its targets see it: everything but the list of them.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use relatum_config::prometheus::{GlobalConfig, ScrapeConfig};

use super::body::BODY_BYTES_MAX;
use crate::http::{Connection, HttpClients, HttpError};

/// What is the same for all targets of a job.
#[derive(Debug)]
pub(crate) struct Job {
    /// The job as it is in its file.
    pub(crate) config: Arc<ScrapeConfig>,
    pub(crate) connection: Connection,
    /// The bound of an unpacked body.
    pub(crate) body_bytes_max: u64,
    /// Shifts all scrapes, so that two servers with other external labels do not ask at the same moments.
    pub(crate) seed: u64,
    /// Why no target of the job may be scraped.
    pub(crate) forbidden: Option<String>,
}

impl Job {
    pub(crate) fn open(
        config: &Arc<ScrapeConfig>,
        seed: u64,
        n_targets: usize,
        clients: &HttpClients,
    ) -> Result<Self, HttpError> {
        let target_limit = config.limits.targets;
        let forbidden = (target_limit > 0 && n_targets as u64 > target_limit)
            .then(|| format!("target_limit exceeded (number of targets: {n_targets}, limit: {target_limit})"));
        Ok(Job {
            connection: clients.connection_outside(&config.denied_networks, &config.http)?,
            body_bytes_max: match config.limits.body_bytes {
                0 => BODY_BYTES_MAX,
                limit => limit,
            },
            seed,
            forbidden,
            config: Arc::clone(config),
        })
    }

    /// Whether a target of `self` would notice that it belongs to `other` now.
    pub(crate) fn is_same(&self, other: &Job) -> bool {
        self.asks_alike(other) && self.seed == other.seed
    }

    /// Whether a scrape for `self` gives what a scrape for `other` gives.
    pub(crate) fn asks_alike(&self, other: &Job) -> bool {
        let is_same = || without_targets(&self.config) == without_targets(&other.config);
        (Arc::ptr_eq(&self.config, &other.config) || is_same()) && self.forbidden == other.forbidden
    }
}

/// See [`Job::seed`].
pub(crate) fn seed(global: &GlobalConfig) -> u64 {
    FixedState::default().hash_one(global.external_labels.encoded())
}

/// A job without what finds its targets: equal for two when nothing changed for a target that stays.
fn without_targets(config: &ScrapeConfig) -> ScrapeConfig {
    ScrapeConfig { static_configs: Vec::new(), relabel_configs: Arc::default(), ..config.clone() }
}
