//! `relatum promql`: queries as text.

use relatum_model::{MatchOp, Matcher};
use relatum_promql::syntax::{self, Expr, ParseOptions};

use crate::Global;
use crate::failure::CommandFailure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    /// Print a query in the form that is easiest to read
    Format {
        /// The query
        query: String,
    },
    /// Change the matchers of every selector of a query
    LabelMatchers {
        #[command(subcommand)]
        change: Change,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Set a matcher, in place of those on the same label
    Set {
        /// The operator
        #[arg(short = 't', long = "type", default_value = "=", value_parser = operator)]
        op: MatchOp,
        /// The query
        query: String,
        /// The label
        name: String,
        /// Its value
        value: String,
    },
    /// Take the matchers on a label away
    Delete {
        /// The query
        query: String,
        /// The label
        name: String,
    },
}

/// Prints the query, changed or not, in its readable form.
pub(crate) fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let (query, change): (&str, Option<(&str, Option<Matcher>)>) = match &args.kind {
        Kind::Format { query } => (query, None),
        Kind::LabelMatchers { change: Change::Delete { query, name } } => (query, Some((name, None))),
        Kind::LabelMatchers { change: Change::Set { op, query, name, value } } => {
            let matcher = Matcher::new(*op, name, value).map_err(|error| CommandFailure::failed(error.to_string()))?;
            (query, Some((name, Some(matcher))))
        }
    };
    let mut expr =
        syntax::parse(query, &ParseOptions::all()).map_err(|error| CommandFailure::failed(error.to_string()))?;
    if let Some((name, matcher)) = change {
        replace(&mut expr, name, matcher.as_ref());
    }
    global.format.print(&expr.pretty(), |text| text.clone() + "\n")
}

fn operator(text: &str) -> Result<MatchOp, String> {
    [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]
        .into_iter()
        .find(|op| op.as_str() == text)
        .ok_or_else(|| "a matcher's type is one of =, !=, =~, !~".to_owned())
}

fn replace(expr: &mut Expr, name: &str, matcher: Option<&Matcher>) {
    let selector = match expr {
        Expr::Selector(selector) => Some(selector),
        Expr::Matrix(matrix) => Some(&mut matrix.selector),
        _ => None,
    };
    if let Some(selector) = selector {
        selector.matchers.retain(|m| m.name() != name);
        selector.matchers.extend(matcher.cloned());
    }
    for child in expr.children_mut() {
        replace(child, name, matcher);
    }
}
