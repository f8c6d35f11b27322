//! Names and values of labels: where the head, a block and a series have them, and the first of them in their order.

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
    /// The first `limit` of the head, each with a series that has it.
    pub(crate) fn of_head(self, index: &Index, limit: usize) -> Vec<(String, Arc<MemSeries>)> {
        match self {
            Wanted::Names => index.first_of_names(limit),
            Wanted::ValuesOf(name) => index.first_of_values(name, limit),
        }
    }

    /// The series of the head that have any of `texts`.
    pub(crate) fn having(self, index: &Index, texts: &[String]) -> Vec<Arc<MemSeries>> {
        match self {
            Wanted::Names => index.having_names(texts),
            Wanted::ValuesOf(name) => index.having_values(name, texts),
        }
    }

    /// Adds those of a block.
    pub(crate) fn of_block(self, index: &BlockIndex<'_>, texts: &mut Texts) -> Result<(), Damage> {
        match self {
            Wanted::Names => index.names().take(texts.limit).try_for_each(|name| name.map(|name| texts.insert(name))),
            Wanted::ValuesOf(name) => {
                let mut values = index.values(name)?.take(texts.limit);
                values.try_for_each(|value| value.map(|value| texts.insert(value)))
            }
        }
    }

    /// Adds those of a series.
    pub(crate) fn of_labels(self, labels: &Labels, texts: &mut Texts) {
        match self {
            Wanted::Names => labels.iter().for_each(|(name, _)| texts.insert(name)),
            Wanted::ValuesOf(name) => labels.get(name).into_iter().for_each(|value| texts.insert(value)),
        }
    }
}

/// The first of the texts that were found, in their order, each once.
pub(crate) struct Texts {
    found: BTreeSet<String>,
    limit: usize,
}

impl Texts {
    /// Keeps `limit` texts, or all if that is 0.
    pub(crate) fn first(limit: usize) -> Self {
        Texts { found: BTreeSet::new(), limit: if limit == 0 { usize::MAX } else { limit } }
    }

    /// How many texts are kept at most.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether `text` is not there and would be kept.
    pub(crate) fn wants(&self, text: &str) -> bool {
        let is_among = self.found.len() < self.limit || self.found.last().is_some_and(|last| text < last.as_str());
        is_among && !self.found.contains(text)
    }

    /// Adds a text that mostly is there already.
    pub(crate) fn insert(&mut self, text: &str) {
        if self.wants(text) {
            self.found.insert(text.to_owned());
            if self.found.len() > self.limit {
                self.found.pop_last();
            }
        }
    }

    /// The texts that were kept.
    pub(crate) fn in_order(self) -> Vec<String> {
        self.found.into_iter().collect()
    }
}
