//! One label set after the other in the same memory: neighbours in the order of sets have most of their labels in common.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Labels, first_field, order, push_field_of};

/// The labels of the set a walk stands at, sorted by name.
#[derive(Debug, Clone, Default)]
pub struct RunningLabels {
    text: String,
    // Where each label begins.
    begins: Vec<usize>,
    // What is to be behind the first label that changes, and where each of these labels begins in it; only while they change.
    changed: Vec<u8>,
    changed_begins: Vec<usize>,
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

    /// Makes it a set of `n` labels: at the places where `is_kept` holds those that are there now, elsewhere what `label` says, a name and
    /// a value. If these are no label set, for instance because they are no text, or if `label` fails, there are no labels any more; the
    /// answer is `false`, or that error.
    ///
    /// Labels that stay are copied as they are, as many at once as stand together, and only those behind the first one that changes. These
    /// are looked at together whether they are text, which is several times as fast as one by one.
    pub fn change<'l, E>(
        &mut self,
        n: usize,
        is_kept: impl Fn(usize) -> bool,
        label: impl FnMut(usize) -> Result<(&'l [u8], &'l [u8]), E>,
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
        mut label: impl FnMut(usize) -> Result<(&'l [u8], &'l [u8]), E>,
    ) -> Result<bool, E> {
        let n_before = self.len();
        let first = (0..n.min(n_before)).take_while(|at| is_kept(*at)).count();
        let text = self.text.as_bytes();
        let mut last_name = first.checked_sub(1).map(|at| first_field(&text[self.begins[at]..]));
        self.changed.clear();
        self.changed_begins.clear();
        let mut at = first;
        while at < n {
            let kept = (at..n.min(n_before)).take_while(|at| is_kept(*at)).count();
            if kept == 0 {
                let (name, value) = label(at)?;
                if value.is_empty() || last_name.is_some_and(|last| last >= name) {
                    return Ok(false);
                }
                self.changed_begins.push(self.changed.len());
                push_field_of(&mut self.changed, name);
                push_field_of(&mut self.changed, value);
                last_name = Some(name);
                at += 1;
                continue;
            }
            let begins = &self.begins[at..at + kept];
            let end = self.begins.get(at + kept).copied().unwrap_or(text.len());
            let (run, last) = (&text[begins[0]..end], &text[begins[kept - 1]..]);
            if last_name.is_some_and(|last| last >= first_field(run)) {
                return Ok(false);
            }
            let to = self.changed.len();
            self.changed_begins.extend(begins.iter().map(|begin| begin - begins[0] + to));
            self.changed.extend_from_slice(run);
            last_name = Some(first_field(last));
            at += kept;
        }
        let Ok(changed) = std::str::from_utf8(&self.changed) else { return Ok(false) };
        let from = self.begins.get(first).copied().unwrap_or(self.text.len());
        self.text.truncate(from);
        self.text.push_str(changed);
        self.begins.truncate(first);
        self.begins.extend(self.changed_begins.iter().map(|begin| begin + from));
        Ok(true)
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

    type Pair = (&'static [u8], &'static [u8]);

    fn changed_to(labels: &mut RunningLabels, pairs: &[Pair]) -> bool {
        labels.change(pairs.len(), |_| false, |at| Ok::<_, ()>(pairs[at])) == Ok(true)
    }

    #[test]
    fn what_changes_into_no_set_is_empty() {
        let start = || {
            let mut labels = RunningLabels::default();
            assert!(changed_to(&mut labels, &[(b"a", b"1"), (b"c", b"3"), (b"e", b"5")]));
            labels
        };
        let check = |n: usize, kept: &[usize], label: Result<Pair, ()>, expected: Result<bool, ()>| {
            let mut labels = start();
            assert_eq!(labels.change(n, |at| kept.contains(&at), |_| label), expected);
            assert_eq!(labels.is_empty(), expected != Ok(true));
        };
        check(3, &[0, 2], Ok((b"d", b"4")), Ok(true));
        check(4, &[0, 1, 2], Ok((b"f", b"6")), Ok(true));
        // Not behind the one before, not before the one behind, without a value.
        check(3, &[0, 2], Ok((b"a", b"4")), Ok(false));
        check(3, &[0, 2], Ok((b"e", b"4")), Ok(false));
        check(3, &[1, 2], Ok((b"c", b"4")), Ok(false));
        check(4, &[0, 1, 2], Ok((b"e", b"6")), Ok(false));
        check(3, &[0, 2], Ok((b"d", b"")), Ok(false));
        // No text, alone or with what follows it.
        check(3, &[0, 2], Ok((b"d", b"\xff")), Ok(false));
        check(3, &[0, 2], Ok((b"d", b"\xc3")), Ok(false));
        check(3, &[0, 2], Ok((b"d", "\u{e9}".as_bytes())), Ok(true));
        check(3, &[0, 2], Err(()), Err(()));
        let mut labels = start();
        labels.truncate(5);
        assert_eq!(labels.len(), 3);
        labels.truncate(1);
        assert_eq!(labels.to_labels(), Labels::from_pairs([("a", "1")]));
        labels.truncate(0);
        assert!(labels.is_empty() && labels == Labels::empty());
        assert!(changed_to(&mut labels, &[]) && labels.is_empty());
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
                let label = |at: usize| Ok::<_, ()>((set[at].0.as_bytes(), set[at].1.as_bytes()));
                running.truncate(shared);
                prop_assert_eq!(running.change(set.len(), |at| at < shared, label), Ok(true));
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
