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
    pub(super) fn members(&self) -> Members {
        Members::new(&self.of_row, self.labels.len())
    }
}

/// The rows of each group, one behind the other.
pub(super) struct Members {
    rows: Vec<usize>,
    // Where those of each group end; they begin where those of the one before end.
    ends: Vec<usize>,
}

impl Members {
    /// Of rows whose groups these are, of which there are so many.
    pub(super) fn new(of_row: &[usize], n_groups: usize) -> Self {
        // First how many each has, then where each begins, and at last, with all in their places, where each ends.
        let mut ends = vec![0; n_groups];
        of_row.iter().for_each(|group| ends[*group] += 1);
        let mut next = 0;
        for end in &mut ends {
            next += std::mem::replace(end, next);
        }
        let mut rows = vec![0; of_row.len()];
        for (row, group) in of_row.iter().enumerate() {
            rows[ends[*group]] = row;
            ends[*group] += 1;
        }
        Members { rows, ends }
    }

    /// The rows of one group, in their order.
    pub(super) fn of(&self, group: usize) -> &[usize] {
        let from = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.rows[from..self.ends[group]]
    }

    /// The rows of every group.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[usize]> {
        (0..self.ends.len()).map(|group| self.of(group))
    }
}

/// The groups that were met so far, in the order in which they were.
///
/// The labels of a group are made once, when it is met; those of later rows are only compared with them, in their encoding.
#[derive(Clone)]
pub(crate) struct Groups {
    by: Grouped,
    pub(super) labels: Vec<Labels>,
    places: HashMap<Labels, usize, RandomState>,
    // The labels of a row that count, encoded.
    key: String,
    // The place of the row before: neighbours often belong together.
    last: usize,
}

impl Groups {
    pub(super) fn new(node: &Aggregate) -> Self {
        Groups::by(node.without, node.grouping.clone())
    }

    /// Groups by the labels `names`, or by all others but the name of the metric.
    pub(super) fn by(without: bool, mut names: Vec<String>) -> Self {
        names.sort_unstable();
        Groups::of_kind(Grouped { without, names })
    }

    fn of_kind(by: Grouped) -> Self {
        Groups { by, labels: Vec::new(), places: HashMap::default(), key: String::new(), last: 0 }
    }

    /// The same groups, of which none was met yet.
    pub(super) fn like(&self) -> Self {
        Groups::of_kind(self.by.clone())
    }

    /// The number of the group that `labels` belong to, as if they had none that say what the metric is if those are `bare`.
    pub(super) fn of(&mut self, labels: &Labels, bare: bool) -> usize {
        if let Some(group) = self.find(labels, bare) {
            return group;
        }
        let labels = Labels::from_encoded(&self.key).expect("some labels of a set, in their order, are a set");
        self.last = self.labels.len();
        self.places.insert(labels.clone(), self.last);
        self.labels.push(labels);
        self.last
    }

    /// As [`Groups::of`], if the group was met.
    pub(super) fn find(&mut self, labels: &Labels, bare: bool) -> Option<usize> {
        self.key.clear();
        self.by.push_key(labels, bare, &mut self.key);
        if self.labels.get(self.last).is_some_and(|last| *last.encoded() == *self.key) {
            return Some(self.last);
        }
        self.last = *self.places.get(self.key.as_str())?;
        Some(self.last)
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
    /// Appends the encoding of those of `labels` that count.
    fn push_key(&self, labels: &Labels, bare: bool, key: &mut String) {
        if self.without {
            let is_named = |name: &str| self.names.iter().any(|label| label == name);
            labels.encode_filtered(|name| name != METRIC_NAME && !is_named(name) && !(bare && is_metadata(name)), key);
            return;
        }
        // Both are sorted, so most labels are passed by with one look, and those behind the last name need none.
        let mut wanted = self.names.iter().map(String::as_str).filter(|name| !(bare && is_metadata(name))).peekable();
        for (name, piece) in labels.pieces() {
            while wanted.next_if(|wanted| *wanted < name).is_some() {}
            match wanted.peek() {
                None => break,
                Some(wanted) if *wanted == name => key.push_str(piece),
                Some(_) => {}
            }
        }
    }
}
