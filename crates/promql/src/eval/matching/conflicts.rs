//! Where several rows meet though only one may: what is wrong, and where first.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use relatum_model::Labels;

use super::{Groups, Meeting, Outcome};
use crate::error::QueryError;
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
    pub(super) fn find_ambiguous(&self, groups: &Groups, ones: &Block, asked: &[bool]) -> Option<(usize, QueryError)> {
        let mut found: Option<(usize, QueryError)> = None;
        for (signature, group) in groups.ones.iter().enumerate().filter(|(_, ones)| ones.len() > 1) {
            let before = found.as_ref().map_or(asked.len(), |(step, _)| *step);
            for step in (0..before).filter(|step| asked[*step]) {
                let mut present = group.iter().filter(|one| ones.rows[**one].has(step));
                let (Some(first), Some(second)) = (present.next(), present.next()) else { continue };
                let (first, second) = (&ones.rows[*first].labels, &ones.rows[*second].labels);
                let mut names = [in_braces(first), in_braces(second)];
                names.sort();
                let side = if self.is_swapped { "left" } else { "right" };
                let error = execution(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
                     many-to-many matching not allowed: matching labels must be unique on one side",
                    in_braces(&groups.signatures.labels(signature)),
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
