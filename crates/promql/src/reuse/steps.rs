//! Which queries have at each step a value that depends on no other step, and on no sample behind it.

use relatum_model::MatchOp;
use relatum_model::labels::METRIC_NAME;

use crate::syntax::{AggregateOp, BinaryOp, DurationExpr, Edges, Expr, Fill, VectorSelector};

/// Functions that look at the range of the query, or that refuse labels which are alike in any two of its steps.
const OF_THE_RANGE: [&str; 8] =
    ["start", "end", "range", "step", "info", "label_replace", "label_join", "histogram_quantiles"];

/// Whether a range of steps of `expr` is to the bit the same however it is cut into shorter ones.
pub(super) fn stand_alone(expr: &Expr) -> bool {
    let mut outer = vec![expr];
    let mut inner = Vec::new();
    // Where nothing is made of its result, `or` may give rows of several metrics.
    while let Some(expr) = outer.pop() {
        match expr {
            Expr::Paren(paren) => outer.push(&paren.expr),
            Expr::Binary(binary) if binary.op == BinaryOp::Or => outer.extend([&*binary.left, &*binary.right]),
            expr => inner.push(expr),
        }
    }
    // Chains of operators are long, so this does not go down the stack.
    while let Some(expr) = inner.pop() {
        let stands = match expr {
            Expr::Number(_) | Expr::String(_) => true,
            Expr::Selector(selector) => looks_back(selector),
            Expr::Matrix(matrix) => looks_back(&matrix.selector) && is_plain(&matrix.range),
            Expr::Subquery(subquery) => {
                inner.push(&subquery.expr);
                subquery.at.is_none()
                    && is_plain(&subquery.range)
                    && subquery.step.as_ref().is_none_or(is_plain)
                    && subquery.offset.as_ref().is_none_or(is_plain)
            }
            Expr::Unary(unary) => {
                inner.push(&unary.expr);
                true
            }
            Expr::Binary(binary) => {
                inner.extend([&*binary.left, &*binary.right]);
                let fill = binary.matching.as_ref().map(|matching| matching.fill).unwrap_or_default();
                binary.op != BinaryOp::Or && fill == Fill::default()
            }
            Expr::Aggregate(aggregate) => {
                inner.push(&aggregate.expr);
                let param = aggregate.param.as_ref().map(|param| param.without_parens());
                aggregate.op != AggregateOp::Limitk
                    && param.is_none_or(|param| matches!(param, Expr::Number(_) | Expr::String(_)))
            }
            Expr::Call(call) => {
                inner.extend(&call.args);
                !OF_THE_RANGE.contains(&call.function.name)
            }
            Expr::Paren(paren) => {
                inner.push(&paren.expr);
                true
            }
        };
        if !stands {
            return false;
        }
    }
    true
}

/// Whether a selector sees nothing behind the step, and one metric only: without their names two series are never the same.
fn looks_back(selector: &VectorSelector) -> bool {
    let is_one_metric = selector
        .all_matchers()
        .iter()
        .any(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && !matcher.value().is_empty());
    is_one_metric
        && selector.at.is_none()
        && selector.edges != Edges::Smoothed
        && selector.offset.as_ref().is_none_or(is_plain)
}

/// Whether a duration is one that is written down, and not negative.
fn is_plain(duration: &DurationExpr) -> bool {
    matches!(duration, DurationExpr::Literal(number) if number.value >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::{ParseOptions, parse};

    #[test]
    fn what_stands_alone() {
        let mut options = ParseOptions::default();
        options.enable("promql-experimental-functions");
        for (query, expected) in [
            ("up", true),
            ("sum by (job) (rate(x_total{a=\"b\"}[5m] offset 1h)) / 2 > 0.5", true),
            ("sum(x) or vector(0)", true),
            ("(a or b) or (c)", true),
            ("-(a or b)", false),
            ("sum(a or b)", false),
            ("max_over_time(sum(x)[1h:1m])", true),
            ("topk(5, x)", true),
            ("topk(scalar(y), x)", false),
            ("limitk(5, x)", false),
            ("time() - timestamp(x)", true),
            ("{job=\"a\"}", false),
            ("rate({__name__=~\"a.*\"}[5m])", false),
            ("x offset -5m", false),
            ("x @ 100", false),
            ("x @ end()", false),
            ("sum_over_time(x[5m] @ start())", false),
            ("label_replace(x, \"a\", \"b\", \"c\", \"d\")", false),
            ("avg_over_time(x[10m:1m] offset -1m)", false),
        ] {
            let expr = parse(query, &options).expect(query);
            assert_eq!(stand_alone(&expr), expected, "{query}");
        }
    }
}
