//! How a store is set up.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;

use crate::fs::{Disk, Fs};
use crate::replaying::Replaying;

/// When an acknowledged batch is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Written to the file before the acknowledgement, so it survives the death of the process; on disk within
    /// [`Options::sync_interval`], so a power cut takes at most that much.
    #[default]
    Process,
    /// On disk before the acknowledgement. Batches that wait at the same time share one `fdatasync`.
    Fsync,
}

impl Durability {
    /// `process` or `fsync`.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Process => "process",
            Durability::Fsync => "fsync",
        }
    }
}

/// What was given is no durability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it is neither process nor fsync")]
pub struct UnknownDurability;

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, UnknownDurability> {
        [Durability::Process, Durability::Fsync]
            .into_iter()
            .find(|durability| durability.as_str() == text)
            .ok_or(UnknownDurability)
    }
}

/// Where the store reads the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }
}

/// What a store keeps and takes at first. [`Options::default`] is what Prometheus does without flags.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long samples are kept, counted from the newest one; zero keeps all.
    pub retention: Duration,
    /// How many bytes blocks and log may take together before the oldest blocks go; zero for any number.
    pub retention_bytes: u64,
    /// How far behind the newest sample of its own series a sample may be; zero takes none.
    pub out_of_order_window: Duration,
    /// How far ahead of the clock a sample may be.
    pub future_limit: Duration,
    /// When an acknowledged batch is safe.
    pub durability: Durability,
    /// How often a background thread makes written batches durable; `None` leaves that to [`crate::Store::sync`].
    pub sync_interval: Option<Duration>,
    /// How often a background thread applies the retention; `None` leaves that to [`crate::Store::maintain`].
    pub maintenance_interval: Option<Duration>,
    /// The size from which on a segment of the log is followed by the next one.
    pub segment_bytes: u64,
    /// How many bytes of segments are kept for followers of the log that have not read them yet.
    pub followed_bytes: u64,
    /// The span of time that the head is cut into blocks by; no longer than `block_range`. Memory holds one of them and a quarter.
    pub cut_range: Duration,
    /// The span of time into which those blocks are merged first.
    pub block_range: Duration,
    /// How many samples may wait in memory that came after the head was cut behind them.
    pub late_samples_max: u64,
    /// How many exemplars are kept; 0 for none. They are in memory, some hundred bytes each.
    pub exemplars_max: usize,
    /// Whether images of the head are written and read, so that a restart need not read the whole log.
    pub images: bool,
    /// Where is written how far the reading of the log has come.
    pub replaying: Arc<Replaying>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where the files are.
    pub fs: Arc<dyn Fs>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            retention: Duration::from_secs(15 * 24 * 3600),
            retention_bytes: 0,
            out_of_order_window: Duration::ZERO,
            future_limit: Duration::from_secs(10 * 60),
            durability: Durability::Process,
            // Half of the promised second: the other half is for a slow disk.
            sync_interval: Some(Duration::from_millis(500)),
            maintenance_interval: Some(Duration::from_secs(60)),
            segment_bytes: 64 << 20,
            followed_bytes: 512 << 20,
            cut_range: Duration::from_secs(1800),
            block_range: Duration::from_secs(2 * 3600),
            late_samples_max: 4_000_000,
            exemplars_max: 0,
            images: true,
            replaying: Arc::default(),
            clock: Arc::new(SystemClock),
            fs: Arc::new(Disk),
        }
    }
}

impl Options {
    /// The spans of blocks when the head is cut and when they are merged first, in milliseconds.
    pub(crate) fn block_widths_ms(&self) -> (i64, i64) {
        let width_ms = millis(self.block_range).max(1);
        (millis(self.cut_range).clamp(1, width_ms), width_ms)
    }
}

/// A duration in milliseconds, as far as they go.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
