//! Why a text is not a query.

use std::fmt;

use thiserror::Error;

use super::ast::Span;

/// The first thing that is wrong with a query. Message and notation are Prometheus': `1:5: parse error: …`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ParseError {
    /// The bytes it is about; empty and behind the last one if the text ends too early.
    pub span: Span,
    /// The line, counted from 1; 0 if the text is empty and so has no lines.
    pub line: usize,
    /// The byte in the line, counted from 1; 0 if the text is empty.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl ParseError {
    pub(super) fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let before = &text.as_bytes()[..span.start.min(text.len())];
        let (line, column) = if text.is_empty() {
            (0, 0)
        } else {
            let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            (before.iter().filter(|b| **b == b'\n').count() + 1, before.len() - line_start + 1)
        };
        ParseError { span, line, column, message: message.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str("unknown position")?;
        } else {
            write!(f, "{}:{}", self.line, self.column)?;
        }
        write!(f, ": parse error: {}", self.message)
    }
}
