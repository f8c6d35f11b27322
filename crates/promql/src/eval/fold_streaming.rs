//! Aggregations whose input is never held: each series goes into its group as it comes from the store.
//!
//! That is possible where the input is a selector, or a function of the windows of one, and the aggregation makes one float of
//! many: then the memory a query takes is that of its groups. Series come in their order, so the result is to the bit that of
//! [`Evaluator::fold`] on all rows.

use relatum_model::labels::METRIC_NAME;
use relatum_model::{Labels, MatchOp};

use super::fold::{Average, Count, Deviation, Fold, Largest, Presence, Smallest, Total, Variance};
use super::groups::Groups;
use super::names::has_type;
use super::{Block, Column, Cost, Evaluator, Row, Steps, is_absent};
use crate::error::QueryError;
use crate::syntax::{Aggregate, AggregateOp, Edges, Expr};

/// Where rows go that nobody holds.
pub(crate) type Sink = Box<dyn Collect>;

/// Takes the rows of one aggregation.
pub(crate) trait Collect {
    /// Takes a row, which loses what says which metric it is if it is to be `bare`; gives what is held for it from now on.
    fn take(&mut self, row: &Row, bare: bool) -> Cost;

    /// Groups like those of the aggregation, none of which was met yet.
    fn new_groups(&self) -> Groups;

    /// Takes what one thread made of one part; gives what is held for it from now on.
    fn take_batch(&mut self, batch: Batch, drop_name: bool) -> Cost;

    /// How many rows it took.
    fn n_rows(&self) -> usize;

    /// The result; `None` if a row came that only an aggregation of all rows can treat.
    fn finish(self: Box<Self>) -> Option<Vec<Row>>;
}

/// The columns of one part of a selection.
#[derive(Default)]
pub(crate) struct Batch {
    /// Which thread made it.
    pub(super) worker: usize,
    /// The labels of the groups that are new to that thread.
    pub(super) new_groups: Vec<Labels>,
    // For each row its group, as the thread numbers them, its first step, and where its values end.
    rows: Vec<(usize, usize, usize)>,
    values: Vec<f64>,
    /// The metrics of the rows.
    pub(super) metrics: Vec<Box<str>>,
    /// Whether there is a row that cannot be folded like this.
    pub(super) is_beyond: bool,
}

impl Batch {
    /// Nothing, made by the thread `worker`.
    pub(super) fn of(worker: usize) -> Self {
        Batch { worker, ..Batch::default() }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, group: usize, column: &Column) {
        let (first, values) = column.slots_from();
        self.values.extend_from_slice(values);
        self.rows.push((group, first, self.values.len()));
    }
}

struct Folding<F> {
    groups: Groups,
    steps: usize,
    // As many for each group as there are steps.
    slots: Vec<Option<F>>,
    drop_name: Vec<bool>,
    n_rows: usize,
    // For each thread, the groups that its own are.
    known_as: Vec<Vec<usize>>,
    is_beyond: bool,
}

impl<F: Fold> Folding<F> {
    /// Makes room for a group if it is new; gives what is held for that.
    fn admit(&mut self, group: usize) -> Cost {
        if group < self.drop_name.len() {
            return Cost::default();
        }
        self.drop_name.push(false);
        self.slots.resize(self.slots.len() + self.steps, None);
        // A sample is a time and a value; what folds values may need more room.
        let samples = self.steps.saturating_mul(1 + size_of::<Option<F>>() / 16);
        Cost::from(samples).with_bytes(self.groups.bytes(group))
    }

    fn add(&mut self, group: usize, first: usize, values: &[f64]) {
        let slots = &mut self.slots[group * self.steps + first..(group + 1) * self.steps];
        for (slot, value) in slots.iter_mut().zip(values).filter(|(_, value)| !is_absent(**value)) {
            match slot {
                Some(fold) => fold.add(*value),
                None => *slot = Some(F::start(*value)),
            }
        }
    }
}

impl<F: Fold> Collect for Folding<F> {
    fn take(&mut self, row: &Row, bare: bool) -> Cost {
        // Without its type a series may be the same as another one; and histograms are not floats.
        let is_typed = || has_type(&row.labels);
        self.is_beyond |= row.histograms.slots() > 0 || (bare && is_typed());
        if self.is_beyond {
            return Cost::default();
        }
        self.n_rows += 1;
        let group = self.groups.of(&row.labels, bare);
        let held = self.admit(group);
        self.drop_name[group] |= row.drop_name;
        let (first, values) = row.floats.slots_from();
        self.add(group, first, values);
        held
    }

    fn new_groups(&self) -> Groups {
        self.groups.like()
    }

    fn take_batch(&mut self, batch: Batch, drop_name: bool) -> Cost {
        let mut held = Cost::default();
        while self.known_as.len() <= batch.worker {
            self.known_as.push(Vec::new());
        }
        for labels in &batch.new_groups {
            let group = self.groups.of(labels, false);
            held = held.plus(self.admit(group));
            self.known_as[batch.worker].push(group);
        }
        self.n_rows += batch.rows.len();
        let mut from = 0;
        for (group, first, to) in batch.rows {
            let group = self.known_as[batch.worker][group];
            self.drop_name[group] |= drop_name;
            self.add(group, first, &batch.values[from..to]);
            from = to;
        }
        held
    }

    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn finish(mut self: Box<Self>) -> Option<Vec<Row>> {
        if self.is_beyond {
            return None;
        }
        let slots = self.slots.chunks_mut(self.steps.max(1));
        let rows = slots.zip(&self.drop_name).enumerate().map(|(group, (slots, drop_name))| {
            let mut floats = Column::default();
            for (step, slot) in slots.iter_mut().enumerate() {
                if let Some(fold) = slot.take() {
                    floats.push(step, fold.finish());
                }
            }
            Row { drop_name: *drop_name, ..Row::of_floats(self.groups.labels(group), floats) }
        });
        Some(rows.filter(|row| row.floats.slots() > 0).collect())
    }
}

impl Evaluator<'_> {
    /// The value of `node` if its input need not be held.
    pub(super) fn fold_streaming(&mut self, node: &Aggregate, steps: Steps) -> Result<Option<Block>, QueryError> {
        let input = node.expr.without_parens();
        let Some(sink) = new_sink(node, steps).filter(|_| self.gives_rows_in_turn(input)) else { return Ok(None) };
        let (annotations, held) = (self.annotations.clone(), self.budget.held());
        self.sink = Some(sink);
        let begun = self.measuring.begin(input);
        let done = self.node_unmeasured(input, steps);
        let sink = self.sink.take();
        self.measuring.end(begun, sink.as_ref().filter(|_| done.is_ok()).map(|sink| sink.n_rows()));
        done?;
        match sink.and_then(|sink| sink.finish()) {
            Some(rows) => Ok(Some(Block { rows })),
            None => {
                // Once more, and from the beginning.
                self.annotations = annotations;
                self.budget.settle(held)?;
                Ok(None)
            }
        }
    }

    /// Whether `expr` is a selector or a function of one that hands out row by row, and no two of its rows can be the same.
    fn gives_rows_in_turn(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Selector(selector) => selector.edges == Edges::Plain,
            Expr::Call(call) if call.args.len() == 1 && STREAMED.contains(&call.function.name) => {
                let Expr::Matrix(matrix) = call.args[0].without_parens() else { return false };
                let matchers = matrix.selector.all_matchers();
                let is_one_metric = matchers
                    .iter()
                    .any(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal && !m.value().is_empty());
                matrix.selector.edges == Edges::Plain && (is_one_metric || self.settings.delayed_name_removal)
            }
            _ => false,
        }
    }
}

/// Functions of one range vector and nothing else.
const STREAMED: [&str; 17] = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "resets",
    "changes",
    "sum_over_time",
    "avg_over_time",
    "max_over_time",
    "min_over_time",
    "stdvar_over_time",
    "stddev_over_time",
    "count_over_time",
    "present_over_time",
    "last_over_time",
    "deriv",
];

fn new_sink(node: &Aggregate, steps: Steps) -> Option<Sink> {
    fn folding<F: Fold + 'static>(node: &Aggregate, steps: Steps) -> Option<Sink> {
        Some(Box::new(Folding::<F> {
            groups: Groups::new(node),
            steps: steps.count,
            slots: Vec::new(),
            drop_name: Vec::new(),
            n_rows: 0,
            known_as: Vec::new(),
            is_beyond: false,
        }))
    }
    match node.op {
        AggregateOp::Sum => folding::<Total>(node, steps),
        AggregateOp::Avg => folding::<Average>(node, steps),
        AggregateOp::Max => folding::<Largest>(node, steps),
        AggregateOp::Min => folding::<Smallest>(node, steps),
        AggregateOp::Count => folding::<Count>(node, steps),
        AggregateOp::Group => folding::<Presence>(node, steps),
        AggregateOp::Stdvar => folding::<Variance>(node, steps),
        AggregateOp::Stddev => folding::<Deviation>(node, steps),
        _ => None,
    }
}
