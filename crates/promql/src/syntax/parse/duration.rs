//! Durations inside selectors.

use super::{Kind, ParseError, Parser};
use crate::syntax::ast::{Number, Span};
use crate::syntax::duration::{DurationExpr, SECONDS_MAX};
use crate::syntax::operators::{BinaryOp, UNARY_PRECEDENCE, UnaryOp};
use crate::syntax::token::{Keyword, Token};

impl Parser<'_> {
    /// Reads a duration that must be longer than nothing, as far as that can be told already.
    pub(super) fn positive_duration(&mut self) -> Result<DurationExpr, ParseError> {
        let duration = self.duration(0)?;
        match duration {
            DurationExpr::Literal(number) if number.value <= 0.0 => {
                Err(self.error(number.span, "duration must be greater than 0"))
            }
            DurationExpr::Literal(number) => Ok(DurationExpr::Literal(normal(number))),
            duration => Ok(duration),
        }
    }

    /// Reads the operand of `offset`; `None` if it is no offset at all.
    ///
    /// Arithmetic needs parentheses here, as an operator belongs to the expression that has the offset: `a offset 1m - b`.
    pub(super) fn offset_duration(&mut self) -> Result<Option<DurationExpr>, ParseError> {
        let first = self.peek()?;
        let duration = match first.kind {
            Kind::LeftParen => {
                let operand = self.duration_operand()?;
                self.duration_rest(operand, 0)?
            }
            Kind::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                self.take();
                let second = self.peek()?;
                match second.kind {
                    Kind::LeftParen => {
                        self.take();
                        // With a sign, parentheses are understood even where arithmetic is not.
                        let inner = self.duration_in_parens(second)?;
                        self.with_sign(first, inner)?
                    }
                    Kind::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                        let operand = self.nested(|parser| parser.duration(UNARY_PRECEDENCE))?;
                        let signed = self.with_sign(first, operand)?;
                        let duration = self.duration_rest(signed, 0)?;
                        // Two signs took arithmetic in; as at most one of them is left, it takes parentheses to say so.
                        if duration.ends_by_itself() || matches!(duration, DurationExpr::Paren(..)) {
                            duration
                        } else {
                            let span = duration.span();
                            DurationExpr::Paren(Box::new(duration), span)
                        }
                    }
                    Kind::Number | Kind::Duration => {
                        self.take();
                        let number = self.number(second)?;
                        self.check_length(number.value, first.span)?;
                        self.with_sign(first, DurationExpr::Literal(number))?
                    }
                    Kind::Keyword(keyword) if keyword.is_function() => {
                        self.take();
                        let operand = self.duration_function(second, keyword)?;
                        self.need_duration_expressions(first.span.to(operand.span()))?;
                        self.with_sign(first, operand)?
                    }
                    _ => return Err(self.unexpected(second)),
                }
            }
            _ => self.duration_operand()?,
        };
        Ok(match duration {
            duration if duration.fixed_ms() == Some(0) => None,
            DurationExpr::Literal(number) => Some(DurationExpr::Literal(normal(number))),
            duration => Some(duration),
        })
    }

    /// Reads operands and the operators between them that bind tighter than `precedence`.
    fn duration(&mut self, precedence: u8) -> Result<DurationExpr, ParseError> {
        let first = self.duration_operand()?;
        self.duration_rest(first, precedence)
    }

    fn duration_rest(&mut self, first: DurationExpr, precedence: u8) -> Result<DurationExpr, ParseError> {
        let mut left = first;
        let mut height = self.height;
        loop {
            let op_token = self.peek()?;
            let op = match op_token.kind {
                Kind::Binary(op) if op.is_in_durations() && op.precedence() > precedence => op,
                _ => break,
            };
            self.take();
            let right_precedence = if op.is_right_associative() { op.precedence() - 1 } else { op.precedence() };
            let right = self.nested(|parser| parser.duration(right_precedence))?;
            self.need_duration_expressions(left.span())?;
            if let DurationExpr::Literal(Number { value: 0.0, .. }) = right {
                match op {
                    BinaryOp::Div => return Err(self.error(op_token.span, "division by zero")),
                    BinaryOp::Mod => return Err(self.error(op_token.span, "modulo by zero")),
                    _ => {}
                }
            }
            height = 1 + height.max(self.height);
            let span = left.span().to(right.span());
            self.grow(height, span)?;
            left = DurationExpr::Binary { op, left: Box::new(left), right: Box::new(right), span };
        }
        self.height = height;
        Ok(left)
    }

    fn duration_operand(&mut self) -> Result<DurationExpr, ParseError> {
        let token = self.next()?;
        self.height = 1;
        match token.kind {
            Kind::Number | Kind::Duration => {
                let number = self.number(token)?;
                self.check_length(number.value, token.span)?;
                Ok(DurationExpr::Literal(number))
            }
            Kind::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                let operand = self.nested(|parser| parser.duration(UNARY_PRECEDENCE))?;
                self.with_sign(token, operand)
            }
            Kind::Keyword(keyword) if keyword.is_function() => {
                let duration = self.duration_function(token, keyword)?;
                let span = match &duration {
                    // Prometheus points at the arguments.
                    DurationExpr::MaxOf(pair, _) | DurationExpr::MinOf(pair, _) => pair[0].span().to(pair[1].span()),
                    other => other.span(),
                };
                self.need_duration_expressions(span)?;
                Ok(duration)
            }
            Kind::LeftParen => {
                let paren = self.duration_in_parens(token)?;
                if let DurationExpr::Paren(inner, _) = &paren {
                    self.need_duration_expressions(inner.span())?;
                }
                Ok(paren)
            }
            _ => Err(self.unexpected(token)),
        }
    }

    /// Reads the rest of `step()`, `range()`, `max_of(…)` or `min_of(…)`.
    fn duration_function(&mut self, name: Token, keyword: Keyword) -> Result<DurationExpr, ParseError> {
        self.height = 1;
        if !matches!(keyword, Keyword::Step | Keyword::Range | Keyword::MaxOf | Keyword::MinOf) {
            return Err(self.unexpected(name));
        }
        self.expect(Kind::LeftParen)?;
        if let Keyword::Step | Keyword::Range = keyword {
            let span = name.span.to(self.expect(Kind::RightParen)?.span);
            return Ok(if keyword == Keyword::Step { DurationExpr::Step(span) } else { DurationExpr::Range(span) });
        }
        let left = self.nested(|parser| parser.duration(0))?;
        let height = self.height;
        self.expect(Kind::Comma)?;
        let right = self.nested(|parser| parser.duration(0))?;
        let span = name.span.to(self.expect(Kind::RightParen)?.span);
        self.grow(1 + height.max(self.height), span)?;
        let pair = Box::new([left, right]);
        Ok(if keyword == Keyword::MaxOf { DurationExpr::MaxOf(pair, span) } else { DurationExpr::MinOf(pair, span) })
    }

    /// Reads the rest of `(…)`. Parentheses around parentheses say nothing more and are dropped.
    fn duration_in_parens(&mut self, open: Token) -> Result<DurationExpr, ParseError> {
        let inner = self.nested(|parser| parser.duration(0))?;
        let span = open.span.to(self.expect(Kind::RightParen)?.span);
        self.grow(self.height + 1, span)?;
        Ok(match inner {
            DurationExpr::Paren(inner, _) => DurationExpr::Paren(inner, span),
            inner => DurationExpr::Paren(Box::new(inner), span),
        })
    }

    fn with_sign(&mut self, sign: Token, operand: DurationExpr) -> Result<DurationExpr, ParseError> {
        let is_minus = sign.kind == Kind::Binary(BinaryOp::Sub);
        let span = sign.span.to(operand.span());
        match operand {
            DurationExpr::Literal(number) => {
                let value = if is_minus { -number.value } else { number.value };
                Ok(DurationExpr::Literal(Number { value, span, ..number }))
            }
            operand if is_minus => {
                self.grow(self.height + 1, span)?;
                Ok(DurationExpr::Unary { op: UnaryOp::Minus, operand: Box::new(operand), span })
            }
            operand => Ok(operand),
        }
    }

    fn check_length(&self, seconds: f64, span: Span) -> Result<(), ParseError> {
        // Not a number is not within anything.
        if seconds.abs() <= SECONDS_MAX { Ok(()) } else { Err(self.error(span, "duration out of range")) }
    }

    fn need_duration_expressions(&self, span: Span) -> Result<(), ParseError> {
        if self.options.duration_expressions {
            Ok(())
        } else {
            Err(self.error(span, "experimental duration expression is not enabled"))
        }
    }
}

/// A duration that stands alone, cut to milliseconds, which is as fine as samples are, and so printed as a duration. What is
/// shorter than that stays as it is: as a range it is still longer than nothing.
fn normal(number: Number) -> Number {
    match DurationExpr::Literal(number).fixed_ms() {
        Some(ms) if ms != 0 => Number { value: ms as f64 / 1000.0, is_duration: true, ..number },
        _ => Number { is_duration: false, ..number },
    }
}
