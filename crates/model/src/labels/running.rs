//! One label set after the other in the same memory: neighbours in the order of sets have most of their labels in common.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Labels, field_bytes, first_field, order, push_field_of};

/// The labels of the set a walk stands at, sorted by name.
#[derive(Debug, Clone, Default)]
pub struct RunningLabels {
    text: String,
    // Where each label begins.
    begins: Vec<usize>,
    // What is to be behind what stays; only while labels change.
    changed: Vec<u8>,
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

    /// Keeps the first `n` labels and puts `others`, names and values, behind them. If that makes no label set, for instance because it is
    /// no text, or if one of `others` is an error, there are no labels any more; the answer is `false`, or that error.
    pub fn replace<'l, E>(
        &mut self,
        n: usize,
        others: impl Iterator<Item = Result<(&'l [u8], &'l [u8]), E>>,
    ) -> Result<bool, E> {
        self.truncate(n);
        let replaced = self.try_extend(others);
        self.none_unless(replaced)
    }

    fn try_extend<'l, E>(&mut self, others: impl Iterator<Item = Result<(&'l [u8], &'l [u8]), E>>) -> Result<bool, E> {
        let (text, from) = (self.text.as_bytes(), self.text.len());
        let mut last_name = self.begins.last().map(|begin| first_field(&text[*begin..]));
        self.changed.clear();
        for label in others {
            let (name, value) = label?;
            if value.is_empty() || last_name.is_some_and(|last| last >= name) {
                return Ok(false);
            }
            self.begins.push(from + self.changed.len());
            push_field_of(&mut self.changed, name);
            push_field_of(&mut self.changed, value);
            last_name = Some(name);
        }
        Ok(self.end_with_changed(from))
    }

    /// Gives labels other values: those at the places for which `value` says one. Otherwise as [`RunningLabels::replace`].
    ///
    /// What is between two values is copied as it is, and all that changes is looked at together whether it is text, which is several times
    /// as fast as one by one.
    pub fn change_values<'l, E>(&mut self, value: impl FnMut(usize) -> Result<Option<&'l [u8]>, E>) -> Result<bool, E> {
        let changed = self.try_change_values(value);
        self.none_unless(changed)
    }

    fn try_change_values<'l, E>(
        &mut self,
        mut value: impl FnMut(usize) -> Result<Option<&'l [u8]>, E>,
    ) -> Result<bool, E> {
        self.changed.clear();
        let text = self.text.as_bytes();
        // Where the first value that changes begins, and how far the text is in `changed`.
        let (mut first, mut copied) = (text.len(), text.len());
        for at in 0..self.begins.len() {
            let begin = self.begins[at];
            if copied <= begin {
                self.begins[at] = first + self.changed.len() + (begin - copied);
            }
            let Some(value) = value(at)? else { continue };
            if value.is_empty() {
                return Ok(false);
            }
            let value_begin = begin + field_bytes(&text[begin..]).end;
            if self.changed.is_empty() {
                (first, copied) = (value_begin, value_begin);
            }
            self.changed.extend_from_slice(&text[copied..value_begin]);
            push_field_of(&mut self.changed, value);
            copied = self.begins.get(at + 1).copied().unwrap_or(text.len());
        }
        self.changed.extend_from_slice(&text[copied..]);
        Ok(self.end_with_changed(first))
    }

    /// Puts what changed in the place of the text from `from` on. `false` if it is no text.
    fn end_with_changed(&mut self, from: usize) -> bool {
        let Ok(changed) = std::str::from_utf8(&self.changed) else { return false };
        self.text.truncate(from);
        self.text.push_str(changed);
        true
    }

    /// Takes all labels away unless they are a set.
    fn none_unless<E>(&mut self, are_set: Result<bool, E>) -> Result<bool, E> {
        if !matches!(are_set, Ok(true)) {
            self.text.clear();
            self.begins.clear();
        }
        are_set
    }

    /// Whether these are `labels`.
    pub fn are(&self, labels: &Labels) -> bool {
        self.text == *labels.0
    }

    /// How this set stands to `labels` in the order of sets.
    pub fn order_to(&self, labels: &Labels) -> Ordering {
        order(self.text.as_bytes(), labels.0.as_bytes())
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
        order(self.text.as_bytes(), other.text.as_bytes())
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
        Some(self.order_to(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(pairs: &[(&str, &[u8])]) -> (RunningLabels, bool) {
        let mut labels = RunningLabels::default();
        let pairs = pairs.iter().map(|(name, value)| Ok::<_, ()>((name.as_bytes(), *value)));
        let is_set = labels.replace(0, pairs).unwrap();
        (labels, is_set)
    }

    #[test]
    fn what_is_no_set_is_none() {
        let (mut labels, is_set) = set(&[("a", b"1"), ("c", b"3"), ("e", b"5")]);
        assert!(is_set && labels == Labels::from_pairs([("a", "1"), ("c", "3"), ("e", "5")]));
        labels.truncate(5);
        assert_eq!(labels.len(), 3);
        labels.truncate(0);
        assert!(labels.is_empty() && labels == Labels::empty());
        for pairs in [
            &[("b", &b"1"[..]), ("a", b"1")][..],
            &[("b", b"1"), ("b", b"2")],
            &[("b", b"")],
            &[("b", b"\xff")],
            // One half of a letter each.
            &[("b", b"\xc3"), ("c", b"\xa9")],
        ] {
            let (labels, is_set) = set(pairs);
            assert!(!is_set && labels.is_empty() && labels == Labels::empty(), "{pairs:?}");
        }
        let (mut labels, _) = set(&[("b", "\u{e9}".as_bytes())]);
        assert_eq!(labels.replace(1, [Ok((&b"c"[..], &b"1"[..])), Err(())].into_iter()), Err(()));
        assert!(labels.is_empty());
    }

    #[test]
    fn values_that_make_no_set() {
        let check = |value: Result<Option<&'static [u8]>, ()>, expected: Result<bool, ()>| {
            let (mut labels, _) = set(&[("a", b"1"), ("c", b"3"), ("e", b"5")]);
            assert_eq!(labels.change_values(|at| if at == 1 { value } else { Ok(None) }), expected);
            assert_eq!(labels.is_empty(), expected != Ok(true));
        };
        check(Ok(None), Ok(true));
        check(Ok(Some("\u{e9}".as_bytes())), Ok(true));
        check(Ok(Some(b"")), Ok(false));
        check(Ok(Some(b"\xc3")), Ok(false));
        check(Err(()), Err(()));
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
                let others = set[shared..].iter().map(|(name, value)| Ok::<_, ()>((name.as_bytes(), value.as_bytes())));
                prop_assert_eq!(running.replace(shared, others), Ok(true));
                prop_assert_eq!(running.len(), set.len());
                let labels = Labels::from_pairs(set.clone());
                prop_assert_eq!(running.to_labels(), labels.clone());
                prop_assert!(running == labels);
                prop_assert_eq!(running.partial_cmp(&of_before), Some(labels.cmp(&of_before)));
                (before, of_before) = (set, labels);
            }
        }

        #[test]
        fn from_values_to_values(
            names in proptest::collection::btree_set("[a-z]{1,70}", 1..6),
            values in proptest::collection::vec(proptest::collection::vec("[xyz\u{e9}]{1,40}", 6), 1..6),
        ) {
            let mut running = RunningLabels::default();
            let first = names.iter().map(|name| Ok::<_, ()>((name.as_bytes(), &b"1"[..])));
            prop_assert_eq!(running.replace(0, first), Ok(true));
            let mut now = vec!["1".to_owned(); names.len()];
            for values in values {
                // About a third of them stay.
                let is_kept = |at: usize| values[at].starts_with('x');
                let value = |at: usize| Ok::<_, ()>((!is_kept(at)).then(|| values[at].as_bytes()));
                prop_assert_eq!(running.change_values(value), Ok(true));
                for at in (0..now.len()).filter(|at| !is_kept(*at)) {
                    now[at].clone_from(&values[at]);
                }
                let labels = Labels::from_pairs(names.iter().cloned().zip(now.iter().cloned()));
                prop_assert!(running == labels, "{:?} {}", running, labels);
                // Where labels begin is right, too.
                let mut shorter = running.clone();
                shorter.truncate(now.len() - 1);
                prop_assert_eq!(shorter.to_labels().len(), now.len() - 1);
            }
        }
    }
}
