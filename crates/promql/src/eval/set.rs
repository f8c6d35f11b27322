//! `and`, `or`, `unless`: which elements are there, whatever their values.

use std::collections::HashMap;

use relatum_model::Labels;

use super::matching::signature;
use super::{Block, Evaluator, Steps};
use crate::error::QueryError;
use crate::syntax::{Binary, BinaryOp, VectorMatching};

impl Evaluator<'_> {
    pub(super) fn set_operation(
        &mut self,
        node: &Binary,
        mut left: Block,
        mut right: Block,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        let default = VectorMatching::default();
        let matching = node.matching.as_ref().unwrap_or(&default);
        match node.op {
            BinaryOp::And => {
                let present = self.presence(&right, matching, steps)?;
                filter(&mut left, matching, &present, true);
                Ok(left)
            }
            BinaryOp::Unless => {
                let present = self.presence(&right, matching, steps)?;
                filter(&mut left, matching, &present, false);
                Ok(left)
            }
            _ => {
                let present = self.presence(&left, matching, steps)?;
                filter(&mut right, matching, &present, false);
                left.rows.append(&mut right.rows);
                // At a single step two elements with the same labels are for the end of the evaluation to judge.
                if !(steps.is_instant && self.settings.delayed_name_removal) {
                    left.merge_duplicates()?;
                }
                Ok(left)
            }
        }
    }

    /// For each signature, at which steps a row has a value.
    fn presence(
        &mut self,
        block: &Block,
        matching: &VectorMatching,
        steps: Steps,
    ) -> Result<HashMap<Labels, Vec<bool>>, QueryError> {
        let mut present: HashMap<Labels, Vec<bool>> = HashMap::new();
        for row in &block.rows {
            let steps_present = match present.entry(signature(&row.labels, matching)) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    self.budget.charge(steps.count)?;
                    entry.insert(vec![false; steps.count])
                }
            };
            for step in row.steps() {
                steps_present[step] = true;
            }
        }
        Ok(present)
    }
}

/// Keeps the values at steps where the other side has a partner, or where it has none.
fn filter(block: &mut Block, matching: &VectorMatching, present: &HashMap<Labels, Vec<bool>>, keep_matched: bool) {
    block.rows.retain_mut(|row| match present.get(&signature(&row.labels, matching)) {
        None => !keep_matched,
        Some(present) => {
            row.retain(|step| present[step] == keep_matched);
            !row.is_empty()
        }
    });
}
