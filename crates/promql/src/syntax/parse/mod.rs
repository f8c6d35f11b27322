//! From words to a tree, by precedence climbing. The first error ends it.
//!
//! Which error comes first, and in which words, is Prometheus': its parser is a table that reads one word ahead, so a message
//! names the innermost construct that knows what it expected, and remarks on a construct come when its end was seen.

mod call;
mod duration;
mod expression;
mod modifier;
mod selector;

use relatum_model::regex::CompileBudget;

use super::ast::{Expr, Span, VectorSelector};
use super::check;
use super::error::ParseError;
use super::lexer::Lexer;
use super::token::{Kind, Token};

/// The longest query that is looked at, in bytes.
pub const QUERY_BYTES_MAX: usize = 512 << 10;

/// How deep expressions may stand inside each other, by parentheses, arguments or signs. Reading, checking and printing recurse.
pub const NESTING_MAX: usize = 100;

/// How high a tree may grow in all. A chain `a + b + c` grows by one with each operator.
pub const HEIGHT_MAX: usize = 500;

/// Which of the parts of PromQL that Prometheus has, or had, behind switches are understood. The default is the newest
/// Prometheus': arithmetic in durations needs no switch any more, all else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregations that may still change: `promql-experimental-functions`.
    pub experimental_functions: bool,
    /// Arithmetic in durations: `promql-duration-expr`.
    pub duration_expressions: bool,
    /// `anchored` and `smoothed`: `promql-extended-range-selectors`.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right`: `promql-binop-fill-modifiers`.
    pub fill_modifiers: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        ParseOptions {
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            fill_modifiers: false,
        }
    }
}

impl ParseOptions {
    /// Everything switched on.
    pub fn all() -> Self {
        ParseOptions {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
        }
    }

    /// Switches on what Prometheus' `--enable-feature` calls `feature`; `false` if that is not one of these.
    pub fn enable(&mut self, feature: &str) -> bool {
        match feature {
            "promql-experimental-functions" => self.experimental_functions = true,
            "promql-duration-expr" => self.duration_expressions = true,
            "promql-extended-range-selectors" => self.extended_range_selectors = true,
            "promql-binop-fill-modifiers" => self.fill_modifiers = true,
            _ => return false,
        }
        true
    }
}

/// Reads a query and checks its types.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    parse_within(text, options, &mut CompileBudget::new())
}

/// As [`parse`], with a budget for the regular expressions of the query.
pub fn parse_within(text: &str, options: &ParseOptions, regexes: &mut CompileBudget) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, options, regexes)?;
    if parser.peek()?.kind == Kind::End {
        return Err(ParseError::new(text, Span::default(), "no expression found in input"));
    }
    let mut expr = parser.expression(0)?;
    parser.end()?;
    check::check(text, &mut expr)?;
    Ok(*expr)
}

/// Reads a selector that stands alone, without modifiers, as in `match[]`. It may match everything: that is the caller's to judge.
pub fn parse_selector(text: &str) -> Result<VectorSelector, ParseError> {
    parse_selector_within(text, &mut CompileBudget::new())
}

/// As [`parse_selector`], with a budget for its regular expressions and those of others of the same request.
pub fn parse_selector_within(text: &str, regexes: &mut CompileBudget) -> Result<VectorSelector, ParseError> {
    let mut parser = Parser::new(text, &ParseOptions::default(), regexes)?;
    let selector = parser.vector_selector()?;
    parser.end()?;
    Ok(selector)
}

/// The innermost construct that says what it expected; how messages about unexpected words end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    None,
    Aggregation,
    GroupingLabels,
    GroupingSeparator,
    GroupingStart,
    LabelMatcher,
    LabelOperator,
    LabelSeparator,
    LabelValue,
    Offset,
    At,
    Range,
    RangeEnd,
    Step,
    StepEnd,
}

impl Context {
    /// Where the unexpected word was, and what was expected there.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Context::None => ("", ""),
            Context::Aggregation => ("aggregation", ""),
            Context::GroupingLabels => ("grouping opts", "label"),
            Context::GroupingSeparator => ("grouping opts", r#""," or ")""#),
            Context::GroupingStart => ("grouping opts", r#""(""#),
            Context::LabelMatcher => ("label matching", r#"identifier or "}""#),
            Context::LabelOperator => ("label matching", "label matching operator"),
            Context::LabelSeparator => ("label matching", r#""," or "}""#),
            Context::LabelValue => ("label matching", "string"),
            Context::Offset => ("offset", "number, duration, step(), or range()"),
            Context::At => ("@", "timestamp"),
            Context::Range => ("subquery or range selector", "number, duration, step(), or range()"),
            Context::RangeEnd => ("subquery or range", r#"":" or "]""#),
            Context::Step => ("subquery selector", r#"number, duration, step(), range(), or "]""#),
            Context::StepEnd => ("subquery selector", r#""]""#),
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    options: ParseOptions,
    regexes: &'a mut CompileBudget,
    ahead: Option<Token>,
    /// Where the last word ended that was taken.
    taken_end: usize,
    context: Context,
    depth: usize,
    /// How high the tree is that was read last.
    height: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: &ParseOptions, regexes: &'a mut CompileBudget) -> Result<Self, ParseError> {
        if text.len() > QUERY_BYTES_MAX {
            let span = Span::new(QUERY_BYTES_MAX, text.len());
            let message = format!("query is longer than {QUERY_BYTES_MAX} bytes");
            return Err(ParseError::new(text, span, message));
        }
        let (lexer, context) = (Lexer::new(text), Context::None);
        Ok(Parser { lexer, options: *options, regexes, ahead: None, taken_end: 0, context, depth: 0, height: 0 })
    }

    /// The next word, without taking it.
    fn peek(&mut self) -> Result<Token, ParseError> {
        match self.ahead {
            Some(token) => Ok(token),
            None => {
                let token = self.lexer.next()?;
                self.ahead = Some(token);
                Ok(token)
            }
        }
    }

    fn next(&mut self) -> Result<Token, ParseError> {
        self.peek()?;
        Ok(self.take())
    }

    /// Takes the word that was looked at.
    fn take(&mut self) -> Token {
        let token = self.ahead.take().expect("a word is looked at before it is taken");
        self.taken_end = token.span.end;
        token
    }

    /// Takes the next word if it is a `kind`.
    fn next_if(&mut self, kind: Kind) -> Result<Option<Token>, ParseError> {
        let token = self.peek()?;
        if token.kind != kind {
            return Ok(None);
        }
        Ok(Some(self.take()))
    }

    /// Takes the next word, which must be a `kind`.
    fn expect(&mut self, kind: Kind) -> Result<Token, ParseError> {
        let token = self.next()?;
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(token)) }
    }

    fn end(&mut self) -> Result<(), ParseError> {
        self.expect(Kind::End).map(|_| ())
    }

    fn word(&self, token: Token) -> &'a str {
        &self.lexer.text()[token.span.start..token.span.end]
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.lexer.text(), span, message)
    }

    /// The word was not expected, says the innermost construct.
    fn unexpected(&self, token: Token) -> ParseError {
        self.unexpected_in(self.context, token)
    }

    fn unexpected_in(&self, context: Context, token: Token) -> ParseError {
        let mut message = format!("unexpected {}", token.describe(self.lexer.text()));
        let (place, expected) = context.words();
        if !place.is_empty() {
            message.push_str(&format!(" in {place}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.error(token.span, message)
    }

    /// Reads with `read` inside of `context`.
    fn within<T>(
        &mut self,
        context: Context,
        read: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        let outer = std::mem::replace(&mut self.context, context);
        let result = read(self);
        self.context = outer;
        result
    }

    /// Reads with `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == NESTING_MAX {
            let span = self.peek()?.span;
            return Err(self.error(span, format!("expressions are nested deeper than {NESTING_MAX} levels")));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Notes the height of a tree that was put together at `span`.
    fn grow(&mut self, height: usize, span: Span) -> Result<(), ParseError> {
        if height > HEIGHT_MAX {
            return Err(self.error(span, format!("expression has more than {HEIGHT_MAX} operators in a chain")));
        }
        self.height = height;
        Ok(())
    }
}
