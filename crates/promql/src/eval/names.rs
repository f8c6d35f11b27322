//! When metrics lose their names.
//!
//! A function gives something else than its metric, so the name has to go, and type and unit with it. It goes at once, or, with
//! delayed name removal, at the end of the evaluation, so that a query can still ask for it.

use relatum_model::Labels;
use relatum_model::labels::METRIC_NAME;
use relatum_model::text::quote;

use super::{Block, Evaluator, Row};
use crate::error::QueryError;

/// Whether the label says what the metric is, rather than where it comes from.
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Whether a label besides the name says what the metric is.
pub(crate) fn has_type(labels: &Labels) -> bool {
    // They are sorted, and hardly any name comes before these.
    let first = labels.iter().take_while(|(name, _)| *name <= "__unit__");
    first.into_iter().any(|(name, _)| is_metadata(name) && name != METRIC_NAME)
}

/// The labels without those that say what the metric is.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    if labels.iter().any(|(name, _)| is_metadata(name)) {
        labels.filtered(|name| !is_metadata(name))
    } else {
        labels.clone()
    }
}

/// All labels between braces, the name among them, as errors of Prometheus show them.
pub(super) fn in_braces(labels: &Labels) -> String {
    let label = |(name, value): (&str, &str)| {
        let is_plain = !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let name = if is_plain { name.to_owned() } else { quote(name) };
        format!("{name}={}", quote(value))
    };
    format!("{{{}}}", labels.iter().map(label).collect::<Vec<_>>().join(", "))
}

impl Evaluator<'_> {
    /// Takes the name from a row, now or later.
    pub(super) fn forget_name(&self, row: &mut Row) {
        if self.settings.delayed_name_removal {
            row.drop_name = true;
        } else {
            row.labels = without_metadata(&row.labels);
        }
    }

    /// Brings together the rows that have the same labels now that names may be gone.
    pub(super) fn settle_names(&self, block: &mut Block) -> Result<(), QueryError> {
        if self.settings.delayed_name_removal { Ok(()) } else { block.merge_duplicates() }
    }

    /// Takes the name from a row that was to lose it at the end.
    pub(super) fn finish_labels(&self, row: &mut Row) {
        if self.settings.delayed_name_removal && row.drop_name {
            row.labels = without_metadata(&row.labels);
            row.drop_name = false;
        }
    }

    /// Does what has to be done at the end of the evaluation.
    pub(crate) fn finish(&self, block: &mut Block) -> Result<(), QueryError> {
        if self.settings.delayed_name_removal {
            for row in &mut block.rows {
                self.finish_labels(row);
            }
            block.merge_duplicates()?;
        }
        Ok(())
    }
}
