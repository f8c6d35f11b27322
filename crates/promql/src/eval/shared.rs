//! Expressions that a query has more than once: each is evaluated once, and its value used wherever it is asked for at the same
//! steps.
//!
//! As in `a / (a + b)`: the series of `a` are read once. A value is kept from the first use to the last. What is kept takes room
//! that the rest of the query may need, and what would have passed through an aggregation is held; so a query that takes too much
//! is evaluated once more without sharing anything ([`Evaluator::sharing`]), and none fails for it.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::invariant::is_worth_one_step;
use super::{BucketUse, Cost, Evaluated, Evaluator, Steps};
use crate::annotation::Annotations;
use crate::error::QueryError;
use crate::probe::LookedAt;
use crate::syntax::{Call, Expr, Span, Subquery};

/// A query with more nodes than this shares nothing: to find what is the same takes longer with each.
const NODES_MAX: usize = 500;

/// What a query has more than once.
#[derive(Default)]
pub(crate) struct Shared {
    all: Vec<Common>,
    // Which of them an expression is, by its address: the tree does not move while it is evaluated.
    of: HashMap<usize, usize, RandomState>,
    // Whether something was evaluated to be held.
    has_begun: bool,
}

/// An expression that occurs more than once.
struct Common {
    // How often it will be asked for yet, at most.
    uses: usize,
    kept: Option<Kept>,
}

/// What the first evaluation gave.
struct Kept {
    steps: Steps,
    buckets_asked: BucketUse,
    span: Span,
    value: Evaluated,
    cost: Cost,
    annotations: Annotations,
    looked_at: LookedAt,
}

impl Shared {
    /// Looks for what `expr` has more than once. Equal expressions count as such if their texts in `query` are equal, too, so that
    /// annotations lie at the same places in both.
    pub(crate) fn within(expr: &Expr, query: Option<&str>) -> Self {
        let (mut readers, mut nodes) = (Vec::new(), 0);
        expr.walk(&mut |node| {
            nodes += 1;
            readers.extend(Some(node).filter(|node| reads(node)));
        });
        if readers.len() < 2 || nodes > NODES_MAX {
            return Shared::default();
        }
        // Most queries read nothing twice, which is told by the leaves of the tree alone.
        let texts: HashSet<String, RandomState> = readers.iter().map(ToString::to_string).collect();
        if texts.len() == readers.len() {
            return Shared::default();
        }
        let mut found = Found { query, ..Found::default() };
        found.visit(expr, Moments::default());
        let mut shared = Shared::default();
        for occurrences in found.occurrences.into_iter().filter(|occurrences| occurrences.len() > 1) {
            let common = shared.all.len();
            shared.all.push(Common { uses: occurrences.len(), kept: None });
            shared.of.extend(occurrences.into_iter().map(|address| (address, common)));
        }
        shared
    }

    /// Whether the value of `expr`, for which nobody asked yet, is at hand or of use elsewhere, too.
    pub(super) fn has(&self, expr: &Expr) -> bool {
        let common = if self.of.is_empty() { None } else { self.of.get(&address(expr)) };
        common.map(|at| &self.all[*at]).is_some_and(|common| common.uses > 1 || common.kept.is_some())
    }
}

fn reads(expr: &Expr) -> bool {
    matches!(expr, Expr::Selector(_) | Expr::Matrix(_))
}

fn address(expr: &Expr) -> usize {
    std::ptr::from_ref(expr).addr()
}

/// The expressions that were seen, by the moments they are evaluated at and by text.
#[derive(Default)]
struct Found<'q> {
    query: Option<&'q str>,
    moments: HashMap<(Moments, String), usize, RandomState>,
    places: HashMap<(Moments, String, &'q str), usize, RandomState>,
    // The addresses of each.
    occurrences: Vec<Vec<usize>>,
}

/// At which moments an expression is evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Moments {
    // Those of the query, or those of a subquery, by number.
    of: usize,
    // Whether only at the first of them.
    is_first_alone: bool,
}

impl Found<'_> {
    /// Parents come first; below one that was seen there is nothing more to be evaluated. Returns whether `expr` reads something.
    fn visit(&mut self, expr: &Expr, moments: Moments) -> bool {
        if matches!(expr, Expr::Number(_) | Expr::String(_)) {
            return false;
        }
        let can_be_kept = !matches!(expr, Expr::Paren(_) | Expr::Matrix(_) | Expr::Subquery(_));
        let mut place = None;
        if can_be_kept {
            let span = expr.span();
            let text = self.query.and_then(|query| query.get(span.start..span.end)).unwrap_or_default();
            let next = self.occurrences.len();
            let at = *self.places.entry((moments, expr.to_string(), text)).or_insert(next);
            if at < next {
                let seen = &mut self.occurrences[at];
                let reads = !seen.is_empty();
                seen.extend(reads.then(|| address(expr)));
                return reads;
            }
            self.occurrences.push(vec![address(expr)]);
            place = Some(at);
        }
        let inside = match expr {
            Expr::Subquery(subquery) => self.moments_inside(subquery, moments),
            Expr::Matrix(_) => moments,
            expr => Moments { is_first_alone: moments.is_first_alone || is_worth_one_step(expr), ..moments },
        };
        let mut is_reading = reads(expr);
        for child in expr.children() {
            is_reading |= is_taken_directly(child, expr) || self.visit(child, inside);
        }
        if let Some(at) = place.filter(|_| !is_reading) {
            // What reads nothing costs nothing.
            self.occurrences[at].clear();
        }
        is_reading
    }

    fn moments_inside(&mut self, subquery: &Subquery, outside: Moments) -> Moments {
        let Subquery { range, step, offset, at, .. } = subquery;
        let step = step.as_ref().map(ToString::to_string);
        let offset = offset.as_ref().map(ToString::to_string);
        let next = self.moments.len() + 1;
        let of = *self.moments.entry((outside, format!("{range} {step:?} {offset:?} {at:?}"))).or_insert(next);
        Moments { of, is_first_alone: false }
    }
}

/// Whether the function `outer` reads the selector `expr` itself, and never asks for its value.
fn is_taken_directly(expr: &Expr, outer: &Expr) -> bool {
    let Expr::Call(Call { function, args, .. }) = outer else { return false };
    let is_selector = matches!(expr.without_parens(), Expr::Selector(_));
    match function.name {
        "timestamp" | "start_timestamp" => is_selector,
        "info" => is_selector && args.get(1).is_some_and(|second| std::ptr::eq(second, expr)),
        _ => false,
    }
}

impl Evaluator<'_> {
    /// Does `evaluate`, which is all of the query; once more and without sharing anything if it takes too much because of that.
    pub(crate) fn sharing<T>(
        &mut self,
        evaluate: impl Fn(&mut Self) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        match evaluate(self) {
            Err(error) if error.is_of_size() && self.shared.has_begun => {}
            done => return done,
        }
        self.shared = Shared::default();
        self.annotations = Annotations::default();
        self.buckets_asked = BucketUse::default();
        (self.sink, self.enough) = (None, None);
        self.budget.start_again();
        self.measuring.start_again();
        evaluate(self)
    }

    /// The value of `expr` if it is at hand, or will be of use elsewhere, too.
    pub(super) fn shared_value(&mut self, expr: &Expr, steps: Steps) -> Result<Option<Evaluated>, QueryError> {
        if self.shared.of.is_empty() {
            return Ok(None);
        }
        let Some(&at) = self.shared.of.get(&address(expr)) else { return Ok(None) };
        let buckets_asked = self.buckets_asked;
        let common = &mut self.shared.all[at];
        common.uses = common.uses.saturating_sub(1);
        let is_last = common.uses == 0;
        if let Some(kept) = common.kept.take() {
            if kept.steps == steps && kept.buckets_asked == buckets_asked {
                return self.kept_value(at, kept, expr).map(Some);
            }
            self.budget.let_go(kept.cost);
        }
        if is_last {
            return Ok(None);
        }
        self.shared.has_begun = true;
        let before = self.measuring.before();
        let outside = std::mem::take(&mut self.annotations);
        let value = self.eval_anew(expr, steps);
        let annotations = std::mem::replace(&mut self.annotations, outside);
        let value = value?;
        self.annotations.take_over(&annotations, 0);
        let cost = value.cost();
        // Without room for it there is nothing to keep, and no reason to fail.
        if self.budget.keep(cost) {
            let looked_at = self.measuring.since(&before);
            let (span, value) = (expr.span(), value.clone());
            self.shared.all[at].kept = Some(Kept { steps, buckets_asked, span, value, cost, annotations, looked_at });
        }
        Ok(Some(value))
    }

    /// The value that was `kept` of `self.shared.all[at]`, for `expr`.
    fn kept_value(&mut self, at: usize, kept: Kept, expr: &Expr) -> Result<Evaluated, QueryError> {
        let begun = self.measuring.begin_shared(expr);
        self.measuring.end(begun, kept.value.rows());
        let by = expr.span().start as isize - kept.span.start as isize;
        self.annotations.take_over(&kept.annotations, by);
        // Samples whose result is used again count for each use.
        self.measuring.meter.count(&kept.looked_at);
        let common = &mut self.shared.all[at];
        if common.uses == 0 {
            self.budget.let_go(kept.cost);
            self.budget.charge(kept.cost)?;
            return Ok(kept.value);
        }
        // The copy is counted before it is made.
        self.budget.charge(kept.cost)?;
        Ok(common.kept.insert(kept).value.clone())
    }
}
