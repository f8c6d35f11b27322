//! Where several rows meet though only one may: what is wrong, and where first.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use relatum_model::Labels;

use super::{Groups, Meeting, Outcome};
use crate::error::QueryError;
use crate::eval::budget::Budget;
use crate::eval::names::in_braces;
use crate::eval::{Block, Row, execution};
use crate::syntax::Cardinality;

impl Meeting<'_> {
    /// The steps at which a partner is looked for at all: with nothing to fill in, those at which the "many" side has an element.
    pub(super) fn asked_steps(&self, many: &Block, has_fill: bool) -> Vec<bool> {
        let mut asked = vec![has_fill; self.steps.count];
        if !has_fill {
            many.rows.iter().flat_map(Row::steps).for_each(|step| asked[step] = true);
        }
        asked
    }

    /// The first of the `asked` steps at which several rows of one signature are on the side that must have one, and what is wrong there.
    pub(super) fn find_ambiguous(
        &self,
        groups: &Groups,
        ones: &Block,
        asked: &[bool],
        budget: &Budget,
    ) -> Result<Option<(usize, QueryError)>, QueryError> {
        // The step, the rows of the signature, and its number.
        let mut found: Option<(usize, &[usize], usize)> = None;
        // Of each step the last signature that was seen there, counted from 1.
        let mut seen = vec![0; asked.len()];
        for (signature, group) in groups.ones.iter().enumerate().filter(|(_, ones)| ones.len() > 1) {
            let mut first = found.map_or(asked.len(), |(step, ..)| step);
            for one in group {
                budget.check()?;
                for step in ones.rows[*one].steps().filter(|step| asked[*step]) {
                    let is_second = std::mem::replace(&mut seen[step], signature + 1) == signature + 1;
                    if is_second && step < first {
                        first = step;
                        found = Some((step, group, signature));
                    }
                }
            }
        }
        Ok(found.map(|(step, group, signature)| {
            let present = group.iter().map(|one| &ones.rows[*one]).filter(|one| one.has(step));
            let mut names: Vec<String> = present.take(2).map(|one| in_braces(&one.labels)).collect();
            names.sort();
            let side = if self.is_swapped { "left" } else { "right" };
            let error = execution(format!(
                "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}];\
                 many-to-many matching not allowed: matching labels must be unique on one side",
                in_braces(&groups.signatures.labels(signature)),
                names.join(", "),
            ));
            (step, error)
        }))
    }

    /// Several results of one signature at the same step, where there may be one only.
    pub(super) fn refuse_conflicts(&self, outcomes: &[(usize, Outcome)], groups: &Groups) -> Result<(), QueryError> {
        let is_one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let mut met: HashMap<(usize, Option<&Labels>), Vec<bool>, RandomState> = HashMap::default();
        for (group, outcome) in outcomes.iter().filter(|(group, _)| groups.many.of(*group).len() > 1) {
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
