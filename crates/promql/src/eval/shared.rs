//! Expressions that a query has more than once: each is evaluated once, and its value used wherever it is asked for at the same
//! steps.
//!
//! As in `a / (a + b)`: the series of `a` are read once. A value is kept from the first use to the last. Where it would have
//! passed through an aggregation without being held, and is too much to be held, the query goes on as if it shared nothing, so
//! that none fails for it.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::{BucketUse, Cost, Evaluated, Evaluator, Steps};
use crate::annotation::Annotations;
use crate::error::QueryError;
use crate::syntax::{Expr, Span};

/// A query with more nodes than this shares nothing: to find what is the same takes longer with each.
const NODES_MAX: usize = 500;

/// What a query has more than once.
#[derive(Default)]
pub(crate) struct Shared {
    all: Vec<Common>,
    // Which of them an expression is, by its address: the tree does not move while it is evaluated.
    of: HashMap<usize, usize, RandomState>,
}

/// An expression that occurs more than once.
struct Common {
    // How often it will be asked for yet, at most.
    uses: usize,
    kept: Option<Kept>,
    // Whether it is too much to be held.
    is_too_large: bool,
}

/// What the first evaluation gave.
struct Kept {
    steps: Steps,
    buckets_asked: BucketUse,
    span: Span,
    value: Evaluated,
    cost: Cost,
    annotations: Annotations,
    looked_at: u64,
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
        let mut found = Found { query, places: HashMap::default(), occurrences: Vec::new() };
        found.visit(expr);
        let mut shared = Shared::default();
        for occurrences in found.occurrences.into_iter().filter(|occurrences| occurrences.len() > 1) {
            let common = shared.all.len();
            shared.all.push(Common { uses: occurrences.len(), kept: None, is_too_large: false });
            shared.of.extend(occurrences.into_iter().map(|address| (address, common)));
        }
        shared
    }

    /// Whether `expr` occurs more than once.
    pub(super) fn has(&self, expr: &Expr) -> bool {
        !self.of.is_empty() && self.of.contains_key(&address(expr))
    }
}

fn reads(expr: &Expr) -> bool {
    matches!(expr, Expr::Selector(_) | Expr::Matrix(_))
}

fn address(expr: &Expr) -> usize {
    std::ptr::from_ref(expr).addr()
}

/// The expressions that were seen, by text.
struct Found<'q> {
    query: Option<&'q str>,
    places: HashMap<(String, &'q str), usize, RandomState>,
    // The addresses of each.
    occurrences: Vec<Vec<usize>>,
}

impl Found<'_> {
    /// Parents come first; below one that was seen there is nothing more to be evaluated.
    fn visit(&mut self, expr: &Expr) -> bool {
        if matches!(expr, Expr::Number(_) | Expr::String(_)) {
            return false;
        }
        let can_be_kept = !matches!(expr, Expr::Paren(_) | Expr::Matrix(_) | Expr::Subquery(_));
        let mut place = None;
        if can_be_kept {
            let span = expr.span();
            let text = self.query.and_then(|query| query.get(span.start..span.end)).unwrap_or_default();
            let next = self.occurrences.len();
            let at = *self.places.entry((expr.to_string(), text)).or_insert(next);
            if at < next {
                let seen = &mut self.occurrences[at];
                let reads = !seen.is_empty();
                seen.extend(reads.then(|| address(expr)));
                return reads;
            }
            self.occurrences.push(vec![address(expr)]);
            place = Some(at);
        }
        let mut is_reading = reads(expr);
        for child in expr.children() {
            is_reading |= self.visit(child);
        }
        if let Some(at) = place.filter(|_| !is_reading) {
            // What reads nothing costs nothing.
            self.occurrences[at].clear();
        }
        is_reading
    }
}

impl Evaluator<'_> {
    /// The value of `expr` if that is shared, and not too much to be held.
    pub(super) fn shared_value(&mut self, expr: &Expr, steps: Steps) -> Result<Option<Evaluated>, QueryError> {
        if self.shared.of.is_empty() {
            return Ok(None);
        }
        let Some(&at) = self.shared.of.get(&address(expr)) else { return Ok(None) };
        let buckets_asked = self.buckets_asked;
        let common = &mut self.shared.all[at];
        common.uses = common.uses.saturating_sub(1);
        if common.is_too_large {
            return Ok(None);
        }
        let fits = |kept: &Kept| kept.steps == steps && kept.buckets_asked == buckets_asked;
        if common.kept.as_ref().is_some_and(fits) {
            let begun = self.measuring.begin_shared(expr);
            let value = self.take_kept(at, expr.span());
            self.measuring.end(begun, value.rows());
            self.budget.charge(value.cost())?;
            return Ok(Some(value));
        }
        let (held, looked_at) = (self.budget.held(), self.measuring.meter.looked_at());
        let outside = std::mem::take(&mut self.annotations);
        let value = self.eval_anew(expr, steps);
        let annotations = std::mem::replace(&mut self.annotations, outside);
        let value = match value {
            Err(error) if error.is_of_size() => {
                self.shared.all[at].is_too_large = true;
                self.budget.settle(held)?;
                return Ok(None);
            }
            value => value?,
        };
        self.annotations.take_over(&annotations, 0);
        let common = &mut self.shared.all[at];
        if common.uses > 0 {
            let cost = value.cost();
            let looked_at = self.measuring.meter.looked_at() - looked_at;
            if let Some(before) = common.kept.take() {
                self.budget.let_go(before.cost);
            }
            // Without room for it there is nothing to keep, and no reason to fail.
            if self.budget.keep(cost) {
                let (span, value) = (expr.span(), value.clone());
                common.kept = Some(Kept { steps, buckets_asked, span, value, cost, annotations, looked_at });
            }
        }
        Ok(Some(value))
    }

    /// The value that is kept of `self.shared.all[at]`, for the expression at `span`.
    fn take_kept(&mut self, at: usize, span: Span) -> Evaluated {
        let common = &mut self.shared.all[at];
        let kept = common.kept.take().expect("the caller found it");
        let by = span.start as isize - kept.span.start as isize;
        self.annotations.take_over(&kept.annotations, by);
        self.measuring.meter.count_looked_at(kept.looked_at);
        if common.uses == 0 {
            self.budget.let_go(kept.cost);
            return kept.value;
        }
        common.kept.insert(kept).value.clone()
    }
}
