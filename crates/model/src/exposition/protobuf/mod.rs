//! The protobuf format in which processes expose their metrics: messages `io.prometheus.client.MetricFamily`, each behind its
//! length.
//!
//! It is the only format with native histograms. [`families`] walks over the bytes and borrows from them: one family, one metric
//! at a time, checked to its end before it is handed out. [`Entries`] makes of that what [`parse`](super::parse) makes of a
//! text: series with their values, keyed by the same texts, so that a scraper need not care which format it got.
//! [`FamilyWriter`] and [`write_protobuf`] write the format.

mod entries;
mod native;
mod read;
mod write;

use thiserror::Error;

pub use entries::{Entries, HistogramParts, Item, ParsedHistogram};
pub use read::{
    BucketSample, Buckets, ExemplarSample, Exemplars, Families, Family, HistogramSample, Metric, Metrics, Pairs,
    Quantiles, SummarySample, Value, families,
};
pub use write::{Classic, FamilyWriter, WrittenExemplar, WrittenTimes, write_protobuf};

use crate::protobuf::Fault;

/// The media type of what [`write_protobuf`] writes.
pub const PROTOBUF_CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Why a body is not in the format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("byte {at}: {reason}")]
pub struct ProtobufError {
    /// Where in the body, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

impl From<Fault> for ProtobufError {
    fn from(fault: Fault) -> Self {
        ProtobufError { at: fault.at, reason: fault.reason.to_owned() }
    }
}

// The numbers of the fields, which reader and writer share.
mod field {
    pub(super) const FAMILY_NAME: u8 = 1;
    pub(super) const FAMILY_HELP: u8 = 2;
    pub(super) const FAMILY_KIND: u8 = 3;
    pub(super) const FAMILY_METRIC: u8 = 4;
    pub(super) const FAMILY_UNIT: u8 = 5;

    pub(super) const METRIC_LABEL: u8 = 1;
    pub(super) const METRIC_GAUGE: u8 = 2;
    pub(super) const METRIC_COUNTER: u8 = 3;
    pub(super) const METRIC_SUMMARY: u8 = 4;
    pub(super) const METRIC_UNTYPED: u8 = 5;
    pub(super) const METRIC_TIME: u8 = 6;
    pub(super) const METRIC_HISTOGRAM: u8 = 7;

    pub(super) const NUMBER_VALUE: u8 = 1;
    pub(super) const COUNTER_EXEMPLAR: u8 = 2;
    pub(super) const COUNTER_CREATED: u8 = 3;

    pub(super) const SUMMARY_COUNT: u8 = 1;
    pub(super) const SUMMARY_SUM: u8 = 2;
    pub(super) const SUMMARY_QUANTILE: u8 = 3;
    pub(super) const SUMMARY_CREATED: u8 = 4;

    pub(super) const HISTOGRAM_COUNT: u8 = 1;
    pub(super) const HISTOGRAM_SUM: u8 = 2;
    pub(super) const HISTOGRAM_BUCKET: u8 = 3;
    pub(super) const HISTOGRAM_COUNT_FLOAT: u8 = 4;
    pub(super) const HISTOGRAM_SCHEMA: u8 = 5;
    pub(super) const HISTOGRAM_ZERO_THRESHOLD: u8 = 6;
    pub(super) const HISTOGRAM_ZERO_COUNT: u8 = 7;
    pub(super) const HISTOGRAM_ZERO_COUNT_FLOAT: u8 = 8;
    pub(super) const HISTOGRAM_NEGATIVE_SPAN: u8 = 9;
    pub(super) const HISTOGRAM_NEGATIVE_DELTA: u8 = 10;
    pub(super) const HISTOGRAM_NEGATIVE_COUNT: u8 = 11;
    pub(super) const HISTOGRAM_POSITIVE_SPAN: u8 = 12;
    pub(super) const HISTOGRAM_POSITIVE_DELTA: u8 = 13;
    pub(super) const HISTOGRAM_POSITIVE_COUNT: u8 = 14;
    pub(super) const HISTOGRAM_CREATED: u8 = 15;
    pub(super) const HISTOGRAM_EXEMPLAR: u8 = 16;

    pub(super) const BUCKET_COUNT: u8 = 1;
    pub(super) const BUCKET_BOUND: u8 = 2;
    pub(super) const BUCKET_EXEMPLAR: u8 = 3;
    pub(super) const BUCKET_COUNT_FLOAT: u8 = 4;

    pub(super) const EXEMPLAR_LABEL: u8 = 1;
    pub(super) const EXEMPLAR_VALUE: u8 = 2;
    pub(super) const EXEMPLAR_TIME: u8 = 3;

    // Label pairs, quantiles, spans and times have two fields.
    pub(super) const FIRST: u8 = 1;
    pub(super) const SECOND: u8 = 2;
}

#[cfg(test)]
mod tests;
