//! What may follow an expression: ranges, subqueries, `offset`, `@`, `anchored` and `smoothed`.

use super::{Context, Kind, ParseError, Parser};
use crate::syntax::ast::{At, Edges, Expr, MatrixSelector, Span, Subquery};
use crate::syntax::duration::DurationExpr;
use crate::syntax::token::{Keyword, Token};

impl Parser<'_> {
    /// Reads all modifiers behind `expr`. They bind tighter than any operator.
    pub(super) fn modified(&mut self, mut expr: Box<Expr>) -> Result<Box<Expr>, ParseError> {
        loop {
            let token = self.peek()?;
            match token.kind {
                Kind::LeftBracket => {
                    self.take();
                    expr = self.within(Context::Range, |parser| parser.bracket(expr, token))?;
                }
                Kind::Keyword(Keyword::Offset) => {
                    self.take();
                    let height = self.height;
                    let offset = self.within(Context::Offset, Parser::offset_duration)?;
                    self.height = height;
                    self.set_offset(&mut expr, offset)?;
                }
                Kind::At => {
                    self.take();
                    self.within(Context::At, |parser| parser.at(&mut expr))?;
                }
                Kind::Keyword(keyword @ (Keyword::Anchored | Keyword::Smoothed)) => {
                    self.take();
                    let edges = if keyword == Keyword::Anchored { Edges::Anchored } else { Edges::Smoothed };
                    self.set_edges(&mut expr, edges, token)?;
                }
                _ => return Ok(expr),
            }
        }
    }

    /// Reads the rest of `[range]` or `[range:step]`.
    fn bracket(&mut self, expr: Box<Expr>, open: Token) -> Result<Box<Expr>, ParseError> {
        let height = self.height;
        let range = self.positive_duration()?;
        let separator = self.next()?;
        match separator.kind {
            Kind::RightBracket => {
                self.height = height;
                self.matrix(*expr, range, open.span.to(separator.span)).map(Box::new)
            }
            Kind::Colon => {
                let step = if self.peek()?.kind == Kind::RightBracket {
                    None
                } else {
                    Some(self.within(Context::Step, Parser::positive_duration)?)
                };
                let close = self.next()?;
                if close.kind != Kind::RightBracket {
                    return Err(self.unexpected_in(Context::StepEnd, close));
                }
                let span = expr.span().to(close.span);
                self.grow(height + 1, span)?;
                Ok(Box::new(Expr::Subquery(Subquery { expr, range, step, offset: None, at: None, span })))
            }
            _ => Err(self.unexpected_in(Context::RangeEnd, separator)),
        }
    }

    fn matrix(&mut self, expr: Expr, range: DurationExpr, brackets: Span) -> Result<Expr, ParseError> {
        let Expr::Selector(selector) = expr else {
            return Err(self.error(brackets, "ranges only allowed for vector selectors"));
        };
        if selector.offset.is_some() {
            return Err(self.error(brackets, "no offset modifiers allowed before range"));
        }
        if selector.at.is_some() {
            return Err(self.error(brackets, "no @ modifiers allowed before range"));
        }
        let span = selector.span.to(brackets);
        Ok(Expr::Matrix(MatrixSelector { selector, range, span }))
    }

    fn set_offset(&mut self, expr: &mut Expr, offset: Option<DurationExpr>) -> Result<(), ParseError> {
        let (span, end) = (expr.span(), self.taken_end);
        let (place, node_span) = match expr {
            Expr::Selector(node) => (&mut node.offset, &mut node.span),
            Expr::Matrix(node) => (&mut node.selector.offset, &mut node.span),
            Expr::Subquery(node) => (&mut node.offset, &mut node.span),
            _ => {
                return Err(self.error(
                    span,
                    "offset modifier must be preceded by an instant vector selector or range vector selector or a \
                     subquery",
                ));
            }
        };
        if place.is_some() {
            return Err(self.error(span, "offset may not be set multiple times"));
        }
        (*place, node_span.end) = (offset, end);
        Ok(())
    }

    /// Reads the operand of `@`.
    fn at(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let token = self.peek()?;
        let (at, end) = match token.kind {
            Kind::Keyword(keyword @ (Keyword::Start | Keyword::End)) => {
                self.take();
                self.expect(Kind::LeftParen)?;
                let end = self.expect(Kind::RightParen)?.span.end;
                (if keyword == Keyword::Start { At::Start } else { At::End }, end)
            }
            _ => {
                let Some(number) = self.signed_number()? else {
                    let token = self.peek()?;
                    return Err(self.unexpected(token));
                };
                let seconds = number.value;
                if !(seconds > i64::MIN as f64 && seconds < i64::MAX as f64) {
                    let seconds = match seconds {
                        f64::INFINITY => "+Inf".to_owned(),
                        f64::NEG_INFINITY => "-Inf".to_owned(),
                        _ => format!("{seconds:.6}"),
                    };
                    let message = format!("timestamp out of bounds for @ modifier: {seconds}");
                    return Err(self.error(expr.span(), message));
                }
                (At::Time((seconds * 1000.0).round() as i64), number.span.end)
            }
        };
        let span = expr.span();
        let (place, node_span) = match expr {
            Expr::Selector(node) => (&mut node.at, &mut node.span),
            Expr::Matrix(node) => (&mut node.selector.at, &mut node.span),
            Expr::Subquery(node) => (&mut node.at, &mut node.span),
            _ => {
                return Err(self.error(
                    span,
                    "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                ));
            }
        };
        if place.is_some() {
            return Err(self.error(span, "@ <timestamp> may not be set multiple times"));
        }
        (*place, node_span.end) = (Some(at), end);
        Ok(())
    }

    fn set_edges(&mut self, expr: &mut Expr, edges: Edges, token: Token) -> Result<(), ParseError> {
        let word = if edges == Edges::Anchored { "anchored" } else { "smoothed" };
        let span = expr.span();
        if !self.options.extended_range_selectors {
            return Err(self.error(span, format!("{word} modifier is experimental and not enabled")));
        }
        let (place, node_span) = match expr {
            Expr::Selector(node) => (&mut node.edges, &mut node.span),
            Expr::Matrix(node) => (&mut node.selector.edges, &mut node.span),
            Expr::Subquery(_) => {
                return Err(self.error(span, format!("{word} modifier is not supported for subqueries")));
            }
            _ => return Err(self.error(span, format!("{word} modifier not implemented"))),
        };
        if *place != Edges::Plain && *place != edges {
            return Err(self.error(span, "anchored and smoothed modifiers cannot be used together"));
        }
        (*place, node_span.end) = (edges, token.span.end);
        Ok(())
    }
}
