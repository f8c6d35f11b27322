//! The bodies of remote write requests after decompression: the protobuf messages `prometheus.WriteRequest` (1.0) and
//! `io.prometheus.write.v2.Request` (2.0).
//!
//! [`Decoder`] reads both; it walks over the bytes and borrows from them, because a general protobuf decoder spends most of its
//! time on strings that are looked at once. What they say of metrics is counted there and read by [`descriptions`]. [`Encoder`] writes
//! them.

mod decode;
mod descriptions;
mod encode;
mod histogram;

use thiserror::Error;

pub use decode::{Decoder, PlainSample, RawSeries, WriteSeries};
pub use descriptions::{Description, description_of, descriptions};
pub use encode::Encoder;
pub use histogram::HistogramFault;

use crate::protobuf::Fault;
use crate::text::quote;

/// How many labels one series may have: far beyond any real one, and a bound for the memory a request of empty labels takes.
pub(crate) const LABELS_MAX: usize = 10_000;

/// How many symbols one request may have, for the same reasons.
const SYMBOLS_MAX: usize = 2_000_000;

/// Which of the two messages a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// Remote write 1.0: each series brings its labels as text.
    #[default]
    V1,
    /// Remote write 2.0: a text is written once a request, and samples may say when they began to count.
    V2,
}

impl Version {
    /// The name of the message, as `Content-Type` has it.
    pub fn message(self) -> &'static str {
        match self {
            Version::V1 => "prometheus.WriteRequest",
            Version::V2 => "io.prometheus.write.v2.Request",
        }
    }
}

/// Why the bytes are no write request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot decode write request at byte {at}: {reason}")]
pub struct DecodeError {
    /// Where in the body, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        DecodeError { at: fault.at, reason: fault.reason }
    }
}

/// Why the labels of one series make no label set; the rest of the request may still be good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidLabels {
    /// There is no metric name.
    #[error("missing metric name (__name__ label)")]
    NoName,
    /// Two labels have the same name.
    #[error("label name {} is not unique: invalid sample", quote(.0))]
    Repeated(String),
    /// A label has the empty name.
    #[error("label name \"\" is invalid")]
    EmptyName,
    /// A name or value is not UTF-8.
    #[error("label names and values must be UTF-8")]
    NotUtf8,
    /// A label refers to a symbol that the request does not have, or has a name without a value.
    #[error("labels refer to symbols that are not there")]
    NoSymbol,
}

#[cfg(test)]
mod tests;
