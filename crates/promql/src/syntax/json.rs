//! A query's tree as JSON, in the shape that Prometheus' `/api/v1/parse_query` gives it.

use relatum_model::{Matcher, text::format_value_plain};
use serde_json::{Value, json};

use super::ast::{At, Edges, Expr, VectorMatching, VectorSelector};
use super::duration::DurationExpr;

impl Expr {
    /// The tree as JSON. Durations that depend on the query's range or step count as zero.
    pub fn to_json(&self) -> Value {
        match self {
            Expr::Number(number) => json!({ "type": "numberLiteral", "val": format_value_plain(number.value) }),
            Expr::String(text) => json!({ "type": "stringLiteral", "val": text.value }),
            Expr::Paren(paren) => json!({ "type": "parenExpr", "expr": paren.expr.to_json() }),
            Expr::Unary(unary) => {
                json!({ "type": "unaryExpr", "op": unary.op.as_str(), "expr": unary.expr.to_json() })
            }
            Expr::Binary(binary) => json!({
                "type": "binaryExpr",
                "op": binary.op.as_str(),
                "lhs": binary.left.to_json(),
                "rhs": binary.right.to_json(),
                "matching": binary.matching.as_ref().map(matching),
                "bool": binary.return_bool,
            }),
            Expr::Aggregate(aggregate) => json!({
                "type": "aggregation",
                "op": aggregate.op.as_str(),
                "expr": aggregate.expr.to_json(),
                "param": aggregate.param.as_ref().map(|param| param.to_json()),
                "grouping": aggregate.grouping,
                "without": aggregate.without,
            }),
            Expr::Call(call) => {
                let function = call.function;
                // How many arguments may be left out; any number of them is -1.
                let optional = function.args_max.map_or(-1, |max| (max - function.args_min) as i64);
                let types: Vec<&str> = function.args.iter().map(|kind| kind.as_str()).collect();
                json!({
                    "type": "call",
                    "func": {
                        "name": function.name,
                        "argTypes": types,
                        "variadic": optional,
                        "returnType": function.returns.as_str(),
                    },
                    "args": call.args.iter().map(Expr::to_json).collect::<Vec<_>>(),
                })
            }
            Expr::Selector(selector) => selector_json("vectorSelector", selector),
            Expr::Matrix(matrix) => {
                let mut value = selector_json("matrixSelector", &matrix.selector);
                value["range"] = ms(Some(&matrix.range)).into();
                value
            }
            Expr::Subquery(subquery) => json!({
                "type": "subquery",
                "expr": subquery.expr.to_json(),
                "range": ms(Some(&subquery.range)),
                "offset": ms(subquery.offset.as_ref()),
                "step": ms(subquery.step.as_ref()),
                "timestamp": timestamp(subquery.at),
                "startOrEnd": start_or_end(subquery.at),
            }),
        }
    }
}

fn selector_json(kind: &str, selector: &VectorSelector) -> Value {
    json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or_default(),
        "offset": ms(selector.offset.as_ref()),
        "matchers": selector.all_matchers().iter().map(matcher).collect::<Vec<_>>(),
        "timestamp": timestamp(selector.at),
        "startOrEnd": start_or_end(selector.at),
        "anchored": selector.edges == Edges::Anchored,
        "smoothed": selector.edges == Edges::Smoothed,
    })
}

fn matcher(matcher: &Matcher) -> Value {
    json!({ "name": matcher.name(), "value": matcher.value(), "type": matcher.op().as_str() })
}

fn matching(matching: &VectorMatching) -> Value {
    json!({
        "card": matching.cardinality.as_str(),
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": { "lhs": matching.fill.left, "rhs": matching.fill.right },
    })
}

fn ms(duration: Option<&DurationExpr>) -> i64 {
    duration.and_then(DurationExpr::fixed_ms).unwrap_or(0)
}

fn timestamp(at: Option<At>) -> Option<i64> {
    match at {
        Some(At::Time(t_ms)) => Some(t_ms),
        _ => None,
    }
}

fn start_or_end(at: Option<At>) -> Option<&'static str> {
    match at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        _ => None,
    }
}
