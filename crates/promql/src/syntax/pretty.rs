//! The text of a query over several lines, for people, as Prometheus' `format_query` lays it out.

use std::fmt::Write;

use super::ast::Expr;
use super::print::{Brackets, Text, bare_left, write_aggregation, write_operator};

// Longer expressions are split where they can be.
const LINE_BYTES_MAX: usize = 100;

impl Expr {
    /// The canonical text, split over several lines where it is long.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        write_pretty(alone(self), 0, &mut out);
        out
    }
}

fn write_pretty(this: Text<'_>, level: usize, out: &mut String) {
    let expr = this.expr;
    // Only these can be split; the canonical text of all others stands on one line.
    let can_split = matches!(
        expr,
        Expr::Aggregate(_) | Expr::Binary(_) | Expr::Call(_) | Expr::Paren(_) | Expr::Subquery(_) | Expr::Unary(_)
    );
    let text = this.to_string();
    let is_split = can_split && (text.len() > LINE_BYTES_MAX || matches!(expr, Expr::Unary(_)));
    if !is_split {
        // A subquery that fits loses its indent, in Prometheus too.
        if !matches!(expr, Expr::Subquery(_)) {
            indent(level, out);
        }
        out.push_str(&text);
        return;
    }
    match expr {
        Expr::Aggregate(node) => {
            indent(level, out);
            write_aggregation(node, out).expect(IN_MEMORY);
            out.push_str("(\n");
            if let Some(param) = &node.param {
                write_pretty(alone(param), level + 1, out);
                out.push_str(",\n");
            }
            write_pretty(alone(&node.expr), level + 1, out);
            close(level, out);
        }
        Expr::Binary(node) => {
            match bare_left(node) {
                Some(bare) => {
                    indent(level + 1, out);
                    out.push_str(bare);
                }
                None => write_pretty(Text::left(node), level + 1, out),
            }
            out.push('\n');
            indent(level, out);
            write_operator(node, out).expect(IN_MEMORY);
            out.push('\n');
            write_pretty(this.last(&node.right), level + 1, out);
        }
        Expr::Call(node) => {
            indent(level, out);
            write!(out, "{}(", node.function.name).expect(IN_MEMORY);
            for (at, arg) in node.args.iter().enumerate() {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                write_pretty(alone(arg), level + 1, out);
            }
            close(level, out);
        }
        Expr::Paren(node) => {
            indent(level, out);
            out.push_str("(\n");
            write_pretty(alone(&node.expr), level + 1, out);
            close(level, out);
        }
        Expr::Subquery(node) => {
            write_pretty(alone(&node.expr), level, out);
            let brackets = Brackets { node, before_operator: this.before_operator };
            write!(out, "{brackets}").expect(IN_MEMORY);
        }
        Expr::Unary(node) => {
            indent(level, out);
            out.push_str(node.op.as_str());
            // The operand begins behind the sign, not on a line of its own.
            let mut operand = String::new();
            write_pretty(this.last(&node.expr), level, &mut operand);
            out.push_str(operand.trim_ascii());
        }
        Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) => {}
    }
}

/// An expression that no operator follows.
fn alone(expr: &Expr) -> Text<'_> {
    Text { expr, before_operator: false }
}

const IN_MEMORY: &str = "writing to memory does not fail";

fn indent(level: usize, out: &mut String) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

fn close(level: usize, out: &mut String) {
    out.push('\n');
    indent(level, out);
    out.push(')');
}
