//! Names and values of labels: where the head, a block and a series have them, and the first of them in their order.
//!
//! The indexes of the head and of blocks have them in order, and mostly the same ones. So what is found is one sorted list that is walked
//! beside each of them: a text that is there already costs a comparison.

use std::collections::BTreeSet;
use std::sync::Arc;

use relatum_model::Labels;

use crate::block::layout::Damage;
use crate::block::reader::Index as BlockIndex;
use crate::index::Index;
use crate::series::MemSeries;

/// Which texts of labels are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'n> {
    /// The names of labels.
    Names,
    /// The values of the label with this name.
    ValuesOf(&'n str),
}

impl Wanted<'_> {
    /// Adds those of the head to `texts`. Unless the reader `sees_all` of its series, those that are not there already are returned
    /// instead, in order, each with a series that has it.
    pub(crate) fn of_head(self, index: &Index, sees_all: bool, texts: &mut Texts) -> Vec<(String, Arc<MemSeries>)> {
        let mut unsure = Vec::new();
        match self {
            Wanted::Names => texts.walk(|run| run.all_of(index.first_of_names(), sees_all, &mut unsure)),
            Wanted::ValuesOf(name) => texts.walk(|run| run.all_of(index.first_of_values(name), sees_all, &mut unsure)),
        }
        unsure
    }

    /// The series of the head that have any of `texts`.
    pub(crate) fn having(self, index: &Index, texts: &[String]) -> Vec<Arc<MemSeries>> {
        match self {
            Wanted::Names => index.having_names(texts),
            Wanted::ValuesOf(name) => index.having_values(name, texts),
        }
    }

    /// Adds those that series of a block have for which `is_visible` holds. It is asked until there is one, and not of texts that are there
    /// already.
    pub(crate) fn of_block(
        self,
        index: &BlockIndex<'_>,
        texts: &mut Texts,
        mut is_visible: impl FnMut(u32) -> bool,
    ) -> Result<(), Damage> {
        let n_series = index.n_series();
        texts.walk(|run| {
            match self {
                Wanted::Names => {
                    for name in index.names() {
                        let (name, values) = name?;
                        match run.place(name) {
                            Place::There => continue,
                            Place::Beyond => break,
                            Place::Missing => {}
                        }
                        for value in values.entries() {
                            if value?.1.any(n_series, &mut is_visible)? {
                                run.add(name);
                                break;
                            }
                        }
                    }
                }
                Wanted::ValuesOf(name) => {
                    for value in index.values(name)? {
                        let (value, list) = value?;
                        match run.place(value) {
                            Place::There => {}
                            Place::Beyond => break,
                            Place::Missing if list.any(n_series, &mut is_visible)? => run.add(value),
                            Place::Missing => {}
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Adds those of a series.
    pub(crate) fn of_labels(self, labels: &Labels, gathered: &mut Gathered) {
        match self {
            Wanted::Names => labels.iter().for_each(|(name, _)| gathered.add(name)),
            Wanted::ValuesOf(name) => labels.get(name).into_iter().for_each(|value| gathered.add(value)),
        }
    }
}

/// The first of the texts that were found, in their order, each once.
pub(crate) struct Texts {
    found: Vec<String>,
    limit: usize,
}

impl Texts {
    /// Keeps `limit` texts, or all if that is 0.
    pub(crate) fn first(limit: usize) -> Self {
        Texts { found: Vec::new(), limit: if limit == 0 { usize::MAX } else { limit } }
    }

    /// Calls `walk` to go through texts in their order, and takes what it added.
    pub(crate) fn walk<T>(&mut self, walk: impl FnOnce(&mut Run<'_>) -> T) -> T {
        let mut run = Run { found: &self.found, limit: self.limit, at: 0, missing: Vec::new() };
        let walked = walk(&mut run);
        let missing = run.missing;
        if self.found.is_empty() {
            self.found = missing;
        } else if !missing.is_empty() {
            // Two sorted runs, which this sort takes as they are.
            self.found.extend(missing);
            self.found.sort();
        }
        self.found.truncate(self.limit);
        walked
    }

    /// The texts that were kept.
    pub(crate) fn in_order(self) -> Vec<String> {
        self.found
    }
}

/// Where a text stands to those that were found.
enum Place {
    /// It is one of them.
    There,
    /// It is none of them, and would be kept.
    Missing,
    /// There are enough before it, and so before all that come behind it.
    Beyond,
}

/// A walk through texts in their order, beside those that were found.
pub(crate) struct Run<'t> {
    found: &'t [String],
    limit: usize,
    // How many of those found are before the text that was asked for last.
    at: usize,
    // Those that were added, in order.
    missing: Vec<String>,
}

impl Run<'_> {
    /// Where `text` stands, which is behind all that were asked for before.
    fn place(&mut self, text: &str) -> Place {
        while self.found.get(self.at).is_some_and(|found| found.as_str() < text) {
            self.at += 1;
        }
        if self.at + self.missing.len() >= self.limit {
            Place::Beyond
        } else if self.found.get(self.at).is_some_and(|found| found == text) {
            Place::There
        } else {
            Place::Missing
        }
    }

    /// Adds `text`, which is missing and was asked for last.
    fn add(&mut self, text: impl Into<String>) {
        self.missing.push(text.into());
    }

    /// Adds a text that is behind all that were asked for before, if it is to be kept.
    pub(crate) fn offer(&mut self, text: String) {
        if matches!(self.place(&text), Place::Missing) {
            self.add(text);
        }
    }

    /// Adds `texts`, or if they are not sure those that are missing to `unsure`.
    fn all_of<'i>(
        &mut self,
        texts: impl Iterator<Item = (&'i str, &'i Arc<MemSeries>)>,
        are_sure: bool,
        unsure: &mut Vec<(String, Arc<MemSeries>)>,
    ) {
        for (text, series) in texts {
            match self.place(text) {
                Place::There => {}
                Place::Beyond => break,
                Place::Missing if are_sure => self.add(text),
                Place::Missing => unsure.push((text.to_owned(), Arc::clone(series))),
            }
        }
    }
}

/// The first of texts that come in any order, most of them often.
pub(crate) struct Gathered {
    found: BTreeSet<String>,
    limit: usize,
}

impl Gathered {
    /// Keeps `limit` texts, or all if that is 0.
    pub(crate) fn first(limit: usize) -> Self {
        Gathered { found: BTreeSet::new(), limit: if limit == 0 { usize::MAX } else { limit } }
    }

    /// Adds a text that mostly is there already.
    pub(crate) fn add(&mut self, text: &str) {
        let is_among = self.found.len() < self.limit || self.found.last().is_some_and(|last| text < last.as_str());
        if is_among && !self.found.contains(text) {
            self.found.insert(text.to_owned());
            if self.found.len() > self.limit {
                self.found.pop_last();
            }
        }
    }

    /// The texts that were kept.
    pub(crate) fn in_order(self) -> impl Iterator<Item = String> {
        self.found.into_iter()
    }
}
