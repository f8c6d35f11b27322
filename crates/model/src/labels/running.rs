//! One label set after the other in the same memory: neighbours in the order of sets have most of their labels in common.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Labels, field, order, push_field};

/// The labels of the set a walk stands at, sorted by name.
#[derive(Debug, Clone, Default)]
pub struct RunningLabels {
    text: String,
    // Where each label begins.
    begins: Vec<usize>,
}

impl RunningLabels {
    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.begins.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.begins.is_empty()
    }

    /// Keeps the first `n` labels.
    pub fn truncate(&mut self, n: usize) {
        if let Some(&begin) = self.begins.get(n) {
            self.text.truncate(begin);
            self.begins.truncate(n);
        }
    }

    /// Adds a label. If it has no value, or its name is not behind that of the last one, nothing is added and the answer is `false`.
    pub fn push(&mut self, name: &str, value: &str) -> bool {
        let is_behind = self.begins.last().is_none_or(|begin| field(&self.text[*begin..]).0 < name);
        if !is_behind || value.is_empty() {
            return false;
        }
        self.begins.push(self.text.len());
        push_field(&mut self.text, name);
        push_field(&mut self.text, value);
        true
    }

    /// Whether these are `labels`.
    pub fn are(&self, labels: &Labels) -> bool {
        self.text == *labels.0
    }

    /// The set.
    pub fn to_labels(&self) -> Labels {
        Labels(Arc::from(self.text.as_str()))
    }
}

impl PartialEq for RunningLabels {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RunningLabels {}

impl Ord for RunningLabels {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.text, &other.text)
    }
}

impl PartialOrd for RunningLabels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq<Labels> for RunningLabels {
    fn eq(&self, other: &Labels) -> bool {
        self.are(other)
    }
}

impl PartialOrd<Labels> for RunningLabels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(order(&self.text, &other.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_set_is_refused() {
        let mut labels = RunningLabels::default();
        assert!(labels.push("b", "1"));
        assert!(!labels.push("a", "1") && !labels.push("b", "2") && !labels.push("c", ""));
        assert_eq!(labels.to_labels(), Labels::from_pairs([("b", "1")]));
        labels.truncate(5);
        assert_eq!(labels.len(), 1);
        labels.truncate(0);
        assert!(labels.is_empty() && labels == Labels::empty());
    }

    proptest! {
        #[test]
        fn from_set_to_set(sets in proptest::collection::vec(
            proptest::collection::btree_map("[a-c]{1,2}", "[x-z]{1,70}", 0..5), 1..6,
        )) {
            let mut running = RunningLabels::default();
            let mut before: Vec<(String, String)> = Vec::new();
            let mut of_before = Labels::empty();
            for set in sets {
                let set: Vec<(String, String)> = set.into_iter().collect();
                let shared = set.iter().zip(&before).take_while(|(a, b)| a == b).count();
                running.truncate(shared);
                for (name, value) in &set[shared..] {
                    prop_assert!(running.push(name, value));
                }
                let labels = Labels::from_pairs(set.clone());
                prop_assert_eq!(running.to_labels(), labels.clone());
                prop_assert!(running == labels);
                prop_assert_eq!(running.partial_cmp(&of_before), Some(labels.cmp(&of_before)));
                (before, of_before) = (set, labels);
            }
        }
    }
}
