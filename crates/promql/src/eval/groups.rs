//! Groups of aggregations: which rows belong together.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use relatum_model::Labels;
use relatum_model::labels::METRIC_NAME;

use super::Row;
use super::names::is_metadata;
use crate::syntax::Aggregate;

/// The rows of an aggregation by group: for each row the number of its group, and for each group its labels.
pub(super) struct Grouping {
    pub(super) of_row: Vec<usize>,
    pub(super) labels: Vec<Labels>,
}

impl Grouping {
    pub(super) fn new(node: &Aggregate, rows: &[Row]) -> Self {
        let mut groups = Groups::new(node);
        let of_row = rows.iter().map(|row| groups.of(&row.labels, false)).collect();
        Grouping { of_row, labels: groups.labels }
    }

    /// The rows of each group, in their order.
    pub(super) fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.labels.len()];
        for (row, group) in self.of_row.iter().enumerate() {
            members[*group].push(row);
        }
        members
    }
}

/// The groups that were met so far, in the order in which they were.
///
/// The labels of a group are made once, when it is met; later rows are only compared with what they have in common.
#[derive(Clone)]
pub(crate) struct Groups {
    by: Grouped,
    pub(super) labels: Vec<Labels>,
    places: HashMap<Box<[u8]>, usize, RandomState>,
    // The labels of a row that count, one after the other.
    key: Vec<u8>,
    // The key and the place of the row before: neighbours often belong together.
    last: Option<(Vec<u8>, usize)>,
}

impl Groups {
    pub(super) fn new(node: &Aggregate) -> Self {
        Groups::by(node.without, node.grouping.clone())
    }

    /// Groups by the labels `names`, or by all others but the name of the metric.
    pub(super) fn by(without: bool, mut names: Vec<String>) -> Self {
        names.sort_unstable();
        let by = Grouped { without, names };
        Groups { by, labels: Vec::new(), places: HashMap::default(), key: Vec::new(), last: None }
    }

    /// The same groups, of which none was met yet.
    pub(super) fn like(&self) -> Self {
        Groups { by: self.by.clone(), labels: Vec::new(), places: HashMap::default(), key: Vec::new(), last: None }
    }

    /// The number of the group that `labels` belong to, as if they had none that say what the metric is if those are `bare`.
    pub(super) fn of(&mut self, labels: &Labels, bare: bool) -> usize {
        let by = &self.by;
        let counts = |name: &str| by.counts(name) && !(bare && is_metadata(name));
        self.key.clear();
        if by.without {
            labels.iter().filter(|(name, _)| counts(name)).for_each(|label| push_label(&mut self.key, label));
        } else {
            // Both are sorted, so most labels are passed by with one look, and those behind the last name need none.
            let mut wanted = by.names.iter().map(String::as_str).filter(|name| !(bare && is_metadata(name))).peekable();
            for (name, value) in labels {
                while wanted.next_if(|wanted| *wanted < name).is_some() {}
                match wanted.peek() {
                    None => break,
                    Some(wanted) if *wanted == name => push_label(&mut self.key, (name, value)),
                    Some(_) => {}
                }
            }
        }
        if let Some((key, place)) = &self.last
            && *key == self.key
        {
            return *place;
        }
        let place = match self.places.get(self.key.as_slice()) {
            Some(place) => *place,
            None => {
                self.labels.push(labels.filtered(counts));
                self.places.insert(self.key.as_slice().into(), self.labels.len() - 1);
                self.labels.len() - 1
            }
        };
        let (key, of_last) = self.last.get_or_insert_default();
        key.clear();
        key.extend_from_slice(&self.key);
        *of_last = place;
        place
    }
}

fn push_label(key: &mut Vec<u8>, (name, value): (&str, &str)) {
    for text in [name, value] {
        key.extend_from_slice(&(text.len() as u32).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
    }
}

/// Which labels a group is made of.
#[derive(Clone)]
struct Grouped {
    without: bool,
    // Sorted.
    names: Vec<String>,
}

impl Grouped {
    fn counts(&self, name: &str) -> bool {
        let is_named = self.names.iter().any(|label| label == name);
        if self.without { name != METRIC_NAME && !is_named } else { is_named }
    }
}
