//! The syntax of PromQL: its tree and the types in it.
//!
//! Knows nothing of samples or evaluation, so that whoever only reads or rewrites queries (rule files, tenancy, topology)
//! needs this module alone. Positions are byte offsets into the text that was parsed.

mod ast;
mod duration;
mod functions;
mod operators;

pub use ast::{
    Aggregate, At, Binary, Call, Cardinality, Edges, Expr, Fill, MatrixSelector, Number, Paren, Span, StringLiteral,
    Subquery, Unary, VectorMatching, VectorSelector,
};
pub use duration::{DurationContext, DurationExpr, DurationExprError};
pub use functions::{Signature, ValueType, function, functions};
pub use operators::{AggregateOp, BinaryOp, UNARY_PRECEDENCE, UnaryOp};
