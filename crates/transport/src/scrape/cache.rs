//! What one target's last scrapes looked like: from the raw text of a series to its labels and the store's name for it.
//!
//! A target writes the same series in the same words, and mostly in the same order, scrape after scrape. So a series is
//! parsed, relabelled and looked up in the store once; afterwards its text is compared with the one that came next last time,
//! and only when that fails is it looked up by hash.

use foldhash::fast::FixedState;
use hashbrown::{HashSet, HashTable};
use relatum_model::Labels;
use relatum_model::storage::SeriesRef;
use std::hash::BuildHasher;

/// A cache is emptied of what was not seen lately when it outgrows the last good scrape by this factor, plus some; so a
/// target that fails half way with ever new series cannot fill the memory.
const GROWTH_MAX: usize = 2;
const GROWTH_SLACK: usize = 1000;

/// The series of one target.
pub(crate) struct SeriesCache {
    entries: Vec<Entry>,
    by_text: HashTable<u32>,
    hasher: FixedState,
    // The number of the running scrape; entries remember in which they were last seen.
    round: u64,
    // Where the text that follows the last one found was in the scrapes before.
    cursor: usize,
    // How many entries the last good scrape left.
    settled: usize,
    forced_flushes: u64,
}

/// One series.
pub(crate) struct Entry {
    text: Box<str>,
    /// The labels under which it is stored; `None` if relabelling drops it.
    pub(crate) labels: Option<Labels>,
    /// The store's name for it.
    pub(crate) reference: SeriesRef,
    seen: u64,
    // In which scrape it last had a sample that a staleness marker must end.
    tracked: u64,
    // Whether that was so in the scrape before this one.
    live: bool,
}

/// Where an entry is; good until the scrape is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryIndex(usize);

impl Default for SeriesCache {
    fn default() -> Self {
        SeriesCache {
            entries: Vec::new(),
            by_text: HashTable::new(),
            hasher: FixedState::default(),
            round: 1,
            cursor: 0,
            settled: 0,
            forced_flushes: 0,
        }
    }
}

impl SeriesCache {
    /// Finds the series written as `text`; the flag tells whether this scrape had it already.
    pub(crate) fn find(&mut self, text: &str) -> Option<(EntryIndex, bool)> {
        let at = match self.entries.get(self.cursor) {
            Some(entry) if &*entry.text == text => self.cursor,
            _ => {
                let hash = self.hasher.hash_one(text);
                *self.by_text.find(hash, |&at| &*self.entries[at as usize].text == text)? as usize
            }
        };
        self.cursor = at + 1;
        let entry = &mut self.entries[at];
        let repeated = entry.seen == self.round;
        entry.seen = self.round;
        Some((EntryIndex(at), repeated))
    }

    /// Remembers a series that [`SeriesCache::find`] did not know. `None` for labels says that relabelling drops it.
    pub(crate) fn insert(&mut self, text: &str, labels: Option<Labels>, reference: SeriesRef) -> EntryIndex {
        let at = self.entries.len();
        let index = u32::try_from(at).expect("a body within its bound has fewer than 2^32 series");
        self.entries.push(Entry {
            text: Box::from(text),
            labels,
            reference,
            seen: self.round,
            tracked: 0,
            live: false,
        });
        let (hasher, entries) = (&self.hasher, &self.entries);
        self.by_text.insert_unique(hasher.hash_one(text), index, |&at| hasher.hash_one(&*entries[at as usize].text));
        EntryIndex(at)
    }

    /// The series at `index`.
    pub(crate) fn entry(&self, index: EntryIndex) -> &Entry {
        &self.entries[index.0]
    }

    /// Notes the store's name for the series at `index`, and its own copy of the labels: two are not needed, and one that the store
    /// knows again need not be compared.
    pub(crate) fn set_reference(&mut self, index: EntryIndex, reference: SeriesRef, own: Option<Labels>) {
        let entry = &mut self.entries[index.0];
        entry.reference = reference;
        if own.is_some() {
            entry.labels = own;
        }
    }

    /// Notes that the series at `index` has a sample now, which a staleness marker must end when the series is gone.
    pub(crate) fn track(&mut self, index: EntryIndex) {
        self.entries[index.0].tracked = self.round;
    }

    /// The series that had a sample in the scrape before and have none in this one.
    ///
    /// A series that comes back in other words (its labels in another order) has not gone.
    pub(crate) fn vanished(&self) -> Vec<(Labels, SeriesRef)> {
        let gone = |entry: &&Entry| entry.live && entry.tracked != self.round;
        let mut vanished: Vec<(Labels, SeriesRef)> = self
            .entries
            .iter()
            .filter(gone)
            .filter_map(|entry| Some((entry.labels.clone()?, entry.reference)))
            .collect();
        if !vanished.is_empty() {
            let here: HashSet<&Labels, FixedState> =
                self.entries.iter().filter(|e| e.tracked == self.round).filter_map(|e| e.labels.as_ref()).collect();
            vanished.retain(|(labels, _)| !here.contains(labels));
        }
        vanished
    }

    /// Ends a scrape that was read to its end and forgets the series it did not have.
    pub(crate) fn finish(&mut self) {
        self.settle();
        self.flush();
        self.settled = self.entries.len();
        self.next_round();
    }

    /// Ends a scrape that failed: nothing has a sample any more, but the texts are worth keeping for the next one.
    pub(crate) fn finish_failed(&mut self) {
        self.settle();
        if self.entries.len() > self.settled * GROWTH_MAX + GROWTH_SLACK {
            self.flush();
            self.settled = self.entries.len();
            self.forced_flushes += 1;
        }
        self.next_round();
    }

    /// Gives up the running scrape as if it had not begun; what it inserted stays known.
    pub(crate) fn restart(&mut self) {
        self.next_round();
    }

    /// Forgets what the texts mean, because the relabelling changed, but not which series are to be ended.
    pub(crate) fn forget_meanings(&mut self) {
        self.entries.retain(|entry| entry.live);
        for (number, entry) in self.entries.iter_mut().enumerate() {
            // No target can write this text: it is found by `vanished` alone.
            entry.text = format!("\u{0}{number}").into_boxed_str();
        }
        self.reindex();
    }

    /// How often the cache had to be emptied while scrapes failed.
    pub(crate) fn forced_flushes(&self) -> u64 {
        self.forced_flushes
    }

    /// How many series are known.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn settle(&mut self) {
        for entry in &mut self.entries {
            entry.live = entry.tracked == self.round;
        }
    }

    fn next_round(&mut self) {
        self.round += 1;
        self.cursor = 0;
    }

    fn flush(&mut self) {
        let round = self.round;
        let before = self.entries.len();
        self.entries.retain(|entry| entry.seen == round);
        if self.entries.len() != before {
            self.reindex();
        }
    }

    fn reindex(&mut self) {
        self.by_text.clear();
        let (hasher, entries) = (&self.hasher, &self.entries);
        for (at, entry) in entries.iter().enumerate() {
            self.by_text.insert_unique(hasher.hash_one(&*entry.text), at as u32, |&at| {
                hasher.hash_one(&*entries[at as usize].text)
            });
        }
        self.cursor = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        // The order of the words in the text does not matter, as with labels.
        Labels::from_pairs(text.split(' ').map(|word| (word, "x")))
    }

    /// Plays one scrape; returns what vanished.
    fn scrape(cache: &mut SeriesCache, texts: &[&str], failed: bool) -> Vec<String> {
        for text in texts {
            let index = match cache.find(text) {
                Some((index, _)) => index,
                None => cache.insert(text, Some(labels(text)), SeriesRef(7)),
            };
            cache.track(index);
        }
        let vanished = cache.vanished().iter().map(|(labels, _)| labels.to_string()).collect();
        if failed {
            cache.finish_failed()
        } else {
            cache.finish()
        }
        vanished
    }

    #[test]
    fn vanished_series() {
        let mut cache = SeriesCache::default();
        assert!(scrape(&mut cache, &["a", "b", "c d"], false).is_empty());
        assert!(scrape(&mut cache, &["a", "b", "c d"], false).is_empty());
        assert_eq!(scrape(&mut cache, &["c d", "a"], false), [r#"{b="x"}"#]);
        assert_eq!(cache.len(), 2);
        // The same series in other words has not gone.
        assert!(scrape(&mut cache, &["a", "d c"], false).is_empty());
        // A failed scrape ends all of them once, and keeps their texts.
        assert_eq!(scrape(&mut cache, &[], true).len(), 2);
        assert!(scrape(&mut cache, &[], true).is_empty());
        assert_eq!(cache.len(), 2);
        assert!(scrape(&mut cache, &["a"], false).is_empty());
    }

    #[test]
    fn a_scrape_given_up_half_way_ends_what_it_had_seen_too() {
        let mut cache = SeriesCache::default();
        scrape(&mut cache, &["a", "b"], false);
        let (index, repeated) = cache.find("a").expect("it was inserted");
        assert!(!repeated);
        cache.track(index);
        cache.restart();
        assert_eq!(scrape(&mut cache, &[], true).len(), 2);
    }

    #[test]
    fn repeated_texts_and_changed_meanings() {
        let mut cache = SeriesCache::default();
        scrape(&mut cache, &["a", "b"], false);
        assert_eq!(cache.find("b").map(|(_, repeated)| repeated), Some(false));
        assert_eq!(cache.find("b").map(|(_, repeated)| repeated), Some(true));
        cache.restart();
        cache.forget_meanings();
        assert_eq!(cache.find("a"), None);
        assert_eq!(scrape(&mut cache, &["b"], false), [r#"{a="x"}"#]);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn failing_scrapes_cannot_fill_the_memory() {
        let mut cache = SeriesCache::default();
        for round in 0..100 {
            let texts: Vec<String> = (0..100).map(|n| format!("s{round}_{n}")).collect();
            scrape(&mut cache, &texts.iter().map(String::as_str).collect::<Vec<_>>(), true);
        }
        assert!(cache.len() <= GROWTH_SLACK + 100, "{} series", cache.len());
        assert!(cache.forced_flushes() > 0);
    }
}
