//! Functions that look at labels or at the order of elements: `label_replace`, `label_join`, `sort` and its like.

use relatum_model::labels::METRIC_NAME;

use super::call::Args;
use super::{Block, Cost, Evaluator, Row, Steps, execution, labels_bytes};
use crate::error::QueryError;
use crate::functions::natural;

impl Evaluator<'_> {
    pub(super) fn sort(&mut self, name: &str, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
        if !steps.is_instant {
            self.annotations.warn(
                args.call.span,
                "sort is ineffective for range queries since results are always ordered by labels",
            );
        }
        let mut block = self.vector(args.at(0), steps)?;
        if !name.starts_with("sort_by_label") {
            super::call::without_histograms(&mut block);
        }
        if steps.count != 1 {
            return Ok(block);
        }
        let is_descending = name.ends_with("_desc");
        if name.starts_with("sort_by_label") {
            let labels: Vec<&str> = (1..args.call.args.len()).map(|at| args.text(at)).collect();
            block.rows.sort_by(|a, b| {
                let by_labels =
                    labels.iter().map(|label| (a.labels.value(label), b.labels.value(label))).find(|(a, b)| a != b);
                let order = match by_labels {
                    Some((a, b)) => natural::compare(a, b),
                    None => a.labels.cmp(&b.labels),
                };
                if is_descending { order.reverse() } else { order }
            });
        } else {
            block.rows.sort_by(|a, b| {
                let (a, b) = (a.floats.at(0), b.floats.at(0));
                // NaN is last, whatever the direction.
                let order = a.partial_cmp(&b).map(|order| if is_descending { order.reverse() } else { order });
                order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            });
        }
        Ok(block)
    }

    pub(super) fn label_replace(&mut self, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
        let (template, source, pattern) = (args.text(2), args.text(3), args.text(4));
        let regex = relatum_model::regex::AnchoredRegex::new(pattern)
            .map_err(|_| execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        let target = destination("label_replace", args)?;
        check_name("label_replace", target)?;
        // Each reference gives the whole source at most.
        let n_references = template.matches('$').count();
        let mut block = self.vector(args.at(0), steps)?;
        let mut text = String::new();
        for row in &mut block.rows {
            self.budget.check()?;
            let source = row.labels.value(source);
            check_length("label_replace", template.len().saturating_add(source.len().saturating_mul(n_references)))?;
            if let Some(value) = regex.replace(source, template) {
                set_label(row, target, &value, &mut text);
                self.budget.charge(Cost::default().with_bytes(labels_bytes(&row.labels)))?;
            }
        }
        block.merge_duplicates()?;
        Ok(block)
    }

    pub(super) fn label_join(&mut self, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
        let separator = args.text(2);
        let sources: Result<Vec<&str>, &str> = (3..args.call.args.len()).map(|at| args.label_name(at)).collect();
        let sources =
            sources.map_err(|source| execution(format!("invalid source label name in label_join(): {source}")))?;
        let target = destination("label_join", args)?;
        check_name("label_join", target)?;
        let mut block = self.vector(args.at(0), steps)?;
        let mut text = String::new();
        for row in &mut block.rows {
            let values: Vec<&str> = sources.iter().map(|source| row.labels.value(source)).collect();
            let length = values.iter().map(|value| value.len().saturating_add(separator.len())).sum();
            self.budget.check()?;
            check_length("label_join", length)?;
            let value = values.join(separator);
            set_label(row, target, &value, &mut text);
            self.budget.charge(Cost::default().with_bytes(labels_bytes(&row.labels)))?;
        }
        block.merge_duplicates()?;
        Ok(block)
    }
}

/// The label that a function sets, which is its second argument.
fn destination<'c>(function: &str, args: Args<'c>) -> Result<&'c str, QueryError> {
    args.label_name(1).map_err(|name| execution(format!("invalid destination label name in {function}(): {name}")))
}

/// How long a label may become: each call can make one several times as long, and calls can be nested.
const VALUE_BYTES_MAX: usize = 1 << 16;

/// How long the name of a label may be that is added to every series of a result.
const NAME_BYTES_MAX: usize = 1 << 16;

/// Refuses to add a label with so long a name.
pub(super) fn check_name(function: &str, name: &str) -> Result<(), QueryError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(execution(format!("label name in {function}() is longer than {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_length(function: &str, bytes: usize) -> Result<(), QueryError> {
    if bytes > VALUE_BYTES_MAX {
        return Err(execution(format!("label value in {function}() may become longer than {VALUE_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// `text` is room to work in.
fn set_label(row: &mut Row, name: &str, value: &str, text: &mut String) {
    row.labels = row.labels.overlaid(|_| true, &[(name, value)], text);
    if name == METRIC_NAME {
        // Who sets the name wants to see it.
        row.drop_name = false;
    }
}
