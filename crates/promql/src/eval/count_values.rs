//! `count_values`: how many elements of a group have the same value. The groups depend on the values.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use relatum_model::Labels;
use relatum_model::labels::METRIC_NAME;
use relatum_model::text::format_value_plain;

use super::relabel::check_name;
use super::window::HISTOGRAM_WORK;
use super::{Block, Budget, Column, Cost, Evaluated, Evaluator, Row, Steps, execution, labels_bytes};
use crate::error::QueryError;
use crate::histogram::to_text;
use crate::syntax::{Aggregate, Expr, StringLiteral};

/// What it takes to find the group of a value, counted as work on samples that are only looked at.
const VALUE_WORK: usize = 16;
/// What a count takes beside the sample that it is.
const COUNT_BYTES: usize = size_of::<(usize, f64)>();
/// What a group takes beside its labels and its counts: itself, its place, its row, and the first reserve for counts.
const GROUP_BYTES: usize = size_of::<(Labels, HashMap<usize, f64>)>()
    + 2 * size_of::<(Labels, usize)>()
    + size_of::<Row>()
    + 4 * size_of::<(usize, f64)>();

impl Evaluator<'_> {
    pub(super) fn count_values(&mut self, node: &Aggregate, param: &Expr, steps: Steps) -> Result<Block, QueryError> {
        let Evaluated::Text(label) = self.eval(param, Steps::instant(steps.start_ms))? else {
            unreachable!("the type of the parameter was checked by the parser")
        };
        if let Expr::String(StringLiteral { not_utf8: Some(text), .. }) = param.without_parens() {
            return Err(execution(format!("invalid label name {text}")));
        }
        if label.is_empty() {
            return Err(execution(format!("invalid label name {}", relatum_model::text::quote(&label))));
        }
        check_name("count_values", &label)?;
        let block = self.vector(&node.expr, steps)?;
        let mut counted = Counted::default();
        for row in &block.rows {
            self.budget.check()?;
            // Values repeat, and making labels is dear.
            let mut of_value: HashMap<u64, usize> = HashMap::new();
            let named = |text| labels_with_value(node, &row.labels, &label, text);
            for (step, value) in row.floats.iter() {
                self.budget.step(VALUE_WORK)?;
                let group = match of_value.entry(value.to_bits()) {
                    Entry::Occupied(group) => *group.get(),
                    Entry::Vacant(new) => {
                        *new.insert(counted.group(named(format_value_plain(value)), &mut self.budget)?)
                    }
                };
                counted.count(group, step, &mut self.budget)?;
            }
            for (step, histogram) in row.histograms.iter() {
                self.budget.step(HISTOGRAM_WORK)?;
                let group = counted.group(named(to_text(histogram)), &mut self.budget)?;
                counted.count(group, step, &mut self.budget)?;
            }
        }
        let mut rows = Vec::with_capacity(counted.groups.len());
        for (labels, counts) in counted.groups {
            let mut counts: Vec<(usize, f64)> = counts.into_iter().collect();
            counts.sort_unstable_by_key(|(step, _)| *step);
            let mut floats = Column::default();
            for (step, count) in counts {
                floats.push(step, count);
            }
            let row = Row::of_floats(labels, floats);
            // The labels are those of the group.
            self.budget.charge(row.slots())?;
            rows.push(row);
        }
        Ok(Block { rows })
    }
}

/// How often each value was met, at each step.
#[derive(Default)]
struct Counted {
    places: HashMap<Labels, usize>,
    groups: Vec<(Labels, HashMap<usize, f64>)>,
}

impl Counted {
    /// The group with these labels, which may be a new one.
    fn group(&mut self, labels: Labels, budget: &mut Budget) -> Result<usize, QueryError> {
        if let Some(group) = self.places.get(&labels) {
            return Ok(*group);
        }
        budget.charge(Cost::default().with_bytes(GROUP_BYTES + labels_bytes(&labels)))?;
        let group = self.groups.len();
        self.places.insert(labels.clone(), group);
        self.groups.push((labels, HashMap::new()));
        Ok(group)
    }

    fn count(&mut self, group: usize, step: usize, budget: &mut Budget) -> Result<(), QueryError> {
        match self.groups[group].1.entry(step) {
            Entry::Occupied(mut count) => *count.get_mut() += 1.0,
            Entry::Vacant(first) => {
                // Half of what is reserved is in use, about.
                budget.charge(Cost::from(1).with_bytes(COUNT_BYTES))?;
                first.insert(1.0);
            }
        }
        Ok(())
    }
}

fn labels_with_value(node: &Aggregate, labels: &Labels, label: &str, value: String) -> Labels {
    let named = |name: &str| node.grouping.iter().any(|grouped| grouped == name);
    let mut builder = labels.to_builder();
    builder.set(label, value);
    builder.retain(
        |name, _| if node.without { name != METRIC_NAME && !named(name) } else { named(name) || name == label },
    );
    builder.build()
}
