//! Why a query has no result.

use relatum_model::storage::SelectError;
use thiserror::Error;

use crate::syntax::{DurationExprError, ParseError};

/// Why a query has no result. The texts are Prometheus', which dashboards and people know.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The text is not a query.
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// A duration of the query has no usable value. Its text says where.
    #[error("{0}")]
    Duration(#[from] DurationExprError),
    /// The query cannot be evaluated on what it found.
    #[error("{0}")]
    Execution(String),
    /// The caller asked to stop.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// The time for the query is up.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The store could not give the series.
    #[error("expanding series: {0}")]
    Storage(SelectError),
    /// The query reads more series than it may.
    #[error("query processing would read more series than a query may, which are {series_max} (query.max-series)")]
    TooManySeries {
        /// How many it may read.
        series_max: usize,
    },
    /// The query needs more samples at once than it may have.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// The query needs more memory at once than it may have.
    #[error(
        "query processing would take more memory than a query may have, which are {bytes_max} bytes (query.max-memory)"
    )]
    TooMuchMemory {
        /// How much it may have.
        bytes_max: usize,
    },
}

impl QueryError {
    /// Whether the query would have had a result if it had needed less at once.
    pub(crate) fn is_of_size(&self) -> bool {
        matches!(self, QueryError::TooManySamples | QueryError::TooMuchMemory { .. })
    }
}

impl From<SelectError> for QueryError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Cancelled => QueryError::Cancelled,
            other => QueryError::Storage(other),
        }
    }
}
