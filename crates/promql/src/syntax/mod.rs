//! The syntax of PromQL: reading, checking, printing and rewriting queries.
//!
//! Knows nothing of samples or evaluation, so that whoever only reads or rewrites queries (rule files, tenancy, topology)
//! needs this module alone. Positions are byte offsets into the text that was parsed. Whatever the text, time and stack are
//! bounded: by [`QUERY_BYTES_MAX`], [`NESTING_MAX`] and [`HEIGHT_MAX`].
//!
//! `Display` of [`Expr`] is the canonical text, which reads back as the same tree; [`Expr::pretty`] is for people.

mod ast;
mod check;
mod duration;
mod error;
mod functions;
mod json;
mod lexer;
mod literal;
mod operators;
mod parse;
mod pretty;
mod print;
mod rewrite;
mod token;

pub use ast::{
    Aggregate, At, Binary, Call, Cardinality, Edges, Expr, Fill, MatrixSelector, Number, Paren, Span, StringLiteral,
    Subquery, Unary, VectorMatching, VectorSelector,
};
pub use duration::{DurationContext, DurationExpr, DurationExprError};
pub use error::ParseError;
pub use functions::{Signature, ValueType, function, functions};
pub use operators::{AggregateOp, BinaryOp, UNARY_PRECEDENCE, UnaryOp};
pub use parse::{
    HEIGHT_MAX, NESTING_MAX, ParseOptions, QUERY_BYTES_MAX, parse, parse_selector, parse_selector_within, parse_within,
};
pub use rewrite::{Injection, add_matchers, add_to_selector, selectors};
