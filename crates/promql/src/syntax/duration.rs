//! Durations inside selectors: literals, and arithmetic on them with `step()` and `range()`.

use thiserror::Error;

use super::ast::{Number, Span};
use super::operators::{BinaryOp, UnaryOp};

/// A duration in a range, a step or an offset.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExpr {
    /// `5m`, `300`, `-5m`: seconds.
    Literal(Number),
    /// `step()`: the resolution of the query.
    Step(Span),
    /// `range()`: the length of the query's time range.
    Range(Span),
    /// `-step()`. A plus sign leaves no trace.
    Unary {
        /// The sign.
        op: UnaryOp,
        /// What it stands before.
        operand: Box<DurationExpr>,
        /// Where it stood.
        span: Span,
    },
    /// `1h / 2`, with one of `+ - * / % ^`.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// The left side.
        left: Box<DurationExpr>,
        /// The right side.
        right: Box<DurationExpr>,
        /// Where it stood.
        span: Span,
    },
    /// `max_of(5m, step())`: the longer one.
    MaxOf(Box<[DurationExpr; 2]>, Span),
    /// `min_of(5m, step())`: the shorter one.
    MinOf(Box<[DurationExpr; 2]>, Span),
    /// `(1h)`.
    Paren(Box<DurationExpr>, Span),
}

/// What `step()` and `range()` stand for.
#[derive(Debug, Clone, Copy, Default)]
pub struct DurationContext {
    /// Milliseconds between two evaluations of the query; 0 for an instant query.
    pub step_ms: i64,
    /// Milliseconds from the first evaluation of the query to the last.
    pub range_ms: i64,
}

/// Why a duration has no usable value. Texts are Prometheus', with the positions it gives (bytes, counted from 0).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}:{}: {reason}", .span.start, .span.end)]
pub struct DurationExprError {
    /// Where the duration stands.
    pub span: Span,
    /// What is wrong with it.
    pub reason: &'static str,
}

// What fits into an int64 of nanoseconds, Go's idea of a duration.
pub(super) const SECONDS_MAX: f64 = (1u64 << 63) as f64 / 1e9;

impl DurationExpr {
    /// Where the duration stood.
    pub fn span(&self) -> Span {
        match self {
            DurationExpr::Literal(number) => number.span,
            DurationExpr::Step(span)
            | DurationExpr::Range(span)
            | DurationExpr::Unary { span, .. }
            | DurationExpr::Binary { span, .. }
            | DurationExpr::MaxOf(_, span)
            | DurationExpr::MinOf(_, span)
            | DurationExpr::Paren(_, span) => *span,
        }
    }

    /// Whether, as the operand of `offset`, it ends by itself, so that an operator behind it is one between expressions.
    pub(super) fn ends_by_itself(&self) -> bool {
        use DurationExpr::*;
        match self {
            Literal(_) | Step(_) | Range(_) | MaxOf(..) | MinOf(..) => true,
            Unary { operand, .. } => matches!(**operand, Step(_) | Range(_) | MaxOf(..) | MinOf(..) | Paren(..)),
            Paren(..) | Binary { .. } => false,
        }
    }

    /// The value of a literal in milliseconds, cut off toward zero; `None` if it takes a [`DurationContext`] to know it.
    pub fn fixed_ms(&self) -> Option<i64> {
        match self {
            // Nanoseconds first, as they round: 0.3 s are 300 ms, although 0.3 * 1000 is a little less.
            DurationExpr::Literal(number) => Some(((number.value * 1e9).round() / 1e6) as i64),
            _ => None,
        }
    }

    /// The value of a range or a step in milliseconds; it must be positive.
    pub fn length_ms(&self, context: &DurationContext) -> Result<i64, DurationExprError> {
        self.value_ms(context, false)
    }

    /// The value of an offset in milliseconds; it may have any sign.
    pub fn offset_ms(&self, context: &DurationContext) -> Result<i64, DurationExprError> {
        self.value_ms(context, true)
    }

    fn value_ms(&self, context: &DurationContext, may_be_negative: bool) -> Result<i64, DurationExprError> {
        if let Some(ms) = self.fixed_ms() {
            return Ok(ms);
        }
        let seconds = self.seconds(context)?;
        if !seconds.is_finite() {
            Err(self.error("duration is NaN or infinite"))
        } else if seconds <= 0.0 && !may_be_negative {
            Err(self.error("duration must be greater than 0"))
        } else if seconds.abs() > SECONDS_MAX {
            Err(self.error("duration is out of range"))
        } else {
            Ok((seconds * 1000.0) as i64)
        }
    }

    fn seconds(&self, context: &DurationContext) -> Result<f64, DurationExprError> {
        Ok(match self {
            DurationExpr::Literal(number) => number.value,
            DurationExpr::Step(_) => context.step_ms as f64 / 1000.0,
            DurationExpr::Range(_) => context.range_ms as f64 / 1000.0,
            DurationExpr::Unary { op: UnaryOp::Plus, operand, .. } => operand.seconds(context)?,
            DurationExpr::Unary { op: UnaryOp::Minus, operand, .. } => -operand.seconds(context)?,
            DurationExpr::MaxOf(pair, _) => pair[0].seconds(context)?.max(pair[1].seconds(context)?),
            DurationExpr::MinOf(pair, _) => pair[0].seconds(context)?.min(pair[1].seconds(context)?),
            DurationExpr::Paren(inner, _) => inner.seconds(context)?,
            DurationExpr::Binary { op, left, right, .. } => {
                let (left, right) = (left.seconds(context)?, right.seconds(context)?);
                match op {
                    BinaryOp::Add => left + right,
                    BinaryOp::Sub => left - right,
                    BinaryOp::Mul => left * right,
                    BinaryOp::Div if right == 0.0 => return Err(self.error("division by zero")),
                    BinaryOp::Div => left / right,
                    BinaryOp::Mod if right == 0.0 => return Err(self.error("modulo by zero")),
                    BinaryOp::Mod => left % right,
                    BinaryOp::Pow => left.powf(right),
                    _ => return Err(self.error("unexpected duration expression operator")),
                }
            }
        })
    }

    fn error(&self, reason: &'static str) -> DurationExprError {
        DurationExprError { span: self.span(), reason }
    }
}
