//! The section `storage`: how samples are kept.

use std::time::Duration;

use relatum_model::text::quote;

use super::feature::Feature;
use super::size::read_size;
use crate::yaml::Cursor;

/// The section `storage`.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageConfig {
    /// How much older than the newest sample of its series a sample may be.
    pub out_of_order_time_window: Duration,
    /// How long samples are kept; what is not set follows the command line.
    pub retention: Retention,
    /// The share of stale series in memory from which they are compacted early, 0 to 1; never for 0.
    pub stale_series_compaction_threshold: f64,
    /// How floats are packed in blocks.
    pub chunk_encoding_floats: Option<ChunkEncoding>,
    /// How many exemplars are held in memory; none for 0 and less.
    pub exemplars_max: i64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            out_of_order_time_window: Duration::ZERO,
            retention: Retention::default(),
            stale_series_compaction_threshold: 0.0,
            chunk_encoding_floats: None,
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

impl StorageConfig {
    pub(super) fn read(cursor: Cursor<'_>) -> Self {
        let mut storage = StorageConfig::default();
        let Some(mut section) = cursor.section() else { return storage };
        if let Some(mut exemplars) = section.take("exemplars").and_then(Cursor::section) {
            if let Some(max) = exemplars.take("max_exemplars").and_then(Cursor::signed) {
                storage.exemplars_max = max;
            }
            exemplars.finish();
        }
        if let Some(mut tsdb) = section.take("tsdb").and_then(Cursor::section) {
            let window = tsdb.take("out_of_order_time_window").and_then(Cursor::duration);
            storage.out_of_order_time_window = window.unwrap_or_default();
            storage.retention = tsdb.take("retention").map(Retention::read).unwrap_or_default();
            if let Some(encoding) = tsdb.take("chunk_encoding") {
                storage.chunk_encoding_floats = ChunkEncoding::read(encoding);
            }
            let threshold = tsdb.take_feature("stale_series_compaction_threshold", Feature::StaleSeriesCompaction);
            storage.stale_series_compaction_threshold = threshold.and_then(Cursor::float).unwrap_or_default();
            tsdb.finish();
        }
        section.finish();
        storage
    }
}

impl Retention {
    fn read(cursor: Cursor<'_>) -> Self {
        let Some(mut section) = cursor.section() else { return Retention::default() };
        let (size, percentage) = (section.take("size"), section.take("percentage"));
        let retention = Retention {
            time: section.take("time").and_then(Cursor::duration).filter(|time| !time.is_zero()),
            size_bytes: size
                .and_then(|cursor| read_size(cursor, "storage.tsdb.retention.size"))
                .filter(|bytes| *bytes > 0),
            percentage: percentage.and_then(Cursor::float).filter(|percent| *percent != 0.0),
        };
        section.finish();
        if let Some(size) = size.filter(|_| retention.size_bytes.is_some()) {
            size.asks_for(Feature::RetentionBySize);
        }
        if let (Some(place), Some(percent)) = (percentage, retention.percentage) {
            if (0.0..=100.0).contains(&percent) {
                place.asks_for(Feature::RetentionByPercentage);
            } else {
                place.invalid(format!(
                    "'storage.tsdb.retention.percentage' must be in the range [0, 100], got {percent}"
                ));
            }
        }
        retention
    }
}

/// How Prometheus packs floats in its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkEncoding {
    /// By the bits that differ from the sample before.
    Xor,
    /// The same with less waste.
    Xor2,
}

impl ChunkEncoding {
    fn read(cursor: Cursor<'_>) -> Option<Self> {
        let mut section = cursor.section()?;
        let floats = section.take("floats");
        section.finish();
        let floats = floats?;
        let encoding = match floats.non_empty()?.as_str() {
            "xor" => ChunkEncoding::Xor,
            "xor2" => ChunkEncoding::Xor2,
            other => {
                floats.invalid(format!(
                    "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got {}",
                    quote(other)
                ));
                return None;
            }
        };
        floats.asks_for(Feature::ChunkEncoding);
        Some(encoding)
    }
}
