//! What operators and functions do with native histograms.
//!
//! `relatum_model::histogram` says what a histogram is; here is how two are added although their buckets differ, where a
//! quantile lies, and what is left when observations above a value are cut off. All of it agrees with Prometheus.

mod accumulator;
mod arithmetic;
mod distribution;
mod mean;
mod text;
mod trim;

pub(crate) use accumulator::{Accumulator, Combined, Incompatible};
pub(crate) use arithmetic::{add, divide, is_equal, scale, subtract};
pub(crate) use distribution::{QuantileNote, fraction, quantile, variance};
pub(crate) use mean::HistogramMean;
pub(crate) use text::to_text;
pub(crate) use trim::trim;

/// A histogram as calculations have it: with float counts.
pub(crate) type FloatHistogram = relatum_model::Histogram<f64>;
