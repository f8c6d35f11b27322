//! Operators between two vectors: who meets whom.
//!
//! Rows meet by their signature, which is made once for each row. The "one" side is called `ones` here, whatever side of the
//! operator it is on, and the other `many`. Conflicts are conflicts only at a step where both rows have a value, so whether there
//! is one is looked at step by step, but only for signatures where rows could be in conflict.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use relatum_model::Labels;
use relatum_model::labels::METRIC_NAME;

use super::binary::{Element, both, changes_metric, element};
use super::binary_histograms::{Combination, Operand, combine};
use super::groups::Groups as Signatures;
use super::names::{in_braces, is_metadata};
use super::{Block, Column, Evaluator, HistogramColumn, Row, Steps, execution, is_absent};
use crate::annotation::Annotations;
use crate::error::QueryError;
use crate::syntax::{Binary, BinaryOp, Cardinality, VectorMatching};

/// The labels by which a row finds its partners.
pub(super) fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    if matching.on {
        labels.filtered(|name| matching.labels.iter().any(|label| label == name))
    } else {
        labels.filtered(|name| name != METRIC_NAME && !matching.labels.iter().any(|label| label == name))
    }
}

/// The rows of one signature.
struct Group {
    signature: Labels,
    many: Vec<usize>,
    ones: Vec<usize>,
}

/// The rows of both sides by signature, and for each row the number of its group.
struct Groups {
    all: Vec<Group>,
    of_many: Vec<usize>,
    of_ones: Vec<usize>,
}

impl Groups {
    fn new(many: &Block, ones: &Block, matching: &VectorMatching) -> Self {
        let mut signatures = Signatures::by(!matching.on, matching.labels.clone());
        let mut groups = Groups { all: Vec::new(), of_many: Vec::new(), of_ones: Vec::new() };
        let mut place = |labels: &Labels, all: &mut Vec<Group>| {
            let group = signatures.of(labels, false);
            if group == all.len() {
                let signature = signatures.labels[group].clone();
                all.push(Group { signature, many: Vec::new(), ones: Vec::new() });
            }
            group
        };
        for (at, row) in ones.rows.iter().enumerate() {
            let group = place(&row.labels, &mut groups.all);
            groups.all[group].ones.push(at);
            groups.of_ones.push(group);
        }
        for (at, row) in many.rows.iter().enumerate() {
            let group = place(&row.labels, &mut groups.all);
            groups.all[group].many.push(at);
            groups.of_many.push(group);
        }
        groups
    }
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

/// The operation and its two sides.
struct Meeting<'a> {
    node: &'a Binary,
    matching: &'a VectorMatching,
    f: Element,
    // Whether the "one" side is on the left of the operator.
    is_swapped: bool,
    drops_name: bool,
    drops_name_later: bool,
    steps: Steps,
}

/// What came of two partners: the result, and at which steps they met at all.
struct Outcome {
    row: Row,
    met: Vec<usize>,
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
        let mut meeting = Meeting {
            node,
            matching,
            f: element(node.op, node.return_bool),
            is_swapped,
            drops_name: (node.return_bool && !self.settings.delayed_name_removal) || changes_metric(node.op),
            drops_name_later: node.return_bool && self.settings.delayed_name_removal,
            steps,
        };
        let groups = Groups::new(&many, &ones, matching);
        // The first conflict is the one to tell, so behind an ambiguous step nothing more is looked for.
        let ambiguous = meeting.find_ambiguous(&groups, &many, &ones, has_fill);
        if let Some((step, _)) = &ambiguous {
            meeting.steps.count = *step;
        }

        let mut outcomes: Vec<(usize, Outcome)> = Vec::with_capacity(many.rows.len());
        for (row, &at) in many.rows.iter().zip(&groups.of_many) {
            self.budget.check()?;
            let group = &groups.all[at];
            let needs_met = group.many.len() > 1;
            for one in &group.ones {
                let partner = Partner::Row(&ones.rows[*one]);
                let outcome = self.meet(&meeting, Partner::Row(row), partner, needs_met, |_| true)?;
                outcomes.push((at, outcome));
            }
            if let Some(value) = fill_ones {
                let partner = Partner::Fill { value, labels: &group.signature };
                let is_alone = |step| group.ones.iter().all(|one| !ones.rows[*one].has(step));
                let outcome = self.meet(&meeting, Partner::Row(row), partner, needs_met, is_alone)?;
                outcomes.push((at, outcome));
            }
        }
        meeting.refuse_conflicts(&outcomes, &groups)?;
        if let Some((_, error)) = ambiguous {
            return Err(error);
        }
        if let Some(value) = fill_many {
            for (row, &at) in ones.rows.iter().zip(&groups.of_ones) {
                let group = &groups.all[at];
                let partner = Partner::Fill { value, labels: &group.signature };
                let is_alone = |step| group.many.iter().all(|one| !many.rows[*one].has(step));
                let outcome = self.meet(&meeting, partner, Partner::Row(row), false, is_alone)?;
                outcomes.push((at, outcome));
            }
        }
        let rows = outcomes.into_iter().map(|(_, outcome)| outcome.row).filter(|row| row.slots() > 0).collect();
        let mut block = Block { rows };
        if !(steps.is_instant && self.settings.delayed_name_removal) {
            block.merge_duplicates()?;
        }
        Ok(block)
    }

    /// Lets two partners meet, within the budget.
    fn meet(
        &mut self,
        meeting: &Meeting<'_>,
        many: Partner<'_>,
        one: Partner<'_>,
        needs_met: bool,
        may_meet: impl Fn(usize) -> bool,
    ) -> Result<Outcome, QueryError> {
        self.budget.charge(meeting.steps.count)?;
        let has_histograms = |partner: Partner<'_>| matches!(partner, Partner::Row(row) if !row.histograms.is_empty());
        // Trimming is for histograms, so whoever else comes is told.
        let is_trimming = matches!(meeting.node.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        let outcome = if is_trimming || has_histograms(many) || has_histograms(one) {
            meeting.meet_all(many, one, needs_met, may_meet, &mut self.annotations)
        } else {
            meeting.meet(many, one, needs_met, may_meet)
        };
        self.budget.release(meeting.steps.count);
        self.budget.charge(outcome.row.slots())?;
        Ok(outcome)
    }
}

impl Meeting<'_> {
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
        let labels = if floats.slots() > 0 || !met.is_empty() {
            self.result_labels(many.labels(), one.labels())
        } else {
            Labels::empty()
        };
        Outcome { row: Row { drop_name: self.drops_name_later, ..Row::of_floats(labels, floats) }, met }
    }

    /// As [`Meeting::meet`], of partners that may have histograms.
    fn meet_all(
        &self,
        many: Partner<'_>,
        one: Partner<'_>,
        needs_met: bool,
        may_meet: impl Fn(usize) -> bool,
        annotations: &mut Annotations,
    ) -> Outcome {
        let (mut floats, mut histograms, mut met) = (Column::default(), HistogramColumn::default(), Vec::new());
        for step in 0..self.steps.count {
            let (Some(a), Some(b)) = (many.operand(step), one.operand(step)) else { continue };
            if !may_meet(step) {
                continue;
            }
            let (left, right) = if self.is_swapped { (b, a) } else { (a, b) };
            let combination = combine(self.node, left, right, annotations);
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
        let is_empty = floats.slots() == 0 && histograms.is_empty() && met.is_empty();
        let labels = if is_empty { Labels::empty() } else { self.result_labels(many.labels(), one.labels()) };
        Outcome { row: Row { labels, drop_name: self.drops_name_later, floats, histograms }, met }
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = self.matching;
        let named = |name: &str| matching.labels.iter().any(|label| label == name);
        let keeps = |name: &str| {
            !(self.drops_name && is_metadata(name))
                && (matching.cardinality != Cardinality::OneToOne || named(name) == matching.on)
        };
        let labels = many.filtered(keeps);
        if matching.include.is_empty() {
            return labels;
        }
        let mut builder = labels.to_builder();
        for name in &matching.include {
            // An empty value removes the label.
            builder.set(name.as_str(), one.value(name));
        }
        builder.build()
    }

    /// The first step at which several rows of one signature are on the side that must have one, and what is wrong there.
    fn find_ambiguous(
        &self,
        groups: &Groups,
        many: &Block,
        ones: &Block,
        has_fill: bool,
    ) -> Option<(usize, QueryError)> {
        let mut found: Option<(usize, QueryError)> = None;
        for group in groups.all.iter().filter(|group| group.ones.len() > 1) {
            for step in 0..found.as_ref().map_or(self.steps.count, |(step, _)| *step) {
                let mut present = group.ones.iter().filter(|one| ones.rows[**one].has(step));
                let (Some(first), Some(second)) = (present.next(), present.next()) else { continue };
                // Where the other side has no element at all, nobody asks.
                if !has_fill && many.rows.iter().all(|row| !row.has(step)) {
                    continue;
                }
                let (first, second) = (&ones.rows[*first].labels, &ones.rows[*second].labels);
                let mut names = [in_braces(first), in_braces(second)];
                names.sort();
                let side = if self.is_swapped { "left" } else { "right" };
                let error = execution(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
                     many-to-many matching not allowed: matching labels must be unique on one side",
                    in_braces(&group.signature),
                    names[0],
                    names[1],
                ));
                found = Some((step, error));
                break;
            }
        }
        found
    }

    /// Several results of one signature at the same step, where there may be one only.
    fn refuse_conflicts(&self, outcomes: &[(usize, Outcome)], groups: &Groups) -> Result<(), QueryError> {
        let is_one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let mut met: HashMap<(usize, Option<&Labels>), Vec<bool>, RandomState> = HashMap::default();
        for (group, outcome) in outcomes.iter().filter(|(group, _)| groups.all[*group].many.len() > 1) {
            // Without grouping any two results are one too many, with it two with the same labels.
            let labels = if is_one_to_one { None } else { Some(&outcome.row.labels) };
            let steps = met.entry((*group, labels)).or_insert_with(|| vec![false; self.steps.count]);
            for &step in &outcome.met {
                if std::mem::replace(&mut steps[step], true) {
                    return Err(execution(if is_one_to_one {
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                    } else {
                        "multiple matches for labels: grouping labels must ensure unique matches"
                    }));
                }
            }
        }
        Ok(())
    }
}
