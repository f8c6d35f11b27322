//! The inverted index of the head: from a label's name and value to the series that have it.
//!
//! A list of postings holds the slots of its series in ascending order. Matchers are answered by list algebra: the smallest
//! list that every answer must be in comes first, the others only filter it; a matcher that accepts a missing label takes
//! series away instead.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use relatum_model::{Labels, MatchOp, Matcher};

use crate::ranks::{Ranking, Ranks};
use crate::series::MemSeries;

/// Series by slot and by label.
#[derive(Debug, Default)]
pub(crate) struct Index {
    series: Vec<Option<Arc<MemSeries>>>,
    n_series: usize,
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>>,
    // The slot of a series by its number in the log, for those who read the log.
    by_id: HashTable<u32>,
    // Further numbers of listed series, from a log in which they went and came back.
    aliases: HashMap<u64, u32, FixedState>,
    newest_commit: u64,
    ranking: Mutex<Ranking>,
}

impl Index {
    /// The index of `series`, each in the slot that is its place here, with the number in the log that stands there in `ids`.
    /// `pairs` are all labels, sorted; `numbers` tell, for some series after the other, the numbers of their pairs and where those of
    /// each series end.
    pub(crate) fn of(
        series: Vec<Option<Arc<MemSeries>>>,
        ids: &[u64],
        pairs: &[Labels],
        numbers: &[(Vec<u32>, Vec<u32>)],
        commit: u64,
    ) -> Index {
        let mut lengths = vec![0u32; pairs.len()];
        numbers.iter().flat_map(|(numbers, _)| numbers).for_each(|number| lengths[*number as usize] += 1);
        let mut lists: Vec<Vec<u32>> = lengths.iter().map(|n| Vec::with_capacity(*n as usize)).collect();
        let mut slot = 0;
        for (numbers, ends) in numbers {
            let mut from = 0;
            for end in ends {
                numbers[from..*end as usize].iter().for_each(|number| lists[*number as usize].push(slot));
                (from, slot) = (*end as usize, slot + 1);
            }
        }
        type Values = Vec<(Box<str>, Vec<u32>)>;
        let mut names: Vec<(Box<str>, Values)> = Vec::new();
        for (pair, list) in pairs.iter().zip(lists).filter(|(_, list)| !list.is_empty()) {
            let Some((name, value)) = pair.iter().next() else { continue };
            if names.last().is_none_or(|(last, _)| **last != *name) {
                names.push((name.into(), Vec::new()));
            }
            names.last_mut().expect("one was pushed").1.push((value.into(), list));
        }
        let mut by_id = HashTable::with_capacity(ids.len());
        for (slot, id) in ids.iter().enumerate() {
            by_id.insert_unique(hash_of(*id), slot as u32, |slot| hash_of(ids[*slot as usize]));
        }
        Index {
            n_series: series.len(),
            series,
            names: names.into_iter().map(|(name, values)| (name, values.into_iter().collect())).collect(),
            by_id,
            aliases: HashMap::default(),
            newest_commit: commit,
            ranking: Mutex::default(),
        }
    }

    /// Lists `series`, whose first samples come with `commit`.
    pub(crate) fn insert(&mut self, series: &Arc<MemSeries>, commit: u64) {
        let slot = series.slot as usize;
        while self.series.len() <= slot {
            reserve_little(&mut self.series);
            self.series.push(None);
        }
        self.series[slot] = Some(Arc::clone(series));
        self.n_series += 1;
        let id_of = |slot: &u32| self.series[*slot as usize].as_ref().map_or(0, |series| series.id);
        self.by_id.insert_unique(hash_of(series.id), series.slot, |slot| hash_of(id_of(slot)));
        self.newest_commit = self.newest_commit.max(commit);
        self.ranking.get_mut().unwrap_or_else(PoisonError::into_inner).insert(series);
        for (name, value) in &series.labels {
            // Looked up before it is made, because nearly all names and most values are there already.
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
            }
            let values = self.names.get_mut(name).expect("made above");
            match values.get_mut(value) {
                Some(list) => insert_sorted(list, series.slot),
                None => {
                    values.insert(value.into(), vec![series.slot]);
                }
            }
        }
    }

    /// Makes `series` known to readers of the log under one more number.
    pub(crate) fn alias(&mut self, id: u64, series: &MemSeries) {
        if id != series.id {
            self.aliases.insert(id, series.slot);
        }
    }

    /// Takes all of `gone` out.
    pub(crate) fn remove(&mut self, gone: &[Arc<MemSeries>]) {
        let mut slots = Slots::new(self.series.len());
        let mut lists: Vec<(&str, &str)> = Vec::new();
        for series in gone {
            let slot = series.slot as usize;
            if self.series.get_mut(slot).and_then(Option::take).is_some() {
                self.n_series -= 1;
            }
            // Only this series can be in its slot.
            if let Ok(entry) = self.by_id.find_entry(hash_of(series.id), |slot| *slot == series.slot) {
                entry.remove();
            }
            slots.insert(series.slot);
            lists.extend(&series.labels);
        }
        self.aliases.retain(|_, slot| !slots.contains(*slot));
        self.ranking.get_mut().unwrap_or_else(PoisonError::into_inner).remove(|slot| slots.contains(slot));
        lists.sort_unstable();
        lists.dedup();
        for (name, value) in lists {
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(list) = values.get_mut(value) {
                list.retain(|slot| !slots.contains(*slot));
                if list.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// How many series are listed.
    pub(crate) fn len(&self) -> usize {
        self.n_series
    }

    /// The last commit that brought a series.
    pub(crate) fn newest_commit(&self) -> u64 {
        self.newest_commit
    }

    /// All listed series.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<MemSeries>> {
        self.series.iter().flatten()
    }

    /// The series the log knows as `id`.
    pub(crate) fn by_id(&self, id: u64) -> Option<&Arc<MemSeries>> {
        let has_id = |slot: &&u32| self.series[**slot as usize].as_ref().is_some_and(|series| series.id == id);
        let slot = self.by_id.find(hash_of(id), |slot| has_id(&slot)).or_else(|| self.aliases.get(&id));
        slot.and_then(|slot| self.series[*slot as usize].as_ref())
    }

    /// Further numbers of listed series.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (u64, &Arc<MemSeries>)> {
        self.aliases.iter().filter_map(|(id, slot)| Some((*id, self.series[*slot as usize].as_ref()?)))
    }

    /// All labels, sorted by name and value, each with the slots of the series that have it.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str, &[u32])> {
        self.names
            .iter()
            .flat_map(|(name, values)| values.iter().map(|(value, list)| (&**name, &**value, list.as_slice())))
    }

    /// The names of labels, in order, each with the first series that has it.
    pub(crate) fn first_of_names(&self) -> impl Iterator<Item = (&str, &Arc<MemSeries>)> {
        let first = |values: &'_ BTreeMap<Box<str>, Vec<u32>>| values.values().find_map(|list| self.first(list));
        self.names.iter().filter_map(move |(name, values)| Some((&**name, first(values)?)))
    }

    /// The values of the label `name`, in order, each with the first series that has it.
    pub(crate) fn first_of_values(&self, name: &str) -> impl Iterator<Item = (&str, &Arc<MemSeries>)> {
        let values = self.names.get(name).into_iter().flatten();
        values.filter_map(|(value, list)| Some((&**value, self.first(list)?)))
    }

    /// The series that have any of the labels `names`.
    pub(crate) fn having_names(&self, names: &[String]) -> Vec<Arc<MemSeries>> {
        let values = names.iter().filter_map(|name| self.names.get(name.as_str()));
        self.having(values.flat_map(|values| values.values()))
    }

    /// The series whose label `name` has any of `values`.
    pub(crate) fn having_values(&self, name: &str, values: &[String]) -> Vec<Arc<MemSeries>> {
        let lists = self.names.get(name);
        self.having(values.iter().filter_map(|value| lists?.get(value.as_str())))
    }

    fn having<'l>(&self, lists: impl Iterator<Item = &'l Vec<u32>>) -> Vec<Arc<MemSeries>> {
        let mut slots = Slots::new(self.series.len());
        lists.flatten().for_each(|slot| slots.insert(*slot));
        slots.iter().filter_map(|slot| self.series[slot as usize].clone()).collect()
    }

    fn first(&self, list: &[u32]) -> Option<&Arc<MemSeries>> {
        list.iter().find_map(|slot| self.series[*slot as usize].as_ref())
    }

    /// The series that satisfy all of `matchers`, by their ranks, which are in the order of labels. `None` if series have to be ranked first,
    /// and only what is `at_hand` is wanted.
    pub(crate) fn select<'m>(
        &self,
        matchers: impl Iterator<Item = &'m Matcher>,
        at_hand: bool,
    ) -> Option<(Arc<Ranks>, Vec<u32>)> {
        let slots = self.select_slots(matchers);
        if slots.is_empty() {
            return Some(Default::default());
        }
        let mut ranking = self.ranking.lock().unwrap_or_else(PoisonError::into_inner);
        if at_hand && !ranking.is_complete(self.n_series) {
            return None;
        }
        let ranks = ranking.complete(self.n_series, self.all());
        drop(ranking);
        let found = ranks.sorted(&slots);
        Some((ranks, found))
    }

    /// The slots of the series that satisfy all of `matchers`, in no particular order.
    fn select_slots<'m>(&self, matchers: impl Iterator<Item = &'m Matcher>) -> Vec<u32> {
        let (mut wanted, mut unwanted): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.partition(|matcher| !matcher.matches_empty());
        // A single list needs no search, and tends to be the shortest.
        wanted.sort_by_key(|matcher| match matcher.op() {
            MatchOp::Equal => (0, self.postings(matcher.name(), matcher.value()).len()),
            _ => (1, self.names.get(matcher.name()).map_or(0, BTreeMap::len)),
        });
        let mut found: Option<Vec<u32>> = None;
        for matcher in wanted {
            found = Some(match found {
                None => self.union(matcher.name(), |value| matcher.matches(value), matcher),
                Some(found) => self.filter(found, matcher),
            });
            if found.as_ref().is_some_and(Vec::is_empty) {
                return Vec::new();
            }
        }
        // Every series passes a matcher whose label no series has.
        unwanted.retain(|matcher| self.names.contains_key(matcher.name()));
        let mut found = found.unwrap_or_else(|| self.all().map(|series| series.slot).collect());
        for matcher in unwanted {
            found = self.filter(found, matcher);
        }
        found
    }

    /// The slots among `found` that satisfy `matcher`.
    fn filter(&self, mut found: Vec<u32>, matcher: &Matcher) -> Vec<u32> {
        let values = self.names.get(matcher.name()).map_or(0, BTreeMap::len);
        if found.len() < values.max(16) {
            // Fewer labels to look at than values to try.
            found.retain(|slot| {
                self.series[*slot as usize].as_ref().is_some_and(|series| matcher.matches_labels(&series.labels))
            });
            return found;
        }
        let listed = |wanted: bool| {
            let mut slots = Slots::new(self.series.len());
            for slot in self.union(matcher.name(), |value| matcher.matches(value) == wanted, matcher) {
                slots.insert(slot);
            }
            slots
        };
        if matcher.matches_empty() {
            let bad = listed(false);
            found.retain(|slot| !bad.contains(*slot));
        } else {
            let good = listed(true);
            found.retain(|slot| good.contains(*slot));
        }
        found
    }

    /// The slots of the series whose label `name` has a value that `keep` accepts.
    fn union(&self, name: &str, keep: impl Fn(&str) -> bool, matcher: &Matcher) -> Vec<u32> {
        // Only one value can tell these two apart, so the others need not be looked at.
        if matches!(matcher.op(), MatchOp::Equal | MatchOp::NotEqual)
            && keep(matcher.value())
            && !matcher.value().is_empty()
        {
            return self.postings(name, matcher.value()).to_vec();
        }
        let mut slots = Slots::new(self.series.len());
        for (value, list) in self.names.get(name).into_iter().flatten() {
            if keep(value) {
                for slot in list {
                    slots.insert(*slot);
                }
            }
        }
        slots.iter().collect()
    }

    fn postings(&self, name: &str, value: &str) -> &[u32] {
        self.names.get(name).and_then(|values| values.get(value)).map_or(&[], Vec::as_slice)
    }
}

fn hash_of(id: u64) -> u64 {
    FixedState::default().hash_one(id)
}

/// Makes room for one more, and for an eighth of what is there: what is held of each series should not be twice what it needs.
pub(crate) fn reserve_little<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 1);
    }
}

fn insert_sorted(list: &mut Vec<u32>, slot: u32) {
    reserve_little(list);
    match list.last() {
        Some(last) if *last >= slot => {
            if let Err(at) = list.binary_search(&slot) {
                list.insert(at, slot);
            }
        }
        _ => list.push(slot),
    }
}

/// A set of slots, one bit each.
struct Slots(Vec<u64>);

impl Slots {
    fn new(n: usize) -> Self {
        Slots(vec![0; n.div_ceil(64)])
    }

    fn insert(&mut self, slot: u32) {
        let word = slot as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (slot % 64);
    }

    fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros();
                    rest &= rest - 1;
                    at as u32 * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(n: u32) -> Index {
        let mut index = Index::default();
        for slot in (0..n).rev() {
            let mut labels =
                Labels::from_pairs([("__name__", ["a", "b"][slot as usize % 2]), ("n", &slot.to_string())])
                    .to_builder();
            if slot % 3 == 0 {
                labels.set("third", "yes");
            }
            index.insert(&Arc::new(MemSeries::new(labels.build(), u64::from(slot) + 1, slot)), 1);
        }
        index
    }

    #[track_caller]
    fn check(index: &Index, matchers: &[Matcher]) {
        let (ranks, found) = index.select(matchers.iter(), false).unwrap();
        assert_eq!(index.select(matchers.iter(), true).unwrap().1, found, "all are ranked now");
        let mut found: Vec<_> = found.iter().map(|rank| ranks.series(*rank).slot).collect();
        found.sort_unstable();
        let expected: Vec<_> =
            index.all().filter(|s| matchers.iter().all(|m| m.matches_labels(&s.labels))).map(|s| s.slot).collect();
        assert_eq!(found, expected, "{matchers:?}");
    }

    #[test]
    fn every_combination_equals_a_walk() {
        let mut index = index(200);
        for round in 0..2 {
            let mut all = Vec::new();
            for op in [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex] {
                for (name, value) in [
                    ("__name__", "a"),
                    ("__name__", ""),
                    ("n", "1.*|7"),
                    ("n", "17"),
                    ("third", "yes"),
                    ("third", ""),
                    ("third", ".*"),
                    ("third", ".+"),
                    ("absent", ""),
                    ("absent", "x"),
                    ("absent", "x|"),
                ] {
                    all.push(Matcher::new(op, name, value).unwrap());
                }
            }
            for a in &all {
                check(&index, std::slice::from_ref(a));
                for b in &all {
                    check(&index, &[a.clone(), b.clone()]);
                }
            }
            check(&index, &[]);
            if round == 0 {
                let gone: Vec<_> = index.all().filter(|s| s.slot % 3 == 0).cloned().collect();
                index.remove(&gone);
                let names: Vec<_> = index.first_of_names().map(|(name, _)| name).collect();
                assert_eq!(names, ["__name__", "n"], "no series has `third` any more");
                assert_eq!(index.len(), 133);
            }
        }
    }
}
