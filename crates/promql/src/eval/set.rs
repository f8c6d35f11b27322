//! `and`, `or`, `unless`: which elements are there, whatever their values.

use super::groups::Groups as Signatures;
use super::matching::signatures;
use super::{Block, Cost, Evaluator, Row, Steps};
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
                self.presence(&right, matching, steps)?.filter(&mut left, true);
                Ok(left)
            }
            BinaryOp::Unless => {
                self.presence(&right, matching, steps)?.filter(&mut left, false);
                Ok(left)
            }
            _ => {
                self.presence(&left, matching, steps)?.filter(&mut right, false);
                left.rows.append(&mut right.rows);
                // At a single step two elements with the same labels are for the end of the evaluation to judge.
                if !(steps.is_instant && self.settings.delayed_name_removal) {
                    left.merge_duplicates()?;
                }
                Ok(left)
            }
        }
    }

    fn presence(&mut self, block: &Block, matching: &VectorMatching, steps: Steps) -> Result<Presence, QueryError> {
        let mut presence = Presence { signatures: signatures(matching), steps: steps.count, present: Vec::new() };
        for row in &block.rows {
            self.budget.step(row.slots())?;
            self.budget.charge(presence.add(row))?;
        }
        Ok(presence)
    }
}

/// For each signature, at which steps a row has a value.
struct Presence {
    signatures: Signatures,
    steps: usize,
    // As many for each signature as there are steps.
    present: Vec<bool>,
}

impl Presence {
    /// Adds a row; gives what is held for it from now on.
    fn add(&mut self, row: &Row) -> Cost {
        let signature = self.signatures.of(&row.labels, false);
        let first = signature * self.steps;
        let is_new = first == self.present.len();
        if is_new {
            self.present.resize(first + self.steps, false);
        }
        row.steps().for_each(|step| self.present[first + step] = true);
        if !is_new {
            return Cost::default();
        }
        Cost::from(self.steps).with_bytes(self.signatures.bytes(signature))
    }

    /// Keeps the values at steps where there is a partner, or where there is none.
    fn filter(&mut self, block: &mut Block, keep_matched: bool) {
        block.rows.retain_mut(|row| match self.signatures.find(&row.labels) {
            None => !keep_matched,
            Some(signature) => {
                let present = &self.present[signature * self.steps..][..self.steps];
                row.retain(|step| present[step] == keep_matched);
                !row.is_empty()
            }
        });
    }
}
