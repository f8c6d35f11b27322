//! Metrics as OpenTelemetry sends them: `opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest`, read from protobuf
//! ([`decode`]) and from its JSON form ([`decode_json`]).
//!
//! Only what becomes a series is kept. What the values mean for Prometheus is for whoever stores them.

mod json;
mod protobuf;
mod value;

use thiserror::Error;

pub use json::decode_json;
pub use protobuf::decode;
pub use value::{Attributes, Value};

/// How many attributes, points, buckets and the like one request may have in all: a bound for memory, far beyond real ones.
const PARTS_MAX: usize = 4_000_000;

/// Why bytes are no request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OtlpError {
    /// The protobuf message is damaged.
    #[error("cannot decode metrics at byte {at}: {reason}")]
    Protobuf {
        /// Where, in bytes.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The JSON is none, or of another shape.
    #[error("cannot decode metrics: {0}")]
    Json(String),
    /// It has more parts than are taken at once.
    #[error("the request has more than {PARTS_MAX} parts")]
    TooLarge,
}

impl From<crate::protobuf::Fault> for OtlpError {
    fn from(fault: crate::protobuf::Fault) -> Self {
        OtlpError::Protobuf { at: fault.at, reason: fault.reason }
    }
}

/// What one resource, most often a process, sends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceMetrics {
    /// What is known of the resource.
    pub attributes: Attributes,
    /// Its metrics, by the library that made them.
    pub scopes: Vec<ScopeMetrics>,
}

/// The metrics that one library made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScopeMetrics {
    /// The library.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What else is known of it.
    pub attributes: Attributes,
    /// Which conventions it follows.
    pub schema_url: String,
    /// The metrics.
    pub metrics: Vec<Metric>,
}

/// One metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metric {
    /// Its name as the library has it.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its unit, as UCUM writes units.
    pub unit: String,
    /// Its points.
    pub data: Data,
}

/// The points of a metric, by its kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Data {
    /// It says nothing, or something unknown.
    #[default]
    None,
    /// Goes up and down.
    Gauge(Vec<Point<f64>>),
    /// A sum.
    Sum {
        /// The points.
        points: Vec<Point<f64>>,
        /// What they add up to.
        temporality: Temporality,
        /// Whether it only grows.
        is_monotonic: bool,
    },
    /// Counts in buckets with bounds of their own.
    Histogram {
        /// The points.
        points: Vec<Point<ExplicitHistogram>>,
        /// What they add up to.
        temporality: Temporality,
    },
    /// Counts in buckets whose bounds grow exponentially.
    Exponential {
        /// The points.
        points: Vec<Point<ExponentialHistogram>>,
        /// What they add up to.
        temporality: Temporality,
    },
    /// Quantiles.
    Summary(Vec<Point<Summary>>),
}

/// Since when points count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Temporality {
    /// Nobody said.
    #[default]
    Unspecified,
    /// Since the point before.
    Delta,
    /// Since the start.
    Cumulative,
}

impl Temporality {
    fn of(number: u64) -> Self {
        match number {
            1 => Temporality::Delta,
            2 => Temporality::Cumulative,
            _ => Temporality::Unspecified,
        }
    }
}

/// One point of a series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point<T> {
    /// What tells its series apart.
    pub attributes: Attributes,
    /// Since when it counts, in nanoseconds since 1970; 0 if that is not known.
    pub start_ns: u64,
    /// Its time, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether it says that there is no value any more.
    pub is_stale: bool,
    /// Examples of what it counted.
    pub exemplars: Vec<Example>,
    /// Its value.
    pub value: T,
}

/// An example of what a point counted, most often what one request took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Example {
    /// What is known of it beside the attributes of its point.
    pub attributes: Attributes,
    /// Its time, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Its value.
    pub value: f64,
    /// The trace it belongs to, in hexadecimal digits; empty if there is none.
    pub trace_id: String,
    /// The part of the trace.
    pub span_id: String,
}

/// A histogram with bounds of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExplicitHistogram {
    /// How many observations there were.
    pub count: u64,
    /// Their sum, if known.
    pub sum: Option<f64>,
    /// How many each bucket has; the last has what is above all bounds.
    pub bucket_counts: Vec<u64>,
    /// The upper bounds, included.
    pub bounds: Vec<f64>,
}

/// A histogram whose bounds grow exponentially.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExponentialHistogram {
    /// How many observations there were.
    pub count: u64,
    /// Their sum, if known.
    pub sum: Option<f64>,
    /// How fine the buckets are: the base is 2 to the power of 2 to the power of minus this.
    pub scale: i32,
    /// How many were about zero.
    pub zero_count: u64,
    /// How far about zero reaches.
    pub zero_threshold: f64,
    /// Those above zero.
    pub positive: ExponentialBuckets,
    /// Those below zero.
    pub negative: ExponentialBuckets,
}

/// Buckets side by side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExponentialBuckets {
    /// The index of the first; bucket 0 begins behind 1.
    pub offset: i32,
    /// How many each has.
    pub counts: Vec<u64>,
}

/// Quantiles of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// How many observations there were.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Pairs of quantile and value.
    pub quantiles: Vec<(f64, f64)>,
}
