//! `count_values`: how many elements of a group have the same value. The groups depend on the values.

use std::collections::HashMap;

use relatum_model::Labels;
use relatum_model::labels::METRIC_NAME;

use super::{Block, Column, Evaluated, Evaluator, Row, Steps, execution};
use crate::error::QueryError;
use crate::histogram::to_text;
use crate::syntax::{Aggregate, Expr, StringLiteral};

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
        let block = self.vector(&node.expr, steps)?;
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<(Labels, HashMap<usize, f64>)> = Vec::new();
        for row in &block.rows {
            self.budget.check()?;
            // Values repeat, and making labels is dear.
            let mut of_value: HashMap<u64, usize> = HashMap::new();
            let mut place = |text: String| {
                let labels = labels_with_value(node, &row.labels, &label, text);
                *places.entry(labels.clone()).or_insert_with(|| {
                    groups.push((labels, HashMap::new()));
                    groups.len() - 1
                })
            };
            let mut found: Vec<(usize, usize)> = Vec::with_capacity(row.floats.slots());
            for (step, value) in row.floats.iter() {
                found.push((step, *of_value.entry(value.to_bits()).or_insert_with(|| place(plain(value)))));
            }
            for (step, histogram) in row.histograms.iter() {
                found.push((step, place(to_text(histogram))));
            }
            for (step, group) in found {
                let counts = &mut groups[group].1;
                if !counts.contains_key(&step) {
                    self.budget.charge(1)?;
                }
                *counts.entry(step).or_insert(0.0) += 1.0;
            }
        }
        let mut rows = Vec::with_capacity(groups.len());
        for (labels, counts) in groups {
            let mut counts: Vec<(usize, f64)> = counts.into_iter().collect();
            counts.sort_unstable_by_key(|(step, _)| *step);
            let mut floats = Column::default();
            for (step, count) in counts {
                floats.push(step, count);
            }
            let row = Row::of_floats(labels, floats);
            self.budget.charge(row.cost())?;
            rows.push(row);
        }
        Ok(Block { rows })
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

/// A float without an exponent, as Go's `%f` with as many digits as needed.
fn plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value}")
    }
}
