//! Function calls and aggregations.

use super::{Context, Kind, ParseError, Parser};
use crate::syntax::ast::{Aggregate, Call, Expr, Span};
use crate::syntax::functions::function;
use crate::syntax::operators::AggregateOp;
use crate::syntax::token::{Keyword, Token};

impl Parser<'_> {
    /// Reads what begins with a name: a call if a parenthesis follows, else a selector.
    pub(super) fn call_or_metric(&mut self) -> Result<Box<Expr>, ParseError> {
        let name = self.next()?;
        if self.peek()?.kind != Kind::LeftParen {
            return Ok(Box::new(Expr::Selector(self.vector_selector_named(name)?)));
        }
        let (args, end) = self.arguments()?;
        let word = self.word(name);
        let Some(function) = function(word) else {
            return Err(self.error(name.span, format!("unknown function with name \"{word}\"")));
        };
        if function.is_experimental && !self.options.experimental_functions {
            return Err(self.error(name.span, format!("function \"{word}\" is not enabled")));
        }
        let span = Span::new(name.span.start, end);
        self.grow(self.height + 1, span)?;
        Ok(Box::new(Expr::Call(Call { function, args, span })))
    }

    /// Reads what begins with the name of an aggregation: that, or a metric of that name.
    pub(super) fn aggregate_or_metric(&mut self, op: AggregateOp) -> Result<Box<Expr>, ParseError> {
        let name = self.next()?;
        match self.peek()?.kind {
            Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without) => {
                self.within(Context::Aggregation, |parser| parser.aggregate(op, name))
            }
            _ => Ok(Box::new(Expr::Selector(self.vector_selector_named(name)?))),
        }
    }

    fn aggregate(&mut self, op: AggregateOp, name: Token) -> Result<Box<Expr>, ParseError> {
        let mut grouping = self.grouping()?;
        let (mut args, mut end) = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
            end = grouping.as_ref().map_or(end, |grouping| grouping.end);
        }
        let span = Span::new(name.span.start, end);
        let args_wanted = if op.takes_param() { 2 } else { 1 };
        if args.is_empty() {
            return Err(self.error(span, "no arguments for aggregate expression provided"));
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let message = format!(
                "{op}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"
            );
            return Err(self.error(span, message));
        }
        if args.len() != args_wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {args_wanted}, got {}",
                args.len()
            );
            return Err(self.error(span, message));
        }
        self.grow(self.height + 1, span)?;
        let expr = Box::new(args.pop().expect("the number of arguments was checked"));
        let param = args.pop().map(Box::new);
        let (without, grouping) = grouping.map_or((false, Vec::new()), |grouping| (grouping.without, grouping.labels));
        Ok(Box::new(Expr::Aggregate(Aggregate { op, expr, param, without, grouping, span })))
    }

    /// Reads `by (…)` or `without (…)`, if one is there.
    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = match self.peek()?.kind {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take();
        let (labels, end) = self.grouping_labels()?;
        Ok(Some(Grouping { without, labels, end }))
    }

    /// Reads `(expr, …)`; also says where that ends. The height afterwards is that of the highest argument.
    fn arguments(&mut self) -> Result<(Vec<Expr>, usize), ParseError> {
        self.expect(Kind::LeftParen)?;
        let (mut args, mut height) = (Vec::new(), 0);
        if let Some(close) = self.next_if(Kind::RightParen)? {
            self.height = height;
            return Ok((args, close.span.end));
        }
        loop {
            args.push(*self.nested(|parser| parser.expression(0))?);
            height = height.max(self.height);
            let separator = self.next()?;
            match separator.kind {
                Kind::RightParen => {
                    self.height = height;
                    // Expressions of rules live as long as their rules, and most calls have one argument.
                    args.shrink_to_fit();
                    return Ok((args, separator.span.end));
                }
                Kind::Comma if !self.peek()?.kind.begins_expression() => {
                    return Err(self.error(separator.span, "trailing commas not allowed in function call args"));
                }
                Kind::Comma => {}
                _ => return Err(self.unexpected(separator)),
            }
        }
    }
}

struct Grouping {
    without: bool,
    labels: Vec<String>,
    end: usize,
}
