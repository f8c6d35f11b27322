//! Selectors that need not be read to their end: `absent` asks whether there is anything, and `limitk(5, x)` for no more than five.
//!
//! Only selectors as they are stop early. Functions of ranges may have something to say about each of their series.

use super::{Block, Evaluator, Row, Steps};
use crate::error::QueryError;
use crate::syntax::{Edges, Expr};

/// How many rows are enough; those behind them may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enough {
    pub(crate) rows: usize,
    /// Whether only those count that have a float at every step.
    pub(crate) whole: bool,
}

/// Counts rows until there are enough.
pub(super) struct Counter {
    enough: Option<Enough>,
    steps: usize,
    rows: usize,
}

impl Counter {
    pub(super) fn new(enough: Option<Enough>, steps: Steps) -> Self {
        Counter { enough, steps: steps.count, rows: 0 }
    }

    /// How many rows will be looked at for certain.
    pub(super) fn at_least(&self) -> usize {
        self.enough.map_or(0, |enough| enough.rows)
    }

    /// Whether more rows are of use.
    pub(super) fn wants_more(&self) -> bool {
        self.enough.is_none_or(|enough| self.rows < enough.rows)
    }

    pub(super) fn count(&mut self, row: &Row) {
        if let Some(enough) = self.enough {
            self.rows += usize::from(!enough.whole || row.floats.iter().count() == self.steps);
        }
    }
}

/// Whether `expr` is a selector that need not be read to its end if only some of its rows are wanted.
pub(crate) fn may_stop_early(expr: &Expr) -> bool {
    matches!(expr.without_parens(), Expr::Selector(selector) if selector.edges == Edges::Plain)
}

impl Evaluator<'_> {
    /// Whether `expr` is a selector that may stop early.
    pub(super) fn stops_early(&self, expr: &Expr) -> bool {
        may_stop_early(expr) && !self.shared.has(expr.without_parens())
    }

    /// Says that so many rows of `query` are enough, and one more to know that there are more; 0 for all.
    pub(crate) fn stop_at(&mut self, query: &Expr, limit: usize) {
        if limit > 0 && self.stops_early(query) {
            self.enough = Some(Enough { rows: limit.saturating_add(1), whole: false });
        }
    }

    /// The value of `expr`, of which as many rows that have a float at every step are enough.
    pub(super) fn at_most(&mut self, expr: &Expr, rows: usize, steps: Steps) -> Result<Block, QueryError> {
        if self.stops_early(expr) {
            self.enough = Some(Enough { rows, whole: true });
        }
        let block = self.vector(expr, steps);
        self.enough = None;
        block
    }
}
