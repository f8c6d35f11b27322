//! What printing must keep: the tree, and its second print.

use relatum_model::Matcher;
use relatum_promql::syntax::{Expr, ParseOptions, parse};

/// Reads a query with everything switched on.
pub(crate) fn read(text: &str) -> Result<Expr, String> {
    parse(text, &ParseOptions::all()).map_err(|error| error.to_string())
}

/// The tree without positions and without the order of matchers: what must survive printing.
fn shape(expr: &Expr) -> String {
    let mut expr = expr.clone();
    sort_matchers(&mut expr);
    // Positions are the only part of a tree that is written so.
    let text = format!("{expr:?}");
    let mut parts = text.split("Span { start: ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    out.extend(parts.map(|part| part.split_once('}').expect("a position ends").1));
    out
}

fn sort_matchers(expr: &mut Expr) {
    match expr {
        Expr::Selector(node) => node.matchers.sort_by_key(Matcher::to_string),
        Expr::Matrix(node) => node.selector.matchers.sort_by_key(Matcher::to_string),
        other => other.children_mut().into_iter().for_each(sort_matchers),
    }
}

/// What is printed must be read as the same tree, and printed the same again.
#[track_caller]
pub(crate) fn check_stable(expr: &Expr, origin: &str) {
    for printed in [expr.to_string(), expr.pretty()] {
        let again = read(&printed).unwrap_or_else(|error| panic!("{origin}: printed as {printed}: {error}"));
        assert_eq!(shape(&again), shape(expr), "{origin}: printed as {printed}");
        assert_eq!(again.to_string(), expr.to_string(), "{origin}");
    }
}
