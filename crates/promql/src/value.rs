//! What a query gives.

use std::sync::Arc;

use relatum_model::{Histogram, Labels, Series};

use crate::syntax::ValueType;

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number.
    Scalar {
        /// The time of the evaluation.
        t_ms: i64,
        /// The number.
        value: f64,
    },
    /// One text.
    String {
        /// The time of the evaluation.
        t_ms: i64,
        /// The text.
        text: String,
    },
    /// One value for each of several series, in the order the query asked for.
    Vector(Vec<VectorSample>),
    /// Several values for each of several series, sorted by labels.
    Matrix(Vec<Series>),
}

impl Value {
    /// The kind of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Scalar { .. } => ValueType::Scalar,
            Value::String { .. } => ValueType::String,
            Value::Vector(_) => ValueType::Vector,
            Value::Matrix(_) => ValueType::Matrix,
        }
    }
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// What identifies the series.
    pub labels: Labels,
    /// The time of the evaluation, not of the sample it came from.
    pub t_ms: i64,
    /// The value; 0 if it is a histogram.
    pub value: f64,
    /// The value, if it is a native histogram.
    pub histogram: Option<Arc<Histogram<f64>>>,
}

impl VectorSample {
    /// An element whose value is a float.
    pub fn of_float(labels: Labels, t_ms: i64, value: f64) -> Self {
        VectorSample { labels, t_ms, value, histogram: None }
    }
}
