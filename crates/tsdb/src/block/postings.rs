//! The inverted index of a block: from a label's name and value to the numbers of the series that have it.
//!
//! Names and values stand in the order of their texts, so a name is found by halving and its values are read as one run. A list
//! is written in the shortest of three ways: distances, runs of consecutive numbers (series with equal labels stand together),
//! or one bit a series.

use std::cmp::Ordering;
use std::ops::Range;

use hashbrown::HashMap;
use relatum_model::{MatchOp, Matcher};

use super::bytes::{Cursor, put_varint};
use super::layout::Damage;
use super::reader::Index;
use super::symbols::Symbols;

const DISTANCES: u8 = 0;
const RUNS: u8 = 1;
const BITS: u8 = 2;

const NAME_BYTES: usize = 12;
const VALUE_BYTES: usize = 8;

/// The lists of a block that is being written.
#[derive(Debug, Default)]
pub(crate) struct Collector(HashMap<(u32, u32), Vec<u32>, foldhash::fast::RandomState>);

impl Collector {
    /// Adds series `number`, which is larger than all before, to the list of a name and a value.
    pub(crate) fn add(&mut self, name: u32, value: u32, number: u32) {
        self.0.entry((name, value)).or_default().push(number);
    }

    /// The table of names, the tables of their values, then the lists.
    pub(crate) fn encode(self) -> Vec<u8> {
        type List = ((u32, u32), Vec<u32>);
        let mut labels: Vec<List> = self.0.into_iter().collect();
        labels.sort_unstable_by_key(|(label, _)| *label);
        let names: Vec<&[List]> = labels.chunk_by(|a, b| a.0.0 == b.0.0).collect();
        let mut values_at = 4 + NAME_BYTES * names.len();
        let mut lists_at = values_at + VALUE_BYTES * labels.len();
        let (mut out, mut values, mut lists) = (Vec::new(), Vec::new(), Vec::new());
        let first_list = lists_at;
        put_u32(&mut out, names.len());
        for values_of_name in &names {
            put_u32(&mut out, values_of_name[0].0.0 as usize);
            put_u32(&mut out, values_at);
            put_u32(&mut out, values_of_name.len());
            values_at += VALUE_BYTES * values_of_name.len();
            for ((_, value), list) in *values_of_name {
                put_u32(&mut values, *value as usize);
                put_u32(&mut values, lists_at);
                encode_list(&mut lists, list);
                lists_at = first_list + lists.len();
            }
        }
        out.append(&mut values);
        out.append(&mut lists);
        out
    }
}

fn put_u32(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u32).to_le_bytes());
}

fn encode_list(out: &mut Vec<u8>, list: &[u32]) {
    put_varint(out, list.len() as u64);
    let mut distances = vec![DISTANCES];
    let mut next = 0;
    for number in list {
        put_varint(&mut distances, u64::from(number - next));
        next = number + 1;
    }
    let mut runs = vec![RUNS];
    let mut next = 0;
    for run in list.chunk_by(|a, b| a + 1 == *b) {
        put_varint(&mut runs, u64::from(run[0] - next));
        put_varint(&mut runs, run.len() as u64);
        next = run[0] + run.len() as u32;
    }
    let bits_bytes = list.last().map_or(0, |last| *last as usize / 8 + 1);
    if distances.len().min(runs.len()) <= bits_bytes + 1 {
        out.append(if runs.len() < distances.len() { &mut runs } else { &mut distances });
        return;
    }
    out.push(BITS);
    let at = out.len();
    out.resize(at + bits_bytes, 0);
    for number in list {
        out[at + *number as usize / 8] |= 1 << (number % 8);
    }
}

/// A list on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<'a> {
    length: u32,
    cursor: Cursor<'a>,
}

const BEYOND: Damage = Damage("a list names a series behind the last");

impl List<'_> {
    /// Adds those of its numbers that lie in the window of `set`, as many at once as stand together. Those behind it are not looked at.
    fn add_to(mut self, set: &mut Set) -> Result<(), Damage> {
        let (n_series, end) = (u64::from(set.n_series), u64::from(set.window.end));
        let mut next = 0u64;
        match self.cursor.byte()? {
            DISTANCES => {
                for _ in 0..self.length {
                    let number = next.saturating_add(self.cursor.varint()?);
                    if number >= end {
                        return if number < n_series { Ok(()) } else { Err(BEYOND) };
                    }
                    set.insert(number as u32);
                    next = number + 1;
                }
            }
            RUNS => {
                let mut left = u64::from(self.length);
                while left > 0 && next < end {
                    let from = next.saturating_add(self.cursor.varint()?);
                    let run = self.cursor.varint()?;
                    left = left.checked_sub(run.max(1)).ok_or(BEYOND)?;
                    next = from.saturating_add(run);
                    if next > n_series {
                        return Err(BEYOND);
                    }
                    set.insert_all(from as u32..next as u32);
                }
            }
            BITS => {
                let mut left = self.length;
                while left > 0 && next < end {
                    let bits = self.cursor.byte()?;
                    left = left.saturating_sub(bits.count_ones());
                    if u64::from(bits) >> (n_series - next).min(8) != 0 {
                        return Err(BEYOND);
                    }
                    set.insert_eight(next as u32, bits);
                    next += 8;
                }
            }
            _ => return Err(Damage("unknown form of a list")),
        }
        Ok(())
    }

    /// Whether `is_it` holds for one of the numbers, which ascend and are below `n_series`; those behind it are not asked for.
    pub(crate) fn any(mut self, n_series: u32, mut is_it: impl FnMut(u32) -> bool) -> Result<bool, Damage> {
        let mut is_found = |number: u64| -> Result<bool, Damage> {
            if number >= u64::from(n_series) {
                return Err(BEYOND);
            }
            Ok(is_it(number as u32))
        };
        let mut next = 0u64;
        match self.cursor.byte()? {
            DISTANCES => {
                for _ in 0..self.length {
                    next = next.saturating_add(self.cursor.varint()?);
                    if is_found(next)? {
                        return Ok(true);
                    }
                    next += 1;
                }
            }
            RUNS => {
                let mut left = u64::from(self.length);
                while left > 0 {
                    next = next.saturating_add(self.cursor.varint()?);
                    let run = self.cursor.varint()?;
                    left = left.checked_sub(run.max(1)).ok_or(BEYOND)?;
                    for _ in 0..run {
                        if is_found(next)? {
                            return Ok(true);
                        }
                        next += 1;
                    }
                }
            }
            BITS => {
                let mut left = self.length;
                while left > 0 {
                    let byte = self.cursor.byte()?;
                    for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                        if is_found(next + bit)? {
                            return Ok(true);
                        }
                        left = left.saturating_sub(1);
                    }
                    next += 8;
                }
            }
            _ => return Err(Damage("unknown form of a list")),
        }
        Ok(false)
    }
}

/// The lists of a block on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Postings<'a> {
    bytes: &'a [u8],
    names: &'a [u8],
}

impl<'a> Postings<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut cursor = Cursor::new(bytes);
        let n = cursor.u32()? as usize;
        let names = cursor.bytes(n.checked_mul(NAME_BYTES).ok_or(Damage("too many names"))?)?;
        Ok(Postings { bytes, names })
    }

    /// The symbol of `name`, and the values of that name; `None` if no label has it.
    pub(crate) fn find(&self, symbols: Symbols<'_>, name: &str) -> Result<Option<(u32, Values<'a>)>, Damage> {
        let entries: &[[u8; NAME_BYTES]] = self.names.as_chunks().0;
        let found = find_text(entries, |entry| u32_at(entry, 0), symbols, name)?;
        found.map(|entry| Ok((u32_at(entry, 0), self.values_at(entry)?))).transpose()
    }

    /// All names, by their symbols, in the order of their texts, each with its values.
    pub(crate) fn names(&self) -> impl Iterator<Item = Result<(u32, Values<'a>), Damage>> + use<'a> {
        let postings = *self;
        let entries: &[[u8; NAME_BYTES]] = self.names.as_chunks().0;
        entries.iter().map(move |entry| Ok((u32_at(entry, 0), postings.values_at(entry)?)))
    }

    fn values_at(&self, entry: &[u8; NAME_BYTES]) -> Result<Values<'a>, Damage> {
        let (from, n) = (u32_at(entry, 4) as usize, u32_at(entry, 8) as usize);
        let to = n.checked_mul(VALUE_BYTES).and_then(|length| from.checked_add(length));
        let entries = to.and_then(|to| self.bytes.get(from..to)).ok_or(Damage("values lie behind the end"))?;
        Ok(Values { bytes: self.bytes, entries: entries.as_chunks().0 })
    }
}

/// The values of one name and their lists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    bytes: &'a [u8],
    entries: &'a [[u8; VALUE_BYTES]],
}

impl<'a> Values<'a> {
    /// The symbols of all values, ascending, each with its list.
    pub(crate) fn entries(self) -> impl Iterator<Item = Result<(u32, List<'a>), Damage>> + use<'a> {
        self.entries.iter().map(move |entry| Ok((u32_at(entry, 0), self.list(entry)?)))
    }

    fn list(&self, entry: &[u8; VALUE_BYTES]) -> Result<List<'a>, Damage> {
        let mut cursor = Cursor::at(self.bytes, u32_at(entry, 4) as usize)?;
        let length = u32::try_from(cursor.varint()?).map_err(|_| Damage("a list is too long"))?;
        Ok(List { length, cursor })
    }

    /// The series that have `value`.
    fn find(&self, symbols: Symbols<'_>, value: &str) -> Result<Option<List<'a>>, Damage> {
        let found = find_text(self.entries, |entry| u32_at(entry, 0), symbols, value)?;
        found.map(|entry| self.list(entry)).transpose()
    }
}

/// The one of `entries`, which are in the order of the texts of their symbols, whose text is `text`. There are far fewer of one kind than
/// there are symbols.
fn find_text<'e, E>(
    entries: &'e [E],
    symbol: impl Fn(&E) -> u32,
    symbols: Symbols<'_>,
    text: &str,
) -> Result<Option<&'e E>, Damage> {
    let (mut low, mut high) = (0, entries.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match symbols.bytes(symbol(&entries[middle]))?.cmp(text.as_bytes()) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return Ok(Some(&entries[middle])),
        }
    }
    Ok(None)
}

fn u32_at(entry: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"))
}

/// The numbers of the series that satisfy all of `matchers`, ascending.
pub(crate) fn select<'m>(index: &Index<'_>, matchers: impl Iterator<Item = &'m Matcher>) -> Result<Vec<u32>, Damage> {
    let (wanted, unwanted): (Vec<&Matcher>, Vec<&Matcher>) = matchers.partition(|matcher| !matcher.matches_empty());
    // What is cheap to find comes first: there may be none of it, and then nothing else is looked at.
    let (equal, others): (Vec<&Matcher>, Vec<&Matcher>) =
        wanted.into_iter().partition(|matcher| matcher.op() == MatchOp::Equal);
    let mut lists = Vec::with_capacity(equal.len());
    for matcher in equal {
        let Some(list) = list(index, matcher)? else { return Ok(Vec::new()) };
        lists.push(list);
    }
    // The shortest says where the others are looked at.
    lists.sort_unstable_by_key(|list| list.length);
    let mut lists = lists.into_iter();
    let mut found = match lists.next() {
        None => Set::all(index.n_series),
        Some(shortest) => Set::of(shortest, index.n_series)?,
    };
    for list in lists {
        let mut matching = found.emptied();
        list.add_to(&mut matching)?;
        found.keep(&matching);
    }
    for matcher in others {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut matching = found.emptied();
        add_values(index, matcher, true, &mut matching)?;
        found.keep(&matching);
    }
    for matcher in unwanted {
        // The label may be missing, so only those that have it with another value are taken away.
        let mut refused = found.emptied();
        add_values(index, matcher, false, &mut refused)?;
        found.take_away(&refused);
    }
    Ok(found.numbers())
}

/// The series that have the label of `matcher` with its value.
fn list<'a>(index: &Index<'a>, matcher: &Matcher) -> Result<Option<List<'a>>, Damage> {
    let Some((_, values)) = index.postings.find(index.symbols, matcher.name())? else { return Ok(None) };
    values.find(index.symbols, matcher.value())
}

/// Adds to `set` the series that have the label of `matcher` with a value that it accepts, or does not.
fn add_values(index: &Index<'_>, matcher: &Matcher, accepted: bool, set: &mut Set) -> Result<(), Damage> {
    // Only one value can tell these two apart, so the others need not be looked at.
    let is_one = match matcher.op() {
        MatchOp::Equal => accepted,
        MatchOp::NotEqual => !accepted,
        MatchOp::Regex | MatchOp::NotRegex => false,
    };
    if is_one {
        return list(index, matcher)?.map_or(Ok(()), |list| list.add_to(set));
    }
    let Some((_, values)) = index.postings.find(index.symbols, matcher.name())? else { return Ok(()) };
    for entry in values.entries() {
        let (value, list) = entry?;
        if matcher.matches(index.symbols.get(value)?) == accepted {
            list.add_to(set)?;
        }
    }
    Ok(())
}

/// A set of series, one bit each, all in a window.
struct Set {
    words: Vec<u64>,
    // Begins at a multiple of 64.
    window: Range<u32>,
    n_series: u32,
}

impl Set {
    /// None of `n_series`.
    fn none(n_series: u32) -> Self {
        Set { words: vec![0; (n_series as usize).div_ceil(64)], window: 0..n_series, n_series }
    }

    fn all(n_series: u32) -> Self {
        let mut set = Set::none(n_series);
        set.insert_all(0..n_series);
        set
    }

    /// Those of a list, in a window that is hardly wider than they are: of what they are compared with no more is looked at.
    fn of(list: List<'_>, n_series: u32) -> Result<Self, Damage> {
        let mut set = Set::none(n_series);
        list.add_to(&mut set)?;
        let behind = set.words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        set.words.truncate(behind);
        let first = set.words.iter().position(|word| *word != 0).unwrap_or(0);
        set.words.drain(..first);
        set.window = first as u32 * 64..(behind * 64).min(n_series as usize) as u32;
        Ok(set)
    }

    /// None, in the same window.
    fn emptied(&self) -> Self {
        Set { words: vec![0; self.words.len()], window: self.window.clone(), n_series: self.n_series }
    }

    fn insert(&mut self, number: u32) {
        if self.window.contains(&number) {
            let at = number - self.window.start;
            self.words[at as usize / 64] |= 1 << (at % 64);
        }
    }

    fn insert_all(&mut self, numbers: Range<u32>) {
        let (from, to) = (numbers.start.max(self.window.start), numbers.end.min(self.window.end));
        if from >= to {
            return;
        }
        let (from, last) = (from - self.window.start, to - 1 - self.window.start);
        let (begin, end) = (u64::MAX << (from % 64), u64::MAX >> (63 - last % 64));
        match &mut self.words[from as usize / 64..=last as usize / 64] {
            [only] => *only |= begin & end,
            [first, between @ .., last] => {
                *first |= begin;
                between.fill(u64::MAX);
                *last |= end;
            }
            [] => {}
        }
    }

    /// Adds `number` and those behind it, eight together, where `bits` say so. `number` is a multiple of eight.
    fn insert_eight(&mut self, number: u32, bits: u8) {
        if self.window.contains(&number) {
            let at = number - self.window.start;
            self.words[at as usize / 64] |= u64::from(bits) << (at % 64);
        }
    }

    fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    fn keep(&mut self, others: &Set) {
        self.words.iter_mut().zip(&others.words).for_each(|(word, others)| *word &= others);
    }

    fn take_away(&mut self, others: &Set) {
        self.words.iter_mut().zip(&others.words).for_each(|(word, others)| *word &= !others);
    }

    fn numbers(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        for (at, word) in self.words.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                numbers.push(self.window.start + at as u32 * 64 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(list: List<'_>, n_series: u32) -> Result<Vec<u32>, Damage> {
        let mut set = Set::none(n_series);
        list.add_to(&mut set)?;
        Ok(set.numbers())
    }

    fn encoded(list: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_list(&mut out, list);
        out
    }

    fn decoded(bytes: &[u8]) -> List<'_> {
        let mut cursor = Cursor::new(bytes);
        let length = cursor.varint().unwrap() as u32;
        List { length, cursor }
    }

    #[track_caller]
    fn check(list: &[u32], form: u8) {
        let bytes = encoded(list);
        assert_eq!(decoded(&bytes).cursor.rest[0], form, "{list:?}");
        assert_eq!(read(decoded(&bytes), 100_000).unwrap(), list);
        let last = *list.last().unwrap();
        assert_eq!(read(decoded(&bytes), last + 1).unwrap(), list);
        assert_eq!(read(decoded(&bytes), last), Err(BEYOND), "{form}");
    }

    #[test]
    fn lists_take_the_shortest_form() {
        check(&[0], DISTANCES);
        check(&[5, 99_999], DISTANCES);
        check(&(100..5000).collect::<Vec<_>>(), RUNS);
        check(&(0..5000).filter(|n| n % 3 != 1).collect::<Vec<_>>(), BITS);
    }

    #[test]
    fn all_of_so_many() {
        for n in [0, 1, 63, 64, 65, 128] {
            assert_eq!(Set::all(n).numbers(), (0..n).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn any_lists(
            lists in proptest::collection::vec(
                (proptest::collection::btree_set(0u32..3000, 1..2000), 0u32..2000, 1u32..2000),
                2,
            ),
        ) {
            // Some of them are short, and so are in windows.
            let lists: Vec<Vec<u32>> = lists
                .into_iter()
                .map(|(numbers, from, n)| numbers.into_iter().filter(|at| (from..from + n).contains(at)).collect())
                .collect();
            let bytes: Vec<Vec<u8>> = lists.iter().map(|list| encoded(list)).collect();
            for (list, bytes) in lists.iter().zip(&bytes) {
                prop_assert_eq!(&read(decoded(bytes), 3000).unwrap(), list);
                let mut one_by_one = Vec::new();
                decoded(bytes).any(3000, |number| { one_by_one.push(number); false }).unwrap();
                prop_assert_eq!(&one_by_one, list);
            }
            let mut first = Set::of(decoded(&bytes[0]), 3000).unwrap();
            prop_assert_eq!(&first.numbers(), &lists[0]);
            let mut second = first.emptied();
            decoded(&bytes[1]).add_to(&mut second).unwrap();
            decoded(&bytes[1]).add_to(&mut second).unwrap();
            first.keep(&second);
            let both: Vec<u32> = lists[0].iter().copied().filter(|number| lists[1].contains(number)).collect();
            prop_assert_eq!(first.numbers(), both);
            let mut first = Set::of(decoded(&bytes[0]), 3000).unwrap();
            first.take_away(&second);
            let rest: Vec<u32> = lists[0].iter().copied().filter(|number| !lists[1].contains(number)).collect();
            prop_assert_eq!(first.numbers(), rest);
        }

        #[test]
        fn any_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            length in 0u32..100,
            window in proptest::collection::btree_set(0u32..300, 1..3),
        ) {
            let list = List { length, cursor: Cursor::new(&bytes) };
            let window = encoded(&window.into_iter().collect::<Vec<_>>());
            let mut set = Set::of(decoded(&window), 300).unwrap().emptied();
            let _ = list.add_to(&mut set);
            let _ = Set::of(list, 50);
            let _ = list.any(50, |_| false);
        }
    }
}
