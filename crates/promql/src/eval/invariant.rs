//! Which expressions have the same value at every step.

use crate::syntax::{Call, Expr};

/// Whether `expr` is the same at all steps, and evaluating it once saves work.
pub(super) fn is_worth_one_step(expr: &Expr) -> bool {
    !matches!(expr, Expr::Number(_) | Expr::String(_)) && is_invariant(expr)
}

fn is_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Selector(selector) => selector.at.is_some(),
        Expr::Matrix(matrix) => matrix.selector.at.is_some(),
        Expr::Subquery(subquery) => subquery.at.is_some(),
        Expr::Paren(paren) => is_invariant(&paren.expr),
        Expr::Unary(unary) => is_invariant(&unary.expr),
        Expr::Binary(binary) => is_invariant(&binary.right) && is_invariant(&binary.left),
        // Prometheus does not look at the parameter here: one that varies counts as it is at the first step.
        Expr::Aggregate(aggregate) => is_invariant(&aggregate.expr),
        Expr::Call(call) => is_call_invariant(call),
    }
}

fn is_call_invariant(call: &Call) -> bool {
    match call.function.name {
        // These look at the clock of the evaluation, whatever they are given.
        "days_in_month" | "day_of_month" | "day_of_week" | "day_of_year" | "hour" | "minute" | "month" | "year"
        | "predict_linear" | "time" => false,
        // The time of a sample is the same at every step, that of a result is not.
        "timestamp" => match call.args[0].without_parens() {
            Expr::Selector(selector) => selector.at.is_some(),
            _ => false,
        },
        _ => call.args.iter().all(is_invariant),
    }
}
