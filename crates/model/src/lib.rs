//! The nouns of monitoring: labels, matchers, samples, time, alerts, and the seams between crates.
//!
//! Everything here is plain data and pure functions, with the text and wire forms the data has outside. The three traits of
//! [`storage`] are the only way one engine crate reaches the samples of another; nothing here does I/O.

pub mod alert;
pub mod exemplar;
pub mod exposition;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod otlp;
mod protobuf;
pub mod regex;
pub mod relabel;
pub mod remote_read;
pub mod remote_write;
pub mod sample;
pub mod storage;
pub mod text;
pub mod time;
pub mod windows;
pub mod yaml;

pub use alert::Alert;
pub use histogram::{Histogram, NativeHistogram};
pub use labels::{Labels, LabelsBuilder};
pub use matcher::{MatchOp, Matcher};
pub use sample::{HistogramSample, STALE_NAN_BITS, Sample, Samples, Series, is_stale, normal_nan, stale_nan};
