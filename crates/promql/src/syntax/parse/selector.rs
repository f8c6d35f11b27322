//! Selectors: a name, matchers in braces, or both.

use relatum_model::labels::METRIC_NAME;
use relatum_model::{MatchOp, Matcher};

use super::{Context, Kind, ParseError, Parser};
use crate::syntax::ast::{Edges, Span, VectorSelector};
use crate::syntax::literal;
use crate::syntax::operators::BinaryOp;
use crate::syntax::token::Token;

impl Parser<'_> {
    /// Reads a selector, without modifiers.
    pub(super) fn vector_selector(&mut self) -> Result<VectorSelector, ParseError> {
        let token = self.next()?;
        if token.kind == Kind::LeftBrace {
            let (matchers, end) = self.matchers()?;
            Ok(selector(None, matchers, Span::new(token.span.start, end)))
        } else if token.kind.is_metric_name() {
            self.vector_selector_named(token)
        } else {
            Err(self.unexpected(token))
        }
    }

    /// Reads the rest of a selector that began with its name.
    pub(super) fn vector_selector_named(&mut self, name: Token) -> Result<VectorSelector, ParseError> {
        let mut span = name.span;
        let mut matchers = Vec::new();
        if self.next_if(Kind::LeftBrace)?.is_some() {
            (matchers, span.end) = self.matchers()?;
        }
        Ok(selector(Some(self.word(name).to_owned()), matchers, span))
    }

    /// Reads matchers up to the closing brace; also says where that ends.
    fn matchers(&mut self) -> Result<(Vec<Matcher>, usize), ParseError> {
        let mut matchers = Vec::new();
        let end = loop {
            let label = self.next()?;
            match label.kind {
                Kind::RightBrace => break label.span.end,
                Kind::Identifier | Kind::String => matchers.push(self.matcher(label)?),
                _ => return Err(self.unexpected_in(Context::LabelMatcher, label)),
            }
            let separator = self.next()?;
            match separator.kind {
                Kind::RightBrace => break separator.span.end,
                Kind::Comma => {}
                _ => return Err(self.unexpected_in(Context::LabelSeparator, separator)),
            }
        };
        matchers.shrink_to_fit();
        Ok((matchers, end))
    }

    fn matcher(&mut self, label: Token) -> Result<Matcher, ParseError> {
        let op_token = self.peek()?;
        let op = match op_token.kind {
            Kind::Equal => MatchOp::Equal,
            Kind::Binary(BinaryOp::NotEqual) => MatchOp::NotEqual,
            Kind::Regex => MatchOp::Regex,
            Kind::NotRegex => MatchOp::NotRegex,
            // A quoted text alone is the name of the metric.
            _ if label.kind == Kind::String => {
                return Ok(Matcher::equal(METRIC_NAME, literal::unquote(self.word(label))));
            }
            _ => return Err(self.unexpected_in(Context::LabelOperator, op_token)),
        };
        self.take();
        let value = self.next()?;
        if value.kind != Kind::String {
            return Err(self.unexpected_in(Context::LabelValue, value));
        }
        let word = self.word(label);
        let name = if label.kind == Kind::String { literal::unquote(word) } else { word.to_owned() };
        Matcher::new_within(op, name, literal::unquote(self.word(value)), self.regexes)
            .map_err(|error| self.error(label.span.to(value.span), error.to_string()))
    }
}

fn selector(name: Option<String>, matchers: Vec<Matcher>, span: Span) -> VectorSelector {
    VectorSelector { name, matchers, offset: None, at: None, edges: Edges::Plain, may_match_all: false, span }
}
