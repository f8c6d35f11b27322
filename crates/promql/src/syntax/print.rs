//! The canonical text of a query, as Prometheus writes it: one space around operators, matchers sorted and without spaces,
//! aggregations with their labels in front, numbers without exponents, comments gone.

use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use relatum_model::text::{is_legacy_label_name, quote};
use relatum_model::time::format_duration;

use super::ast::{Aggregate, At, Binary, Call, Cardinality, Edges, Expr, Number, Subquery, VectorSelector};
use super::duration::DurationExpr;
use super::operators::BinaryOp;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Number(node) => node.fmt(f),
            Expr::String(node) => f.write_str(&quoted(&node.value)),
            Expr::Selector(node) => node.fmt(f),
            Expr::Matrix(node) => {
                let selector = &node.selector;
                write_series(selector, f)?;
                f.write_char('[')?;
                node.range.fmt(f)?;
                f.write_char(']')?;
                // The order of these differs from that of an instant selector, in Prometheus too.
                f.write_str(edges(selector.edges))?;
                write_at(selector.at, f)?;
                write_offset(selector.offset.as_ref(), f)
            }
            Expr::Subquery(node) => {
                node.expr.fmt(f)?;
                write_subquery_suffix(node, f)
            }
            Expr::Unary(node) => write!(f, "{}{}", node.op, node.expr),
            Expr::Binary(node) => {
                match bare_left(node) {
                    Some(bare) => f.write_str(bare)?,
                    None => node.left.fmt(f)?,
                }
                f.write_char(' ')?;
                write_operator(node, f)?;
                f.write_char(' ')?;
                node.right.fmt(f)
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

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            write_duration(self.value, f)
        } else if self.value == f64::INFINITY {
            f.write_str("+Inf")
        } else if self.value == f64::NEG_INFINITY {
            f.write_str("-Inf")
        } else {
            write!(f, "{}", self.value)
        }
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
        write_series(self, f)?;
        write_at(self.at, f)?;
        f.write_str(edges(self.edges))?;
        write_offset(self.offset.as_ref(), f)
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

fn write_offset(offset: Option<&DurationExpr>, f: &mut Formatter<'_>) -> fmt::Result {
    match offset {
        None => Ok(()),
        Some(offset) => write!(f, " offset {offset}"),
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

/// `[range:step]` with what follows it.
pub(super) fn write_subquery_suffix(node: &Subquery, f: &mut impl Write) -> fmt::Result {
    struct Suffix<'a>(&'a Subquery);
    impl Display for Suffix<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_char('[')?;
            self.0.range.fmt(f)?;
            f.write_char(':')?;
            if let Some(step) = &self.0.step {
                step.fmt(f)?;
            }
            f.write_char(']')?;
            write_at(self.0.at, f)?;
            write_offset(self.0.offset.as_ref(), f)
        }
    }
    write!(f, "{}", Suffix(node))
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
            write!(f, " fill ({})", float(left))
        }
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    write!(f, " {word} ({})", float(value))?;
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

/// A float as Go's `%v` writes it: with an exponent below 1e-4 and from 1e6 on.
fn float(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_nan() || value.is_infinite() || magnitude == 0.0 || (1e-4..1e6).contains(&magnitude) {
        return Number { value, is_duration: false, span: Default::default() }.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("{:e} always has an exponent");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}
