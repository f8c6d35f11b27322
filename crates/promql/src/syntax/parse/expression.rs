//! Expressions: operators, signs, parentheses and literals.

use super::{Context, Kind, ParseError, Parser};
use crate::syntax::ast::{Binary, Cardinality, Expr, Number, Paren, Span, StringLiteral, Unary, VectorMatching};
use crate::syntax::literal;
use crate::syntax::operators::{BinaryOp, UNARY_PRECEDENCE, UnaryOp};
use crate::syntax::token::{Keyword, Token};

impl Parser<'_> {
    /// Reads operands and the operators between them that bind tighter than `precedence`.
    ///
    /// What recursion hands around is boxed, so that a level costs little stack.
    pub(super) fn expression(&mut self, precedence: u8) -> Result<Box<Expr>, ParseError> {
        let mut left = self.operand()?;
        let mut height = self.height;
        loop {
            let op_token = self.peek()?;
            let Kind::Binary(op) = op_token.kind else { break };
            if op.precedence() <= precedence {
                break;
            }
            self.take();
            let (return_bool, matching, modifiers_end) = self.matching(op_token)?;
            let right_precedence = if op.is_right_associative() { op.precedence() - 1 } else { op.precedence() };
            let right = self.nested(|parser| parser.expression(right_precedence))?;
            let span = left.span().to(right.span());
            if !self.options.fill_modifiers && (matching.fill.left.is_some() || matching.fill.right.is_some()) {
                return Err(self.error(span, "binop fill modifiers are experimental and not enabled"));
            }
            height = 1 + height.max(self.height);
            let op_span = Span::new(op_token.span.start, modifiers_end);
            self.grow(height, op_span)?;
            let matching = Some(matching);
            left = Box::new(Expr::Binary(Binary { op, op_span, return_bool, matching, left, right, span }));
        }
        self.height = height;
        Ok(left)
    }

    /// Reads one operand with its sign and the modifiers behind it.
    fn operand(&mut self) -> Result<Box<Expr>, ParseError> {
        let token = self.peek()?;
        self.height = 1;
        let expr = match token.kind {
            Kind::Binary(BinaryOp::Add | BinaryOp::Sub) => return self.signed(),
            Kind::Number | Kind::Duration | Kind::String => self.literal()?,
            Kind::LeftParen => self.paren()?,
            Kind::Aggregate(op) => self.aggregate_or_metric(op)?,
            Kind::Identifier => self.call_or_metric()?,
            Kind::Keyword(keyword) if keyword.is_function() => self.call_or_metric()?,
            kind if kind.is_metric_name() || kind == Kind::LeftBrace => {
                Box::new(Expr::Selector(self.vector_selector()?))
            }
            _ => return Err(self.unexpected(token)),
        };
        self.modified(expr)
    }

    fn literal(&mut self) -> Result<Box<Expr>, ParseError> {
        let token = self.take();
        Ok(Box::new(if token.kind == Kind::String {
            let (value, not_utf8) = (literal::unquote(self.word(token)), literal::quoted_bytes(self.word(token)));
            Expr::String(StringLiteral { value, not_utf8, span: token.span })
        } else {
            Expr::Number(self.number(token)?)
        }))
    }

    fn paren(&mut self) -> Result<Box<Expr>, ParseError> {
        let open = self.take();
        let expr = self.nested(|parser| parser.expression(0))?;
        let span = open.span.to(self.expect(Kind::RightParen)?.span);
        self.grow(self.height + 1, span)?;
        Ok(Box::new(Expr::Paren(Paren { expr, span })))
    }

    fn signed(&mut self) -> Result<Box<Expr>, ParseError> {
        let sign = self.take();
        let op = if sign.kind == Kind::Binary(BinaryOp::Sub) { UnaryOp::Minus } else { UnaryOp::Plus };
        let mut expr = self.nested(|parser| parser.expression(UNARY_PRECEDENCE))?;
        let span = sign.span.to(expr.span());
        if let Expr::Number(number) = &mut *expr {
            number.span = span;
            if op == UnaryOp::Minus {
                number.value = -number.value;
            }
            return Ok(expr);
        }
        self.grow(self.height + 1, span)?;
        Ok(Box::new(Expr::Unary(Unary { op, expr, span })))
    }

    /// The value of a word that is a number or a duration.
    pub(super) fn number(&self, token: Token) -> Result<Number, ParseError> {
        let is_duration = token.kind == Kind::Duration;
        let word = self.word(token);
        let value = if is_duration { literal::duration_seconds(word) } else { literal::number(word) };
        let value = value.map_err(|message| self.error(token.span, message))?;
        Ok(Number { value, is_duration, span: token.span })
    }

    /// Reads what may stand between an operator and its right side; also says where that ends.
    fn matching(&mut self, op: Token) -> Result<(bool, VectorMatching, usize), ParseError> {
        let mut matching = VectorMatching::default();
        let mut end = op.span.end;
        let return_bool = self.next_if(Kind::Keyword(Keyword::Bool))?.inspect(|token| end = token.span.end).is_some();
        let on = self.peek()?;
        if let Kind::Keyword(Keyword::On | Keyword::Ignoring) = on.kind {
            self.take();
            matching.on = on.kind == Kind::Keyword(Keyword::On);
            (matching.labels, end) = self.grouping_labels()?;
            let group = self.peek()?;
            let cardinality = match group.kind {
                Kind::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                Kind::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = cardinality {
                self.take();
                (matching.cardinality, end) = (cardinality, group.span.end);
                let after = self.peek()?;
                if after.kind == Kind::LeftParen {
                    (matching.include, end) = self.grouping_labels()?;
                } else if !after.kind.begins_expression() {
                    return Err(self.unexpected_in(Context::GroupingStart, after));
                }
            }
        }
        // One `fill`, or one of each of the others in any order.
        match self.peek()?.kind {
            Kind::Keyword(Keyword::Fill) => {
                let value;
                (value, end) = self.fill_value()?;
                (matching.fill.left, matching.fill.right) = (Some(value), Some(value));
            }
            Kind::Keyword(Keyword::FillLeft | Keyword::FillRight) => loop {
                let side = match self.peek()?.kind {
                    Kind::Keyword(Keyword::FillLeft) => &mut matching.fill.left,
                    Kind::Keyword(Keyword::FillRight) => &mut matching.fill.right,
                    _ => break,
                };
                if side.is_some() {
                    break;
                }
                let value;
                (value, end) = self.fill_value()?;
                *side = Some(value);
            },
            _ => {}
        }
        Ok((return_bool, matching, end))
    }

    /// Reads the number in `fill(…)`, keyword and parentheses included; also says where that ends.
    fn fill_value(&mut self) -> Result<(f64, usize), ParseError> {
        self.next()?;
        self.expect(Kind::LeftParen)?;
        let value = self.signed_number()?.ok_or(());
        let Ok(number) = value else {
            let token = self.peek()?;
            return Err(self.unexpected(token));
        };
        Ok((number.value, self.expect(Kind::RightParen)?.span.end))
    }

    /// Reads a number or a duration with at most one sign; `None`, and behind the sign, if there is none.
    pub(super) fn signed_number(&mut self) -> Result<Option<Number>, ParseError> {
        let sign = self.peek()?;
        let is_signed = matches!(sign.kind, Kind::Binary(BinaryOp::Add | BinaryOp::Sub));
        if is_signed {
            self.take();
        }
        let token = self.peek()?;
        if !matches!(token.kind, Kind::Number | Kind::Duration) {
            return Ok(None);
        }
        self.take();
        let mut number = self.number(token)?;
        if is_signed {
            number.span = sign.span.to(number.span);
            if sign.kind == Kind::Binary(BinaryOp::Sub) {
                number.value = -number.value;
            }
        }
        Ok(Some(number))
    }

    /// Reads `(label, …)`; also says where that ends.
    pub(super) fn grouping_labels(&mut self) -> Result<(Vec<String>, usize), ParseError> {
        let open = self.next()?;
        if open.kind != Kind::LeftParen {
            return Err(self.unexpected_in(Context::GroupingStart, open));
        }
        let mut labels = Vec::new();
        loop {
            let label = self.next()?;
            match label.kind {
                Kind::RightParen => return Ok((labels, label.span.end)),
                Kind::String => {
                    let name = literal::unquote(self.word(label));
                    let refused =
                        if name.is_empty() { Some("\"\"".to_owned()) } else { literal::quoted_bytes(self.word(label)) };
                    if let Some(name) = refused {
                        return Err(self.error(label.span, format!("invalid label name for grouping: {name}")));
                    }
                    labels.push(name);
                }
                kind if kind.is_label_name() => labels.push(self.word(label).to_owned()),
                _ => return Err(self.unexpected_in(Context::GroupingLabels, label)),
            }
            let separator = self.next()?;
            match separator.kind {
                Kind::RightParen => return Ok((labels, separator.span.end)),
                Kind::Comma => {}
                _ => return Err(self.unexpected_in(Context::GroupingSeparator, separator)),
            }
        }
    }
}
