//! Operators between two vectors: who meets whom.
//!
//! Rows meet by their signature, which is made once for each row. The "one" side is called `ones` here, whatever side of the
//! operator it is on, and the other `many`. Conflicts are conflicts only at a step where both rows have a value, so whether there
//! is one is looked at step by step, but only for signatures where rows could be in conflict.

mod conflicts;

use std::collections::BTreeMap;

use relatum_model::Labels;

use super::binary::{Element, both, changes_metric, element};
use super::binary_histograms::{Combination, Operand, Remark, combine};
use super::groups::{Groups as Signatures, Members};
use super::names::{has_type, is_metadata};
use super::{Block, Column, Cost, Evaluator, HistogramColumn, Row, Steps, is_absent};
use crate::annotation::Annotations;
use crate::error::QueryError;
use crate::syntax::{Binary, BinaryOp, Cardinality, Span, VectorMatching};

/// The rows of both sides by signature, and for each row the number of its signature.
struct Groups {
    signatures: Signatures,
    of_many: Vec<usize>,
    of_ones: Vec<usize>,
    many: Members,
    ones: Members,
}

impl Groups {
    fn new(many: &Block, ones: &Block, matching: &VectorMatching) -> Self {
        let mut signatures = signatures(matching);
        let mut of =
            |block: &Block| -> Vec<usize> { block.rows.iter().map(|row| signatures.of(&row.labels, false)).collect() };
        let (of_ones, of_many) = (of(ones), of(many));
        let (many, ones) = (Members::new(&of_many, signatures.len()), Members::new(&of_ones, signatures.len()));
        Groups { signatures, of_many, of_ones, many, ones }
    }

    fn cost(&self) -> Cost {
        let of_signatures: usize = (0..self.signatures.len()).map(|signature| self.signatures.bytes(signature)).sum();
        let of_rows = 2 * size_of::<usize>() * (self.of_many.len() + self.of_ones.len());
        Cost::default().with_bytes(of_signatures + of_rows)
    }

    /// Whether every row has a signature of its own on its side.
    fn are_pairs(&self) -> bool {
        self.many.iter().zip(self.ones.iter()).all(|(many, ones)| many.len() <= 1 && ones.len() <= 1)
    }
}

/// The labels by which rows find their partners.
pub(super) fn signatures(matching: &VectorMatching) -> Signatures {
    Signatures::by(!matching.on, matching.labels.clone())
}

/// One side of a meeting: a row, or the value in place of one that is missing.
#[derive(Clone, Copy)]
enum Partner<'a> {
    Row(&'a Row),
    Fill { value: f64, labels: &'a Labels },
}

impl<'a> Partner<'a> {
    fn labels(self) -> &'a Labels {
        match self {
            Partner::Row(row) => &row.labels,
            Partner::Fill { labels, .. } => labels,
        }
    }

    fn operand(self, step: usize) -> Option<Operand<'a>> {
        match self {
            Partner::Row(row) => {
                let float = row.floats.get(step).map(Operand::Float);
                float.or_else(|| row.histograms.get(step).map(Operand::Histogram))
            }
            Partner::Fill { value, .. } => Some(Operand::Float(value)),
        }
    }
}

/// What was to be said at each step. Prometheus tells the last remark of a step alone: whatever pair comes behind, in the order of the
/// "many" side, takes its place.
#[derive(Default)]
struct Remarks {
    of_step: BTreeMap<usize, Remark>,
}

impl Remarks {
    fn tell(self, span: Span, annotations: &mut Annotations) {
        self.of_step.into_values().for_each(|(severity, text)| annotations.tell(severity, span, text));
    }
}

/// What goes from pair to pair: remarks, and room to put labels together in.
#[derive(Default)]
struct Work {
    remarks: Remarks,
    text: String,
}

/// The operation and its two sides.
struct Meeting<'a> {
    node: &'a Binary,
    matching: &'a VectorMatching,
    f: Element,
    // Whether the "one" side is on the left of the operator.
    is_swapped: bool,
    drops_name: bool,
    drops_name_later: bool,
    // The labels that the "many" side takes over, sorted.
    include: Vec<&'a str>,
    steps: Steps,
}

/// What came of two partners: the result, and at which steps they met at all, if somebody asked.
struct Outcome {
    row: Row,
    met: Vec<usize>,
}

impl Outcome {
    fn is_empty(&self) -> bool {
        self.row.slots() == 0 && self.met.is_empty()
    }
}

impl Evaluator<'_> {
    pub(super) fn between_vectors(
        &mut self,
        node: &Binary,
        left: Block,
        right: Block,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        let default = VectorMatching::default();
        let matching = node.matching.as_ref().unwrap_or(&default);
        let is_swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, ones) = if is_swapped { (right, left) } else { (left, right) };
        // As in Prometheus, `fill_left` is for the "many" side, even where `group_right` puts that on the right.
        let (fill_many, fill_ones) = (matching.fill.left, matching.fill.right);
        // With nothing on one side and nothing to fill it with, not even conflicts arise.
        let has_fill = fill_many.is_some() || fill_ones.is_some();
        if (many.rows.is_empty() && ones.rows.is_empty())
            || (!has_fill && (many.rows.is_empty() || ones.rows.is_empty()))
        {
            return Ok(Block::default());
        }
        let mut include: Vec<&str> = matching.include.iter().map(String::as_str).collect();
        include.sort_unstable();
        include.dedup();
        let mut meeting = Meeting {
            node,
            matching,
            f: element(node.op, node.return_bool),
            is_swapped,
            drops_name: (node.return_bool && !self.settings.delayed_name_removal) || changes_metric(node.op),
            drops_name_later: node.return_bool && self.settings.delayed_name_removal,
            include,
            steps,
        };
        let mut groups = Groups::new(&many, &ones, matching);
        self.budget.charge(groups.cost())?;
        if !has_fill && groups.are_pairs() && meeting.keeps_signatures(&many) {
            return self.between_pairs(&meeting, &groups, many, &ones);
        }
        let asked = meeting.asked_steps(&many, has_fill);
        // The first conflict is the one to tell, so behind an ambiguous step nothing more is looked for.
        let ambiguous = match meeting.find_ambiguous(&groups, &ones, &asked, &self.budget)? {
            Some((0, error)) => return Err(error),
            Some((step, error)) => {
                meeting.steps.count = step;
                Some(error)
            }
            None => None,
        };
        // Of each signature there is one at most at any of these steps. So the rows left are no more than the steps, and it is
        // not each of many that meets each of many only to find that none of them was there.
        let asked = &asked[..meeting.steps.count];
        groups.ones.retain(|one| ones.rows[one].steps().any(|step| asked.get(step).is_some_and(|is_asked| *is_asked)));

        let mut work = Work::default();
        let filled: Vec<Labels> = if has_fill {
            (0..groups.signatures.len()).map(|signature| groups.signatures.labels(signature)).collect()
        } else {
            Vec::new()
        };
        let mut outcomes: Vec<(usize, Outcome)> = Vec::with_capacity(many.rows.len());
        for (row, &group) in many.rows.iter().zip(&groups.of_many) {
            self.budget.check()?;
            let needs_met = groups.many.of(group).len() > 1;
            for one in groups.ones.of(group) {
                let partner = Partner::Row(&ones.rows[*one]);
                let outcome = self.meet(&meeting, Partner::Row(row), partner, needs_met, |_| true, &mut work)?;
                // Of many that came and went, most never met.
                if !outcome.is_empty() {
                    outcomes.push((group, outcome));
                }
            }
            if let Some(value) = fill_ones {
                let partner = Partner::Fill { value, labels: &filled[group] };
                let is_alone = |step| groups.ones.of(group).iter().all(|one| !ones.rows[*one].has(step));
                let outcome = self.meet(&meeting, Partner::Row(row), partner, needs_met, is_alone, &mut work)?;
                outcomes.push((group, outcome));
            }
        }
        meeting.refuse_conflicts(&outcomes, &groups)?;
        if let Some(error) = ambiguous {
            return Err(error);
        }
        if let Some(value) = fill_many {
            for (row, &group) in ones.rows.iter().zip(&groups.of_ones) {
                let partner = Partner::Fill { value, labels: &filled[group] };
                let is_alone = |step| groups.many.of(group).iter().all(|one| !many.rows[*one].has(step));
                let outcome = self.meet(&meeting, partner, Partner::Row(row), false, is_alone, &mut work)?;
                outcomes.push((group, outcome));
            }
        }
        work.remarks.tell(node.span, &mut self.annotations);
        let rows = outcomes.into_iter().map(|(_, outcome)| outcome.row).filter(|row| row.slots() > 0).collect();
        let mut block = Block { rows };
        if !(steps.is_instant && self.settings.delayed_name_removal) {
            block.merge_duplicates()?;
        }
        Ok(block)
    }

    /// The operation where every row has one partner at most, and no two results the same labels: there is nothing to be in
    /// conflict, and what came from the "many" side becomes the result where it is.
    fn between_pairs(
        &mut self,
        meeting: &Meeting<'_>,
        groups: &Groups,
        mut many: Block,
        ones: &Block,
    ) -> Result<Block, QueryError> {
        let mut work = Work::default();
        let mut n_rows = 0;
        for at in 0..many.rows.len() {
            if at % ROWS_BETWEEN_CHECKS == 0 {
                self.budget.check()?;
            }
            let Some(one) = groups.ones.of(groups.of_many[at]).first() else { continue };
            let (row, one) = (&mut many.rows[at], &ones.rows[*one]);
            if meeting.needs_all(Partner::Row(row), Partner::Row(one)) {
                let outcome = self.meet(meeting, Partner::Row(row), Partner::Row(one), false, |_| true, &mut work)?;
                *row = outcome.row;
            } else {
                let f = meeting.f;
                match meeting.is_swapped {
                    true => row.floats.meet(&one.floats, |value, other| f(other, value)),
                    false => row.floats.meet(&one.floats, f),
                }
                if !row.floats.is_empty() {
                    row.labels = meeting.result_labels(&row.labels, &one.labels, &mut work.text);
                    row.drop_name = meeting.drops_name_later;
                }
            }
            if !row.is_empty() {
                many.rows.swap(n_rows, at);
                n_rows += 1;
            }
        }
        many.rows.truncate(n_rows);
        work.remarks.tell(meeting.node.span, &mut self.annotations);
        Ok(many)
    }

    /// Lets two partners meet, within the budget.
    fn meet(
        &mut self,
        meeting: &Meeting<'_>,
        many: Partner<'_>,
        one: Partner<'_>,
        needs_met: bool,
        may_meet: impl Fn(usize) -> bool,
        work: &mut Work,
    ) -> Result<Outcome, QueryError> {
        self.budget.charge(meeting.steps.count)?;
        let mut outcome = if meeting.needs_all(many, one) {
            meeting.meet_all(many, one, needs_met, may_meet, &mut work.remarks)
        } else {
            meeting.meet(many, one, needs_met, may_meet)
        };
        self.budget.release(meeting.steps.count);
        if !outcome.is_empty() {
            outcome.row.labels = meeting.result_labels(many.labels(), one.labels(), &mut work.text);
            self.budget.charge(outcome.row.cost())?;
        }
        Ok(outcome)
    }
}

/// Between so many rows the clock is looked at.
const ROWS_BETWEEN_CHECKS: usize = 64;

impl Meeting<'_> {
    /// Whether these partners have more than floats to look at.
    fn needs_all(&self, many: Partner<'_>, one: Partner<'_>) -> bool {
        let has_histograms = |partner: Partner<'_>| matches!(partner, Partner::Row(row) if !row.histograms.is_empty());
        // Trimming is for histograms, so whoever else comes is told.
        let is_trimming = matches!(self.node.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        is_trimming || has_histograms(many) || has_histograms(one)
    }

    /// Whether results have all labels of their signatures, so that those of two signatures differ.
    fn keeps_signatures(&self, many: &Block) -> bool {
        // What is taken over from the "one" side is no label of `on`, and the same on both sides otherwise.
        !self.drops_name
            || if self.matching.on {
                !self.matching.labels.iter().any(|name| is_metadata(name))
            } else {
                !many.rows.iter().any(|row| has_type(&row.labels))
            }
    }

    /// Lets two partners meet at the steps where both are there and `may_meet` holds.
    fn meet(&self, many: Partner<'_>, one: Partner<'_>, needs_met: bool, may_meet: impl Fn(usize) -> bool) -> Outcome {
        let mut floats = Column::default();
        let mut met = Vec::new();
        let (from, to) = match (many, one) {
            (Partner::Row(a), Partner::Row(b)) => {
                let ((a_first, a_slots), (b_first, b_slots)) = (a.floats.slots_from(), b.floats.slots_from());
                (a_first.max(b_first), (a_first + a_slots.len()).min(b_first + b_slots.len()))
            }
            (Partner::Row(row), Partner::Fill { .. }) | (Partner::Fill { .. }, Partner::Row(row)) => {
                let (first, slots) = row.floats.slots_from();
                (first, first + slots.len())
            }
            (Partner::Fill { .. }, Partner::Fill { .. }) => (0, 0),
        };
        let value_of = |partner: Partner<'_>, step| match partner {
            Partner::Row(row) => row.floats.at(step),
            Partner::Fill { value, .. } => value,
        };
        for step in from..to.min(self.steps.count) {
            let (a, b) = (value_of(many, step), value_of(one, step));
            if !both(a, b) || !may_meet(step) {
                continue;
            }
            if needs_met {
                met.push(step);
            }
            let value = if self.is_swapped { (self.f)(b, a) } else { (self.f)(a, b) };
            if !is_absent(value) {
                floats.push(step, value);
            }
        }
        Outcome { row: Row { drop_name: self.drops_name_later, ..Row::of_floats(Labels::empty(), floats) }, met }
    }

    /// As [`Meeting::meet`], of partners that may have histograms.
    fn meet_all(
        &self,
        many: Partner<'_>,
        one: Partner<'_>,
        needs_met: bool,
        may_meet: impl Fn(usize) -> bool,
        remarks: &mut Remarks,
    ) -> Outcome {
        let (mut floats, mut histograms, mut met) = (Column::default(), HistogramColumn::default(), Vec::new());
        for step in 0..self.steps.count {
            let (Some(a), Some(b)) = (many.operand(step), one.operand(step)) else { continue };
            if !may_meet(step) {
                continue;
            }
            let (left, right) = if self.is_swapped { (b, a) } else { (a, b) };
            let (combination, remark) = combine(self.node, left, right);
            remarks.of_step.extend(remark.map(|remark| (step, remark)));
            if matches!(combination, Combination::Refused) {
                continue;
            }
            if needs_met {
                met.push(step);
            }
            match combination {
                Combination::Float(_) | Combination::Histogram(_) if self.node.return_bool => floats.push(step, 1.0),
                Combination::Filtered if self.node.return_bool => floats.push(step, 0.0),
                Combination::Float(value) => floats.push(step, value),
                Combination::Histogram(histogram) => histograms.push(step, histogram),
                Combination::Filtered | Combination::Refused => {}
            }
        }
        Outcome { row: Row { labels: Labels::empty(), drop_name: self.drops_name_later, floats, histograms }, met }
    }

    /// The labels of the result of two partners; `text` is room to work in.
    fn result_labels(&self, many: &Labels, one: &Labels, text: &mut String) -> Labels {
        let matching = self.matching;
        let is_one_to_one = matching.cardinality == Cardinality::OneToOne;
        if !is_one_to_one && !self.drops_name && self.include.is_empty() {
            return many.clone();
        }
        let named = |name: &str| matching.labels.iter().any(|label| label == name);
        let keeps =
            |name: &str| !(self.drops_name && is_metadata(name)) && (!is_one_to_one || named(name) == matching.on);
        // An empty value removes the label.
        let taken: Vec<(&str, &str)> = self.include.iter().map(|name| (*name, one.value(name))).collect();
        many.overlaid(keeps, &taken, text)
    }
}
