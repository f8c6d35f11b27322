//! Groups of aggregations: which rows belong together.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use relatum_model::Labels;
use relatum_model::labels::METRIC_NAME;

use super::names::is_metadata;
use super::{Cost, Row, labels_bytes};
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
        let labels = (0..groups.len()).map(|group| groups.labels(group)).collect();
        Grouping { of_row, labels }
    }

    /// What it takes.
    pub(super) fn cost(&self) -> Cost {
        let labels = self.labels.iter().map(labels_bytes).sum();
        Cost::default().with_bytes(self.of_row.len() * size_of::<usize>()).with_bytes(labels)
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

    /// Takes away the rows for which `keep` does not hold.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let (mut from, mut n_kept) = (0, 0);
        for end in &mut self.ends {
            for at in from..*end {
                if keep(self.rows[at]) {
                    self.rows[n_kept] = self.rows[at];
                    n_kept += 1;
                }
            }
            from = std::mem::replace(end, n_kept);
        }
        self.rows.truncate(n_kept);
    }

    /// The rows of every group.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[usize]> {
        (0..self.ends.len()).map(|group| self.of(group))
    }
}

/// What a group takes beside its labels: where they end, and its entry in the table, which is half full at least.
const GROUP_BYTES: usize = size_of::<usize>() + 2 * (size_of::<(u64, usize)>() + 1);

/// The groups that were met so far, in the order in which they were.
///
/// Labels of a group are kept as their encoding, one behind the other: those of a row are compared with them as they are, and
/// sets are made only of groups that somebody asks for.
#[derive(Clone)]
pub(crate) struct Groups {
    by: Grouped,
    texts: String,
    ends: Vec<usize>,
    // The hash of each text, and which group has it.
    places: HashTable<(u64, usize)>,
    hasher: RandomState,
    // The labels of a row that count, encoded.
    key: String,
    // The group of the row before: neighbours often belong together.
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
        let (texts, ends, places, hasher, key, last) = Default::default();
        Groups { by, texts, ends, places, hasher, key, last }
    }

    /// The same groups, of which none was met yet.
    pub(super) fn like(&self) -> Self {
        Groups::of_kind(self.by.clone())
    }

    /// How many were met.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The labels of a group.
    pub(super) fn labels(&self, group: usize) -> Labels {
        Labels::from_encoded(self.text(group)).expect("some labels of a set, in their order, are a set")
    }

    /// What a group takes.
    pub(super) fn bytes(&self, group: usize) -> usize {
        GROUP_BYTES + self.text(group).len()
    }

    fn text(&self, group: usize) -> &str {
        let from = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[from..self.ends[group]]
    }

    /// The number of the group that `labels` belong to, as if they had none that say what the metric is if those are `bare`.
    pub(super) fn of(&mut self, labels: &Labels, bare: bool) -> usize {
        match self.place(labels, bare) {
            Ok(group) => group,
            Err(hash) => {
                self.last = self.ends.len();
                self.texts.push_str(&self.key);
                self.ends.push(self.texts.len());
                self.places.insert_unique(hash, (hash, self.last), |(hash, _)| *hash);
                self.last
            }
        }
    }

    /// As [`Groups::of`], if the group was met.
    pub(super) fn find(&mut self, labels: &Labels) -> Option<usize> {
        self.place(labels, false).ok()
    }

    /// The group of what is now in `key`, or its hash.
    fn place(&mut self, labels: &Labels, bare: bool) -> Result<usize, u64> {
        self.key.clear();
        self.by.push_key(labels, bare, &mut self.key);
        if self.last < self.ends.len() && self.text(self.last) == self.key {
            return Ok(self.last);
        }
        let hash = self.hasher.hash_one(self.key.as_str());
        let found = self.places.find(hash, |(other, group)| *other == hash && self.text(*group) == self.key);
        self.last = found.ok_or(hash)?.1;
        Ok(self.last)
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
