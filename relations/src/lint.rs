//! Expressions that are right and yet never give anything: matchers that contradict each other, joins whose sides can have nothing in
//! common, comparisons with values that never come.
//!
//! Judged by what the text says alone: which labels every result of a part has for certain, which it can have at all, and between
//! which bounds its values are. Whether a metric is there is for those to say who can ask.

use std::collections::{BTreeMap, BTreeSet};

use relatum_model::{MatchOp, Matcher};
use relatum_promql::syntax::{
    self, Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, ParseOptions, VectorSelector,
};
use serde_json::Value;

use crate::prometheus_scrape::trace::bound_expression;

/// Something in the expression of a rule that keeps it, or a part of it, from ever giving anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub message: String,
    /// The part at fault as published.
    pub before: String,
    /// The part at fault as it is evaluated.
    pub after: String,
    /// Whether it was well before the topology's matchers came in.
    pub is_injected: bool,
    /// Whether the rule as a whole never gives anything.
    pub is_whole: bool,
}

/// A selector of a rule, before and after the topology's matchers came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorPair {
    /// The metric; none if the selector names none by equality.
    pub metric: Option<String>,
    /// As published.
    pub before: String,
    /// As evaluated.
    pub after: String,
}

/// What is to be said about one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linted {
    /// What never gives anything, in the order of the text.
    pub findings: Vec<Finding>,
    /// The selectors that should find something; not those that are asked for being absent.
    pub selectors: Vec<SelectorPair>,
}

/// Looks at a rule as it stands in a databag. An expression that cannot be parsed has nothing to be said about here.
pub fn rule(published: &Value) -> Linted {
    let steps = bound_expression(published);
    let before = steps.canonical.unwrap_or(steps.published);
    let after = steps.bound.as_ref().unwrap_or(&before);
    let parse = |text: &str| syntax::parse(text, &ParseOptions::default()).ok();
    let (Some(was), Some(is)) = (parse(&before), parse(after)) else { return Linted::default() };
    let (was, is) = (Look::at(&was), Look::at(&is));
    let text = |parts: &[(usize, String)], node: usize| {
        parts.iter().find(|(at, _)| *at == node).map(|(_, text)| text.clone()).unwrap_or_default()
    };
    let finding = |flaw: &Flaw| Finding {
        message: flaw.message.clone(),
        before: text(&was.parts, flaw.node),
        after: text(&is.parts, flaw.node),
        is_injected: !was.flaws.iter().any(|known| known.node == flaw.node),
        is_whole: is.never,
    };
    let pairs = was.selectors.iter().zip(&is.selectors);
    Linted {
        findings: is.flaws.iter().map(finding).collect(),
        selectors: pairs
            .map(|(was, is)| SelectorPair { metric: metric(is), before: selector_text(was), after: selector_text(is) })
            .collect(),
    }
}

/// The selector without what says when.
fn selector_text(selector: &VectorSelector) -> String {
    let bare = VectorSelector { offset: None, at: None, ..selector.clone() };
    Expr::Selector(bare).to_string()
}

fn metric(selector: &VectorSelector) -> Option<String> {
    let by_matcher = || {
        let equal = |matcher: &&Matcher| matcher.name() == "__name__" && matcher.op() == MatchOp::Equal;
        selector.matchers.iter().find(equal).map(|matcher| matcher.value().to_owned())
    };
    selector.name.clone().or_else(by_matcher)
}

/// What the results of a part have in common.
#[derive(Debug, Clone, Default)]
struct Shape {
    /// Labels that every result has, with their value.
    fixed: BTreeMap<String, String>,
    /// The only labels that a result can have; `None` if that is not known.
    only: Option<BTreeSet<String>>,
    /// The bounds of all values.
    bounds: Option<(f64, f64)>,
    /// There is never a result.
    never: bool,
}

impl Shape {
    fn can_have(&self, label: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(label))
    }

    /// The same series with other values.
    fn with_bounds(self, bounds: Option<(f64, f64)>) -> Shape {
        Shape { bounds, ..self }
    }

    fn keep(mut self, labels: &BTreeSet<String>) -> Shape {
        self.fixed.retain(|label, _| labels.contains(label));
        let kept = |only: BTreeSet<String>| only.intersection(labels).cloned().collect();
        self.only = Some(self.only.map_or_else(|| labels.clone(), kept));
        self
    }

    fn drop(mut self, labels: &[String]) -> Shape {
        self.fixed.retain(|label, _| !labels.contains(label));
        if let Some(only) = &mut self.only {
            only.retain(|label| !labels.contains(label));
        }
        self
    }
}

/// A part that never gives anything; parts are counted in the order of the text, which matchers do not change.
struct Flaw {
    node: usize,
    message: String,
}

/// One walk over an expression.
#[derive(Default)]
struct Look<'e> {
    node: usize,
    flaws: Vec<Flaw>,
    parts: Vec<(usize, String)>,
    selectors: Vec<&'e VectorSelector>,
    is_absence: bool,
    never: bool,
}

impl<'e> Look<'e> {
    fn at(expr: &'e Expr) -> Look<'e> {
        let mut look = Look::default();
        look.never = look.shape(expr).never;
        look
    }

    fn flaw(&mut self, node: usize, message: String) {
        self.flaws.push(Flaw { node, message });
    }

    fn shape(&mut self, expr: &'e Expr) -> Shape {
        self.node += 1;
        let node = self.node;
        if matches!(expr, Expr::Selector(_) | Expr::Matrix(_) | Expr::Binary(_)) {
            self.parts.push((node, expr.to_string()));
        }
        match expr {
            Expr::Number(number) => {
                Shape { bounds: Some((number.value, number.value)), only: Some(BTreeSet::new()), ..Shape::default() }
            }
            Expr::String(_) => Shape::default(),
            Expr::Selector(selector) => self.selector(node, selector),
            Expr::Matrix(matrix) => self.selector(node, &matrix.selector),
            Expr::Subquery(subquery) => self.shape(&subquery.expr),
            Expr::Unary(unary) => {
                let shape = self.shape(&unary.expr);
                let bounds = match unary.op {
                    syntax::UnaryOp::Minus => shape.bounds.map(|(low, high)| (-high, -low)),
                    syntax::UnaryOp::Plus => shape.bounds,
                };
                shape.with_bounds(bounds)
            }
            Expr::Paren(paren) => self.shape(&paren.expr),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Call(call) => self.call(call),
            Expr::Binary(binary) => self.binary(node, binary),
        }
    }

    fn selector(&mut self, node: usize, selector: &'e VectorSelector) -> Shape {
        if !self.is_absence {
            self.selectors.push(selector);
        }
        let mut shape = Shape::default();
        for matcher in &selector.matchers {
            if matcher.op() == MatchOp::Equal && !matcher.value().is_empty() && matcher.name() != "__name__" {
                shape.fixed.entry(matcher.name().to_owned()).or_insert_with(|| matcher.value().to_owned());
            }
        }
        let equal = |matcher: &&Matcher| matcher.op() == MatchOp::Equal;
        for matcher in selector.matchers.iter().filter(equal) {
            let others = selector.matchers.iter().filter(|other| other.name() == matcher.name());
            if let Some(other) = others.into_iter().find(|other| !other.matches(matcher.value())) {
                self.flaw(node, format!("nothing matches both {matcher} and {other}"));
                shape.never = true;
                break;
            }
        }
        if selector.name.as_deref() == Some("up") {
            shape.bounds = Some((0.0, 1.0));
        }
        shape
    }

    fn aggregate(&mut self, aggregate: &'e Aggregate) -> Shape {
        if let Some(param) = &aggregate.param {
            self.shape(param);
        }
        let inner = self.shape(&aggregate.expr);
        let bounds = match aggregate.op {
            AggregateOp::Count => Some((1.0, f64::INFINITY)),
            AggregateOp::Group => Some((1.0, 1.0)),
            AggregateOp::Stddev | AggregateOp::Stdvar => Some((0.0, f64::INFINITY)),
            AggregateOp::Min | AggregateOp::Max | AggregateOp::Avg | AggregateOp::Topk | AggregateOp::Bottomk => {
                inner.bounds
            }
            AggregateOp::Sum => inner.bounds.filter(|(low, _)| *low >= 0.0).map(|(low, _)| (low, f64::INFINITY)),
            _ => None,
        };
        let inner = inner.with_bounds(bounds);
        match aggregate.op {
            // These pass on whole series.
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => inner,
            AggregateOp::CountValues => Shape { fixed: BTreeMap::new(), only: None, bounds: None, ..inner },
            _ if aggregate.without => inner.drop(&aggregate.grouping),
            _ => inner.keep(&aggregate.grouping.iter().cloned().collect()),
        }
    }

    fn call(&mut self, call: &'e Call) -> Shape {
        let name = call.function.name;
        if matches!(name, "absent" | "absent_over_time") {
            let was = std::mem::replace(&mut self.is_absence, true);
            let shapes: Vec<Shape> = call.args.iter().map(|arg| self.shape(arg)).collect();
            self.is_absence = was;
            // It has the labels that the selector demands, and gives something exactly where that gives nothing.
            let fixed = shapes.into_iter().next().unwrap_or_default().fixed;
            let only = Some(fixed.keys().cloned().collect());
            return Shape { fixed, only, bounds: Some((1.0, 1.0)), never: false };
        }
        let shapes: Vec<Shape> = call.args.iter().map(|arg| self.shape(arg)).collect();
        let is_vector = |arg: &&Expr| matches!(arg.value_type(), syntax::ValueType::Vector | syntax::ValueType::Matrix);
        let Some(at) = call.args.iter().position(|arg| is_vector(&arg)) else {
            let of_number = shapes.first().filter(|_| name == "vector").and_then(|shape| shape.bounds);
            let bounds = of_number.or_else(|| bounds_of(name));
            let only = Some(BTreeSet::new());
            return Shape { bounds, only, ..Shape::default() };
        };
        let inner = shapes.into_iter().nth(at).unwrap_or_default();
        match name {
            "max_over_time" | "min_over_time" | "avg_over_time" | "last_over_time" | "quantile_over_time" | "sort"
            | "sort_desc" => inner,
            "label_replace" | "label_join" | "info" => Shape { never: inner.never, ..Shape::default() },
            "histogram_quantile" => inner.drop(&["le".to_owned()]).with_bounds(None),
            "scalar" => Shape { only: Some(BTreeSet::new()), ..Shape::default() },
            name => inner.with_bounds(bounds_of(name)),
        }
    }

    fn binary(&mut self, node: usize, binary: &'e Binary) -> Shape {
        let left = self.shape(&binary.left);
        let right = self.shape(&binary.right);
        let Some(matching) = &binary.matching else { return self.with_scalar(node, binary, left, right) };
        if binary.op == BinaryOp::Or {
            let only = left.only.zip(right.only).map(|(left, right)| left.union(&right).cloned().collect());
            let mut fixed = left.fixed;
            fixed.retain(|label, value| right.fixed.get(label) == Some(value));
            return Shape { fixed, only, bounds: None, never: left.never && right.never };
        }
        let is_compared = |label: &str| matching.labels.iter().any(|known| known == label) == matching.on;
        let fills = matching.fill != Default::default();
        let apart = (!fills).then(|| apart(&left, &right, is_compared)).flatten();
        if binary.op == BinaryOp::Unless {
            if let Some(reason) = apart {
                self.flaw(node, format!("unless takes nothing away: {reason}"));
            }
            return left;
        }
        let is_apart = apart.is_some();
        if let Some(reason) = apart {
            self.flaw(node, format!("the sides of {} never match: {reason}", binary.op.as_str()));
        }
        let never = is_apart || left.never || right.never;
        let is_filter = binary.op.is_comparison() && !binary.return_bool;
        let many = match matching.cardinality {
            Cardinality::OneToMany => right,
            _ => left,
        };
        if binary.op == BinaryOp::And {
            return Shape { never, ..many };
        }
        let shape = match matching.cardinality {
            Cardinality::ManyToOne | Cardinality::OneToMany => {
                let mut shape = many.drop(&matching.include);
                if let Some(only) = &mut shape.only {
                    only.extend(matching.include.iter().cloned());
                }
                shape
            }
            _ if is_filter => many,
            _ if matching.on => many.keep(&matching.labels.iter().cloned().collect()),
            _ => many.drop(&matching.labels),
        };
        let bounds = if is_filter { shape.bounds } else { None };
        Shape { never, bounds, ..shape }
    }

    /// A vector and a number.
    fn with_scalar(&mut self, node: usize, binary: &'e Binary, left: Shape, right: Shape) -> Shape {
        let is_number = |expr: &Expr| expr.value_type() == syntax::ValueType::Scalar;
        let (vector, number, op) = match (is_number(&binary.left), is_number(&binary.right)) {
            (false, true) => (left, right, binary.op),
            (true, false) => (right, left, mirrored(binary.op)),
            _ => return Shape { only: Some(BTreeSet::new()), ..Shape::default() },
        };
        if !binary.op.is_comparison() || binary.return_bool {
            let bounds = binary.return_bool.then_some((0.0, 1.0));
            return vector.with_bounds(bounds);
        }
        let never = vector.never;
        if let (Some((low, high)), Some((value, to))) = (vector.bounds, number.bounds)
            && value == to
            && !is_possible(op, low, high, value)
        {
            let bounds = match (low == high, low.is_infinite(), high.is_infinite()) {
                (true, ..) => format!("always {low}"),
                (_, true, _) => format!("never above {high}"),
                (_, _, true) => format!("never below {low}"),
                _ => format!("always between {low} and {high}"),
            };
            self.flaw(node, format!("this is {bounds}, so it is never {} {value}", op.as_str()));
            return Shape { never: true, ..vector };
        }
        let bounds = match number.bounds {
            Some((value, to)) if value == to => narrowed(op, vector.bounds, value),
            _ => vector.bounds,
        };
        Shape { never, bounds, ..vector }
    }
}

/// Why no element of the one side finds one of the other, if that is certain.
fn apart(left: &Shape, right: &Shape, is_compared: impl Fn(&str) -> bool) -> Option<String> {
    for (label, value) in left.fixed.iter().filter(|(label, _)| is_compared(label)) {
        match right.fixed.get(label) {
            Some(other) if other != value => {
                return Some(format!("{label} is {value:?} on the left and {other:?} on the right"));
            }
            None if !right.can_have(label) => {
                return Some(format!("{label} is {value:?} on the left, and the right has no such label"));
            }
            _ => {}
        }
    }
    let missing = right.fixed.iter().find(|(label, _)| is_compared(label) && !left.can_have(label));
    missing.map(|(label, value)| format!("{label} is {value:?} on the right, and the left has no such label"))
}

/// Between which values the results of a function are, whatever it is given.
fn bounds_of(function: &str) -> Option<(f64, f64)> {
    match function {
        "rate" | "increase" | "irate" | "changes" | "resets" | "abs" | "sqrt" | "exp" | "stddev_over_time"
        | "stdvar_over_time" | "histogram_count" | "histogram_stddev" | "histogram_stdvar" => {
            Some((0.0, f64::INFINITY))
        }
        // Of a range without samples there is no result, and not 0.
        "count_over_time" => Some((1.0, f64::INFINITY)),
        "present_over_time" => Some((1.0, 1.0)),
        "sgn" => Some((-1.0, 1.0)),
        "minute" => Some((0.0, 59.0)),
        "hour" => Some((0.0, 23.0)),
        "day_of_week" => Some((0.0, 6.0)),
        "day_of_month" => Some((1.0, 31.0)),
        "day_of_year" => Some((1.0, 366.0)),
        "days_in_month" => Some((28.0, 31.0)),
        "month" => Some((1.0, 12.0)),
        _ => None,
    }
}

/// The bounds of what is left of values between `bounds` that compare so with `value`.
fn narrowed(op: BinaryOp, bounds: Option<(f64, f64)>, value: f64) -> Option<(f64, f64)> {
    let (low, high) = bounds.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    match op {
        BinaryOp::Equal => Some((value, value)),
        BinaryOp::Greater | BinaryOp::GreaterEqual => Some((low.max(value), high)),
        BinaryOp::Less | BinaryOp::LessEqual => Some((low, high.min(value))),
        _ => bounds,
    }
}

fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::GreaterEqual => BinaryOp::LessEqual,
        BinaryOp::LessEqual => BinaryOp::GreaterEqual,
        same => same,
    }
}

/// Whether any value between `low` and `high` compares so with `value`.
fn is_possible(op: BinaryOp, low: f64, high: f64, value: f64) -> bool {
    match op {
        BinaryOp::Equal => (low..=high).contains(&value),
        BinaryOp::NotEqual => low != value || high != value,
        BinaryOp::Greater => high > value,
        BinaryOp::Less => low < value,
        BinaryOp::GreaterEqual => high >= value,
        BinaryOp::LessEqual => low <= value,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `expected`: the messages, each with `injected: ` before it if the matchers brought it.
    #[track_caller]
    fn check(expr: &str, expected: &[&str]) {
        let labels = json!({
            "juju_model": "m", "juju_model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "juju_application": "a",
        });
        let linted = rule(&json!({"alert": "A", "expr": expr, "labels": labels}));
        let message =
            |finding: &Finding| format!("{}{}", if finding.is_injected { "injected: " } else { "" }, finding.message);
        assert_eq!(linted.findings.iter().map(message).collect::<Vec<_>>(), expected, "{expr}");
    }

    #[test]
    fn what_is_well() {
        for expr in [
            "up == 0",
            "up < 1",
            "absent(up{job=\"x\"})",
            "rate(a[5m]) / rate(b[5m]) > 0.5",
            "sum by (instance) (rate(a[5m])) / on (instance) group_left () b > 1",
            "sum by (juju_unit) (a) / sum by (juju_unit) (b)",
            "a and on (juju_unit) b",
            "a unless on (juju_unit) b{juju_application=\"a\"}",
            "a{juju_application=\"other\"} * on (node) group_left () b",
            "count(a) > 0 or vector(0)",
            "a{x=~\"p|q\", x!=\"q\"}",
            "histogram_quantile(0.9, sum by (le) (rate(b[5m]))) > 1",
            "label_replace(a, \"node\", \"$1\", \"instance\", \"(.*)\") * on (node) b{node=\"n\"}",
            "max_over_time(up[5m]) == 1",
            "(up == 0) == 0",
            "(a > 5) <= 5",
            "a > 5 < 7",
            "hour() < 6 or hour() > 22",
            "count_over_time(a[5m]) < 2",
            "stddev(a) > 0",
            "((",
        ] {
            check(expr, &[]);
        }
    }

    #[test]
    fn what_never_gives_anything() {
        check("a{x=\"1\", x=\"2\"}", &["nothing matches both x=\"1\" and x=\"2\""]);
        check("a{x=\"1\", x!~\"1|2\"}", &["nothing matches both x=\"1\" and x!~\"1|2\""]);
        check("count(a) == 0", &["this is never below 1, so it is never == 0"]);
        check("0 > rate(a[5m])", &["this is never below 0, so it is never < 0"]);
        check("up > 1", &["this is always between 0 and 1, so it is never > 1"]);
        check("count_over_time(a[5m]) == 0", &["this is never below 1, so it is never == 0"]);
        check("present_over_time(a[5m]) < 1", &["this is always 1, so it is never < 1"]);
        check("stddev by (job) (a) < 0", &["this is never below 0, so it is never < 0"]);
        check("hour() > 24", &["this is always between 0 and 23, so it is never > 24"]);
        check("(up == 0) > 0", &["this is always 0, so it is never > 0"]);
        check("(a > 5) < 3", &["this is never below 5, so it is never < 3"]);
        check("(a < 3) > 5", &["this is never above 3, so it is never > 5"]);
        check("absent(a) == 0", &["this is always 1, so it is never == 0"]);
        // The selector's own matcher stays, so the two sides are bound to different applications.
        check(
            "a / b{juju_application=\"other\"}",
            &["injected: the sides of / never match: juju_application is \"a\" on the left and \"other\" on the right"],
        );
        check(
            "a * on (juju_application, node) group_left () sum by (node) (b)",
            &[
                "injected: the sides of * never match: juju_application is \"a\" on the left, and the right has no such label",
            ],
        );
        check(
            "a{job=\"x\"} and b{job=\"y\"}",
            &["the sides of and never match: job is \"x\" on the left and \"y\" on the right"],
        );
        check(
            "a unless b{juju_application=\"other\"}",
            &["injected: unless takes nothing away: juju_application is \"a\" on the left and \"other\" on the right"],
        );
    }

    #[test]
    fn selectors_before_and_after() {
        let labels = json!({"juju_model": "m", "juju_model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "juju_application": "a"});
        let linted =
            rule(&json!({"expr": "rate(b{%%juju_topology%%, c=\"d\"}[5m]) > 0 unless absent(e)", "labels": labels}));
        let [only] = linted.selectors.as_slice() else { panic!("{:?}", linted.selectors) };
        assert_eq!((only.metric.as_deref(), only.before.as_str()), (Some("b"), "b{c=\"d\"}"));
        assert!(only.after.contains("juju_application=\"a\""), "{}", only.after);
    }
}
