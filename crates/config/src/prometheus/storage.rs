//! The section `storage`: how samples are kept.

use std::time::Duration;

/// The section `storage`.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageConfig {
    /// How much older than the newest sample of its series a sample may be.
    pub out_of_order_time_window: Duration,
    /// How long samples are kept; what is not set follows the command line.
    pub retention: Retention,
    /// How many exemplars are held in memory; none for 0 and less.
    pub exemplars_max: i64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            out_of_order_time_window: Duration::ZERO,
            retention: Retention::default(),
            exemplars_max: 100_000,
        }
    }
}

/// How long samples are kept.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Retention {
    /// By age.
    pub time: Option<Duration>,
    /// By the bytes of all blocks.
    pub size_bytes: Option<u64>,
    /// By the share of the disk, in percent.
    pub percentage: Option<f64>,
}
