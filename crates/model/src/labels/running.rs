//! One label set after the other in the same memory: neighbours in the order of sets have most of their labels in common.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::{Labels, field, order, push_field};

/// The labels of the set a walk stands at, sorted by name.
#[derive(Debug, Clone, Default)]
pub struct RunningLabels {
    text: String,
    // Where each label begins.
    begins: Vec<usize>,
    // The labels behind the first one that changes, and where each of them begins; only while they change.
    before: String,
    before_begins: Vec<usize>,
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
        if !self.may_follow(name) || value.is_empty() {
            return false;
        }
        self.begins.push(self.text.len());
        push_field(&mut self.text, name);
        push_field(&mut self.text, value);
        true
    }

    /// Makes it a set of `n` labels: at the places where `is_kept` holds those that are there now, elsewhere what `label` says, a name and
    /// a value. If these are no label set, or `label` fails, there are no labels any more; the answer is `false`, or that error.
    ///
    /// Labels that stay are copied as they are, as many at once as stand together, and only those behind the first one that changes.
    pub fn change<'l, E>(
        &mut self,
        n: usize,
        is_kept: impl Fn(usize) -> bool,
        label: impl FnMut(usize) -> Result<(&'l str, &'l str), E>,
    ) -> Result<bool, E> {
        let changed = self.try_change(n, is_kept, label);
        if !matches!(changed, Ok(true)) {
            self.truncate(0);
        }
        changed
    }

    fn try_change<'l, E>(
        &mut self,
        n: usize,
        is_kept: impl Fn(usize) -> bool,
        mut label: impl FnMut(usize) -> Result<(&'l str, &'l str), E>,
    ) -> Result<bool, E> {
        let n_before = self.len();
        let first = (0..n.min(n_before)).take_while(|at| is_kept(*at)).count();
        let Some(&from) = self.begins.get(first) else { return self.push_all(first..n, label) };
        self.before.clear();
        self.before.push_str(&self.text[from..]);
        self.before_begins.clear();
        self.before_begins.extend(self.begins[first..].iter().map(|begin| begin - from));
        self.truncate(first);
        let mut at = first;
        while at < n {
            let kept = (at..n.min(n_before)).take_while(|at| is_kept(*at)).count();
            if kept == 0 {
                if !self.push_all(at..at + 1, &mut label)? {
                    return Ok(false);
                }
                at += 1;
                continue;
            }
            let begin = self.before_begins[at - first];
            let end = self.before_begins.get(at + kept - first).copied().unwrap_or(self.before.len());
            let run = &self.before[begin..end];
            if !self.may_follow(field(run).0) {
                return Ok(false);
            }
            let to = self.text.len();
            self.begins.extend(self.before_begins[at - first..at + kept - first].iter().map(|at| at - begin + to));
            self.text.push_str(run);
            at += kept;
        }
        Ok(true)
    }

    fn push_all<'l, E>(
        &mut self,
        places: Range<usize>,
        mut label: impl FnMut(usize) -> Result<(&'l str, &'l str), E>,
    ) -> Result<bool, E> {
        for at in places {
            let (name, value) = label(at)?;
            if !self.push(name, value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether `name` is behind that of the last label.
    fn may_follow(&self, name: &str) -> bool {
        self.begins.last().is_none_or(|begin| field(&self.text[*begin..]).0 < name)
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

    #[test]
    fn what_changes_into_no_set_is_empty() {
        let start = || {
            let mut labels = RunningLabels::default();
            assert!(labels.push("a", "1") && labels.push("c", "3") && labels.push("e", "5"));
            labels
        };
        let check = |n: usize, kept: &[usize], label: Result<(&'static str, &'static str), ()>, expected| {
            let mut labels = start();
            assert_eq!(labels.change(n, |at| kept.contains(&at), |_| label), expected);
            assert_eq!(labels.is_empty(), expected != Ok(true));
        };
        check(3, &[0, 2], Ok(("d", "4")), Ok(true));
        check(4, &[0, 1, 2], Ok(("f", "6")), Ok(true));
        // Not behind the one before, not before the one behind, without a value.
        check(3, &[0, 2], Ok(("a", "4")), Ok(false));
        check(3, &[0, 2], Ok(("e", "4")), Ok(false));
        check(3, &[1, 2], Ok(("c", "4")), Ok(false));
        check(4, &[0, 1, 2], Ok(("e", "6")), Ok(false));
        check(3, &[0, 2], Ok(("d", "")), Ok(false));
        check(3, &[0, 2], Err(()), Err(()));
    }

    proptest! {
        #[test]
        fn from_set_to_set(sets in proptest::collection::vec(
            proptest::collection::btree_map("[a-c]{1,2}", "[x-z]{1,70}", 0..5), 1..6,
        )) {
            let (mut running, mut changing) = (RunningLabels::default(), RunningLabels::default());
            let mut before: Vec<(String, String)> = Vec::new();
            let mut of_before = Labels::empty();
            for set in sets {
                let set: Vec<(String, String)> = set.into_iter().collect();
                let shared = set.iter().zip(&before).take_while(|(a, b)| a == b).count();
                running.truncate(shared);
                for (name, value) in &set[shared..] {
                    prop_assert!(running.push(name, value));
                }
                let label = |at: usize| Ok::<_, ()>((set[at].0.as_str(), set[at].1.as_str()));
                let changed = changing.change(set.len(), |at| before.get(at) == Some(&set[at]), label);
                prop_assert_eq!(changed, Ok(true));
                prop_assert_eq!(changing.len(), set.len());
                prop_assert!(changing == running);
                let labels = Labels::from_pairs(set.clone());
                prop_assert_eq!(running.to_labels(), labels.clone());
                prop_assert!(running == labels);
                prop_assert_eq!(running.partial_cmp(&of_before), Some(labels.cmp(&of_before)));
                (before, of_before) = (set, labels);
            }
        }
    }
}
