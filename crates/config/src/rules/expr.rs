//! What a rule evaluates.

use std::fmt;

use relatum_promql::syntax::{self, Expr, ParseError, ParseOptions, QUERY_BYTES_MAX};

/// An expression of a rule, kept as text: parsed it takes twenty times the memory, and is needed once in an interval for some
/// microseconds. [`fmt::Display`] gives the text as Prometheus prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleExpr {
    text: Box<str>,
    syntax: ParseOptions,
}

impl RuleExpr {
    /// An expression that was understood with `syntax`.
    pub(super) fn new(expr: &Expr, syntax: ParseOptions) -> Result<Self, ParseError> {
        let expr = RuleExpr { text: expr.to_string().into(), syntax };
        // What is printed may be longer than what was read, and too long to be read again.
        if expr.text.len() > QUERY_BYTES_MAX {
            expr.parse()?;
        }
        Ok(expr)
    }

    /// The expression, with places in the text that is printed. As what is printed can be read again, there is no error to be
    /// expected.
    pub fn parse(&self) -> Result<Expr, ParseError> {
        syntax::parse(&self.text, &self.syntax)
    }
}

impl fmt::Display for RuleExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
