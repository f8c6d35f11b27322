//! The words a query is made of.

use relatum_model::text::quote;

use super::ast::Span;
use super::operators::{AggregateOp, BinaryOp};

/// A word and where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// What a word is. `+` and `-` are binary operators here, also where they turn out to be signs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    End,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`, which is no operator between expressions.
    Equal,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
    At,
    Number,
    Duration,
    String,
    /// A name without a colon: a metric, a label or a function.
    Identifier,
    /// A name with a colon: a metric.
    MetricIdentifier,
    Binary(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
    // The rest are also functions: in a duration, after `@`, or both.
    End,
    MaxOf,
    MinOf,
    Range,
    Start,
    Step,
}

impl Keyword {
    /// Whether it is also the name of a function.
    pub(super) fn is_function(self) -> bool {
        use Keyword::*;
        matches!(self, End | MaxOf | MinOf | Range | Start | Step)
    }
}

impl Kind {
    /// What a word of letters is outside of braces, whatever its case.
    pub(super) fn of_word(word: &str) -> Kind {
        // No keyword is longer, and most words are not keywords.
        const LENGTH_MAX: usize = 12;
        let mut lower = [0u8; LENGTH_MAX];
        if let Some(lower) = lower.get_mut(..word.len()) {
            lower.copy_from_slice(word.as_bytes());
            lower.make_ascii_lowercase();
            if let Some(kind) = keyword(lower) {
                return kind;
            }
        }
        if word.contains(':') { Kind::MetricIdentifier } else { Kind::Identifier }
    }

    /// Whether the word may be the name of a metric where an expression begins.
    pub(super) fn is_metric_name(self) -> bool {
        use Keyword::*;
        match self {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) => true,
            Kind::Binary(op) => op.is_set(),
            Kind::Keyword(keyword) => !matches!(keyword, Bool | GroupLeft | GroupRight | Ignoring | On),
            _ => false,
        }
    }

    /// Whether the word may be a label where labels are listed.
    pub(super) fn is_label_name(self) -> bool {
        match self {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) => true,
            Kind::Binary(op) => op.is_set() || op == BinaryOp::Atan2,
            Kind::Keyword(keyword) => keyword != Keyword::Without,
            _ => false,
        }
    }

    /// Whether an expression may begin with the word.
    pub(super) fn begins_expression(self) -> bool {
        self.is_metric_name()
            || matches!(
                self,
                Kind::Number
                    | Kind::Duration
                    | Kind::String
                    | Kind::LeftParen
                    | Kind::LeftBrace
                    | Kind::Binary(BinaryOp::Add | BinaryOp::Sub)
            )
    }
}

fn keyword(lower: &[u8]) -> Option<Kind> {
    use Kind::{Aggregate, Binary};
    Some(match lower {
        b"and" => Binary(BinaryOp::And),
        b"or" => Binary(BinaryOp::Or),
        b"unless" => Binary(BinaryOp::Unless),
        b"atan2" => Binary(BinaryOp::Atan2),
        b"avg" => Aggregate(AggregateOp::Avg),
        b"bottomk" => Aggregate(AggregateOp::Bottomk),
        b"count" => Aggregate(AggregateOp::Count),
        b"count_values" => Aggregate(AggregateOp::CountValues),
        b"group" => Aggregate(AggregateOp::Group),
        b"limit_ratio" => Aggregate(AggregateOp::LimitRatio),
        b"limitk" => Aggregate(AggregateOp::Limitk),
        b"max" => Aggregate(AggregateOp::Max),
        b"min" => Aggregate(AggregateOp::Min),
        b"quantile" => Aggregate(AggregateOp::Quantile),
        b"stddev" => Aggregate(AggregateOp::Stddev),
        b"stdvar" => Aggregate(AggregateOp::Stdvar),
        b"sum" => Aggregate(AggregateOp::Sum),
        b"topk" => Aggregate(AggregateOp::Topk),
        b"anchored" => Kind::Keyword(Keyword::Anchored),
        b"bool" => Kind::Keyword(Keyword::Bool),
        b"by" => Kind::Keyword(Keyword::By),
        b"end" => Kind::Keyword(Keyword::End),
        b"fill" => Kind::Keyword(Keyword::Fill),
        b"fill_left" => Kind::Keyword(Keyword::FillLeft),
        b"fill_right" => Kind::Keyword(Keyword::FillRight),
        b"group_left" => Kind::Keyword(Keyword::GroupLeft),
        b"group_right" => Kind::Keyword(Keyword::GroupRight),
        b"ignoring" => Kind::Keyword(Keyword::Ignoring),
        b"max_of" => Kind::Keyword(Keyword::MaxOf),
        b"min_of" => Kind::Keyword(Keyword::MinOf),
        b"offset" => Kind::Keyword(Keyword::Offset),
        b"on" => Kind::Keyword(Keyword::On),
        b"range" => Kind::Keyword(Keyword::Range),
        b"smoothed" => Kind::Keyword(Keyword::Smoothed),
        b"start" => Kind::Keyword(Keyword::Start),
        b"step" => Kind::Keyword(Keyword::Step),
        b"without" => Kind::Keyword(Keyword::Without),
        b"inf" | b"nan" => Kind::Number,
        _ => return None,
    })
}

impl Token {
    /// The word as messages name it, in Prometheus' notation.
    pub(super) fn describe(&self, text: &str) -> String {
        let word = &text[self.span.start..self.span.end];
        match self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", quote(word)),
            Kind::MetricIdentifier => format!("metric identifier {}", quote(word)),
            Kind::Number => format!("number {}", shortened(word)),
            Kind::Duration => format!("duration {}", shortened(word)),
            Kind::String => format!("string {}", shortened(word)),
            Kind::Keyword(keyword) if keyword.is_function() => shortened(word),
            Kind::Keyword(_) => format!("<{word}>"),
            Kind::Aggregate(_) => format!("<aggr:{word}>"),
            Kind::Binary(_) | Kind::Regex | Kind::NotRegex | Kind::At => format!("<op:{word}>"),
            _ => shortened(word),
        }
    }
}

/// The first ten characters of a long word, and dots.
fn shortened(word: &str) -> String {
    if word.len() > 10 { quote(&word.chars().take(10).collect::<String>()) + "..." } else { quote(word) }
}
