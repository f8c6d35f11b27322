//! The tree of a query. Every node knows where in the text it stood.

use relatum_model::Matcher;
use relatum_model::labels::METRIC_NAME;

use super::duration::{DurationContext, DurationExpr, DurationExprError};
use super::functions::{Signature, ValueType};
use super::operators::{AggregateOp, BinaryOp, UnaryOp};

/// A range of bytes of the query text: `start..end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }

    /// From the start of `self` to the end of `last`.
    pub fn to(self, last: Span) -> Self {
        Span { start: self.start, end: last.end }
    }
}

/// A query, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `42`, `0x2a`, `Inf`, `5m`.
    Number(Number),
    /// `"text"`.
    String(StringLiteral),
    /// `up{job="a"} offset 5m`: an instant vector.
    Selector(VectorSelector),
    /// `up{job="a"}[5m]`: a range vector.
    Matrix(MatrixSelector),
    /// `expr[1h:5m]`: a range vector made of results.
    Subquery(Subquery),
    /// `-expr`.
    Unary(Unary),
    /// `left + on (x) right`.
    Binary(Binary),
    /// `sum by (job) (expr)`.
    Aggregate(Aggregate),
    /// `rate(expr)`.
    Call(Call),
    /// `(expr)`. Kept, because the canonical text keeps it.
    Paren(Paren),
}

/// A number, or a duration that stands for its seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// The value; of a duration, its seconds.
    pub value: f64,
    /// Whether it was written as a duration, and is printed as one.
    pub is_duration: bool,
    /// Where it stood, with its sign.
    pub span: Span,
}

/// A quoted text.
#[derive(Debug, Clone, PartialEq)]
pub struct StringLiteral {
    /// The text with all escapes resolved.
    pub value: String,
    /// The text with its quotes, if its bytes are not UTF-8: then `value` is not all of it.
    pub not_utf8: Option<String>,
    /// Where it stood, with its quotes.
    pub span: Span,
}

/// What selects series, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric's name, if it stood before the braces; never empty. A name inside of them is a matcher like any other.
    pub name: Option<String>,
    /// The matchers inside the braces, as written. See [`VectorSelector::all_matchers`].
    pub matchers: Vec<Matcher>,
    /// How far back to look; never a literal zero.
    pub offset: Option<DurationExpr>,
    /// The fixed time to look at instead of the evaluation's.
    pub at: Option<At>,
    /// What happens at the edges of a range.
    pub edges: Edges,
    /// Whether the selector may match everything, as the second argument of `info` may.
    pub may_match_all: bool,
    /// Where it stood; with its modifiers, if it is not inside a [`MatrixSelector`].
    pub span: Span,
}

impl VectorSelector {
    /// Everything the selector demands: the matchers in the braces and the name before them.
    pub fn all_matchers(&self) -> Vec<Matcher> {
        let name = self.name.iter().map(|name| Matcher::equal(METRIC_NAME, name));
        self.matchers.iter().cloned().chain(name).collect()
    }

    /// Whether the selector demands anything of the label `name`, by whatever operator.
    pub fn has_matcher_on(&self, name: &str) -> bool {
        self.matchers.iter().any(|m| m.name() == name) || (name == METRIC_NAME && self.name.is_some())
    }
}

/// The operand of the `@` modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`: milliseconds since 1970.
    Time(i64),
    /// `@ start()`: the start of the query's range.
    Start,
    /// `@ end()`: the end of the query's range.
    End,
}

/// How a range treats its two ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Edges {
    /// Only the samples within the range.
    #[default]
    Plain,
    /// `anchored`: with the samples right before the edges moved onto them.
    Anchored,
    /// `smoothed`: with values interpolated at the edges.
    Smoothed,
}

/// A selector with a range. Offset, `@` and edges are those of the selector inside.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// What is selected.
    pub selector: VectorSelector,
    /// How long the range is.
    pub range: DurationExpr,
    /// Where it stood, with its modifiers.
    pub span: Span,
}

/// An expression evaluated at every step of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated; an instant vector.
    pub expr: Box<Expr>,
    /// How long the range is.
    pub range: DurationExpr,
    /// How far apart the evaluations are; `None` leaves it to the engine's default.
    pub step: Option<DurationExpr>,
    /// How far back to look; never a literal zero.
    pub offset: Option<DurationExpr>,
    /// The fixed time to look at instead of the evaluation's.
    pub at: Option<At>,
    /// Where it stood, with its modifiers.
    pub span: Span,
}

/// A sign before an expression that is not a number (a number takes its sign in).
#[derive(Debug, Clone, PartialEq)]
pub struct Unary {
    /// The sign.
    pub op: UnaryOp,
    /// A scalar or an instant vector.
    pub expr: Box<Expr>,
    /// Where it stood.
    pub span: Span,
}

/// Two expressions and an operator between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Where the operator stood.
    pub op_span: Span,
    /// `bool`: a comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How the elements find each other; present exactly when both sides are instant vectors.
    pub matching: Option<VectorMatching>,
    /// The left side.
    pub left: Box<Expr>,
    /// The right side.
    pub right: Box<Expr>,
    /// Where it stood.
    pub span: Span,
}

/// How the elements of two vectors find each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VectorMatching {
    /// How many of one side may match how many of the other.
    pub cardinality: Cardinality,
    /// Whether `labels` are the ones to compare (`on`), or the ones to leave out (`ignoring`).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels of `group_left` or `group_right`: taken over from the "one" side.
    pub include: Vec<String>,
    /// Values in place of partners that are missing.
    pub fill: Fill,
}

/// How many elements of one side match how many of the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One with one.
    #[default]
    OneToOne,
    /// `group_left`: many on the left with one on the right.
    ManyToOne,
    /// `group_right`: one on the left with many on the right.
    OneToMany,
    /// Set operators: any with any.
    ManyToMany,
}

impl Cardinality {
    /// Prometheus' word for it, as its messages have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        }
    }
}

/// Values in place of elements that one side lacks; `None` leaves such pairs out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fill {
    /// In place of a missing left element.
    pub left: Option<f64>,
    /// In place of a missing right element.
    pub right: Option<f64>,
}

/// An aggregation over a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// The vector.
    pub expr: Box<Expr>,
    /// The first argument of `topk`, `quantile`, `count_values` and the like.
    pub param: Option<Box<Expr>>,
    /// Whether `grouping` names the labels to drop instead of those to keep.
    pub without: bool,
    /// The labels of `by` or `without`; none groups everything together.
    pub grouping: Vec<String>,
    /// Where it stood.
    pub span: Span,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static Signature,
    /// Its arguments; number and types are as the signature demands.
    pub args: Vec<Expr>,
    /// Where it stood.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Debug, Clone, PartialEq)]
pub struct Paren {
    /// What is inside.
    pub expr: Box<Expr>,
    /// Where it stood, with the parentheses.
    pub span: Span,
}

impl Expr {
    /// Where the expression stood.
    pub fn span(&self) -> Span {
        match self {
            Expr::Number(node) => node.span,
            Expr::String(node) => node.span,
            Expr::Selector(node) => node.span,
            Expr::Matrix(node) => node.span,
            Expr::Subquery(node) => node.span,
            Expr::Unary(node) => node.span,
            Expr::Binary(node) => node.span,
            Expr::Aggregate(node) => node.span,
            Expr::Call(node) => node.span,
            Expr::Paren(node) => node.span,
        }
    }

    /// What kind of value the expression gives.
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) => ValueType::Scalar,
            Expr::String(_) => ValueType::String,
            Expr::Selector(_) | Expr::Aggregate(_) => ValueType::Vector,
            Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Unary(node) => node.expr.value_type(),
            Expr::Paren(node) => node.expr.value_type(),
            Expr::Call(node) => node.function.returns,
            // Types are asked for at every level of a tree, and the left side of a chain `a + b + c` is long: ask the
            // right side first, and the matching before both.
            Expr::Binary(node) => {
                if node.matching.is_some()
                    || node.right.value_type() != ValueType::Scalar
                    || node.left.value_type() != ValueType::Scalar
                {
                    ValueType::Vector
                } else {
                    ValueType::Scalar
                }
            }
        }
    }

    /// The expression without the parentheses around it.
    pub fn without_parens(&self) -> &Expr {
        let mut expr = self;
        while let Expr::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }

    /// The expressions directly below, in the order of the text.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) => Vec::new(),
            Expr::Subquery(node) => vec![&node.expr],
            Expr::Unary(node) => vec![&node.expr],
            Expr::Paren(node) => vec![&node.expr],
            Expr::Binary(node) => vec![&node.left, &node.right],
            Expr::Aggregate(node) => node.param.iter().map(|param| &**param).chain([&*node.expr]).collect(),
            Expr::Call(node) => node.args.iter().collect(),
        }
    }

    /// As [`Expr::children`], to change them.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) => Vec::new(),
            Expr::Subquery(node) => vec![&mut node.expr],
            Expr::Unary(node) => vec![&mut node.expr],
            Expr::Paren(node) => vec![&mut node.expr],
            Expr::Binary(node) => vec![&mut node.left, &mut node.right],
            Expr::Aggregate(node) => node.param.iter_mut().map(|param| &mut **param).chain([&mut *node.expr]).collect(),
            Expr::Call(node) => node.args.iter_mut().collect(),
        }
    }

    /// Whether all durations below have a usable value; the error is that of the first one, parents first.
    pub fn check_durations(&self, context: &DurationContext) -> Result<(), DurationExprError> {
        let mut checked = Ok(());
        self.walk(&mut |expr| {
            if checked.is_ok() {
                checked = expr.check_own_durations(context);
            }
        });
        checked
    }

    fn check_own_durations(&self, context: &DurationContext) -> Result<(), DurationExprError> {
        let (lengths, offset) = match self {
            Expr::Selector(selector) => ([None, None], &selector.offset),
            Expr::Matrix(matrix) => ([Some(&matrix.range), None], &matrix.selector.offset),
            Expr::Subquery(node) => ([node.step.as_ref(), Some(&node.range)], &node.offset),
            _ => return Ok(()),
        };
        offset.as_ref().map_or(Ok(0), |offset| offset.offset_ms(context))?;
        lengths.into_iter().flatten().try_for_each(|length| length.length_ms(context).map(|_| ()))
    }

    /// Calls `visit` for this expression and all below it, parents first.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Expr)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }
}
