//! The canonical text of a query, as Prometheus writes it: one space around operators, matchers sorted and without spaces,
//! aggregations with their labels in front, numbers without exponents, comments gone.

use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use relatum_model::text::{format_value_plain, format_value_short, is_legacy_label_name, quote};
use relatum_model::time::format_duration;

use super::ast::{
    Aggregate, At, Binary, Call, Cardinality, Edges, Expr, Number, StringLiteral, Subquery, VectorSelector,
};
use super::duration::DurationExpr;
use super::operators::BinaryOp;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Text { expr: self, before_operator: false }.fmt(f)
    }
}

/// An expression where it stands: an operator that follows must not become part of an offset at its end.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) expr: &'a Expr,
    /// Whether an operator follows that durations know too.
    pub(super) before_operator: bool,
}

impl<'a> Text<'a> {
    /// The left side of `node`.
    pub(super) fn left(node: &'a Binary) -> Self {
        Text { expr: &node.left, before_operator: node.op.is_in_durations() }
    }

    /// What ends where this ends.
    pub(super) fn last(self, expr: &'a Expr) -> Self {
        Text { expr, ..self }
    }
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.expr {
            Expr::Number(node) => node.fmt(f),
            Expr::String(StringLiteral { not_utf8: Some(text), .. }) => f.write_str(text),
            Expr::String(node) => f.write_str(&quoted(&node.value)),
            Expr::Selector(node) => write_selector(node, self.before_operator, f),
            Expr::Matrix(node) => {
                let selector = &node.selector;
                write_series(selector, f)?;
                write!(f, "[{}]", node.range)?;
                // The order of these differs from that of an instant selector, in Prometheus too.
                write_modifiers(selector.offset.as_ref(), self.before_operator, f, |f| {
                    f.write_str(edges(selector.edges))?;
                    write_at(selector.at, f)
                })
            }
            Expr::Subquery(node) => {
                node.expr.fmt(f)?;
                write!(f, "{}", Brackets { node, before_operator: self.before_operator })
            }
            Expr::Unary(node) => write!(f, "{}{}", node.op, self.last(&node.expr)),
            Expr::Binary(node) => {
                match bare_left(node) {
                    Some(bare) => f.write_str(bare)?,
                    None => Text::left(node).fmt(f)?,
                }
                f.write_char(' ')?;
                write_operator(node, f)?;
                f.write_char(' ')?;
                self.last(&node.right).fmt(f)
            }
            Expr::Aggregate(node) => {
                write_aggregation(node, f)?;
                f.write_char('(')?;
                if let Some(param) = &node.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", node.expr)
            }
            Expr::Call(node) => node.fmt(f),
            Expr::Paren(node) => write!(f, "({})", node.expr),
        }
    }
}

/// `[range:step]` with what follows it.
pub(super) struct Brackets<'a> {
    pub(super) node: &'a Subquery,
    pub(super) before_operator: bool,
}

impl Display for Brackets<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:", self.node.range)?;
        if let Some(step) = &self.node.step {
            step.fmt(f)?;
        }
        f.write_char(']')?;
        write_modifiers(self.node.offset.as_ref(), self.before_operator, f, |f| write_at(self.node.at, f))
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_duration { write_duration(self.value, f) } else { f.write_str(&format_value_plain(self.value)) }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name)?;
        for (at, arg) in self.args.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            arg.fmt(f)?;
        }
        f.write_char(')')
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_selector(self, false, f)
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DurationExpr::Literal(number) => number.fmt(f),
            DurationExpr::Step(_) => f.write_str("step()"),
            DurationExpr::Range(_) => f.write_str("range()"),
            DurationExpr::Unary { op, operand, .. } => write!(f, "{op}{operand}"),
            DurationExpr::Binary { op, left, right, .. } => write!(f, "{left} {op} {right}"),
            DurationExpr::MaxOf(pair, _) => write!(f, "max_of({}, {})", pair[0], pair[1]),
            DurationExpr::MinOf(pair, _) => write!(f, "min_of({}, {})", pair[0], pair[1]),
            DurationExpr::Paren(inner, _) => write!(f, "({inner})"),
        }
    }
}

fn write_selector(node: &VectorSelector, before_operator: bool, f: &mut Formatter<'_>) -> fmt::Result {
    write_series(node, f)?;
    write_modifiers(node.offset.as_ref(), before_operator, f, |f| {
        write_at(node.at, f)?;
        f.write_str(edges(node.edges))
    })
}

/// The name and the matchers, without modifiers.
fn write_series(node: &VectorSelector, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(node.name.as_deref().unwrap_or(""))?;
    if node.matchers.is_empty() {
        // Prometheus writes nothing here, which is not a query: only the second argument of `info` can be so empty.
        return f.write_str(if node.name.is_none() { "{}" } else { "" });
    }
    let mut matchers: Vec<String> = node.matchers.iter().map(|matcher| readable(matcher.to_string())).collect();
    matchers.sort_unstable();
    write!(f, "{{{}}}", matchers.join(","))
}

fn write_at(at: Option<At>, f: &mut Formatter<'_>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Time(t_ms)) => write!(f, " @ {:.3}", t_ms as f64 / 1000.0),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
    }
}

fn edges(edges: Edges) -> &'static str {
    match edges {
        Edges::Plain => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    }
}

/// The offset and, before it, the other modifiers.
fn write_modifiers(
    offset: Option<&DurationExpr>,
    before_operator: bool,
    f: &mut Formatter<'_>,
    others: impl Fn(&mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    match offset {
        None => others(f),
        // Here Prometheus' text would be another query, or none: the operator would be taken for one of the offset. A sign
        // before parentheses ends it, and so does another modifier, which must be there if the offset has an operator.
        Some(offset @ DurationExpr::Paren(..)) if before_operator => {
            others(f)?;
            write!(f, " offset +{offset}")
        }
        Some(offset @ DurationExpr::Binary { .. }) if before_operator => {
            write!(f, " offset {offset}")?;
            others(f)
        }
        Some(offset) => {
            others(f)?;
            write!(f, " offset {offset}")
        }
    }
}

fn write_duration(seconds: f64, f: &mut Formatter<'_>) -> fmt::Result {
    if seconds < 0.0 {
        f.write_char('-')?;
    }
    const DAY_MS: u64 = 86_400_000;
    let ms = (seconds.abs() * 1000.0).round() as u64;
    let (days, rest_ms) = (ms / DAY_MS, ms % DAY_MS);
    // Hours never add up to a day: 36h is 1d12h.
    if days > 0 && rest_ms > 0 {
        write!(f, "{days}d{}", format_duration(Duration::from_millis(rest_ms)))
    } else {
        f.write_str(&format_duration(Duration::from_millis(ms)))
    }
}

/// The operator with `bool` and how vectors match.
pub(super) fn write_operator(node: &Binary, f: &mut impl Write) -> fmt::Result {
    f.write_str(node.op.as_str())?;
    if node.return_bool {
        f.write_str(" bool")?;
    }
    let Some(matching) = &node.matching else { return Ok(()) };
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || group.is_some() || !matching.labels.is_empty() {
        let word = if matching.on { "on" } else { "ignoring" };
        write!(f, " {word} ({})", label_list(&matching.labels))?;
    }
    if let Some(group) = group {
        write!(f, " {group} ({})", label_list(&matching.include))?;
    }
    match (matching.fill.left, matching.fill.right) {
        (Some(left), Some(right)) if left == right && left.is_sign_negative() == right.is_sign_negative() => {
            write!(f, " fill ({})", format_value_short(left))
        }
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    write!(f, " {word} ({})", format_value_short(value))?;
                }
            }
            Ok(())
        }
    }
}

/// The text of the left side where its own would not do: the sign of `+Inf ^ 2` is that of the whole power when read again.
pub(super) fn bare_left(node: &Binary) -> Option<&'static str> {
    match &*node.left {
        Expr::Number(number) if node.op == BinaryOp::Pow && number.value == f64::INFINITY => Some("Inf"),
        _ => None,
    }
}

/// The aggregation with its labels, up to the parenthesis.
pub(super) fn write_aggregation(node: &Aggregate, f: &mut impl Write) -> fmt::Result {
    f.write_str(node.op.as_str())?;
    if node.without {
        write!(f, " without ({}) ", label_list(&node.grouping))
    } else if !node.grouping.is_empty() {
        write!(f, " by ({}) ", label_list(&node.grouping))
    } else {
        Ok(())
    }
}

fn label_list(labels: &[String]) -> String {
    let labels: Vec<String> =
        labels.iter().map(|label| if is_legacy_label_name(label) { label.clone() } else { quoted(label) }).collect();
    labels.join(", ")
}

fn quoted(text: &str) -> String {
    readable(quote(text))
}

/// A quoted text that the lexer takes: it refuses U+FFFD as it stands, because that is what bad UTF-8 looks like.
fn readable(quoted: String) -> String {
    if quoted.contains('\u{fffd}') { quoted.replace('\u{fffd}', r"\ufffd") } else { quoted }
}
