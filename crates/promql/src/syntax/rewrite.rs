//! Finding the selectors of a query, and demanding more of them.

use relatum_model::Matcher;

use super::ast::{Expr, VectorSelector};

/// What to do where a selector demands something of a label already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// Leave it at that, whatever the operator: who wrote the query knew better. For topology.
    SkipIfPresent,
    /// Demand both. For limits that a query must not widen.
    And,
}

/// Adds `matchers` to every selector of `expr`, also inside subqueries, ranges and the second argument of `info`.
///
/// What `SkipIfPresent` skips is decided by the selector as it was written: two matchers on one new label are both added.
pub fn add_matchers(expr: &mut Expr, matchers: &[Matcher], injection: Injection) {
    match expr {
        Expr::Selector(selector) => add_to_selector(selector, matchers, injection),
        Expr::Matrix(matrix) => add_to_selector(&mut matrix.selector, matchers, injection),
        other => {
            for child in other.children_mut() {
                add_matchers(child, matchers, injection);
            }
        }
    }
}

/// Adds `matchers` to one selector, as [`add_matchers`] does.
pub fn add_to_selector(selector: &mut VectorSelector, matchers: &[Matcher], injection: Injection) {
    let wanted: Vec<Matcher> = match injection {
        Injection::SkipIfPresent => {
            matchers.iter().filter(|matcher| !selector.has_matcher_on(matcher.name())).cloned().collect()
        }
        // A demand made twice in the same words is no second demand.
        Injection::And => matchers.iter().filter(|matcher| !selector.matchers.contains(matcher)).cloned().collect(),
    };
    selector.matchers.extend(wanted);
}

/// All selectors of `expr`, in the order of the text.
pub fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    let mut found = Vec::new();
    expr.walk(&mut |node| match node {
        Expr::Selector(selector) => found.push(selector),
        Expr::Matrix(matrix) => found.push(&matrix.selector),
        _ => {}
    });
    found
}
